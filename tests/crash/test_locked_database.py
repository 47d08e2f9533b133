"""A database that somebody else has locked: mail flows, what cannot be decided waits in the spool, and then goes.

`begin exclusive` keeps writers out, the locks of SQLite's recovery keep readers out too.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mail_load import MARKER, Load, Mail, assert_marker_is_nowhere, assert_once, make_mail
from pki import Pki
from recording_provider import RecordingProvider
from served import Served
from smtp_client import Client

WRITERS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("begin exclusive")
"""
# In write-ahead-log mode readers are kept out by whoever holds all locks of the shared-memory file, octets 120 to 127,
# as a process does that recovers the log. The lock is another process's, since POSIX locks are.
EVERYBODY = """
import fcntl, sys
file = open(sys.argv[1] + "-shm", "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 8, 120)
"""
HOLD = "print('locked', flush=True)\nsys.stdin.read()\n"
LARGE = 1_500_000  # octets; more than an undecided message may take of the memory
ERASED = 30.0
SOAK_SECONDS = 60.0
PAUSE = 0.2  # seconds; a thousand messages in the minute, which a slow machine records in another


@asynccontextmanager
async def locked(database: Path, how: str) -> AsyncIterator[None]:
    """The database, locked by a process of its own."""
    command = [sys.executable, "-c", how + HOLD, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert await asyncio.to_thread(process.stdout.readline) == b"locked\n"
            yield
        finally:
            process.stdin.close()


@asynccontextmanager
async def program(folder: Path, pki: Pki, policy: str) -> AsyncIterator[tuple[Served, RecordingProvider]]:
    settings = {"capture": {"policy": policy}, "limits": {"capture_memory": 16 * 1024}}
    async with (
        RecordingProvider() as provider,
        Served(folder, pki, providers=[provider], settings=settings) as served,
    ):
        yield served, provider


async def submit(served: Served, mail: Mail) -> None:
    async with Client(served.port) as client:
        await client.begin()
        mail.dots += 1
        mail.replies.append(await client.submit(mail.mail_data, mail.recipient))


def octets_on_disk(folder: Path) -> bytes:
    """All that is below the folder, end to end."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def erased(served: Served) -> None:
    """Waits until nothing of unlogged mail is on the disk."""
    limit = time.monotonic() + ERASED
    while True:
        try:
            assert_marker_is_nowhere(served.data)
        except AssertionError:
            assert time.monotonic() < limit
            await asyncio.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("policy", ["open", "closed"])
async def test_mail_is_decided_and_accepted_while_nobody_can_write(tmp_path: Path, pki: Pki, policy: str) -> None:
    mails = [make_mail(0, 400), make_mail(1, 60_000), make_mail(2, 400, is_logged=False)]
    async with program(tmp_path, pki, policy) as (served, provider):
        async with locked(served.data / "onrecord.sqlite", WRITERS):
            await asyncio.gather(*(submit(served, each) for each in mails))
            assert all(each.is_accepted for each in mails)
            await served.logged("nothing can be recorded now")
            assert_marker_is_nowhere(served.data)
        await served.drained()
        assert_once(mails, provider, served.data / "onrecord.sqlite")


@pytest.mark.parametrize("policy", ["open", "closed"])
async def test_mail_waits_undecided_while_nobody_can_read_and_is_erased_when_it_is_not_logged(
    tmp_path: Path, pki: Pki, policy: str
) -> None:
    mails = [
        make_mail(0, 400),
        make_mail(1, LARGE),
        make_mail(2, 400, is_logged=False),
        make_mail(3, LARGE, is_logged=False),
    ]
    async with program(tmp_path, pki, policy) as (served, provider):
        async with locked(served.data / "onrecord.sqlite", EVERYBODY):
            await asyncio.gather(*(submit(served, each) for each in mails))
            assert all(each.is_accepted for each in mails)
            assert MARKER in octets_on_disk(served.data / "spool"), "nobody could say that it is not to be kept"
        await served.drained()
        assert_once(mails, provider, served.data / "onrecord.sqlite")
        reasons = served.rows("select reason from decision where decision = 'skip'")
        assert reasons == [("no_existing_contact",)] * 2
        await erased(served)
        assert served.rows("select kind from gap") == []


@pytest.mark.soak
@pytest.mark.parametrize("how", [WRITERS, EVERYBODY], ids=["writers", "everybody"])
async def test_mail_flows_through_a_minute_of_a_locked_database(tmp_path: Path, pki: Pki, how: str) -> None:
    async with program(tmp_path, pki, "open") as (served, provider):
        async with Load(served.port, random.Random(1), pause=PAUSE) as load:
            await provider.until(lambda: len(provider.messages) > 5)
            async with locked(served.data / "onrecord.sqlite", how):
                begun = len(provider.messages)
                await asyncio.sleep(SOAK_SECONDS)
                assert len(provider.messages) > begun + 50
            await load.finish()
        await served.drained()
        assert_once(load.mails, provider, served.data / "onrecord.sqlite")
        await erased(served)
        assert served.rows("select kind from gap") == []
