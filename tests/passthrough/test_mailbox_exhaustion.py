"""Octets without end or sense, of either side, cost the program no memory, and arrive as they are once logged in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from imap_client import ImapClient
from pki import Pki
from scripted_mailbox import LOGIN, LoggedIn, ScriptedMailbox
from served import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
MUCH = 32 * MIB  # octets; more than the program may ever hold for a session
MANY = 6 * MIB  # of what has to be looked at piece by piece, each of which would take more memory than it has octets
SLACK = 16 * MIB  # of allocators, and of buffers towards a side that is slower
SLACK_OF_MANY = 4 * MIB
BLOCK = 65536
STORM = 300
QUIET = 1.0  # seconds without an octet taken, after which a session is held to have stopped reading

SENSELESS = {
    "letters": b"x",
    "line feeds": b"\n",
    "carriage returns": b"\r",
    "zeros": b"\0",
    "quotes": b'"',
    "backslashes": b"\\",
    "brackets": b"(",
    "literals in literals": b"a {3+}\r\nb{1",
    "small literals": b" {1+}\r\nx",
    "empty literals": b" {0+}\r\n",
    "literals that wait": b"a APPEND x {5}\r\n",
    "sizes that are none": b"a {-1} {99999999999999999999}\r\n",
    "tags": b"a1 NOOP\r\n",
    "IDLE": b"a IDLE\r\n",
    "lines of capabilities": b"* CAPABILITY IMAP4rev1 X\r\n",
    "flags": b"* 1 FETCH (FLAGS (\\Seen))\r\n",
    "stretches": b"* 1 FETCH (UID 1 BODY[]<0> {3}\r\nabc)\r\n",
    "structures": b'* 1 FETCH (BODYSTRUCTURE (("text" ("a" {1}\r\nb',
}


class Stage:
    """The program before a server; what either of them is told to do comes with each test."""

    def __init__(self, served: Served, mailbox: ScriptedMailbox) -> None:
        self.served = served
        self.mailbox = mailbox

    def peak(self) -> int:
        """The most octets of memory that the relay process ever had."""
        (relay,) = self.served.relays()
        fields = Path(f"/proc/{relay}/status").read_text()
        return int(fields.partition("VmHWM:")[2].split()[0]) * 1024

    def forget_peak(self) -> None:
        """From here on the peak is counted anew."""
        (relay,) = self.served.relays()
        Path(f"/proc/{relay}/clear_refs").write_text("5")

    def client(self) -> ImapClient:
        return ImapClient(self.served.port)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with (
        ScriptedMailbox() as mailbox,
        Served(
            tmp_path_factory.mktemp("exhaustion"),
            pki,
            providers=[mailbox.table()],
            listeners=[{"kind": "imap"}],
            settings={"limits": {"connections_per_address": 2 * STORM}},
        ) as served,
    ):
        await served.recorder()
        yield Stage(served, mailbox)


@pytest.mark.parametrize("octets", list(SENSELESS.values()), ids=list(SENSELESS))
async def test_of_a_client_that_is_logged_in_arrive_as_they_are(stage: Stage, octets: bytes) -> None:
    heard = hashlib.sha256()
    size, slack = _amount(octets)
    is_over = asyncio.Event()

    async def bulk(connection: LoggedIn, tag: bytes) -> None:
        left = size
        while left and (taken := await connection.reader.read(min(left, BLOCK))):
            heard.update(taken)
            left -= len(taken)
        is_over.set()

    stage.mailbox.answers["BULK"] = bulk
    async with stage.client() as client:
        await client.begin(LOGIN)
        before = _start_counting(stage)
        client.send(b"b BULK\r\n")
        expected = await _pour(octets, size, client.send, client.writer.drain)
        async with asyncio.timeout(60):
            await is_over.wait()
    assert heard.digest() == expected
    assert stage.peak() - before < slack


@pytest.mark.parametrize("octets", list(SENSELESS.values()), ids=list(SENSELESS))
async def test_of_a_server_arrive_as_they_are(stage: Stage, octets: bytes) -> None:
    size, slack = _amount(octets)
    poured: list[bytes] = []

    async def bulk(connection: LoggedIn, tag: bytes) -> None:
        poured.append(await _pour(octets, size, connection.say, connection.drain))
        connection.hang_up()

    stage.mailbox.answers["BULK"] = bulk
    async with stage.client() as client:
        await client.begin(LOGIN)
        await client.command(b"s SELECT INBOX")
        before = _start_counting(stage)
        client.send(b"b BULK\r\n")
        got = await client.rest()
    assert len(got) == size
    assert hashlib.sha256(got).digest() == poured[0]
    assert stage.peak() - before < slack


@pytest.mark.parametrize(
    "octets",
    [
        b"x",
        b"a LOGIN " + b"x" * 100,
        b"a LOGIN {4294967295}\r\n",
        b"a LOGIN {9223372036854775808}\r\n",
        b"a LOGIN {-1}\r\n",
        b"a LOGIN {99999999+}\r\n",
        b"a LOGIN {1+}\r\nx",
        b"a AUTHENTICATE PLAIN " + b"QUFB" * 20_000 + b"\r\n",
        b"a NOOP {5}\r\n",
        b"a ID (",
        b"\x16\x03\x01\x02\0\x01",
    ],
    ids=["line", "login", "4 GiB", "2^63", "-1", "at once", "nested", "base64", "NOOP", "ID", "TLS"],
)
async def test_of_a_client_before_the_login_end_its_session(stage: Stage, octets: bytes) -> None:
    stage.mailbox.lines.clear()
    async with stage.client() as client:
        await client.greet()
        before = _start_counting(stage)

        async def pour() -> None:
            await _pour(octets, MUCH, client.send, client.writer.drain)

        pouring = asyncio.ensure_future(pour())
        answer = await client.rest()
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
    # The session is over. Its last words may be lost: who is still sending is reset.
    assert len(answer) < BLOCK
    assert stage.peak() - before < SLACK
    assert not any(b"LOGIN" in each for each in stage.mailbox.lines)


@pytest.mark.parametrize("octets", [b"x", b"* OK x", b"* OK x\r\n", b"* OK {99999999}\r\n", b"* {1}\r\nx"])
async def test_of_a_server_before_the_login_end_the_session(stage: Stage, octets: bytes) -> None:
    async def pour(connection: LoggedIn, tag: bytes) -> None:
        await _pour(octets, MUCH, connection.say, connection.drain)

    greeting, stage.mailbox.answers["greeting"] = stage.mailbox.answers["greeting"], pour
    try:
        async with stage.client() as client:
            before = _start_counting(stage)
            answer = await client.rest()
        assert answer.startswith(b"* BYE [UNAVAILABLE] ")
        assert stage.peak() - before < SLACK
    finally:
        stage.mailbox.answers["greeting"] = greeting


@pytest.mark.parametrize("mute", ["greeting", "LOGIN", "AUTHENTICATE", "NOOP"])
async def test_of_a_client_wait_unread_while_the_server_is_mute(stage: Stage, mute: str) -> None:
    """Where its answer decides what the next octets are."""

    async def say_nothing(connection: LoggedIn, tag: bytes) -> None:
        await connection.reader.read(0)

    kept = dict(stage.mailbox.answers)
    stage.mailbox.answers[mute] = say_nothing
    taken = 0

    def count(octets: bytes) -> None:
        nonlocal taken
        taken += len(octets)
        client.send(octets)

    try:
        async with stage.client() as client:
            before = _start_counting(stage)
            client.send(b"a " + mute.encode().replace(b"greeting", b"NOOP") + b" PLAIN AAAA\r\n")
            pouring = asyncio.ensure_future(_pour(b"b NOOP\r\n", MUCH, count, client.writer.drain))
            seen = -1
            while seen != taken:
                seen = taken
                await asyncio.sleep(QUIET)
            assert not pouring.done()
            assert stage.peak() - before < SLACK_OF_MANY
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)
            for each in stage.mailbox.connections:
                each.reset()
            await client.rest()
    finally:
        stage.mailbox.answers = kept
    await stage.mailbox.until(lambda: not stage.mailbox.connections)


async def test_clients_that_come_and_go_leave_nothing_behind(stage: Stage) -> None:
    (relay,) = stage.served.relays()
    handles = Path(f"/proc/{relay}/fd")
    await stage.mailbox.until(lambda: not stage.mailbox.connections)
    before = len(list(handles.iterdir()))
    for _ in range(STORM):
        async with stage.client() as client:
            client.send(b'a LOGIN "ann@acme.example" "correct horse battery"\r\nb SELECT INBOX\r\n')
    async with stage.client() as client:
        await client.begin(LOGIN)
        assert (await client.command(b"a NOOP")) == b"a OK done\r\n"
    await stage.mailbox.until(lambda: not stage.mailbox.connections)
    await stage.mailbox.until(lambda: len(list(handles.iterdir())) <= before)


def _amount(octets: bytes) -> tuple[int, int]:
    """How many octets to send, and how many more of memory that may take."""
    much, slack = (MUCH, SLACK) if len(octets) == 1 and octets != b"\n" else (MANY, SLACK_OF_MANY)
    return much // len(octets) * len(octets), slack


def _start_counting(stage: Stage) -> int:
    stage.forget_peak()
    return stage.peak()


async def _pour(octets: bytes, size: int, send: Callable[[bytes], None], drain: Callable[[], Awaitable[None]]) -> bytes:
    """Sends `octets` over and over, `size` in all; the hash of it."""
    block = octets * max(1, BLOCK // len(octets))
    hashed = hashlib.sha256()
    while size:
        piece = block[:size]
        send(piece)
        hashed.update(piece)
        size -= len(piece)
        await drain()
    return hashed.digest()
