"""Nothing that goes wrong in watching holds a session up, takes memory without bound, or raises."""

from __future__ import annotations

import asyncio
import errno
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess
from mailbox_session import MailboxSession, mail

import engine
from engine.capture import Capture, Folder
from engine.decision import Source
from engine.directory import Answer, Question
from proxy.capture import UNDECIDED_MEMORY
from proxy.imap.watch import CopiedToLog, HeaderSeen, Place, Seen, Unobservable, Why
from proxy.watching import PROCESS_OCTETS, MailboxWatcher
from store.database import StoreUnavailable

FROM_KIM = mail("Kim <kim@cust.example>", "ann@acme.example", "1@cust.example")
FROM_STRANGER = mail("x@elsewhere.example", "ann@acme.example", "2@elsewhere.example")
INBOX = Place("INBOX", 7, None)
MIB = 1024 * 1024


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with InProcess(tmp_path, [], listeners=()) as node:
        yield node


@pytest.fixture
def gate(node: InProcess, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Lets the directory answer."""
    gate = asyncio.Event()
    ask = node.captures.directory.ask

    async def wait(question: Question) -> tuple[Answer, ...]:
        await gate.wait()
        return await ask(question)

    monkeypatch.setattr(node.captures.directory, "ask", wait)
    return gate


async def settled(node: InProcess) -> None:
    await node.until(lambda: not node.captures.watched.messages)
    await node.recorded()
    assert node.captures.watched.octets == node.captures.watched.files == 0


def spooled(node: InProcess) -> list[Path]:
    return list((node.folder / "spool").rglob("*.content"))


def read(session: MailboxSession, head: bytes, size: int, *, uid: int = 5, meanwhile: Callable[[], None]) -> None:
    """The client reads a large message, which nobody holds in memory but the code under test."""
    block = b"x" * 65536
    session.provider(b"* 1 FETCH (UID %d BODY[] {%d}\r\n" % (uid, len(head) + size))
    session.provider(head)
    for _ in range(size // len(block)):
        session.provider(block)
        meanwhile()
    session.provider(b")\r\n")


class TestMemory:
    @pytest.mark.parametrize("content", [FROM_KIM, FROM_STRANGER], ids=["logged", "not logged"])
    @pytest.mark.parametrize("answers", [True, False], ids=["decided", "undecided"])
    async def test_ten_mebibytes_take_little_of_it(
        self, node: InProcess, gate: asyncio.Event, content: bytes, answers: bool
    ) -> None:
        session = MailboxSession(node.captures, keep=False)
        session.select()
        if answers:
            gate.set()
            capture = Capture(source=Source.IMAP_PROXY, mailbox="ann@acme.example")
            await node.captures.directory.ask(engine.question(capture, engine.read(content)))
        held: list[tuple[int, int]] = []
        tracemalloc.start()
        try:
            read(
                session,
                content,
                10 * MIB,
                meanwhile=lambda: held.append((len(spooled(node)), tracemalloc.get_traced_memory()[0])),
            )
        finally:
            tracemalloc.stop()
        is_wanted = content is FROM_KIM
        assert max(octets for _, octets in held) < (MIB if answers else 2 * MIB)
        assert max(files for files, _ in held) == (1 if is_wanted or not answers else 0)
        gate.set()
        await settled(node)
        assert [each.size for each in await node.emails()] == ([len(content) + 10 * MIB] if is_wanted else [])
        assert is_wanted or not spooled(node)

    async def test_many_messages_that_wait_for_the_directory_are_bounded(
        self, node: InProcess, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.watching.SESSION_MESSAGES", 100)
        session = MailboxSession(node.captures, keep=False)
        session.select()
        for uid in range(1, 151):
            content = FROM_STRANGER.replace(b"2@elsewhere", b"%d@elsewhere" % uid) + b"x" * 300_000
            session.fetch(uid, content)
            assert node.captures.watched.octets <= PROCESS_OCTETS
        assert node.captures.watched.messages == 100
        assert node.captures.counts["unobservable"] == 50
        gate.set()
        await settled(node)
        assert {each.reason for each in await node.decisions()} == {"no_existing_contact"}
        assert len(await node.decisions()) == 100
        assert not spooled(node)
        session.fetch(101, FROM_KIM)  # what was too much is taken when it is read again
        await settled(node)
        assert len(await node.emails()) == 1

    async def test_sessions_share_what_a_process_may_hold(
        self, node: InProcess, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.watching.PROCESS_MESSAGES", 3)
        for number in range(5):
            session = MailboxSession(node.captures)
            session.select()
            session.fetch(number + 1, FROM_KIM.replace(b"Offer", b"%d" % number))
        assert node.captures.watched.messages == 3
        gate.set()
        await settled(node)
        assert [each.subject for each in await node.emails()] == ["0", "1", "2"]

    async def test_when_too_many_wait_for_the_directory_the_recorder_decides(
        self, node: InProcess, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.watching.PROCESS_ASKING", 2)
        session = MailboxSession(node.captures)
        session.select()
        for number, content in enumerate((FROM_KIM, FROM_STRANGER) * 3, start=1):
            session.fetch(number, content.replace(b"Offer", b"%d" % number))
        assert node.captures.watched.asking == 2
        assert node.captures.counts["undecided"] == 4
        await node.until(lambda: node.captures.watched.messages == 2)
        gate.set()
        await settled(node)
        assert node.captures.watched.asking == 0
        assert sorted(each.subject for each in await node.emails()) == ["1", "3", "5"]
        assert [each.reason for each in await node.decisions()].count("no_existing_contact") == 3

    async def test_what_would_need_too_many_files_is_a_gap_if_it_is_wanted(
        self, node: InProcess, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("proxy.watching.PROCESS_FILES", 2)
        monkeypatch.setattr("proxy.watching.PROCESS_OCTETS", 0)
        session = MailboxSession(node.captures)
        session.select()
        for number in range(4):
            session.fetch(number + 1, FROM_KIM.replace(b"1@cust", b"%d@cust" % number))
            session.fetch(number + 11, FROM_STRANGER.replace(b"2@else", b"%d@else" % number))
        assert node.captures.watched.files == len(spooled(node)) == 2
        gate.set()
        await settled(node)
        assert len(await node.emails()) == 1
        assert [each.value["reason"] for each in await node.gaps()] == ["received_from_contact"] * 3
        assert [each.reason for each in await node.decisions()].count("no_existing_contact") == 4

    async def test_a_session_that_ends_leaves_nothing(self, node: InProcess, gate: asyncio.Event) -> None:
        session = MailboxSession(node.captures)
        session.select()
        session.fetch(5, FROM_KIM)
        session.provider(b"* 2 FETCH (UID 6 BODY[] {4000000}\r\n" + FROM_KIM + b"x" * 3_000_000)
        session.client(b"e APPEND Sent {5000+}\r\n" + FROM_KIM)
        assert len(spooled(node)) == 1
        session.close()
        assert session.watcher.watch(INBOX) is None
        gate.set()
        await settled(node)
        assert len(await node.emails()) == 1
        assert not spooled(node)


class TestTheStoreIsAway:
    async def test_the_recorder_decides(self, node: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        async def fail(question: Question) -> tuple[Answer, ...]:
            raise StoreUnavailable("away")

        with monkeypatch.context() as patch:
            patch.setattr(node.captures.directory, "ask", fail)
            session = MailboxSession(node.captures)
            session.select()
            session.fetch(5, FROM_KIM)
            session.fetch(6, FROM_STRANGER)
            session.append("Drafts", FROM_STRANGER)
            session.append("Work", FROM_KIM, flags="\\Draft")
            await node.until(lambda: not node.captures.watched.messages)
        assert node.captures.counts["undecided"] == 4
        await settled(node)
        found = [each.reason for each in await node.decisions()]
        assert sorted(found) == ["draft", "draft", "no_existing_contact", "received_from_contact"]
        assert [await node.raw(each) for each in await node.emails()] == [FROM_KIM]


class TestTheDiskRefuses:
    async def test_a_large_message_is_a_gap_until_it_is_read_again(
        self, node: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(key: str) -> None:
            raise OSError(errno.ENOSPC, "no space left")

        content = FROM_KIM + b"x" * (UNDECIDED_MEMORY + 1)  # more than is kept in memory, with a verdict or without
        session = MailboxSession(node.captures)
        session.select()
        with monkeypatch.context() as patch:
            patch.setattr(node.spool, "content_file", fail)
            session.fetch(6, content)
            await settled(node)
        (gap,) = await node.gaps()
        assert (gap.kind, gap.cause, gap.closed_at) == ("capture_failed", "OSError", None)
        assert gap.value["reason"] == "received_from_contact"
        session.fetch(6, content)
        await settled(node)
        (gap,) = await node.gaps()
        assert gap.closed_at is not None
        assert len(await node.emails()) == 1

    async def test_a_small_message_is_a_gap_until_it_is_read_again(
        self, node: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = MailboxSession(node.captures)
        session.select()
        with monkeypatch.context() as patch:
            patch.setattr(node.spool, "put", lambda entry, done, file: done(OSError("refused")))
            session.fetch(5, FROM_KIM)
            await node.until(lambda: not node.captures.watched.messages)
        assert len(await node.gaps()) == 1
        session.fetch(5, FROM_KIM)
        await settled(node)
        assert len(await node.emails()) == 1
        assert (await node.gaps())[0].closed_at is not None


class TestUnobservable:
    async def test_is_counted_each_time_and_told_once_without_content(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.select("Secret plans")
        for _ in range(3):
            session.fetch(5, b"secret words", item="BODY[TEXT]")
        session.client(b"e APPEND Sent CATENATE (URL x)\r\n")
        assert node.captures.counts["unobservable"] == 4
        told = [each for each in node.log if each.get("reason") is not None]
        assert [each["reason"] for each in told] == ["no_header_section", "catenate"]
        assert all(each["session"] == "imap-1" for each in told)
        assert "ecret" not in str(node.log)

    async def test_every_event_is_taken(self, node: InProcess) -> None:
        watcher = MailboxWatcher(node.captures, "imap-1", "ann@acme.example")
        for why in Why:
            watcher.tell(Unobservable(why))
        watcher.tell(CopiedToLog(INBOX, "1:*", Place("Log to CRM", 8, None), None))
        watcher.tell(HeaderSeen(INBOX, 5, FROM_KIM))
        assert node.captures.counts == {"unobservable": len(Why) + 1, "header_only": 1}


SECTIONS = [
    b"",
    b"\r\n",
    b"\0\xff\xfe\r\n",
    b"From: \xff@\xfe\r\nTo: =?x?q?=FF?=\r\nMessage-ID: <\xff\0>\r\n",
    b"From: " + b"a@b.example, " * 5000 + b"\r\n",
    b"From: kim@cust.example\r\nDate: Tue, 99 Foo 99999 99:99:99 +9999\r\nTo: ann@acme.example\r\n",
    b"From: kim@cust.example\r\nReferences: " + b"<\xff@x> " * 3000 + b"\r\n",
    b"From: ann@acme.example <kim@cust.example>\r\nContent-Type: multipart/report\r\nAuto-Submitted: \xff\r\n",
    b"From: kim@cust.example\r\nMessage-ID: <" + "é\u2028".encode() * 100 + b">\r\n",
]
LOGINS = ["ann@acme.example", "", "@", "\udcff@\ud800", "a" * 100_000, "ann@acme.example\r\nx", "ann@" + "é" * 300]
NAMES = [
    "INBOX",
    "",
    "\ud800",
    "Drafts/" * 10_000,
    "a\0b",
    "x" * 1_000_000,
    "a/Log to CRM",
    "/" * 10_000 + "Log to CRM",
]


class TestHostileInput:
    @pytest.mark.parametrize("login", LOGINS, ids=range(len(LOGINS)))
    async def test_never_raises(self, node: InProcess, login: str) -> None:
        watcher = MailboxWatcher(node.captures, "imap-1", login)
        await node.recorded()
        for number, section in enumerate(SECTIONS):
            for name in NAMES:
                place = Place(name, 2**70, Folder.JUNK if number % 2 else None)
                watch = watcher.watch(place)
                if watch is None:
                    continue
                if watch.header_section(section):
                    watch.content(section + b"\r\n\xff\0")
                watch.end(Seen(place, 2**70 + number, frozenset({"\\draft", "\ud800"}) if number % 3 else None, 2**70))
                assert not watcher.is_known(place, 2**80)
        await settled(node)
        assert not node.captures.counts["capture_failed"]

    async def test_whatever_is_said_passes_and_is_let_go_of(self, node: InProcess) -> None:
        chance = random.Random(4)
        size = b"%d" % len(FROM_KIM)
        client = [
            b"a SELECT INBOX\r\n", b"b APPEND Sent {" + size + b"+}\r\n" + FROM_KIM + b"\r\n", b"d APPEND x {3}\r\n",
            b"c APPEND Drafts (\\Draft) {" + size + b"+}\r\n" + FROM_KIM, b"\r\n", b"e COPY 1:* \"Log to CRM\"\r\n",
            b"f FETCH 1 BODY[]<0.20>\r\n", b"g LOGOUT\r\n",
        ]  # fmt: skip
        provider = [
            b"* OK [UIDVALIDITY 7] x\r\n", b"a OK done\r\n", b"b OK [APPENDUID 7 9] done\r\n", b"c NO full\r\n",
            b"* 1 FETCH (UID 5 BODY[] {" + size + b"}\r\n" + FROM_KIM + b")\r\n", b"+ go\r\n", b"d BAD\r\n",
            b"* 1 FETCH (BODY[] {" + size + b"}\r\n" + FROM_STRANGER[: len(FROM_KIM)], b")\r\n",
            b"* 1 FETCH (UID 6 BODY[]<0> {20}\r\n" + FROM_KIM[:20] + b")\r\n", b"* BYE\r\n",
        ]  # fmt: skip
        for _ in range(60):
            session = MailboxSession(node.captures, piece=chance.choice((1, 7, 65536)))
            said: tuple[list[bytes], list[bytes]] = ([], [])
            for _ in range(chance.randrange(25)):
                side = chance.randrange(2)
                words = chance.choice((client, provider)[side]) if chance.random() < 0.9 else chance.randbytes(9)
                said[side].append(words)
                (session.client, session.provider)[side](words)
            session.close()
            assert (session.to_provider, session.to_client) == tuple(map(b"".join, said))
            await settled(node)
        reasons: list[Any] = [each.get("reason") for each in node.log]
        assert Why.WATCHER_FAILED not in reasons
        assert not node.captures.counts["judging_failed"]
        assert not spooled(node)
        assert len(await node.emails()) == 1
