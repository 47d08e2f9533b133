"""The reading side of the spool: what the recorder sees of a writer's folder (`store.spool` tells what is in it).

Nothing here writes a row. A generation is sealed when its writer has gone on or is gone; once recorded it is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

from store.entry import COLUMNS, Entry, entry_of

__all__ = ["LOCK_TIMEOUT", "SpoolReader", "generations", "open_readers", "remove_abandoned"]

LOCK_TIMEOUT = 1.0  # seconds until a locked generation is given up
ABANDONED_SECONDS = 5.0  # a folder without generations that is younger may be a writer's who is just starting


class SpoolReader:
    """The reading side of one generation. All methods may block on the disk; none writes a row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path.parent
        self.name = f"{path.parent.name}/{path.stem}"
        # Not to be made anew: it may have been removed since its name was read.
        self._connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=LOCK_TIMEOUT,
            check_same_thread=False,
        )

    def read(self, after: int, *, rows: int, octets: int) -> list[tuple[int, Entry]]:
        """Entries behind position `after` in order, at most `rows` and about `octets` of content (at least one).

        Raises `sqlite3.Error`, and `ValueError` for a row that makes no sense.
        Unsettled entries are among them; they may be read again later as settled.
        """
        cursor = self._connection.execute(
            f"select id, {COLUMNS} from entry where id > ? order by id limit ?",  # noqa: S608
            (after, rows),
        )
        found: list[tuple[int, Entry]] = []
        with contextlib.closing(cursor):
            try:
                for row in cursor:
                    found.append((row[0], entry_of(row[1:], self._folder)))
                    octets -= found[-1][1].size()
                    if octets < 0:
                        break
            except (ValueError, sqlite3.DatabaseError):
                if not found:  # what was read before the trouble is good; the next call begins with the trouble
                    raise
        return found

    def read_at(self, positions: Sequence[int], *, settled_only: bool) -> list[tuple[int, Entry]]:
        """The entries at `positions` in order, or those of them that are settled by now. Raises `sqlite3.Error`."""
        places = ", ".join("?" * len(positions))
        cursor = self._connection.execute(
            f"select id, {COLUMNS} from entry where id in ({places}) and (settled or not ?) order by id",  # noqa: S608
            (*positions, settled_only),
        )
        return [(row[0], entry_of(row[1:], self._folder)) for row in cursor.fetchall()]

    def is_finished(self, after: int) -> bool:
        """Whether nothing lies behind `after` and nothing can come: the writer is gone or has gone on."""
        return self.is_sealed() and not self.read(after, rows=1, octets=1)

    def is_sealed(self) -> bool:
        """Whether the writer appends no more here."""
        newest = max((int(path.stem) for path in generations(self._folder)), default=0)
        return int(self.path.stem) < newest or self.writer_is_gone()

    def writer_is_gone(self) -> bool:
        """Whether the process that wrote this has ended, so that an unsettled entry will never be settled."""
        return not _is_held(self._folder / "lock")

    def remove(self) -> None:
        """Removes the generation with the bodies its rows name; after a dead writer's last one, the folder too."""
        for (name,) in self._connection.execute("select content_file from entry where content_file is not null"):
            (self._folder / name).unlink(missing_ok=True)
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.close()
        self._remove_folder()

    def set_aside(self, folder: Path) -> None:
        """Moves a generation that cannot be read to `folder`, with the bodies no other names. Raises `OSError`."""
        self.close()
        folder.mkdir(exist_ok=True, mode=0o700)
        paths = [self.path.with_name(self.path.name + suffix) for suffix in ("", "-wal", "-shm")]
        if self.writer_is_gone() and list(generations(self._folder)) == [self.path]:
            paths += self._folder.glob("*.content")
        for path in paths:
            if path.exists():
                path.rename(folder / f"{self._folder.name}-{path.name}")
        self._remove_folder()

    def close(self) -> None:
        """Closes the database; the reader is of no use afterwards."""
        self._connection.close()

    def _remove_folder(self) -> None:
        if not any(generations(self._folder)) and self.writer_is_gone():
            shutil.rmtree(self._folder, ignore_errors=True)


def open_readers(
    folder: Path,
    known: Container[str] = (),
    *,
    on_trouble: Callable[[Path, Exception], None] = lambda path, error: None,
) -> list[SpoolReader]:
    """A reader for every generation below `folder` whose name is not `known`, each writer's oldest first.

    One that cannot be opened is left out and told of.
    """
    readers = []
    for home in _homes(folder):
        for path in sorted(generations(home), key=lambda path: int(path.stem)):
            if f"{home.name}/{path.stem}" not in known:
                try:
                    readers.append(SpoolReader(path))
                except (OSError, sqlite3.Error) as error:
                    on_trouble(path, error)
    return readers


def remove_abandoned(folder: Path) -> None:
    """Removes the folders of writers that ended before they had a generation, or were found without one."""
    for home in _homes(folder):
        with contextlib.suppress(OSError):
            is_young = time.time() - home.stat().st_mtime < ABANDONED_SECONDS
            if not is_young and not any(generations(home)) and not _is_held(home / "lock"):
                shutil.rmtree(home)


def generations(home: Path) -> Iterator[Path]:
    """The files of the generations in a writer's folder, in no order."""
    return (path for path in home.glob("*.sqlite") if path.stem.isdigit())


def _homes(folder: Path) -> list[Path]:
    try:
        return sorted(home for home in folder.iterdir() if home.is_dir())
    except FileNotFoundError:
        return []


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
