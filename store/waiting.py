"""Decisions that are not the last word yet, because what a message answers may still be logged (rules.md 4.5).

Their facts wait in the store, and content that would otherwise be gone waits in a folder beside the spools: it is
erased when the answer is no.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import Database, slices
from store.entry import Entry, EntryKind

__all__ = ["Waiting", "WaitingEntry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingEntry:
    """An entry to be decided once more in one portal; `is_over` when its time is up."""

    id: int
    portal: int
    entry: Entry
    is_over: bool


class Waiting:
    """The waiting entries of a node. `folder` holds their content."""

    def __init__(self, database: Database, folder: Path, *, seconds: float) -> None:
        self._database = database
        self._folder = folder
        self._seconds = seconds

    def keep_content(self, entry: Entry) -> None:
        """Makes a copy of the content that outlives the spool. May block. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        octets = entry.content_file.read_bytes() if entry.content_file is not None else entry.content or b""
        part = self._folder / f"{entry.key}.part"
        descriptor = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._path(entry.key))

    async def add(self, connection: AsyncConnection, portal: int, entry: Entry, hashes: Iterable[str]) -> None:
        """Lets an entry wait for any of `hashes`, inside a transaction of the caller; its time begins once."""
        table, names = schema.waiting, schema.waiting_hash
        found = await connection.scalar(select(table.c.id).where(table.c.portal == portal, table.c.key == entry.key))
        if found is None:
            facts = {"at": entry.at, "dot_stuffed": entry.dot_stuffed, "facts": entry.facts}
            result = await connection.execute(
                insert(table).values(
                    portal=portal, key=entry.key, until=entry.at + self._seconds, is_due=False, entry=facts
                )
            )
            found = int(result.inserted_primary_key[0])  # type: ignore[index]  # one row, one key
        await connection.execute(delete(names).where(names.c.waiting == found))
        rows = [{"portal": portal, "hash": each, "waiting": found} for each in sorted(set(hashes))]
        if rows:
            await connection.execute(insert(names), rows)

    async def hand_over(self, portal: int, entry: Entry) -> None:
        """Lets an entry be decided again whose content was gone and is found. Raises `StoreUnavailable` and `OSError`.

        It waits before its content is kept, since content that nothing waits with is erased, and is due only then. What
        it answers may be handed over after it, so its time begins now.
        """
        table = schema.waiting
        mine = (table.c.portal == portal) & (table.c.key == entry.key)
        async with self._database.write() as connection:
            await self.add(connection, portal, entry, ())
            until = time.time() + self._seconds
            await connection.execute(update(table).where(mine).values(until=until))
        await asyncio.to_thread(self.keep_content, entry)
        async with self._database.write() as connection:
            await connection.execute(update(table).where(mine).values(is_due=True))

    async def wake(self, connection: AsyncConnection, names: Iterable[tuple[int, str]]) -> None:
        """Something with one of these hashes was recorded: whoever waits for it is due."""
        table, waited = schema.waiting, schema.waiting_hash
        portals: dict[int, set[str]] = {}
        for portal, name in names:
            portals.setdefault(portal, set()).add(name)
        if not portals or await connection.scalar(select(table.c.id).limit(1)) is None:
            return
        for portal, hashes in portals.items():
            for some in slices(sorted(hashes)):
                due = select(waited.c.waiting).where(waited.c.portal == portal, waited.c.hash.in_(some))
                await connection.execute(update(table).where(table.c.id.in_(due)).values(is_due=True))

    async def wake_threads(self, connection: AsyncConnection, emails: Iterable[int]) -> None:
        """These records are new or say something else: whoever waits for a message of their threads is due."""
        table, waited, email, named = schema.waiting, schema.waiting_hash, schema.email, schema.email_id
        if await connection.scalar(select(table.c.id).limit(1)) is None:
            return
        for some in slices(sorted(set(emails))):
            threads = select(email.c.thread).where(email.c.id.in_(some))
            due = (
                select(waited.c.waiting)
                .join(named, (named.c.portal == waited.c.portal) & (named.c.hash == waited.c.hash))
                .join(email, email.c.id == named.c.email)
                .where(email.c.thread.in_(threads))
            )
            await connection.execute(update(table).where(table.c.id.in_(due)).values(is_due=True))

    async def due(self, now: float, *, limit: int) -> list[WaitingEntry]:
        """Entries to decide again. Raises `StoreUnavailable`."""
        table = schema.waiting
        wanted = select(table).where(or_(table.c.is_due.is_(True), table.c.until <= now)).order_by(table.c.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(wanted.limit(limit))).all()
        return [self._entry(row, now) for row in rows]

    async def settle(self, connection: AsyncConnection, waited: WaitingEntry, *, is_done: bool) -> None:
        """The entry was decided again: it waits on, or no more."""
        table, names = schema.waiting, schema.waiting_hash
        if is_done:
            await connection.execute(delete(names).where(names.c.waiting == waited.id))
            await connection.execute(delete(table).where(table.c.id == waited.id))
        else:
            await connection.execute(update(table).where(table.c.id == waited.id).values(is_due=False))

    async def sweep(self) -> None:
        """Erases content that nothing waits with any more. Raises `StoreUnavailable`."""
        if not self._folder.is_dir():
            return
        keys = {path.stem: path for path in self._folder.iterdir()}
        if not keys:
            return
        table = schema.waiting
        async with self._database.read() as connection:
            waiting: set[str] = set()
            for some in slices(keys):
                waiting.update((await connection.scalars(select(table.c.key).where(table.c.key.in_(some)))).all())
        for key, path in keys.items():
            if key not in waiting:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.content"

    def _entry(self, row: Any, now: float) -> WaitingEntry:
        path = self._path(row.key)
        entry = Entry(
            key=row.key,
            at=row.entry["at"],
            kind=EntryKind.MESSAGE,
            facts=row.entry["facts"],
            content_file=path,
            dot_stuffed=row.entry["dot_stuffed"],
        )
        return WaitingEntry(id=row.id, portal=row.portal, entry=entry, is_over=row.until <= now)
