"""Today's rules over the decisions of a period (rules.md 7.5): first a preview with counts, then for real.

What is kept of a skipped message is its decision and keyed hashes. Contacts made since are found by the hashes of their
addresses, and what a message answers by the hashes of ids. The message itself is not kept, so a decision that would be
another one today can be carried out only where the content is at hand: in a record of the log that has the same id, or
in a message that still waits for its parent. For others somebody must find the message again, and let it wait.
Records of the log get the contacts made since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.decision import Attribution, ContactRef, Decision, Direction, Outcome, Reason, UserRef
from engine.directory import Contact, Portal, Rule, User
from engine.reevaluation import Kept, Verdict, reconsider
from store import schema
from store.database import Database, slices
from store.directory import Directory
from store.directory_record import PortalRecord
from store.kept_facts import People, decision_hashes, decision_pages, portal_today, thread_contacts
from store.later_contacts import LaterContact, find_later_contacts

__all__ = ["Preview", "Reevaluated", "Reevaluation", "Would"]

PAGE = 500  # decisions carried out in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Would:
    """A skipped message that today's rules log, or may log: then `user` may be unknown.

    `hashes` are its keyed hashes: of its ids, and of outside addresses.
    """

    decision: int
    key: str
    at: float
    value: Decision
    reason: Reason
    contacts: tuple[Contact, ...]
    user: User | None
    hashes: frozenset[str]

    @property
    def account(self) -> str | None:
        """Of its user."""
        known = self.value.user.address if self.value.user is not None else None
        return self.user.account if self.user is not None else known


@dataclass(slots=True, kw_only=True)
class Preview:
    """What a rule does to the kept decisions. `would` are those that were skipped and would be logged.

    `later` are contacts that records of the log would have besides. `contacts` and `users` count, by address, all
    messages that would be logged, those in the log included. `untold` are the `unknown`, which only the message tells.
    """

    decisions: int = 0
    logged: int = 0
    no_longer: int = 0
    unknown: int = 0
    would: list[Would] = field(default_factory=list)
    untold: list[Would] = field(default_factory=list)
    later: list[LaterContact] = field(default_factory=list)
    contacts: Counter[str] = field(default_factory=Counter)
    users: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, kw_only=True)
class Reevaluated:
    """What was carried out: `recorded` joined a record that is in the log, `woken` are decided by the recorder again.

    `extended` is how many contacts records of the log have got. `missing` cannot be logged: their content is not kept.
    `mailboxes` are those that messages were fetched from, by decision.
    """

    recorded: list[tuple[Would, int]] = field(default_factory=list)
    woken: list[Would] = field(default_factory=list)
    missing: list[Would] = field(default_factory=list)
    extended: int = 0
    mailboxes: dict[int, str] = field(default_factory=dict)


class Reevaluation:
    """Judges the kept decisions of a portal. All methods raise `StoreUnavailable`."""

    def __init__(self, database: Database, directory: Directory, hash_key: bytes) -> None:
        self._database = database
        self._directory = directory
        self._hash_key = hash_key

    async def preview(self, home: PortalRecord, *, since: float, rule: Rule | None = None) -> Preview:
        """What the portal's lists and switches of today would log under `rule`, else under its own."""
        preview = Preview()
        async with self._database.read() as connection:
            portal = await portal_today(connection, home, rule)
            people = await People.load(connection, home.id, self._hash_key)
            async for rows in decision_pages(connection, home.id, since):
                hashes = await decision_hashes(connection, [row.id for row in rows])
                threads = await thread_contacts(connection, home.id, set().union(*hashes.values()))
                for row in rows:
                    preview.decisions += 1
                    _judge(preview, portal, people, row, hashes.get(row.id, frozenset()), threads)
            preview.later = await find_later_contacts(connection, portal, people.contacts, people.users, since=since)
        preview.contacts.update(each.contact.primary for each in preview.later)
        return preview

    async def carry_out(self, home: PortalRecord, preview: Preview) -> Reevaluated:
        """Logs what can be logged of `preview.would`, and links records with `preview.later`.

        Some at a time; what breaks it off leaves the rest as it was, to be found by the next preview.
        """
        done = Reevaluated()
        for start in range(0, len(preview.would), PAGE):
            some = preview.would[start : start + PAGE]
            async with self._directory.change() as connection:
                records = await _records(connection, home.id, some)
                for would in some:
                    if (email := records.get(would.decision)) is not None:
                        await self._join(connection, home, would, email)
                        done.recorded.append((would, email))
                    elif await _wake(connection, home.id, would):
                        done.woken.append(would)
                    else:
                        done.missing.append(would)
        for start in range(0, len(preview.later), PAGE):
            async with self._directory.change() as connection:
                for each in preview.later[start : start + PAGE]:
                    done.extended += await self._extend(connection, home, each)
        return done

    async def are_due(self, home: PortalRecord, some: Sequence[Would]) -> int:
        """How many of these the recorder has yet to decide again."""
        table, number = schema.waiting, 0
        async with self._database.read() as connection:
            for keys in slices({each.key for each in some}):
                mine = (table.c.portal == home.id) & table.c.key.in_(keys) & table.c.is_due.is_(True)
                number += len((await connection.scalars(select(table.c.id).where(mine))).all())
        return number

    async def take_up(self, home: PortalRecord, found: Mapping[str, Would], done: Reevaluated) -> None:
        """Adds to `done` what became of messages that were found again and waited, by their decisions' keys.

        A decision that was made again has another row than before.
        """
        table, waiting = schema.decision, schema.waiting
        async with self._directory.change() as connection:
            for keys in slices(found):
                due = (waiting.c.portal == home.id) & waiting.c.key.in_(keys) & waiting.c.is_due.is_(True)
                waits = set((await connection.scalars(select(waiting.c.key).where(due))).all())
                wanted = select(table.c.key, table.c.reason, table.c.email, table.c.value)
                mine = (table.c.portal == home.id) & table.c.key.in_(keys)
                for row in await connection.execute(wanted.where(mine)):
                    would = found[row.key]
                    decision = Decision.from_json(row.value)
                    if row.key in waits:
                        done.woken.append(would)
                    elif row.email is None:
                        done.missing.append(would)
                    else:
                        logged = {each.id for each in decision.contacts}
                        contacts = tuple(each for each in would.contacts if each.id in logged)
                        done.recorded.append((replace(would, value=decision, contacts=contacts), row.email))
                        after = {"contacts": [each.address for each in decision.contacts], "reason": row.reason}
                        await self._note(connection, home, would, row.email, after)

    async def _extend(self, connection: AsyncConnection, home: PortalRecord, later: LaterContact) -> int:
        """Links a record with a contact made since, unless it is by now; how many links that made."""
        adding = upsert(schema.email_contact).values(
            email=later.email, contact=later.contact.id, bcc=later.bcc, is_unlinked=False
        )
        made = (await connection.execute(adding.on_conflict_do_nothing())).rowcount
        if made:
            after = {"contacts": [later.contact.primary]}
            await self._directory.note(connection, home.id, "email.reevaluate", f"email {later.email}", after=after)
        return made

    async def _join(self, connection: AsyncConnection, home: PortalRecord, would: Would, email: int) -> None:
        """The decision becomes one of the record that has the same message."""
        table, linked = schema.decision, schema.email_contact
        decision = _as_logged(would)
        values = {"decision": decision.outcome, "reason": decision.reason, "value": decision.to_json(), "email": email}
        await connection.execute(update(table).where(table.c.id == would.decision).values(**values))
        known = set((await connection.scalars(select(linked.c.contact).where(linked.c.email == email))).all())
        fresh = [each for each in would.contacts if each.id not in known]
        for each in fresh:
            await connection.execute(linked.insert().values(email=email, contact=each.id, bcc=False, is_unlinked=False))
        after = {"contacts": [each.primary for each in fresh], "reason": decision.reason}
        await self._note(connection, home, would, email, after)

    async def _note(
        self, connection: AsyncConnection, home: PortalRecord, would: Would, email: int, after: dict[str, Any]
    ) -> None:
        before = {"reason": would.value.reason}
        await self._directory.note(
            connection, home.id, "email.reevaluate", f"email {email}", before=before, after=after
        )


