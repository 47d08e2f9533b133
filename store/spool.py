"""The spool: where a relay process makes a capture durable before the client is told that its mail was accepted.

Each relay process writes a folder of its own and nobody else writes into it:

    spool/<writer>/lock          held (flock) for as long as the writer lives
    spool/<writer>/1.sqlite ...  generations: the writer appends rows to the newest only
    spool/<writer>/1.new         a generation in the making; it gets its name when it is whole
    spool/<writer>/<key>.content a body too large for a row, written while it passed

The writer commits whatever has gathered in one statement, so many messages share one fsync. A generation is never
checkpointed while it is written: its rows lie in the write-ahead log once and are not copied. At a set size or age the
writer starts the next generation, also when the present one is locked, broken or gone, so that nobody can stop it by
holding a lock or removing a folder. Mail that nobody could decide on may not be ours to keep: its generation is young
when it ends.

From the moment a newer generation has its name nothing goes into an older one, not even when the newer one cannot be
used after all: the recorder may remove the older one then.

The recorder reads the generations in order (`store.spool_reader`) and keeps its position in the store, in the
transaction that holds the records. It removes a generation that it has finished. A crash of either side repeats work
and loses none: an entry's `key` is unique in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiosqlite

from store.entry import COLUMNS, PLACES, SCHEMA, Entry, EntryKind, dump, row_of
from store.spool_reader import LOCK_TIMEOUT, generations

__all__ = ["ContentFile", "Done", "Spool"]

ROTATE_OCTETS = 32 * 1024 * 1024  # a generation's rows are read once and removed whole; 32 MiB is some 5 000 mails
ROTATE_SECONDS = 300.0  # bounds how long a drained copy stays on disk
UNDECIDED_SECONDS = 5.0  # the same where the copy may be of mail that is not to be logged
BATCH_ROWS = 256
BATCH_OCTETS = 8 * 1024 * 1024
BACKLOG_OCTETS = 32 * 1024 * 1024
BACKLOG_ROWS = 10_000  # notes kept in memory while the disk takes none, half of them about gaps at least
RETRY_SECONDS = 1.0  # between tries to write these
NOTE_DELAY = 0.2  # seconds a note may wait for company; nobody waits for it

Done = Callable[[Exception | None], None]


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
    """One `entry` table of the writer. `due` is when it has to end, in the loop's time."""

    path: Path
    log: str  # the write-ahead log beside it
    identity: tuple[int, int]
    connection: aiosqlite.Connection
    octets: int = 0
    log_octets: int = 0  # of the write-ahead log
    due: float = float("inf")
    unsettled: set[str] = field(default_factory=set)

    @classmethod
    async def open(cls, path: Path) -> _Generation:
        connection = await aiosqlite.connect(path, isolation_level=None, timeout=LOCK_TIMEOUT)
        try:
            for pragma in ("synchronous = full", "wal_autocheckpoint = 0"):
                await connection.execute(f"pragma {pragma}")
            return cls(path=path, log=f"{path}-wal", identity=_identity(path), connection=connection)
        except BaseException:
            await connection.close()
            raise

    def check(self) -> None:
        """Raises `OSError` when the files were removed or cut: SQLite would write on, and nobody could read it.

        The main file never changes, and its log only grows.
        """
        octets = _size(self.log)
        if _identity(self.path) != self.identity or octets < self.log_octets:
            raise OSError(f"{self.path.name} was changed by somebody else")
        self.log_octets = octets

    async def append(self, batch: Sequence[_Waiting], now: float) -> None:
        """All of the batch in one statement, which is one transaction, which is one fsync."""
        self.check()
        places = ", ".join([PLACES] * len(batch))
        values = [value for waiting in batch for value in row_of(waiting.entry)]
        await self.connection.execute(f"insert into entry ({COLUMNS}) values {places}", values)  # noqa: S608
        self.check()
        self.octets += sum(waiting.entry.size() for waiting in batch)
        self.unsettled.update(waiting.entry.key for waiting in batch if not waiting.entry.settled)
        undecided = any(waiting.entry.is_undecided for waiting in batch)
        self.due = min(self.due, now + (UNDECIDED_SECONDS if undecided else ROTATE_SECONDS))

    async def settle(self, entry: Entry) -> None:
        await self.connection.execute(
            "update entry set settled = 1, kind = ?, facts = ? where key = ?",
            (entry.kind, dump(entry.facts), entry.key),
        )
        self.check()
        self.unsettled.discard(entry.key)


