"""The spool: where a relay process makes a capture durable before the client is told that its mail was accepted.

Each relay process writes a folder of its own and nobody else writes into it:

    spool/<writer>/lock          held (flock) for as long as the writer lives
    spool/<writer>/1.sqlite ...  generations: the writer appends rows to the newest only
    spool/<writer>/<key>.content a body too large for a row, written while it passed

The writer commits whatever has gathered in one statement, so many messages share one fsync. A generation is never
checkpointed while it is written: its rows lie in the write-ahead log once and are not copied. At a set size or age the
writer starts the next generation, also when the present one is locked or broken, so that nobody can stop it by holding
a lock.

The recorder reads the generations in order and keeps its position in the store, in the transaction that holds the
records. It removes a generation that it has finished. A crash of either side repeats work and loses none: an entry's
`key` is unique in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiosqlite

__all__ = ["ContentFile", "Done", "Entry", "EntryKind", "Spool", "SpoolReader", "open_readers"]

ROTATE_OCTETS = 32 * 1024 * 1024  # a generation's rows are read once and removed whole; 32 MiB is some 5 000 mails
ROTATE_SECONDS = 300.0  # bounds how long a drained copy stays on disk
BATCH_ROWS = 256
BATCH_OCTETS = 8 * 1024 * 1024
BACKLOG_ROWS = 10_000  # gap notes kept in memory while the disk takes none
NOTE_DELAY = 0.2  # seconds a note may wait for company; nobody waits for it
LOCK_TIMEOUT = 1.0  # seconds until a locked generation is given up for a new one

SCHEMA = """
create table entry (
    id integer primary key,
    key text not null,
    at real not null,
    kind text not null,
    facts text not null,
    content blob,
    content_file text,
    dot_stuffed integer not null,
    settled integer not null
)
"""
COLUMNS = "key, at, kind, facts, content, content_file, dot_stuffed, settled"
PLACES = "(?, ?, ?, ?, ?, ?, ?, ?)"

Done = Callable[[Exception | None], None]


class EntryKind(StrEnum):
    """A message with its content, a note about one that was not kept, or a gap: one that should have been."""

    MESSAGE = "message"
    NOTE = "note"
    GAP = "gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One capture on its way to the log.

    `key` is unique for ever; `at` is Unix time in seconds. `content` is mail data as relayed, without the final dot
    line, still dot-stuffed when `dot_stuffed` says so; a large one lies in `content_file`. `settled` is false until
    the next hop's verdict is known (policy `closed` journals before the final dot). `facts` are JSON values.
    """

    key: str
    at: float
    kind: EntryKind
    facts: dict[str, Any]
    content: bytes | None = None
    content_file: Path | None = None
    dot_stuffed: bool = False
    settled: bool = True

    def size(self) -> int:
        """Octets that the row holds in memory, near enough."""
        return len(self.content or b"") + 1024


class ContentFile:
    """A body going to disk while it passes. `write` raises `OSError`, for one, when the disk is full."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def write(self, chunks: Sequence[bytes]) -> None:
        """Appends all octets of `chunks`."""
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        """Makes the octets durable. The folder entry is synced by the writer, once for many files. May block."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Closes the file and keeps it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Closes and removes the file: its message came to nothing, or is not to be logged."""
        self.close()
        self.path.unlink(missing_ok=True)


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """An entry in the queue, with whom to tell and the file to sync first."""

    entry: Entry
    done: Done | None
    file: ContentFile | None = None
    settle: bool = False


@dataclass(slots=True, kw_only=True)
class _Generation:
    """One `entry` table of the writer."""

    number: int
    connection: aiosqlite.Connection
    born: float
    octets: int = 0
    unsettled: set[str] = field(default_factory=set)

    @classmethod
    async def create(cls, folder: Path, number: int, now: float) -> _Generation:
        path = folder / f"{number}.sqlite"
        path.unlink(missing_ok=True)
        connection = await aiosqlite.connect(path, isolation_level=None, timeout=LOCK_TIMEOUT)
        try:
            for statement in (
                "pragma journal_mode = wal",
                "pragma synchronous = full",
                "pragma wal_autocheckpoint = 0",
                SCHEMA,
            ):
                await connection.execute(statement)
        except BaseException:
            await connection.close()
            raise
        return cls(number=number, connection=connection, born=now)

    async def append(self, batch: Sequence[_Waiting]) -> None:
        """All of the batch in one statement, which is one transaction, which is one fsync."""
        places = ", ".join([PLACES] * len(batch))
        values = [value for waiting in batch for value in _row(waiting.entry)]
        await self.connection.execute(f"insert into entry ({COLUMNS}) values {places}", values)  # noqa: S608
        self.octets += sum(waiting.entry.size() for waiting in batch)
        self.unsettled.update(waiting.entry.key for waiting in batch if not waiting.entry.settled)

    async def settle(self, entry: Entry) -> None:
        await self.connection.execute(
            "update entry set settled = 1, kind = ?, facts = ? where key = ?",
            (entry.kind, _dump(entry.facts), entry.key),
        )
        self.unsettled.discard(entry.key)


