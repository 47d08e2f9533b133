"""The supervisor where the system refuses a process, or a process refuses to end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 20.0
PROGRAM = """
import errno, os, signal, sys, time
from onrecord import supervisor
from onrecord.supervisor import Child, supervise

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def wait(life):
    say("started", os.getpid())
    os.read(life, 1)
    say("the supervisor has gone")
    return 0

{more}
sys.exit(supervise([Child(name="one", run=run, stage=1)], on_stop=lambda: say("stopping"), patience=0.5))
"""


@contextmanager
def supervising(more: str) -> Iterator[subprocess.Popen[str]]:
    """A supervisor with one child that does `run`."""
    command = [sys.executable, "-c", PROGRAM.format(more=more)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def heard(process: subprocess.Popen[str], text: str) -> str:
    """Reads on until a line that holds `text`; that line."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while text not in (line := await asyncio.to_thread(process.stdout.readline)):
            assert line, f"it ended without saying {text!r}"
    return line


async def test_a_process_that_cannot_be_started_now_is_started_later() -> None:
    """The refusal ended the supervisor, and with it all other processes."""
    refuse_once = """
fork, refusals = os.fork, [errno.EAGAIN]
def fork_later():
    if refusals:
        raise BlockingIOError(refusals.pop(), "Resource temporarily unavailable")
    return fork()
os.fork = fork_later
run = wait
"""
    with supervising(refuse_once) as process:
        assert "Resource temporarily unavailable" in await heard(process, "cannot be started now")
        await heard(process, "started")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0


async def test_a_process_that_dies_is_started_again_and_one_that_does_not_end_is_killed() -> None:
    stubborn = """
def run(life):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("started", os.getpid())
    while True:
        time.sleep(3600)
"""
    with supervising(stubborn) as process:
        first = int((await heard(process, "started")).split()[1])
        os.kill(first, signal.SIGKILL)
        second = int((await heard(process, "started")).split()[1])
        assert second != first
        process.send_signal(signal.SIGTERM)
        await heard(process, "stopping")
        await heard(process, "do not end and are killed")
        assert await asyncio.to_thread(process.wait) == 0


async def test_its_death_is_told_to_its_children() -> None:
    with supervising("run = wait") as process:
        await heard(process, "started")
        process.kill()
        await heard(process, "the supervisor has gone")


async def test_a_process_that_is_told_to_end_while_it_begins_still_does_its_work() -> None:
    """It was killed by the signal before it could heed it, and left what waited for it undone."""
    slow = """
import asyncio
from onrecord.process import listen_to_signals

async def work(life):
    stop = asyncio.Event()
    listen_to_signals(stop, asyncio.Event(), life)
    await stop.wait()
    say("the last work is done")

def run(life):
    say("started", os.getpid())
    while signal.SIGTERM not in signal.sigpending():
        time.sleep(0.01)
    asyncio.run(work(life))
    return 0
"""
    with supervising(slow) as process:
        await heard(process, "started")
        process.send_signal(signal.SIGTERM)
        await heard(process, "the last work is done")
        assert await asyncio.to_thread(process.wait) == 0