def _as_logged(would: Would) -> Decision:
    assert would.user is not None
    is_incoming = would.value.direction is Direction.INCOMING
    return replace(
        would.value,
        outcome=Outcome.LOG,
        reason=would.reason,
        contacts=tuple(ContactRef(id=each.id, address=each.primary) for each in would.contacts),
        user=UserRef(id=would.user.id, address=would.user.account),
        attribution=Attribution.SINGLE_USER if is_incoming else Attribution.AUTHOR,
    )


def _judge(
    preview: Preview, portal: Portal, people: People, row: Any, hashes: frozenset[str], threads: Mapping[str, set[int]]
) -> None:
    decision = Decision.from_json(row.value)
    user = people.users.get(decision.user.id) if decision.user is not None else None
    mine = [people.contacts[each.id] for each in decision.contacts if each.id in people.contacts]
    new = [each for each in people.named_by(hashes) if each not in mine]
    in_threads = {contact for hash_ in hashes for contact in threads.get(hash_, ())}
    kept = Kept(
        decision=decision,
        contacts=[*mine, *new] if decision.reason is Reason.NO_EXISTING_CONTACT else mine,
        user=user,
        is_new=bool(new),
        answers_logged=any(each.id in in_threads for each in mine),
    )
    verdict, contacts = reconsider(kept, portal)
    is_logged = decision.outcome is Outcome.LOG
    would = Would(
        decision=row.id,
        key=row.key,
        at=row.at,
        value=decision,
        reason=_reason(kept),
        contacts=contacts,
        user=user,
        hashes=hashes,
    )
    if verdict is Verdict.UNKNOWN:
        preview.unknown += 1
        preview.untold.append(would)
    elif verdict is Verdict.LOG:
        preview.logged += is_logged
        preview.contacts.update(each.primary for each in contacts)
        if user is not None:
            preview.users[user.account] += 1
        if not is_logged and user is not None:
            preview.would.append(would)
    elif is_logged:
        preview.no_longer += 1