class Spool:
    """The writing side, one per relay process. `run` must be a task of the owner for anything to become durable."""

    def __init__(self, folder: Path, lock: int, *, wake: int | None, on_trouble: Callable[[Exception], None]) -> None:
        self._folder = folder
        self._lock = lock
        self._wake = wake
        self._on_trouble = on_trouble
        self._queue: list[_Waiting] = []
        self._notes: list[_Waiting] = []
        self._pending = asyncio.Event()
        self._generations: list[_Generation] = []
        self._number = 0
        self._closing = False
        self._flush: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls,
        folder: Path,
        name: str,
        *,
        wake: int | None = None,
        on_trouble: Callable[[Exception], None] = lambda error: None,
    ) -> Spool:
        """Makes `folder/name` ours. `wake` is a descriptor that gets an octet after each commit, never blocking.

        Raises `OSError` when the folder cannot be made or another process holds it, `sqlite3.Error` when no table
        can be created.
        """
        home = folder / name
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(home / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            spool = cls(home, lock, wake=wake, on_trouble=on_trouble)
            await spool._rotate()
        except BaseException:
            os.close(lock)
            raise
        return spool

    def content_file(self, key: str) -> ContentFile:
        """A file for a large body. Raises `OSError`."""
        return ContentFile(self._folder / f"{key}.content")

    def put(self, entry: Entry, done: Done, file: ContentFile | None = None) -> None:
        """Queues `entry` and calls `done(None)` once it is durable, or `done(error)` when it cannot be made so."""
        self._queue.append(_Waiting(entry=entry, done=done, file=file))
        self._pending.set()

    def settle(self, entry: Entry, done: Done) -> None:
        """Replaces kind and facts of the unsettled row of `entry.key` and marks it settled."""
        self._queue.append(_Waiting(entry=entry, done=done, settle=True))
        self._pending.set()

    def note(self, entry: Entry) -> None:
        """Queues an entry nobody waits for. Gaps are kept in memory and tried again while the disk takes none."""
        self._notes.append(_Waiting(entry=entry, done=None))
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(NOTE_DELAY, self._pending.set)

    async def run(self) -> None:
        """Writes until `close` was called and everything is written."""
        try:
            while True:
                await self._pending.wait()
                self._pending.clear()
                while self._queue or self._notes:
                    await self._write(self._take())
                if self._closing:
                    return
        finally:
            await self._release()

    def close(self) -> None:
        """Lets `run` write what is queued and return."""
        self._closing = True
        self._pending.set()

    def _take(self) -> list[_Waiting]:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        waiting = self._queue + self._notes
        rows, octets = 0, 0
        for each in waiting:
            if rows == BATCH_ROWS or (rows and octets > BATCH_OCTETS):
                break
            rows, octets = rows + 1, octets + each.entry.size()
        batch, rest = waiting[:rows], waiting[rows:]
        self._queue, self._notes = rest, []
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        """Writes one batch; a generation that refuses is left for a new one, once."""
        try:
            await self._sync_files(batch)
            try:
                await self._commit(batch)
            except (sqlite3.Error, ValueError) as error:
                self._on_trouble(error)
                await self._rotate()
                await self._commit(batch)
        except (OSError, sqlite3.Error, ValueError) as error:
            self._on_trouble(error)
            self._fail(batch, error)
            return
        for waiting in batch:
            if waiting.done is not None:
                waiting.done(None)
        self._ring()
        await self._rotate_when_full()

    async def _sync_files(self, batch: list[_Waiting]) -> None:
        files = [waiting.file for waiting in batch if waiting.file is not None]
        if files:
            await asyncio.get_running_loop().run_in_executor(None, _sync_all, files, self._folder)

    async def _commit(self, batch: list[_Waiting]) -> None:
        appended = [waiting for waiting in batch if not waiting.settle]
        if appended:
            await self._generations[-1].append(appended)
        for waiting in batch:
            if waiting.settle:
                await self._generation_of(waiting.entry.key).settle(waiting.entry)

    def _generation_of(self, key: str) -> _Generation:
        for generation in self._generations:
            if key in generation.unsettled:
                return generation
        raise ValueError("an entry was settled that was not journalled")

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        for waiting in batch:
            if waiting.done is not None:
                waiting.done(error)
            elif len(self._notes) < BACKLOG_ROWS:
                self._notes.append(waiting)
        if self._notes and not self._closing:
            backlog, self._notes = self._notes, []
            asyncio.get_running_loop().call_later(1.0, self._again, backlog)

    def _again(self, backlog: list[_Waiting]) -> None:
        self._notes = backlog + self._notes
        self._pending.set()

    def _ring(self) -> None:
        if self._wake is not None:
            # A full pipe means that the recorder has been told often enough.
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self._wake, b"\0")

    async def _rotate_when_full(self) -> None:
        newest = self._generations[-1]
        old = asyncio.get_running_loop().time() - newest.born > ROTATE_SECONDS
        if newest.octets > ROTATE_OCTETS or (newest.octets and old):
            try:
                await self._rotate()
            except (OSError, sqlite3.Error) as error:
                self._on_trouble(error)

    async def _rotate(self) -> None:
        """Starts the next generation and closes those before it that wait for no verdict."""
        self._number += 1
        now = asyncio.get_running_loop().time()
        self._generations.append(await _Generation.create(self._folder, self._number, now))
        for generation in [each for each in self._generations[:-1] if not each.unsettled]:
            self._generations.remove(generation)
            await generation.connection.close()

    async def _release(self) -> None:
        for generation in self._generations:
            await generation.connection.close()
        self._generations.clear()
        os.close(self._lock)


