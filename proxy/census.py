"""How many connections there are, over all relay processes of this node, and from whom.

Each process counts in a row of its own of one shared memory map, so no lock is needed; everybody reads all rows. The
count of an address is kept in a bucket of its hash, so two addresses may share one: the limit is then met a little
early, never late.
"""

from __future__ import annotations

import mmap
import zlib
from array import array

__all__ = ["Census"]

BUCKETS = 16384
ROW = BUCKETS + 1  # the first cell holds the total


class Census:
    """Counts for `rows` processes. Create it before the processes fork; each then calls `claim` with its own row."""

    def __init__(self, rows: int, *, limit: int, limit_per_address: int) -> None:
        self._rows = rows
        self._limit = limit
        self._limit_per_address = limit_per_address
        self._cells = memoryview(mmap.mmap(-1, rows * ROW * 4)).cast("I")
        self._start = 0

    def claim(self, row: int) -> None:
        """Makes `row` this process's own, and empty: whoever had it before is dead."""
        self._start = row * ROW
        self._cells[self._start : self._start + ROW] = memoryview(array("I", bytes(4 * ROW)))

    def enter(self, address: str) -> bool:
        """Counts a connection, unless it is one too many."""
        bucket = self._bucket(address)
        cells = self._cells
        starts = range(0, self._rows * ROW, ROW)
        if sum(cells[start] for start in starts) >= self._limit:
            return False
        if sum(cells[start + bucket] for start in starts) >= self._limit_per_address:
            return False
        cells[self._start] += 1
        cells[self._start + bucket] += 1
        return True

    def leave(self, address: str) -> None:
        """Takes a connection out that `enter` has counted."""
        self._cells[self._start] -= 1
        self._cells[self._start + self._bucket(address)] -= 1

    def total(self) -> int:
        """Connections of all processes."""
        return sum(self._cells[start] for start in range(0, self._rows * ROW, ROW))

    @staticmethod
    def _bucket(address: str) -> int:
        return 1 + zlib.crc32(address.encode()) % BUCKETS
