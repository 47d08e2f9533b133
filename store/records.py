"""Records: one for each message of a portal, whatever paths saw it, in whatever order (rules.md section 6).

A record is a function of the set of its captures. Its content is that of the capture whose path alters least, its
direction, reason and user are those of the decision that rests on most; contacts, ids, recipients and flags are the
union of all, but for doubts that one of them settles. What somebody changed by hand stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.alias import ids_named
from engine.decision import Attribution, ContactRef, Decision, Flag, Reason, Source
from engine.fingerprint import bearing_key, id_key, submitted_key
from store import schema
from store.database import insert_in_order, slices
from store.forgetting import forget_content, forget_unused
from store.hashes import keyed_hash
from store.made_contacts import give_to_earliest, with_created_contacts
from store.settled import Settled

__all__ = ["Logged", "Records"]

# Whose octets are kept when several paths saw a message: what was submitted, before servers added to it, first.
CONTENT_RANK = {
    Source.RELAY: 0,
    Source.BCC: 1,
    Source.GATEWAY: 2,
    Source.JOURNAL: 3,
    Source.IMAP_PROXY: 4,
    Source.OBSERVER: 5,
    Source.MANUAL: 6,
    Source.FORWARD: 7,
}
# Which decision speaks for the record: what a forwarder says of a message comes after what was seen of it.
REASON_RANK = {Reason.BCC_ADDRESS: 0, Reason.MANUAL_LOG: 2, Reason.FORWARDING_ADDRESS: 3}
OTHER_REASONS = 1
# Headers decide before the envelope, and the envelope before the mailbox (rules.md 5.3).
ATTRIBUTION_RANK = {Attribution.ENVELOPE_RECIPIENT: 1, Attribution.CAPTURED_MAILBOX: 2, Attribution.FORWARDER: 3}
# Flags that only decisions give; the others are found in the content as well.
OF_DECISIONS = frozenset((Flag.UNMATCHED_SENDER, Flag.AMBIGUOUS_CONTACT, Flag.UNAUTHENTICATED))
# What one capture could not prove, and another did.
DOUBTS = frozenset((Flag.UNAUTHENTICATED, Flag.UNVERIFIED_FORWARD))
CONTENT_FIELDS = (
    "message_id", "subject", "date", "from", "to", "cc", "text", "html", "other_text", "size", "content"
)  # fmt: skip
# What a record keeps the union of, and how two rows of it are merged.
UNIONS: tuple[Any, ...] = (
    schema.email_id, schema.email_parent, schema.email_contact, schema.email_recipient, schema.stopped_thread
)  # fmt: skip
MERGED: dict[str, dict[str, Any]] = {
    # A contact that any capture saw in the headers is no hidden one; who was unlinked by hand stays so.
    "email_contact": {"bcc": and_, "is_unlinked": or_},
    # Accepted by any of several next hops is accepted.
    "email_recipient": {"accepted": or_, "reply": func.max},
    "email_parent": {"place": func.min},
}


@dataclass(slots=True)
class Logged:
    """A capture that one portal logs, and the record it went to."""

    settled: Settled
    decision: Decision
    email: int = 0
    made_contacts: bool = False
    ids: tuple[str, ...] = field(init=False)
    keys: tuple[str, ...] = field(init=False)
    submitted: str | None = None
    own: str | None = None
    bearing: str | None = None
    is_again: bool = False

    def __post_init__(self) -> None:
        """`ids` are its own and those that the next hop gave it; `keys` tell copies of it by any of them, `submitted`
        that it was submitted under an id of its own, `own` under which. `bearing` is of what was not submitted.
        """
        facts, parsed = self.settled.entry.facts, self.parsed
        given = ids_named(facts.get("reply") or "", facts.get("host") or "")
        self.ids = tuple(dict.fromkeys(each for each in (parsed["message_id"], *given) if each))
        of = parsed["essence"]
        more = (id_key(each, of) for each in given) if of else ()
        self.keys = tuple(dict.fromkeys((*parsed["keys"], *more)))
        if not parsed["message_id"] or len(parsed["keys"]) == 1:
            return
        if facts["source"] == Source.RELAY:
            self.submitted = submitted_key(parsed["keys"][0])
            self.own = submitted_key(parsed["keys"][0], parsed["message_id"])
        else:
            self.bearing = bearing_key(parsed["keys"][0], parsed["message_id"])

    @property
    def telling_keys(self) -> tuple[str, ...]:
        """`keys`, and what tells a submission."""
        if self.submitted is None or self.own is None:
            return self.keys
        return (*self.keys, self.submitted, self.own)

    @property
    def all_keys(self) -> tuple[str, ...]:
        """All that its record is to have."""
        return self.telling_keys if self.bearing is None else (*self.telling_keys, self.bearing)

    def stands_alone(self) -> None:
        """Messages with its fingerprint were submitted: only its id tells which of them it is."""
        print_, *others = self.parsed["keys"]
        self.keys = tuple(each for each in self.keys if each != print_) if others else self.keys

    @property
    def parsed(self) -> dict[str, Any]:
        """What was read from its content."""
        assert self.settled.parsed is not None
        return self.settled.parsed

    @property
    def rank(self) -> str:
        """The order of content: the smallest counts."""
        return f"{CONTENT_RANK[self.decision.source]}{self.moment}"

    @property
    def moment(self) -> str:
        """The order of captures in time, the key deciding where two are of one instant."""
        entry = self.settled.entry
        return f"{entry.at:017.6f}{entry.key}"


class Records:
    """Writes records inside a transaction of the caller."""

    def __init__(self, hash_key: bytes) -> None:
        self._hash_key = hash_key

    async def add(self, connection: AsyncConnection, logged: Sequence[Logged]) -> set[int]:
        """Gives each capture its record and makes the contacts that its decision asks for; the records known before."""
        if not logged:
            return set()
        for each in logged:
            if each.decision.creates:
                each.decision = await with_created_contacts(connection, each.decision, each.moment)
                each.made_contacts = True
        for place in await give_to_earliest(connection, [(each.decision, each.moment) for each in logged]):
            logged[place].made_contacts = True
        known = await _known_keys(connection, logged)
        fresh: list[Logged] = []
        later: list[Logged] = []
        for each in logged:
            portal = each.decision.portal
            each.is_again = (portal, each.own or "") in known or (portal, each.submitted or "") in known
            if each.is_again:
                each.stands_alone()
            (later if any((portal, key) in known for key in each.keys) else fresh).append(each)
            known.update((portal, key) for key in each.all_keys)
        await self._insert(connection, fresh)
        await self._insert_captures(connection, fresh)
        touched: set[int] = set()
        for each in later:
            if each.is_again:
                touched |= await self._part(connection, each, logged)
            moved = await self._join(connection, each)
            for one in logged if moved else ():
                one.email = moved.get(one.email, one.email)
            await self._insert_captures(connection, [each])
        await self._flag_reused_ids(connection, logged)
        return {each.email for each in later} | touched

    async def refresh(self, connection: AsyncConnection, emails: Iterable[int]) -> None:
        """Lets the decisions of each record speak for it anew."""
        table, decision = schema.email, schema.decision
        for email in sorted(set(emails)):
            row = (await connection.execute(select(table).where(table.c.id == email))).first()
            wanted = select(decision.c.value, decision.c.at, decision.c.key).where(
                decision.c.email == email, decision.c.decision == "log"
            )
            found = [(Decision.from_json(value), at, key) for value, at, key in await connection.execute(wanted)]
            if row is None or row.deleted_at is not None or not found:
                continue
            decisions = [each for each, _, _ in found]
            settled = {flag for flag in DOUBTS if any(flag not in each.flags for each in decisions)}
            winner, _, _ = min(found, key=lambda each: (*_weight(each[0]), each[1], each[2]))
            values: dict[str, Any] = {
                "direction": winner.direction,
                "reason": winner.reason,
                "flags": sorted({*row.flags, *(flag for each in decisions for flag in each.flags)} - settled),
                "at": min(at for _, at, _ in found),
            }
            if not row.is_reassigned:
                values |= {"attribution": winner.attribution, "user": winner.user.id if winner.user else None}
            await connection.execute(update(table).where(table.c.id == email).values(**values))
            await _add_contacts(connection, [(email, one) for each, _, _ in found for one in each.contacts])

    async def withdraw(self, connection: AsyncConnection, email: int, before: Decision) -> None:
        """A decision that the record rested on was made again: what it alone added goes."""
        table, linked, decision = schema.email, schema.email_contact, schema.decision
        wanted = select(decision.c.value).where(decision.c.email == email, decision.c.decision == "log")
        now = [Decision.from_json(value) for value in (await connection.scalars(wanted)).all()]
        gone = {each.id for each in before.contacts} - {each.id for one in now for each in one.contacts}
        if gone:
            mine = (linked.c.email == email) & linked.c.contact.in_(gone) & linked.c.is_unlinked.is_(False)
            await connection.execute(delete(linked).where(mine))
        flags = (before.flags & OF_DECISIONS) - {flag for one in now for flag in one.flags}
        if flags:
            row = (await connection.execute(select(table.c.flags).where(table.c.id == email))).one()
            left = [each for each in row.flags if each not in flags]
            await connection.execute(update(table).where(table.c.id == email).values(flags=left))

    # -- new records --------------------------------------------------------------------------------------------------

    async def _insert(self, connection: AsyncConnection, fresh: Sequence[Logged]) -> None:
        if not fresh:
            return
        table = schema.email
        ids = await insert_in_order(connection, table, [_email_row(each) for each in fresh])
        for each, email in zip(fresh, ids, strict=True):
            each.email = email
        await connection.execute(
            update(table).where(table.c.id.in_([each.email for each in fresh])).values(thread=table.c.id)
        )
        await self._insert_details(connection, fresh)
        await _insert_attachments(connection, fresh)

    async def _insert_details(self, connection: AsyncConnection, some: Sequence[Logged]) -> None:
        """Everything of which a record keeps the union over its captures."""
        await _upsert(connection, schema.email_key, [row for each in some for row in _key_rows(each)])
        await _upsert(connection, schema.email_id, [row for each in some for row in self._id_rows(each)])
        await _upsert(connection, schema.email_parent, [row for each in some for row in self._parent_rows(each)])
        await _add_contacts(connection, [(each.email, one) for each in some for one in each.decision.contacts])
        await _add_recipients(connection, some)

    def _id_rows(self, each: Logged) -> list[dict[str, Any]]:
        """The ids it is known by: its own, those the next hop named, and the print of its header section."""
        row: dict[str, Any] = {"portal": each.decision.portal, "email": each.email}
        rows = [row | {"hash": keyed_hash(self._hash_key, one), "msg_id": one} for one in each.ids]
        if (print_ := each.parsed["print"]) is not None:
            rows.append(row | {"hash": keyed_hash(self._hash_key, print_), "msg_id": None})
        return rows

    def _parent_rows(self, each: Logged) -> list[dict[str, Any]]:
        row = {"portal": each.decision.portal, "email": each.email}
        return [
            row | {"hash": keyed_hash(self._hash_key, parent), "place": place}
            for place, parent in enumerate(each.parsed["parents"])
        ]

    async def _insert_captures(self, connection: AsyncConnection, logged: Sequence[Logged]) -> None:
        rows = []
        for each in logged:
            entry, decision = each.settled.entry, each.decision
            row = {"key": entry.key, "portal": decision.portal, "email": each.email, "at": entry.at}
            row |= {"session": entry.facts.get("session"), "reply": entry.facts.get("reply")}
            sources = dict.fromkeys((Source(entry.facts["source"]), decision.source))
            rows += [row | {"source": source} for source in sources]
        if rows:
            table = schema.capture
            await connection.execute(
                upsert(table).on_conflict_do_nothing(index_elements=["key", "portal", "source"]), rows
            )

    # -- known records ------------------------------------------------------------------------------------------------

    async def _join(self, connection: AsyncConnection, each: Logged) -> dict[int, int]:
        """Adds a capture to the record of its message; records that it shows to be one are united: which went where."""
        found = await self._known(connection, each)
        if len(found) > 1 and await self._are_twins(connection, found):
            each.stands_alone()
            found = await self._known(connection, each)
        each.email = found[0]
        for other in found[1:]:
            await _unite(connection, each.email, other)
        email = schema.email
        row = (await connection.execute(select(email).where(email.c.id == each.email))).one()
        moved = dict.fromkeys(found[1:], each.email)
        if row.deleted_at is not None:
            hashes = {each.parsed["content"], *(one["content"] for one in each.parsed["attachments"])} - {None}
            await forget_unused(connection, [(each.decision.portal, one) for one in hashes])
            return moved
        values: dict[str, Any] = {"flags": sorted({*row.flags, *each.parsed["flags"]})}
        if each.rank < row.content_rank:
            values |= {name: each.parsed[name] for name in CONTENT_FIELDS} | {"content_rank": each.rank}
            await connection.execute(delete(schema.attachment).where(schema.attachment.c.email == each.email))
            await _insert_attachments(connection, [each])
        await connection.execute(update(email).where(email.c.id == each.email).values(**values))
        await self._insert_details(connection, [each])
        return moved

    async def _known(self, connection: AsyncConnection, each: Logged) -> list[int]:
        """The records that a capture is one of, the oldest first."""
        table = schema.email_key
        wanted = select(table.c.email).where(table.c.portal == each.decision.portal, table.c.key.in_(each.keys))
        return sorted(set((await connection.scalars(wanted)).all()))

    async def _are_twins(self, connection: AsyncConnection, emails: Sequence[int]) -> bool:
        """Whether several of the records are of messages that were submitted: a copy of one is none of the others."""
        table = schema.capture
        submitted = select(table.c.email).where(table.c.email.in_(emails), table.c.source == Source.RELAY)
        return len((await connection.scalars(submitted.distinct())).all()) > 1

    async def _part(self, connection: AsyncConnection, each: Logged, logged: Sequence[Logged]) -> set[int]:
        """Takes copies of a submission, which came before it, from records of its twins, for which they were taken.

        The records that this changed: none where no copy was.
        """
        table, portal = schema.email_key, each.decision.portal
        twins = [one for one in await self._known(connection, each) if await self._is_twin(connection, each, one)]
        if not twins:
            return set()
        own = select(table.c.email).where(table.c.portal == portal, table.c.key == each.own)
        email = await connection.scalar(own)
        if email is None:
            await self._insert(connection, [each])
        else:
            each.email = email
        for twin in twins:
            await self._take_copies(connection, each, twin, logged)
        return {*twins, each.email}

    async def _is_twin(self, connection: AsyncConnection, each: Logged, email: int) -> bool:
        """Whether the record is of the same words, submitted under another id."""
        ids = await _ids_of(connection, email) - set(each.ids)
        owns = {submitted_key(each.parsed["keys"][0], one) for one in ids}
        return bool(ids) and not owns.isdisjoint(await _keys_of(connection, email))

    async def _take_copies(
        self, connection: AsyncConnection, each: Logged, twin: int, logged: Sequence[Logged]
    ) -> None:
        """Gives to the record of `each` what that of its twin has from copies that bear an id of `each`."""
        table, named, decision = schema.email_key, schema.email_id, schema.decision
        portal = each.decision.portal
        keys = await _keys_of(connection, twin)
        ours, theirs = set(each.ids), await _ids_of(connection, twin) - set(each.ids)
        taken = (keys & set(each.keys)) | {bearing_key(key, one) for key in keys for one in ours}
        taken |= {key for key in keys if _bears(keys, key, ours) and not _bears(keys, key, theirs)}
        mine = (table.c.portal == portal) & (table.c.email == twin) & table.c.key.in_(taken & keys)
        await connection.execute(update(table).where(mine).values(email=each.email))
        hashes = [keyed_hash(self._hash_key, one) for one in each.ids]
        await connection.execute(delete(named).where(named.c.email == twin, named.c.hash.in_(hashes)))
        copies = select(schema.decision_hash.c.decision).where(schema.decision_hash.c.hash.in_(hashes))
        wanted = select(decision.c.key, decision.c.value).where(decision.c.email == twin, decision.c.id.in_(copies))
        found = {key: Decision.from_json(value) for key, value in await connection.execute(wanted)}
        for one in logged:
            if one.email == twin and not set(one.ids).isdisjoint(each.ids):
                one.email = each.email
                found[one.settled.entry.key] = one.decision
        for other in (decision, schema.capture):
            moving = (other.c.portal == portal) & (other.c.email == twin) & other.c.key.in_(found)
            await connection.execute(update(other).where(moving).values(email=each.email))
        for before in found.values():
            await self.withdraw(connection, twin, before)

    async def _flag_reused_ids(self, connection: AsyncConnection, logged: Sequence[Logged]) -> None:
        """One id on several messages: all of them say so (rules.md 6.1)."""
        table = schema.email_id
        ids = {(each.decision.portal, keyed_hash(self._hash_key, one)) for each in logged for one in each.ids}
        holders: dict[tuple[int, str], set[int]] = {}
        for row in await _rows_of(connection, select(table.c.portal, table.c.hash, table.c.email), table.c.hash, ids):
            holders.setdefault((row.portal, row.hash), set()).add(row.email)
        for email in sorted({each for emails in holders.values() if len(emails) > 1 for each in emails}):
            flags = await connection.scalar(select(schema.email.c.flags).where(schema.email.c.id == email)) or []
            flags = sorted({*flags, Flag.MESSAGE_ID_REUSED})
            await connection.execute(update(schema.email).where(schema.email.c.id == email).values(flags=flags))


def _weight(decision: Decision) -> tuple[int, int]:
    attribution = ATTRIBUTION_RANK.get(decision.attribution, 0) if decision.attribution else 0
    return REASON_RANK.get(decision.reason, OTHER_REASONS), attribution


def _email_row(each: Logged) -> dict[str, Any]:
    decision, parsed = each.decision, each.parsed
    return {name: parsed[name] for name in CONTENT_FIELDS} | {
        "portal": decision.portal,
        "thread": 0,
        "direction": decision.direction,
        "reason": decision.reason,
        "attribution": decision.attribution,
        "user": decision.user.id if decision.user else None,
        "is_reassigned": False,
        "flags": sorted({*decision.flags, *parsed["flags"]}),
        "at": each.settled.entry.at,
        "content_rank": each.rank,
    }


def _key_rows(each: Logged) -> list[dict[str, Any]]:
    return [{"portal": each.decision.portal, "key": key, "email": each.email} for key in each.all_keys]


async def _known_keys(connection: AsyncConnection, logged: Sequence[Logged]) -> set[tuple[int, str]]:
    table = schema.email_key
    wanted = {(each.decision.portal, key) for each in logged for key in each.telling_keys}
    found = await _rows_of(connection, select(table.c.portal, table.c.key), table.c.key, wanted)
    return {(row.portal, row.key) for row in found}


async def _rows_of(
    connection: AsyncConnection, query: Select[Any], column: Column[str], wanted: Iterable[tuple[int, str]]
) -> list[Any]:
    """Rows of `query` by portal and `column`. Portal by portal: a list of pairs makes SQLite read the whole table."""
    by_portal: dict[int, list[str]] = {}
    for portal, value in wanted:
        by_portal.setdefault(portal, []).append(value)
    rows: list[Any] = []
    for portal, values in by_portal.items():
        for some in slices(values):
            rows += await connection.execute(query.where(column.table.c.portal == portal, column.in_(some)))
    return rows


async def _keys_of(connection: AsyncConnection, email: int) -> set[str]:
    table = schema.email_key
    return set((await connection.scalars(select(table.c.key).where(table.c.email == email))).all())


async def _ids_of(connection: AsyncConnection, email: int) -> set[str]:
    """The ids the record is known by, as they are written."""
    table = schema.email_id
    wanted = select(table.c.msg_id).where(table.c.email == email, table.c.msg_id.is_not(None))
    return {each for each in (await connection.scalars(wanted)).all() if each is not None}


def _bears(keys: set[str], print_: str, ids: Iterable[str]) -> bool:
    """Whether copies with the fingerprint bore one of the ids, by what `keys` say."""
    return any(not keys.isdisjoint((bearing_key(print_, one), submitted_key(print_, one))) for one in ids)


async def _upsert(connection: AsyncConnection, table: Any, rows: list[dict[str, Any]]) -> None:
    """Adds rows; where one is there already the two are merged, so that their order makes no difference."""
    if not rows:
        return
    adding = upsert(table)
    merged = {name: merge(table.c[name], adding.excluded[name]) for name, merge in MERGED.get(table.name, {}).items()}
    if merged:
        keys = [each.name for each in table.primary_key]
        await connection.execute(adding.on_conflict_do_update(index_elements=keys, set_=merged), rows)
    else:
        await connection.execute(adding.on_conflict_do_nothing(), rows)


async def _add_contacts(connection: AsyncConnection, pairs: Sequence[tuple[int, ContactRef]]) -> None:
    rows = [{"email": email, "contact": one.id, "bcc": one.bcc, "is_unlinked": False} for email, one in pairs]
    await _upsert(connection, schema.email_contact, rows)


async def _add_recipients(connection: AsyncConnection, some: Sequence[Logged]) -> None:
    """Who the envelope named."""
    rows = [{"email": each.email, **one} for each in some for one in each.settled.entry.facts.get("recipients", ())]
    await _upsert(connection, schema.email_recipient, rows)


async def _insert_attachments(connection: AsyncConnection, some: Sequence[Logged]) -> None:
    rows = [
        {"email": each.email, "number": number, **one}
        for each in some
        for number, one in enumerate(each.parsed["attachments"])
    ]
    if rows:
        await connection.execute(insert(schema.attachment), rows)


async def _unite(connection: AsyncConnection, email: int, other: int) -> None:
    """Two records turned out to be of one message: `other` becomes part of `email`."""
    table = schema.email
    rows = {row.id: row for row in await connection.execute(select(table).where(table.c.id.in_((email, other))))}
    ours, theirs = rows[email], rows[other]
    values: dict[str, Any] = {"flags": sorted({*ours.flags, *theirs.flags})}
    if theirs.is_reassigned and not ours.is_reassigned:
        values |= {"is_reassigned": True, "user": theirs.user, "attribution": theirs.attribution}
    values["thread"] = thread = min(ours.thread, theirs.thread)
    await connection.execute(update(table).where(table.c.id == email).values(**values))
    if theirs.deleted_at is None and theirs.content_rank < ours.content_rank and ours.deleted_at is None:
        better = {name: theirs._mapping[name] for name in (*CONTENT_FIELDS, "content_rank")}
        await connection.execute(update(table).where(table.c.id == email).values(**better))
        await connection.execute(delete(schema.attachment).where(schema.attachment.c.email == email))
        await connection.execute(
            update(schema.attachment).where(schema.attachment.c.email == other).values(email=email)
        )
    for each in (schema.capture, schema.decision, schema.email_key):
        await connection.execute(update(each).where(each.c.email == other).values(email=email))
    for each in UNIONS:
        found = (await connection.execute(select(each).where(each.c.email == other))).all()
        await _upsert(connection, each, [dict(row._mapping) | {"email": email} for row in found])
        await connection.execute(delete(each).where(each.c.email == other))
    mine = (table.c.portal == ours.portal) & table.c.thread.in_((ours.thread, theirs.thread))
    await connection.execute(update(table).where(mine).values(thread=thread))
    deleted = [each.deleted_at for each in (ours, theirs) if each.deleted_at is not None]
    if deleted:  # of either, and the message is deleted
        await forget_content(connection, [email, other], at=min(deleted))
    await connection.execute(delete(schema.attachment).where(schema.attachment.c.email == other))
    await connection.execute(delete(table).where(table.c.id == other))