class Spool:
    """The writing side, one per relay process. `run` must be a task of the owner for anything to become durable."""

    def __init__(self, home: Path, *, wake: int | None, on_trouble: Callable[[Exception], None]) -> None:
        self.home = home
        self._lock_path = os.fspath(home / "lock")
        self._lock: int | None = None
        self._wake = wake
        self._on_trouble = on_trouble
        self._clock = asyncio.get_running_loop().time
        self._queue: list[_Waiting] = []
        self._notes: list[_Waiting] = []
        self._backlog: list[_Waiting] = []
        self._backlog_octets = 0
        self._pending = asyncio.Event()
        self._current: _Generation | None = None
        self._older: list[_Generation] = []
        self._number = 0
        self._closing = False
        self._flush: asyncio.TimerHandle | None = None
        self._notes_are_due = False
        self._retry: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None

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

        Raises `BlockingIOError` when another process holds it. When the disk refuses the spool opens all the same and
        tries again with each entry: mail must be able to pass.
        """
        spool = cls(folder / name, wake=wake, on_trouble=on_trouble)
        try:
            await spool._rotate()
        except BlockingIOError:
            raise
        except (OSError, sqlite3.Error) as error:
            on_trouble(error)
        return spool

    def content_file(self, key: str) -> ContentFile:
        """A file for a large body. Raises `OSError`."""
        path = self.home / f"{key}.content"
        try:
            return ContentFile(path)
        except FileNotFoundError:
            self._claim()  # somebody has removed the folder, or it could not be made so far
            return ContentFile(path)

    def put(self, entry: Entry, done: Done, file: ContentFile | None = None) -> None:
        """Queues `entry` and calls `done(None)` once it is durable, or `done(error)` when it cannot be made so."""
        self._queue.append(_Waiting(entry=entry, done=done, file=file))
        self._pending.set()

    def settle(self, entry: Entry, done: Done) -> None:
        """Replaces kind and facts of the unsettled row of `entry.key` and marks it settled.

        Where that row cannot be had, `entry` is appended as it is: the store knows them to be the same by their key.
        After `done(error)` it is tried again, and nobody waits.
        """
        self._queue.append(_Waiting(entry=entry, done=done, settle=True))
        self._pending.set()

    def note(self, entry: Entry) -> None:
        """Queues an entry nobody waits for. It is kept in memory and tried again while the disk takes none."""
        self._notes.append(_Waiting(entry=entry, done=None))
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(NOTE_DELAY, self._take_notes)

    async def run(self) -> None:
        """Writes until `close` was called and everything is written."""
        try:
            while True:
                await self._pending.wait()
                self._pending.clear()
                while self._queue or (self._notes and (self._notes_are_due or self._closing)):
                    await self._write(self._take())
                    await self._rotate_when_due()
                if self._closing:
                    return
                await self._rotate_when_due()
        finally:
            await self._release()

    def close(self) -> None:
        """Lets `run` write what is queued and return. What the disk does not take then is lost."""
        self._closing = True
        self._again()

    def _take_notes(self) -> None:
        self._notes_are_due = True
        self._pending.set()

    def _take(self) -> list[_Waiting]:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        rows, octets = 0, 0
        for each in (*self._queue, *self._notes):
            if rows == BATCH_ROWS or (rows and octets > BATCH_OCTETS):
                break
            rows, octets = rows + 1, octets + each.entry.size()
        queued = min(rows, len(self._queue))
        batch = self._queue[:queued] + self._notes[: rows - queued]
        self._queue, self._notes = self._queue[queued:], self._notes[rows - queued :]
        self._notes_are_due = bool(self._notes)
        return batch

    async def _write(self, batch: list[_Waiting]) -> None:
        """Writes one batch. A body that could not be synced costs its own entry only."""
        spoilt = await self._sync_files(batch)
        for waiting, error in spoilt:
            self._on_trouble(error)
            _tell(waiting, error)
        lost = {id(waiting) for waiting, _ in spoilt}
        fresh = [waiting for waiting in batch if not waiting.settle and id(waiting) not in lost]
        if fresh:
            await self._append(fresh)
        for waiting in batch:
            if waiting.settle:
                await self._settle(waiting)
        self._ring()

    async def _append(self, batch: list[_Waiting]) -> None:
        """A generation that refuses is left for a new one, once."""
        trouble = await self._try_to_append(batch)
        if trouble is not None:
            try:
                await self._rotate()
            except (OSError, sqlite3.Error) as error:
                trouble = error
                self._on_trouble(error)
            else:
                trouble = await self._try_to_append(batch)
        for waiting in batch:
            if trouble is not None and (waiting.done is None or waiting.settle):
                self._keep_for_later(waiting)
            _tell(waiting, trouble)
        if trouble is not None:  # nobody waits for the other notes: they need not fail one batch after the other
            notes, self._notes = self._notes, []
            for waiting in notes:
                self._keep_for_later(waiting)

    async def _try_to_append(self, batch: list[_Waiting]) -> Exception | None:
        try:
            if self._current is None:
                await self._rotate()
            assert self._current is not None
            await self._current.append(batch, self._clock())
            if not self._is_ours():
                self._claim()
        except (OSError, sqlite3.Error, ValueError) as error:
            self._on_trouble(error)
            return error
        self._set_alarm(self._current)
        return None

    async def _settle(self, waiting: _Waiting) -> None:
        key = waiting.entry.key
        generation = next((each for each in self._living() if key in each.unsettled), None)
        if generation is not None:
            try:
                await generation.settle(waiting.entry)
            except (OSError, sqlite3.Error, ValueError) as error:
                self._on_trouble(error)
                generation.unsettled.discard(key)
            else:
                _tell(waiting, None)
                return
        await self._append([waiting])

    async def _sync_files(self, batch: list[_Waiting]) -> list[tuple[_Waiting, Exception]]:
        """Syncs the bodies of the batch; those that could not be, with the reason."""
        files = [waiting for waiting in batch if waiting.file is not None]
        if not files:
            return []
        return await asyncio.get_running_loop().run_in_executor(None, _sync_all, files, self.home)

    def _living(self) -> list[_Generation]:
        return [*self._older, *((self._current,) if self._current is not None else ())]

    def _keep_for_later(self, waiting: _Waiting) -> None:
        """Notes about skipped mail fill half of the backlog at most; nothing is kept once there is no later."""
        share = 1 if waiting.settle or waiting.entry.kind is not EntryKind.NOTE else 2
        is_full = len(self._backlog) >= BACKLOG_ROWS // share or self._backlog_octets >= BACKLOG_OCTETS // share
        if self._closing or is_full:
            return
        self._backlog.append(replace(waiting, done=None, file=None))
        self._backlog_octets += waiting.entry.size()
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._again)

    def _again(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._notes[:0], self._backlog, self._backlog_octets = self._backlog, [], 0
        self._take_notes()

    def _ring(self) -> None:
        if self._wake is not None:
            # A full pipe means that the recorder has been told often enough.
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self._wake, b"\0")

    # -- generations --------------------------------------------------------------------------------------------------

    def _set_alarm(self, generation: _Generation) -> None:
        """Sees to it that a generation ends in time when no more mail comes."""
        if self._alarm is None or self._alarm.when() > generation.due:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = asyncio.get_running_loop().call_at(generation.due, self._ring_alarm)

    def _ring_alarm(self) -> None:
        self._alarm = None
        self._pending.set()

    async def _rotate_when_due(self) -> None:
        newest = self._current
        if newest is None or (newest.octets <= ROTATE_OCTETS and self._clock() < newest.due):
            return
        try:
            await self._rotate()
        except (OSError, sqlite3.Error) as error:
            self._on_trouble(error)
            newest.due = self._clock() + UNDECIDED_SECONDS
            self._set_alarm(newest)
        else:
            self._ring()  # the recorder may remove the one before

    async def _rotate(self) -> None:
        """Starts the next generation and closes those before it that wait for no verdict."""
        if not self._is_ours():
            self._claim()
        self._number += 1
        path = self.home / f"{self._number}.sqlite"
        await asyncio.get_running_loop().run_in_executor(None, _lay_out, path)
        if self._current is not None:
            self._older.append(self._current)
            self._current = None
        self._current = await _Generation.open(path)
        for generation in [each for each in self._older if not each.unsettled]:
            self._older.remove(generation)
            await _close(generation)

    def _is_ours(self) -> bool:
        """Whether the lock that we hold is the one that others see."""
        return self._lock is not None and _inode(self._lock_path) == os.fstat(self._lock).st_ino

    def _claim(self) -> None:
        """Makes the folder, again when somebody has removed it, and locks it. Raises `OSError`."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.home / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(lock)
            raise
        if self._lock is not None:
            os.close(self._lock)
        self._lock = lock
        # Where the clock was set back, a dead writer of the same name may have left what is not recorded yet.
        self._number = max((int(path.stem) for path in generations(self.home)), default=self._number)

    async def _release(self) -> None:
        for timer in (self._flush, self._retry, self._alarm):
            if timer is not None:
                timer.cancel()
        for generation in self._living():
            await _close(generation)
        self._older, self._current = [], None
        if self._lock is not None:
            os.close(self._lock)