class SpoolReader:
    """The reading side of one generation. All methods may block on the disk; none writes a row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
        self.name = f"{path.parent.name}/{path.stem}"
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=LOCK_TIMEOUT, check_same_thread=False)

    def read(self, after: int, *, rows: int, octets: int) -> list[tuple[int, Entry]]:
        """Entries behind position `after` in order, at most `rows` and about `octets` of content (at least one).

        Raises `sqlite3.Error`. Unsettled entries are among them; they may be read again later as settled.
        """
        found: list[tuple[int, Entry]] = []
        try:
            cursor = self._connection.execute(
                f"select id, {COLUMNS} from entry where id > ? order by id limit ?",  # noqa: S608
                (after, rows),
            )
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # the writer is just creating it
                return found
            raise
        with contextlib.closing(cursor):
            for row in cursor:
                found.append((row[0], self._entry(row[1:])))
                octets -= found[-1][1].size()
                if octets < 0:
                    break
        return found

    def is_finished(self, after: int) -> bool:
        """Whether nothing lies behind `after` and nothing can come: the writer is gone or has gone on."""
        return self.is_sealed() and not self.read(after, rows=1, octets=1)

    def is_sealed(self) -> bool:
        """Whether the writer appends no more here."""
        newest = max((int(path.stem) for path in _generations(self._folder)), default=0)
        return int(self._path.stem) < newest or self.writer_is_gone()

    def writer_is_gone(self) -> bool:
        """Whether the process that wrote this has ended, so that an unsettled entry will never be settled."""
        return not _is_held(self._folder / "lock")

    def remove(self) -> None:
        """Removes the generation with the bodies its rows name; after a dead writer's last one, the folder too."""
        for (name,) in self._connection.execute("select content_file from entry where content_file is not null"):
            (self._folder / name).unlink(missing_ok=True)
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self.close()
        if not any(_generations(self._folder)) and self.writer_is_gone():
            shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Closes the database; the reader is of no use afterwards."""
        self._connection.close()

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        key, at, kind, facts, content, content_file, dot_stuffed, settled = row
        return Entry(
            key=key,
            at=at,
            kind=EntryKind(kind),
            facts=json.loads(facts),
            content=content,
            content_file=self._folder / content_file if content_file else None,
            dot_stuffed=bool(dot_stuffed),
            settled=bool(settled),
        )


def open_readers(folder: Path, known: Container[str] = ()) -> list[SpoolReader]:
    """A reader for every generation below `folder` whose name is not `known`, each writer's oldest first."""
    if not folder.is_dir():
        return []
    homes = sorted(home for home in folder.iterdir() if home.is_dir())
    paths = [path for home in homes for path in sorted(_generations(home), key=lambda path: int(path.stem))]
    return [SpoolReader(path) for path in paths if f"{path.parent.name}/{path.stem}" not in known]


def _generations(home: Path) -> Iterator[Path]:
    return (path for path in home.glob("*.sqlite") if path.stem.isdigit())


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _sync_all(files: Sequence[ContentFile], folder: Path) -> None:
    for file in files:
        file.sync()
        file.close()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _row(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.key,
        entry.at,
        entry.kind,
        _dump(entry.facts),
        entry.content,
        entry.content_file.name if entry.content_file else None,
        entry.dot_stuffed,
        entry.settled,
    )


def _dump(facts: dict[str, Any]) -> str:
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=True)
