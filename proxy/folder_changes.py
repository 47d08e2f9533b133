"""When clients made, removed or renamed folders last, over all processes of this node.

A client may remove a folder and make it again in one breath. Dovecot then breaks off its session ("Mailbox was deleted
under us") when another one opened the folder between, so our own sessions keep away from such folders for a while.

Each login has a cell of one shared memory map, by its hash, so no lock is needed. Two logins may share one: then a
folder is looked into a little later than it could be.
"""

from __future__ import annotations

import mmap
import time
import zlib
from collections.abc import Callable

from engine.address import canonical

__all__ = ["FolderChanges"]

CELLS = 16384
QUIET_SECONDS = 30.0


class FolderChanges:
    """Create it before the processes fork. `clock` is the same for all of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._cells = memoryview(mmap.mmap(-1, CELLS * 8)).cast("d")
        self._clock = clock

    def note(self, login: str) -> None:
        """A client of that login changes its folders now."""
        self._cells[_cell(login)] = self._clock()

    def are_recent(self, login: str) -> bool:
        """Whether one did within the last half minute."""
        at = self._cells[_cell(login)]
        return at > 0 and self._clock() - at < QUIET_SECONDS


def _cell(login: str) -> int:
    return zlib.crc32(canonical(login).encode()) % CELLS
