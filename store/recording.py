"""Writing the log: what a batch of spool entries adds to the store, in one transaction.

The position in the spool moves in the same transaction, so a crash anywhere repeats a batch or has finished it. A
repeated capture is known by its key. What becomes of the messages is in `store.records`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.alias import ids_named
from engine.decision import Decision, Outcome
from engine.message import Message
from store import schema
from store.database import Database, insert_in_order
from store.entry import EntryKind
from store.erased import without_erased
from store.forgetting import forget_old_emails
from store.hashes import keyed_hash, message_hashes
from store.records import Logged, Records
from store.search import settle_some
from store.settled import Settled
from store.threads import Node, keep_unlogged, weave
from store.waiting import Waiting, WaitingEntry

__all__ = ["Batch", "Recording", "Settled"]

PRUNE_ROWS = 1000  # rows removed at once, so that no transaction is long
DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Entries of one generation, up to `position`."""

    spool: str
    position: int
    settled: Sequence[Settled]


class Recording:
    """The writing side of the log."""

    def __init__(self, database: Database, hash_key: bytes, waiting: Waiting) -> None:
        self._database = database
        self._hash_key = hash_key
        self._records = Records(hash_key)
        self._waiting = waiting

    def hashes(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """The keyed hashes of canonical addresses, for `Settled`."""
        return tuple(keyed_hash(self._hash_key, address) for address in addresses)

    def message_hashes(self, message: Message) -> dict[str, list[str]]:
        """What is kept of a message that is not logged, as facts of its entry."""
        return message_hashes(self._hash_key, message)

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
            decisions = await self._record(connection, new)
            progress = upsert(schema.spool_progress).values(name=batch.spool, position=batch.position)
            await connection.execute(
                progress.on_conflict_do_update(index_elements=["name"], set_={"position": batch.position})
            )
        return decisions

    async def record_again(
        self, waited: WaitingEntry, settled: Sequence[Settled], parts: Sequence[tuple[int, str, int, bytes]]
    ) -> list[Decision]:
        """Replaces the decision of an entry that waited; what is new of it. Raises `StoreUnavailable`.

        The first of `settled` is the entry, others are what was found in it. Without any, and where what was logged
        would not be any more, the decision stays as it is and nothing waits.
        """
        async with self._database.write() as connection:
            row = await self._decision(connection, waited)
            before = Decision.from_json(row.value) if row is not None else None
            now = [decision for each in settled for decision in each.decisions]
            is_log = any(each.outcome is Outcome.LOG for each in now)
            if not now or (before is not None and before.outcome is Outcome.LOG and not is_log):
                await self._waiting.settle(connection, waited, is_done=True)
                return []
            hashes = settled[0].waits.get(waited.portal)
            await self._waiting.settle(connection, waited, is_done=hashes is None)
            if hashes is not None:
                await self._waiting.add(connection, waited.portal, waited.entry, hashes)
            if now == [before]:
                return []
            await _insert_parts(connection, parts)
            if row is not None:
                mine = schema.decision_hash.c.decision == row.id
                await connection.execute(delete(schema.decision_hash).where(mine))
                await connection.execute(delete(schema.decision).where(schema.decision.c.id == row.id))
            decisions = await self._record(connection, await self._unseen_in(connection, waited.portal, settled))
            after = await self._decision(connection, waited)
            if before is not None and after is not None and after.email is not None:
                await self._records.withdraw(connection, after.email, before)
        return decisions

    async def _decision(self, connection: AsyncConnection, waited: WaitingEntry) -> Any:
        """The row of the decision on an entry that waits."""
        table = schema.decision
        mine = (table.c.key == waited.entry.key) & (table.c.portal == waited.portal)
        return (await connection.execute(select(table.c.id, table.c.value, table.c.email).where(mine))).first()

    async def _record(self, connection: AsyncConnection, new: Sequence[Settled]) -> list[Decision]:
        """All that new entries add, in the order that the tables need; their decisions."""
        new = await without_erased(connection, new, self._hash_key)
        logged = [
            Logged(each, decision)
            for each in new
            if each.parsed is not None and each.entry.kind is EntryKind.MESSAGE
            for decision in each.decisions
            if decision.outcome is Outcome.LOG
        ]
        joined = await self._records.add(connection, logged)
        places = {(each.settled.entry.key, each.decision.portal): each for each in logged}
        decisions = await self._record_decisions(connection, new, places)
        await self._records.refresh(connection, joined)
        await self._record_threads(connection, new, places)
        await self._record_gaps(connection, new)
        await self._close_gaps(connection, new)
        if any(each.made_contacts for each in logged):
            version = schema.directory_version
            await connection.execute(update(version).values(version=version.c.version + 1))
        return decisions

    async def _record_threads(
        self, connection: AsyncConnection, new: Sequence[Settled], places: dict[tuple[str, int], Logged]
    ) -> None:
        """Who answers whom, which threads are one, and which decisions must be made again because of it."""
        nodes = []
        for each in new:
            if each.entry.kind is EntryKind.GAP:
                continue
            names, prints, parents = self._names(each), self._prints(each), self._parents(each)
            for decision in each.decisions:
                found = places.get((each.entry.key, decision.portal))
                email = found.email if found is not None else None
                nodes.append(Node(decision.portal, names, prints, parents, email, each.entry.at))
            for portal, hashes in each.waits.items():
                await self._waiting.add(connection, portal, each.entry, hashes)
        await keep_unlogged(connection, nodes)
        await weave(connection, nodes)
        await self._waiting.wake(connection, [(node.portal, name) for node in nodes for name in node.hashes])
        await self._waiting.wake_threads(connection, [node.email for node in nodes if node.email is not None])

    def _names(self, each: Settled) -> tuple[str, ...]:
        """Keyed hashes of the ids that the message is known by (rules.md 4.4)."""
        facts = each.entry.facts
        ids = ids_named(facts.get("reply") or "", facts.get("host") or "")
        if each.parsed is not None and each.parsed["message_id"]:
            ids = (each.parsed["message_id"], *ids)
        hashes = (keyed_hash(self._hash_key, each) for each in ids)
        return tuple(dict.fromkeys((*facts.get("message_ids", ()), *hashes)))

    def _prints(self, each: Settled) -> tuple[str, ...]:
        """The keyed hash of what its header section shares with other copies of it, where that is known."""
        if each.parsed is not None:
            return (keyed_hash(self._hash_key, each.parsed["print"]),) if each.parsed["print"] else ()
        return tuple(each.entry.facts.get("prints", ()))

    def _parents(self, each: Settled) -> tuple[str, ...]:
        """Keyed hashes of the ids that it answers."""
        if each.parsed is not None:
            return tuple(keyed_hash(self._hash_key, parent) for parent in each.parsed["parents"])
        return tuple(each.entry.facts.get("parents", ()))

    async def prune(self, *, older_than: float) -> int:
        """Removes skip decisions from before that time (rules.md 8.2), a bounded number at once; how many."""
        table, hashes = schema.decision, schema.decision_hash
        wanted = select(table.c.id).where(table.c.decision == Outcome.SKIP, table.c.at < older_than).limit(PRUNE_ROWS)
        async with self._database.write() as connection:
            ids = list((await connection.scalars(wanted)).all())
            if ids:
                await connection.execute(delete(hashes).where(hashes.c.decision.in_(ids)))
                await connection.execute(delete(table).where(table.c.id.in_(ids)))
            await connection.execute(delete(schema.unlogged).where(schema.unlogged.c.at < older_than))
        return len(ids)

    async def prune_emails(self, *, older_than: float) -> int:
        """Removes records captured before that time, a bounded number at once; how many."""
        async with self._database.write() as connection:
            return await forget_old_emails(connection, older_than=older_than)

    async def settle_search(self, *, begins: bool) -> bool:
        """Takes their words out of the index, in steps of which this is one; whether there are more."""
        return await settle_some(self._database, begins=begins)

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

    async def _unseen_in(self, connection: AsyncConnection, portal: int, settled: Sequence[Settled]) -> list[Settled]:
        """The same for one portal: others may have decided on the entry before."""
        table = schema.decision
        keys = [each.entry.key for each in settled]
        wanted = select(table.c.key).where(table.c.portal == portal, table.c.key.in_(keys))
        seen = set((await connection.scalars(wanted)).all())
        return [each for each in settled if each.entry.key not in seen]

    async def _record_decisions(
        self, connection: AsyncConnection, new: Sequence[Settled], places: dict[tuple[str, int], Logged]
    ) -> list[Decision]:
        rows, hashes = [], []
        decisions: list[Decision] = []
        for each in new:
            if each.entry.kind is EntryKind.GAP:
                decisions += each.decisions
                continue
            for decided in each.decisions:
                found = places.get((each.entry.key, decided.portal))
                decision, email = (found.decision, found.email) if found is not None else (decided, None)
                rows.append(
                    {
                        "key": each.entry.key,
                        "portal": decision.portal,
                        "at": each.entry.at,
                        "source": decision.source,
                        "decision": decision.outcome,
                        "reason": decision.reason,
                        "value": decision.to_json(),
                        "email": email,
                    }
                )
                hashes.append(self._hashes(each))
                decisions.append(decision)
        if not rows:
            return decisions
        ids = await insert_in_order(connection, schema.decision, rows)
        pairs = [
            {"hash": value, "decision": identifier}
            for identifier, values in zip(ids, hashes, strict=True)
            for value in values
        ]
        if pairs:
            await connection.execute(insert(schema.decision_hash), pairs)
        return decisions

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


async def _insert_parts(connection: AsyncConnection, parts: Sequence[tuple[int, str, int, bytes]]) -> None:
    if parts:
        rows = [dict(zip(("portal", "hash", "number", "octets"), part, strict=True)) for part in parts]
        await connection.execute(upsert(schema.content_part).on_conflict_do_nothing(), rows)
