"""Writing the log: what a batch of spool entries adds to the store, in one transaction.

The position in the spool moves in the same transaction, so a crash anywhere repeats a batch or has finished it. A
repeated capture is known by its key. One message is one record (rules.md section 6): later captures are added to the
record and change neither direction nor attribution.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, or_, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.decision import Decision, Flag, Outcome
from engine.fingerprint import normalised_subject
from store import schema
from store.database import Database
from store.entry import Entry, EntryKind
from store.hashes import keyed_hash

__all__ = ["Batch", "Recording", "Settled"]

PRUNE_ROWS = 1000  # decisions removed at once, so that no transaction is long
DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A spool entry that is ready for the log: its decisions, and what was read from its content if any logs it."""

    entry: Entry
    decisions: tuple[Decision, ...]
    parsed: dict[str, Any] | None = None
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Entries of one generation, up to `position`."""

    spool: str
    position: int
    settled: Sequence[Settled]


class Recording:
    """The writing side of the log."""

    def __init__(self, database: Database, hash_key: bytes) -> None:
        self._database = database
        self._hash_key = hash_key

    def hashes(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """The keyed hashes of canonical addresses, for `Settled`."""
        return tuple(keyed_hash(self._hash_key, address) for address in addresses)

    async def position(self, spool: str) -> int:
        """How far a generation was recorded."""
        table = schema.spool_progress
        async with self._database.read() as connection:
            return await connection.scalar(select(table.c.position).where(table.c.name == spool)) or 0

    async def forget(self, spool: str) -> None:
        """A generation was removed."""
        async with self._database.write() as connection:
            await connection.execute(delete(schema.spool_progress).where(schema.spool_progress.c.name == spool))

    async def keep(self, parts: Sequence[tuple[int, str, int, bytes]]) -> None:
        """Parts (portal, hash, number, octets) of large content, ahead of their record; keeping twice is harmless."""
        async with self._database.write() as connection:
            await _insert_parts(connection, parts)

    async def record(self, batch: Batch, parts: Sequence[tuple[int, str, int, bytes]]) -> list[Decision]:
        """Records a batch; the decisions that are new. Raises `StoreUnavailable`, and then nothing was recorded."""
        async with self._database.write() as connection:
            await _insert_parts(connection, parts)
            new = await self._unseen(connection, batch.settled)
            emails = await self._record_emails(connection, new)
            await self._record_decisions(connection, new, emails)
            await self._record_gaps(connection, new)
            await self._close_gaps(connection, new)
            progress = upsert(schema.spool_progress).values(name=batch.spool, position=batch.position)
            await connection.execute(
                progress.on_conflict_do_update(index_elements=["name"], set_={"position": batch.position})
            )
        return [decision for settled in new for decision in settled.decisions]

    async def prune(self, *, older_than: float) -> int:
        """Removes skip decisions from before that time (rules.md 8.2), a bounded number at once; how many."""
        table, hashes = schema.decision, schema.decision_hash
        wanted = select(table.c.id).where(table.c.decision == Outcome.SKIP, table.c.at < older_than).limit(PRUNE_ROWS)
        async with self._database.write() as connection:
            ids = list((await connection.scalars(wanted)).all())
            if ids:
                await connection.execute(delete(hashes).where(hashes.c.decision.in_(ids)))
                await connection.execute(delete(table).where(table.c.id.in_(ids)))
        return len(ids)

    # -- one transaction ----------------------------------------------------------------------------------------------

    async def _unseen(self, connection: AsyncConnection, settled: Sequence[Settled]) -> list[Settled]:
        """Entries that are not in the store yet, each once.

        A gap that turns out to be a message after all is new: its writer seemed gone when it was not.
        """
        keys = {each.entry.key: each for each in settled}
        gaps = {key for key, each in keys.items() if each.entry.kind is EntryKind.GAP}
        for table, wanted in ((schema.decision, set(keys)), (schema.gap, gaps)):
            for key in (await connection.scalars(select(table.c.key).where(table.c.key.in_(wanted)))).all():
                keys.pop(key, None)
        return list(keys.values())

    async def _record_emails(self, connection: AsyncConnection, new: Sequence[Settled]) -> dict[tuple[str, int], int]:
        """Email ids by capture key and portal."""
        logged = [
            (each, decision)
            for each in new
            if each.parsed is not None and each.entry.kind is EntryKind.MESSAGE
            for decision in each.decisions
            if decision.outcome is Outcome.LOG
        ]
        if not logged:
            return {}
        known = await _Known.load(connection, logged)
        fresh: list[dict[str, Any]] = []
        owners: list[tuple[Settled, Decision]] = []
        place_of: dict[tuple[str, int], int] = {}  # capture to its place in `fresh`
        emails: dict[tuple[str, int], int] = {}
        for each, decision in logged:
            assert each.parsed is not None
            found = known.same(decision.portal, each.parsed)
            capture = (each.entry.key, decision.portal)
            if found is None:
                row = _email_row(each, decision, known.variant(decision.portal, each.parsed))
                if known.is_reused(decision.portal, each.parsed):
                    row["flags"] = sorted({*row["flags"], Flag.MESSAGE_ID_REUSED})
                known.add(decision.portal, each.parsed, place=len(fresh))
                place_of[capture] = len(fresh)
                fresh.append(row)
                owners.append((each, decision))
            elif found.email is not None:
                emails[capture] = found.email
            else:
                place_of[capture] = found.place
        ids = await _insert_emails(connection, fresh)
        for capture, place in place_of.items():
            emails[capture] = ids[place]
        await self._record_threads(connection, known, fresh, ids)
        await _insert_details(connection, owners, ids)
        await connection.execute(
            insert(schema.capture),
            [
                {
                    "key": each.entry.key,
                    "portal": decision.portal,
                    "email": emails[each.entry.key, decision.portal],
                    "at": each.entry.at,
                    "source": decision.source,
                    "session": each.entry.facts.get("session"),
                    "reply": each.entry.facts.get("reply"),
                }
                for each, decision in logged
            ],
        )
        return emails

    async def _record_threads(
        self, connection: AsyncConnection, known: _Known, fresh: Sequence[dict[str, Any]], ids: Sequence[int]
    ) -> None:
        """A new message is of the thread of its nearest logged parent, or begins one of its own."""
        rows = []
        for row, identifier in zip(fresh, ids, strict=True):
            parents = (known.threads.get((row["portal"], parent)) for parent in row["parents"])
            thread = next((each for each in parents if each is not None), identifier)
            if row["message_id"]:
                known.threads.setdefault((row["portal"], row["message_id"]), thread)
            rows.append({"b_id": identifier, "thread": thread})
        if rows:
            table = schema.email
            await connection.execute(
                update(table).where(table.c.id == bindparam("b_id")).values(thread=bindparam("thread")), rows
            )

    async def _record_decisions(
        self, connection: AsyncConnection, new: Sequence[Settled], emails: dict[tuple[str, int], int]
    ) -> None:
        rows, hashes = [], []
        for each in new:
            if each.entry.kind is EntryKind.GAP:
                continue
            for decision in each.decisions:
                rows.append(
                    {
                        "key": each.entry.key,
                        "portal": decision.portal,
                        "at": each.entry.at,
                        "source": decision.source,
                        "decision": decision.outcome,
                        "reason": decision.reason,
                        "value": decision.to_json(),
                        "email": emails.get((each.entry.key, decision.portal)),
                    }
                )
                hashes.append(self._hashes(each))
        if not rows:
            return
        table = schema.decision
        result = await connection.execute(insert(table).returning(table.c.id, sort_by_parameter_order=True), rows)
        pairs = [
            {"hash": value, "decision": identifier}
            for identifier, values in zip(result.scalars().all(), hashes, strict=True)
            for value in values
        ]
        if pairs:
            await connection.execute(insert(schema.decision_hash), pairs)

    def _hashes(self, each: Settled) -> set[str]:
        facts = each.entry.facts
        found = {*facts.get("message_ids", ()), *facts.get("addresses", ()), *each.hashes}
        if each.parsed is not None and each.parsed["message_id"]:
            found.add(keyed_hash(self._hash_key, each.parsed["message_id"]))
        return found

    async def _record_gaps(self, connection: AsyncConnection, new: Sequence[Settled]) -> None:
        rows = []
        for each in new:
            if each.entry.kind is EntryKind.GAP:
                facts = each.entry.facts
                hashes = [*facts.get("message_ids", ()), None]
                for decision in each.decisions:
                    rows.append(
                        {
                            "key": each.entry.key,
                            "portal": decision.portal,
                            "at": each.entry.at,
                            "source": decision.source,
                            "kind": facts.get("gap", "capture_failed"),
                            "cause": facts.get("cause", ""),
                            "value": decision.to_json(),
                            "hash": hashes[0],
                        }
                    )
        if rows:
            await connection.execute(insert(schema.gap), rows)

    async def _close_gaps(self, connection: AsyncConnection, new: Sequence[Settled]) -> None:
        """A gap closes when its message is in the same portal's log after all, whichever of the two came first."""
        gaps = {each.entry.key for each in new if each.entry.kind is EntryKind.GAP}
        hashes = {
            keyed_hash(self._hash_key, each.parsed["message_id"])
            for each in new
            if each.parsed is not None and each.parsed["message_id"] and each.entry.kind is EntryKind.MESSAGE
        }
        if not gaps and not hashes:
            return
        gap, decision, named = schema.gap, schema.decision, schema.decision_hash
        logged = (
            select(decision.c.id)
            .join(named, named.c.decision == decision.c.id)
            .where(named.c.hash == gap.c.hash, decision.c.portal == gap.c.portal, decision.c.email.is_not(None))
        )
        concerned = or_(gap.c.key.in_(gaps), gap.c.hash.in_(hashes))
        await connection.execute(
            update(gap).where(concerned, gap.c.closed_at.is_(None), logged.exists()).values(closed_at=time.time())
        )