def _reason(kept: Kept) -> Reason:
    if kept.decision.direction is Direction.OUTGOING:
        return Reason.SENT_TO_CONTACT
    return Reason.REPLY_TO_LOGGED if kept.answers_logged else Reason.RECEIVED_FROM_CONTACT


async def _records(connection: AsyncConnection, portal: int, some: Sequence[Would]) -> dict[int, int]:
    """Records of the log that have the same message, by decision; where several have its id, none is told."""
    named, email = schema.email_id, schema.email
    holders: dict[str, set[int]] = {}
    for hashes in slices({hash_ for each in some for hash_ in each.hashes}):
        wanted = select(named.c.hash, named.c.email).join(email, email.c.id == named.c.email)
        wanted = wanted.where(named.c.portal == portal, named.c.hash.in_(hashes), email.c.deleted_at.is_(None))
        for hash_, identifier in await connection.execute(wanted):
            holders.setdefault(hash_, set()).add(identifier)
    found = {}
    for each in some:
        emails = {email for hash_ in each.hashes for email in holders.get(hash_, ())}
        if len(emails) == 1:
            found[each.decision] = emails.pop()
    return found


async def _wake(connection: AsyncConnection, portal: int, would: Would) -> bool:
    """Lets a message that waits be decided again at once; whether it waits."""
    table = schema.waiting
    mine = (table.c.portal == portal) & (table.c.key == would.key)
    return bool((await connection.execute(update(table).where(mine).values(is_due=True))).rowcount)
