"""SIGKILL at chosen points of one message.

No 250 for what the provider did not take, and one record when the message is sent again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from family import ended, kill
from mail_load import Mail, assert_once, make_mail
from pki import Pki
from recording_provider import Conversation, RecordingProvider
from served import Served
from smtp_client import Client

from store.spool_reader import open_readers

CAPTURE_MEMORY = 16 * 1024
IN_A_ROW, IN_A_FILE = 400, 100_000  # octets
PATIENCE = 20.0


@dataclass
class Holding:
    """A provider's reply to the end of data that waits: `asked` when it is due, `released` when it may go."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, conversation: Conversation, line: bytes) -> None:
        self.asked.set()
        await self.released.wait()


@dataclass
class Point:
    """One message on its way through the program."""

    served: Served
    provider: RecordingProvider
    holding: Holding
    mail: Mail

    async def kill_relay(self) -> None:
        await kill(self.served, self.served.relays()[0])

    async def send_again(self) -> None:
        """What a mail client does that has seen no 250."""
        self.holding.released.set()
        self.provider.replies.clear()
        async with Client(self.served.port) as client:
            await client.begin()
            self.mail.dots += 1
            self.mail.replies.append(await client.submit(self.mail.mail_data))
        assert self.mail.is_accepted

    async def check(self, *, copies: int) -> None:
        """The provider has so many copies, the log one record, and no gap is open."""
        await self.served.drained()
        assert len(self.provider.messages) == copies
        assert_once([self.mail], self.provider, self.served.data / "onrecord.sqlite")
        assert self.served.rows("select kind from gap where closed_at is null") == []


@pytest.fixture(
    params=[
        ("open", IN_A_ROW),
        ("closed", IN_A_FILE),
        pytest.param(("open", IN_A_FILE), marks=pytest.mark.soak),
        pytest.param(("closed", IN_A_ROW), marks=pytest.mark.soak),
    ],
    ids=lambda each: f"{each[0]}-{each[1]}",
)
async def point(request: pytest.FixtureRequest, tmp_path: Path, pki: Pki) -> AsyncIterator[Point]:
    policy, size = request.param
    settings = {"capture": {"policy": policy}, "limits": {"capture_memory": CAPTURE_MEMORY}}
    holding = Holding()
    async with (
        RecordingProvider(replies={"end of data": holding}) as provider,
        Served(tmp_path, pki, providers=[provider], settings=settings) as served,
    ):
        yield Point(served, provider, holding, make_mail(1, size))


async def no_more(client: Client) -> bytes:
    """What the client still gets: the connection ends without another word."""
    return await client.rest()


async def test_before_data(point: Point) -> None:
    async with Client(point.served.port) as client:
        await client.begin()
        await client.address(b"kim@cust.example")
        await point.kill_relay()
        assert await no_more(client) == b""
    assert point.provider.messages == []
    await point.send_again()
    await point.check(copies=1)


@pytest.mark.parametrize("part", [pytest.param(0.02, marks=pytest.mark.soak), 0.6])
async def test_in_the_middle_of_mail_data(point: Point, part: float) -> None:
    async with Client(point.served.port) as client:
        await client.begin()
        await client.address(b"kim@cust.example")
        assert (await client.say(b"DATA\r\n")).startswith(b"354")
        client.send(point.mail.mail_data[: int(len(point.mail.mail_data) * part)])
        await client.flush()
        await point.kill_relay()
        assert await no_more(client) == b""
    await point.provider.until_idle()
    assert point.provider.messages == []
    await point.send_again()
    await point.check(copies=1)


async def test_after_the_end_of_data_and_before_the_provider_answers(point: Point) -> None:
    async with Client(point.served.port) as client:
        await client.begin()
        point.mail.dots += 1
        sending = asyncio.create_task(client.submit(point.mail.mail_data))
        await point.holding.asked.wait()
        await point.kill_relay()
        with pytest.raises(EOFError):
            await sending
    point.holding.released.set()
    await point.send_again()
    await point.check(copies=2)  # the first client could not know that the provider had it


async def test_after_the_provider_has_accepted_and_before_we_say_so(point: Point) -> None:
    async with Client(point.served.port) as client:
        await client.begin()
        point.mail.dots += 1
        sending = asyncio.create_task(client.submit(point.mail.mail_data))
        await point.holding.asked.wait()
        relay = point.served.relays()[0]
        os.kill(relay, signal.SIGSTOP)  # it will never read the 250
        point.holding.released.set()
        await point.provider.until(lambda: len(point.provider.messages) == 1)
        os.kill(relay, signal.SIGKILL)
        with pytest.raises(EOFError):
            await sending
    await point.send_again()
    await point.check(copies=2)


async def test_when_the_message_is_in_the_spool(point: Point) -> None:
    """Between the commit and the client's 250, or just behind: the client decides by what it has seen."""
    async with Client(point.served.port) as client:
        await client.begin()
        point.mail.dots += 1
        point.holding.released.set()
        sending = asyncio.create_task(client.submit(point.mail.mail_data))
        await asyncio.to_thread(wait_for_an_entry, point.served.data / "spool", sending)
        await point.kill_relay()
        try:
            point.mail.replies.append(await sending)
        except EOFError:
            point.mail.replies.append(b"")
    copies = 1
    if not point.mail.is_accepted:
        copies = 1 + len(point.provider.messages)
        await point.send_again()
    await point.check(copies=copies)


async def test_while_the_recorder_commits(point: Point) -> None:
    """It waits for the lock of the database, which is the longest part of a commit, and is killed there."""
    database = sqlite3.connect(point.served.data / "onrecord.sqlite", isolation_level=None)
    database.execute("begin immediate")
    await point.send_again()
    recorder = await point.served.recorder()
    await asyncio.to_thread(wait_for_lock, recorder)
    await kill(point.served, recorder)
    await ended([recorder])
    database.execute("rollback")
    database.close()
    await point.check(copies=1)


@pytest.mark.parametrize("role", ["supervisor", "recorder"])
async def test_of_another_process_does_not_touch_a_message_on_its_way(point: Point, role: str) -> None:
    """Also without a supervisor a transaction that has begun comes to its end."""
    async with Client(point.served.port) as client:
        await client.begin()
        point.mail.dots += 1
        sending = asyncio.create_task(client.submit(point.mail.mail_data))
        await point.holding.asked.wait()
        victim = await point.served.recorder() if role == "recorder" else point.served.pid
        killing = asyncio.create_task(kill(point.served, victim))
        point.holding.released.set()
        point.mail.replies.append(await sending)
        await killing
    assert point.mail.is_accepted
    await point.check(copies=1)


def wait_for_an_entry(spool: Path, sending: asyncio.Task[bytes]) -> None:
    """Looks as fast as it can until a row is in a spool, or the client is done."""
    while not sending.done():
        for reader in open_readers(spool):
            found = reader.read(0, rows=1, octets=1)
            reader.close()
            if found:
                return


def wait_for_lock(pid: int) -> None:
    """Waits until a thread of the process sleeps between two tries for the lock of a database, as SQLite does."""
    limit = time.monotonic() + PATIENCE
    while not any(each.read_text() == "hrtimer_nanosleep" for each in Path(f"/proc/{pid}/task").glob("*/wchan")):
        assert time.monotonic() < limit, "the recorder does not wait for the database"