@dataclass(slots=True)
class _Seen:
    """A message of the log or of this batch: `email` is its id, or `place` where it has none yet."""

    fingerprint: str
    subject: str
    date: float | None
    email: int | None
    place: int = -1


class _Known:
    """What the log has already of the identities, ids and parents of a batch."""

    def __init__(self) -> None:
        self.identities: dict[tuple[int, str], list[_Seen]] = {}
        self.authors: dict[tuple[int, str], set[str]] = {}  # identities by portal and id
        self.threads: dict[tuple[int, str], int] = {}  # threads by portal and id

    @classmethod
    async def load(cls, connection: AsyncConnection, logged: Sequence[tuple[Settled, Decision]]) -> _Known:
        known = cls()
        identities: set[tuple[int, str]] = set()
        ids: set[tuple[int, str]] = set()
        for each, decision in logged:
            assert each.parsed is not None
            identities.add((decision.portal, each.parsed["identity"]))
            names = [each.parsed["message_id"], *each.parsed["parents"]]
            ids.update((decision.portal, name) for name in names if name)
        email, named = schema.email, schema.email_id
        for some in _slices(identities):
            wanted = select(
                email.c.portal, email.c.identity, email.c.id, email.c.fingerprint, email.c.subject, email.c.date
            ).where(tuple_(email.c.portal, email.c.identity).in_(some))
            for portal, identity, identifier, print_, subject, date in await connection.execute(
                wanted.order_by(email.c.variant)
            ):
                seen = _Seen(print_, normalised_subject(subject), date, identifier)
                known.identities.setdefault((portal, identity), []).append(seen)
        for some in _slices(ids):
            wanted_ids = select(named.c.portal, named.c.msg_id, email.c.identity, email.c.thread)
            wanted_ids = wanted_ids.join(email, email.c.id == named.c.email)
            for portal, name, identity, thread in await connection.execute(
                wanted_ids.where(tuple_(named.c.portal, named.c.msg_id).in_(some)).order_by(email.c.id)
            ):
                known.authors.setdefault((portal, name), set()).add(identity)
                known.threads.setdefault((portal, name), thread)
        return known

    def same(self, portal: int, parsed: dict[str, Any]) -> _Seen | None:
        """The record of this very message. Content that differs in subject or date under one id is another one."""
        for seen in self.identities.get((portal, parsed["identity"]), ()):
            if seen.fingerprint == parsed["fingerprint"]:
                return seen
            if (seen.subject, seen.date) == (normalised_subject(parsed["subject"]), parsed["date"]):
                return seen
        return None

    def variant(self, portal: int, parsed: dict[str, Any]) -> int:
        """How many others there are under the identity."""
        return len(self.identities.get((portal, parsed["identity"]), ()))

    def is_reused(self, portal: int, parsed: dict[str, Any]) -> bool:
        """Whether the id is on another message already (rules.md 6.1)."""
        others = self.authors.get((portal, parsed["message_id"]), set())
        return self.variant(portal, parsed) > 0 or bool(others - {parsed["identity"]})

    def add(self, portal: int, parsed: dict[str, Any], *, place: int) -> None:
        """A message of this batch that is new."""
        seen = _Seen(parsed["fingerprint"], normalised_subject(parsed["subject"]), parsed["date"], None, place)
        self.identities.setdefault((portal, parsed["identity"]), []).append(seen)
        if parsed["message_id"]:
            self.authors.setdefault((portal, parsed["message_id"]), set()).add(parsed["identity"])


