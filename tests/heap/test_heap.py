"""Memory that is free goes back to the system, now and then."""

from __future__ import annotations

import asyncio
import os
import platform
from pathlib import Path

import pytest

import onrecord.heap
from onrecord.heap import give_back, keep_giving_back

PIECE = 100 * 1024  # below the size for which the C library asks the system each time
PIECES = 1000


def resident() -> int:
    """Octets of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it, and can be told")
def test_what_is_free_between_what_is_in_use_goes_back() -> None:
    pieces = [bytes([number % 256]) * PIECE for number in range(PIECES)]
    held = pieces[::100] + pieces[-1:]
    del pieces
    before = resident()
    give_back()
    assert before - resident() > PIECES * PIECE // 2
    assert held[1] == bytes([100]) * PIECE


async def test_it_is_done_after_many_sessions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((99, 100, 199, 250, 250, 350))
    done: list[int] = []
    count = 0

    def sessions() -> int:
        nonlocal count
        count = next(counts, count)
        return count

    monkeypatch.setattr(onrecord.heap, "give_back", lambda: done.append(count))
    task = asyncio.create_task(keep_giving_back(sessions, every=0))
    while count < 350 or len(done) < 3:
        await asyncio.sleep(0)
    task.cancel()
    assert done == [100, 250, 350]
