"""The processes of a served program by what they do, and SIGKILL for any of them."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from served import Served

__all__ = ["ROLES", "children_of", "ended", "kill", "member", "members"]

ROLES = ("supervisor", "relay", "recorder", "parser")
PATIENCE = 30.0
POLL = 0.01


def children_of(pid: int) -> list[int]:
    """The child processes of `pid`; none when it has gone."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def members(served: Served, role: str) -> list[int]:
    """The processes of the role that run now."""
    if role == "supervisor":
        return [served.pid]
    relays = served.relays()
    recorders = [each for each in served.children() if each not in relays]
    if role == "relay":
        return relays
    return recorders if role == "recorder" else [child for each in recorders for child in children_of(each)]


async def member(served: Served, role: str) -> int:
    """The one process of the role, once it is there."""
    async with asyncio.timeout(PATIENCE):
        while not (found := members(served, role)):
            await asyncio.sleep(POLL)
    (pid,) = found
    return pid


async def kill(served: Served, pid: int) -> None:
    """SIGKILL. When it was the supervisor, its children end by themselves, and the program is started again."""
    if pid != served.pid:
        os.kill(pid, signal.SIGKILL)
        return
    family = served.children()
    process = served.process
    assert process is not None
    process.kill()
    await asyncio.to_thread(process.wait)
    await ended(family)
    await served.start()


async def ended(pids: list[int]) -> None:
    """Waits until none of `pids` is a process."""
    async with asyncio.timeout(PATIENCE):
        while any(Path(f"/proc/{each}/exe").exists() for each in pids):
            await asyncio.sleep(POLL)