def _email_row(each: Settled, decision: Decision, variant: int) -> dict[str, Any]:
    parsed = each.parsed
    assert parsed is not None
    same = ("identity", "message_id", "fingerprint", "subject", "date", "from", "to", "cc", "parents", "text", "html")
    return {key: parsed[key] for key in (*same, "size", "content")} | {
        "portal": decision.portal,
        "variant": variant,
        "thread": 0,
        "direction": decision.direction,
        "reason": decision.reason,
        "attribution": decision.attribution,
        "user": decision.user.id if decision.user else None,
        "flags": sorted({*decision.flags, *parsed["flags"]}),
        "at": each.entry.at,
    }


async def _insert_emails(connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> list[int]:
    if not rows:
        return []
    table = schema.email
    result = await connection.execute(insert(table).returning(table.c.id, sort_by_parameter_order=True), list(rows))
    return list(result.scalars().all())


async def _insert_details(
    connection: AsyncConnection, owners: Sequence[tuple[Settled, Decision]], ids: Sequence[int]
) -> None:
    """Contacts, ids, envelope and attachments of new records."""
    rows: dict[str, list[dict[str, Any]]] = {"contact": [], "id": [], "recipient": [], "attachment": []}
    for (each, decision), email in zip(owners, ids, strict=True):
        parsed = each.parsed
        assert parsed is not None
        rows["contact"] += [{"email": email, "contact": one.id, "bcc": one.bcc} for one in decision.contacts]
        if parsed["message_id"]:
            rows["id"].append({"portal": decision.portal, "msg_id": parsed["message_id"], "email": email})
        recipients = {one["address"]: one for one in each.entry.facts.get("recipients", ())}
        rows["recipient"] += [{"email": email, **one} for one in recipients.values()]
        rows["attachment"] += [
            {"email": email, "number": number, **one} for number, one in enumerate(parsed["attachments"])
        ]
    tables = {
        "contact": schema.email_contact,
        "id": schema.email_id,
        "recipient": schema.email_recipient,
        "attachment": schema.attachment,
    }
    for name, table in tables.items():
        if rows[name]:
            await connection.execute(insert(table), rows[name])


async def _insert_parts(connection: AsyncConnection, parts: Sequence[tuple[int, str, int, bytes]]) -> None:
    if parts:
        rows = [dict(zip(("portal", "hash", "number", "octets"), part, strict=True)) for part in parts]
        await connection.execute(upsert(schema.content_part).on_conflict_do_nothing(), rows)


def _slices(values: Iterable[Any], size: int = 200) -> Iterable[list[Any]]:
    everything = list(values)
    return (everything[start : start + size] for start in range(0, len(everything), size))
