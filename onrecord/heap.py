"""Memory that sessions have left goes back to the system.

A TLS connection has a buffer of 256 KiB of which it touches the beginning. The C library gives such a piece of its heap
to one connection after the other, each time at another place, until all of the heap has been touched and stays in
memory: after some thousand sessions those that are there took three times what they need. What is free is given back
as a whole now and then, which costs some milliseconds.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

__all__ = ["give_back", "keep_giving_back"]

SECONDS = 10.0  # between two times, at least
SESSIONS = 100  # that must have begun since the last time


def give_back() -> None:
    """Gives free memory back, where the C library can (glibc's malloc_trim)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def keep_giving_back(sessions: Callable[[], int], *, every: float = SECONDS) -> None:
    """Does so for ever, as often as enough sessions have begun. `sessions` counts those that ever did."""
    last = 0
    while True:
        await asyncio.sleep(every)
        if (count := sessions()) - last >= SESSIONS:
            last = count
            give_back()