# These are asked three times for each commit, while clients wait for their 250; pathlib would take five times as long.


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116
    return found.st_ino, found.st_size


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except FileNotFoundError:
        return 0


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116
    except FileNotFoundError:
        return None


def _lay_out(path: Path) -> None:
    """Makes an empty generation that appears under its name whole or not at all. Raises `OSError`, `sqlite3.Error`."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None, timeout=LOCK_TIMEOUT)) as connection:
            connection.execute(SCHEMA)
            connection.execute("pragma journal_mode = wal")  # last, so that the table is in the file, not in a log
        draft.rename(path)
    except BaseException:
        for suffix in ("", "-journal", "-wal", "-shm"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
        raise


async def _close(generation: _Generation) -> None:
    """Closes a generation that may be broken; what it holds is durable already."""
    with contextlib.suppress(OSError, sqlite3.Error, ValueError):
        await generation.connection.close()


def _tell(waiting: _Waiting, error: Exception | None) -> None:
    if waiting.done is not None:
        waiting.done(error)


def _sync_all(waiting: Sequence[_Waiting], folder: Path) -> list[tuple[_Waiting, Exception]]:
    """Makes bodies and their folder entries durable; those that could not be, with the reason."""
    spoilt: list[tuple[_Waiting, Exception]] = []
    for each in waiting:
        file = each.file
        assert file is not None
        try:
            file.sync()
            file.close()
            file.path.stat()  # it may have been removed while it was written
        except (OSError, ValueError) as error:  # the latter when it was given up and closed meanwhile
            spoilt.append((each, error))
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return [(each, error) for each in waiting]
    return spoilt
