"""Messages of any size and shape on the whole way from the spool to the written record: steps and memory in proportion.

A step is a call of a function, or an octet handed to one, in our code and in the libraries that read mail; so a busy
machine changes nothing. What grows with the square of the size takes twice as many steps more than is allowed here
when the size is doubled. Functions that are told a place in a text look at what is there and not at the whole text;
tests of their own count those looks (test_attached_originals, test_forward_scanning, test_html_forwards).
"""

from __future__ import annotations

import asyncio
import base64
import email
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import dkim
import pytest
from dns_zone import DnsZone
from judged_log import JudgedLog, entry
from signer import Signer
from sqlalchemy import select

import engine
import proxy
import store
from engine.decision import Decision
from engine.directory import Rule
from store import schema
from store.entry import Entry
from store.originals import OriginalLimits
from store.parser import Parser
from store.parsing import ParseLimits

KIB, MIB = 1024, 1024 * 1024
ANN, KIM = "ann@acme.example", "kim@cust.example"
BCC, FORWARD = "log-p1@cap.example", "fwd-p1@cap.example"
COUNTED = tuple(f"{Path(str(module.__file__)).parent}/" for module in (engine, proxy, store, email, dkim))
# What looks at a place of its octets, or, called once for each part, at that part.
AT_A_PLACE = frozenset(("find", "index", "rfind", "count", "startswith", "endswith", "tokens", "_end_of_tag", "packed"))
LONG = 1000  # octets; what is shorter costs its call
MARGIN, SLACK = 1.1, 2000
MEMORY = 1024 * MIB  # of the parser, the program's default


def head(sender: str, to: str, name: str) -> bytes:
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {name}\r\nMessage-ID: <{name}@x.example>\r\n"
        "Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMIME-Version: 1.0\r\n"
    ).encode()


def multiparts(count: int, inside: bytes = b"Hello\r\n") -> bytes:
    """Content-Type, empty line and body: a multipart in a multipart, and so on."""
    opened = (
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (number, number) for number in range(count)
    )
    closed = (b"--b%d--\r\n" % number for number in reversed(range(count)))
    return b"".join(opened) + b"\r\n" + inside + b"".join(closed)


def messages(count: int, inside: bytes = b"Hello\r\n") -> bytes:
    """The same of a message in a message, and so on."""
    opened = (b"Content-Type: message/rfc822\r\n\r\n" + head(KIM, ANN, f"n{number}") for number in range(count))
    return b"".join(opened) + b"\r\n" + inside


def beside(count: int) -> bytes:
    """The same of one multipart that holds so many files."""
    file = b"--b\r\nContent-Type: text/plain; name=x.txt\r\nContent-Disposition: attachment\r\n\r\nHello\r\n"
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + file * count + b"--b--\r\n"


def attached(*originals: bytes) -> bytes:
    parts = b"".join(b"--B\r\nContent-Type: message/rfc822\r\n\r\n" + each + b"\r\n" for each in originals)
    return head(ANN, FORWARD, "fwd") + b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + parts + b"--B--\r\n"


def attached_file(original: bytes) -> bytes:
    fields = b"Content-Type: application/octet-stream; name=x.eml\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return attached(b"").replace(b"Content-Type: message/rfc822\r\n\r\n", fields + base64.encodebytes(original))


def filled(line: bytes, size: int) -> bytes:
    """So many octets of that line, again and again."""
    return line * (size // len(line))


def with_pdf(size: int, name: str = "order") -> bytes:
    """An original with a large attachment."""
    fields = b"Content-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    text = b"--P\r\nContent-Type: text/plain\r\n\r\nSee below\r\n--P\r\n"
    body = text + fields + filled(b"QUJD" * 19 + b"\r\n", size) + b"--P--\r\n"
    return head(KIM, ANN, name) + b"Content-Type: multipart/mixed; boundary=P\r\n\r\n" + body


def inline(text: bytes, kind: bytes = b"text/plain") -> bytes:
    return head(ANN, FORWARD, "fwd") + b"Content-Type: " + kind + b"; charset=utf-8\r\n\r\n" + text


def html(text: bytes) -> bytes:
    return b"<div>" + text.replace(b"<", b"&lt;").replace(b"\r\n", b"<br>\r\n") + b"</div>\r\n"


def alternative(text: bytes) -> bytes:
    plain, rich = b"--A\r\nContent-Type: text/plain\r\n\r\n", b"--A\r\nContent-Type: text/html\r\n\r\n"
    fields = b"Content-Type: multipart/alternative; boundary=A\r\n\r\n"
    return head(ANN, FORWARD, "fwd") + fields + plain + text + rich + html(text) + b"--A--\r\n"


BLOCK = (
    b"---------- Forwarded message ---------\r\nFrom: Kim <kim@cust.example>\r\nDate: Mon, 23 Nov 2026 at 09:30\r\n"
    b"Subject: Order\r\nTo: Ann <ann@acme.example>\r\n\r\nPlease send two.\r\n"
)
WORDS = b"Nothing of note, and much of it, on every single line of this.\r\n"
NO_BLOCKS = (
    b"Date: 2026-11-23 10:12\r\n\r\nFrom: x\r\n\r\n---------- Forwarded message ---------\r\n\r\n"
    b"On 3 March 2026 kim@cust.example wrote:\r\n> From: a@b.example\r\n> > Begin forwarded message:\r\n\r\n"
)


class Shape(NamedTuple):
    """What makes a message from a size, and three sizes, each twice the one before."""

    make: Callable[[int], bytes]
    sizes: tuple[int, int, int]
    reason: str
    is_forward: bool = True


PARTS = (250, 500, 1000)
TINY, SMALL, LARGE = (8 * KIB, 16 * KIB, 32 * KIB), (32 * KIB, 64 * KIB, 128 * KIB), (256 * KIB, 512 * KIB, 1024 * KIB)
SHAPES = {
    "a message of multiparts in multiparts": Shape(
        lambda size: head(ANN, KIM, "m") + multiparts(size), PARTS, "sent_to_contact", False
    ),
    "a message of messages in messages": Shape(
        lambda size: head(ANN, KIM, "m") + messages(size), PARTS, "sent_to_contact", False
    ),
    "a forward of multiparts in multiparts": Shape(
        lambda size: head(ANN, FORWARD, "m") + multiparts(size), PARTS, "forward_not_parsed"
    ),
    "a forward of messages in messages": Shape(
        lambda size: head(ANN, FORWARD, "m") + messages(size), PARTS, "forwarding_address"
    ),
    "an original of multiparts in multiparts": Shape(
        lambda size: attached(head(KIM, ANN, "o") + multiparts(size)), PARTS, "forwarding_address"
    ),
    "an original of messages in messages": Shape(
        lambda size: attached(head(KIM, ANN, "o") + messages(size)), PARTS, "forwarding_address"
    ),
    "a message of parts beside each other": Shape(
        lambda size: head(ANN, KIM, "m") + beside(size), (100, 200, 400), "sent_to_contact", False
    ),
    "an original of parts beside each other": Shape(
        lambda size: attached(head(KIM, ANN, "o") + beside(size)), (100, 200, 400), "forwarding_address"
    ),
    "text in as many multiparts as are read": Shape(
        lambda size: head(ANN, KIM, "m") + multiparts(99, filled(WORDS, size)), SMALL, "sent_to_contact", False
    ),
    "text in as many messages as are read": Shape(
        lambda size: head(ANN, KIM, "m") + messages(99, filled(WORDS, size)), SMALL, "sent_to_contact", False
    ),
    "an original with an attachment": Shape(lambda size: attached(with_pdf(size)), LARGE, "forwarding_address"),
    "an original with a long text": Shape(
        lambda size: attached(head(KIM, ANN, "o") + b"\r\n" + filled(WORDS, size)), LARGE, "forwarding_address"
    ),
    "an original of empty lines": Shape(
        lambda size: attached(head(KIM, ANN, "o") + b"Content-Type: a/b\r\n\r\n" + filled(b"\r\n", size)),
        TINY,
        "forwarding_address",
    ),
    "an original that is all header": Shape(
        lambda size: attached(head(KIM, ANN, "o") + filled(b"X:\r\n", size)),
        TINY,
        "forwarding_address",
    ),
    "an original in a file": Shape(lambda size: attached_file(with_pdf(size)), LARGE, "forwarding_address"),
    "several originals": Shape(
        lambda size: attached(*(with_pdf(size // 20, f"o{number}") for number in range(20))), LARGE,
        "forwarding_address",
    ),
    "ever more originals": Shape(
        lambda size: attached(*(with_pdf(100, f"o{size}-{number}") for number in range(size))), (20, 40, 80),
        "forwarding_address",
    ),
    "an original in the text": Shape(
        lambda size: inline(BLOCK + filled(WORDS, size)), (128 * KIB, 256 * KIB, 512 * KIB), "forwarding_address"
    ),
    "an original in the text, and much that looks like more": Shape(
        lambda size: inline(BLOCK + filled(NO_BLOCKS, size)), SMALL, "forwarding_address"
    ),
    "much that looks like an original": Shape(
        lambda size: inline(filled(NO_BLOCKS, size) + BLOCK), SMALL, "forward_not_parsed"
    ),
    "the same as HTML": Shape(
        lambda size: inline(html(filled(NO_BLOCKS, size) + BLOCK), b"text/html"), SMALL, "forward_not_parsed"
    ),
    "the same in both": Shape(
        lambda size: alternative(filled(NO_BLOCKS, size) + BLOCK), SMALL, "forward_not_parsed"
    ),
}  # fmt: skip


class Steps:
    """Counts, as the interpreter's profiler."""

    def __init__(self) -> None:
        self.calls = 0
        self.octets = 0
        self._known: dict[CodeType, tuple[str, ...] | None] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code not in self._known:
            self._known[code] = _long_arguments(code)
        names = self._known[code]
        if names is None:
            return
        if event == "call":
            self.calls += 1
            if names:
                values = frame.f_locals
                self.octets += sum(map(_length, (values.get(name) for name in names)))
        elif event == "c_call":
            self.calls += 1
            if argument.__name__ not in AT_A_PLACE:
                self.octets += _length(getattr(argument, "__self__", None))


def _long_arguments(code: CodeType) -> tuple[str, ...] | None:
    """The names of arguments to look at; `None` for code that is not counted."""
    if not code.co_filename.startswith(COUNTED):
        return None
    return () if code.co_name in AT_A_PLACE else code.co_varnames[: code.co_argcount]


def _length(value: Any) -> int:
    return len(value) if type(value) in (bytes, str) and len(value) > LONG else 0


async def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    """In place of `asyncio.to_thread`: the work is done where it is counted."""
    return function(*arguments)


class Way:
    """The way from the spool to the log; entries lie in files, as large ones do."""

    def __init__(self, opened: Any, log: JudgedLog) -> None:
        self.log = log
        self._folder: Path = opened.folder
        self._serial = 0

    def entry(self, content: bytes, **facts: Any) -> Entry:
        self._serial += 1
        path = self._folder / f"e{self._serial}.content"
        path.write_bytes(content)
        made = entry(f"e{self._serial}", b"", **({"login": ANN, "captures": [FORWARD]} | facts))
        return replace(made, content=None, content_file=path, dot_stuffed=True)

    async def steps(self, content: bytes, **facts: Any) -> tuple[Steps, list[Decision]]:
        """The steps that it takes to record this message."""
        made = self.entry(content, **facts)
        steps = Steps()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(asyncio, "to_thread", _here)
            sys.setprofile(steps)
            try:
                decisions = await self.log.pass_by(made)
            finally:
                sys.setprofile(None)
        return steps, decisions

    async def emails(self) -> list[Any]:
        async with self.log.database.read() as connection:
            return list((await connection.execute(select(schema.email).order_by(schema.email.c.id))).all())


@pytest.fixture
async def way(opened: Any) -> AsyncIterator[Way]:
    await opened.directory.set_portal("P1", rule=Rule.ALL)
    log = JudgedLog(opened.database, opened.folder)
    yield Way(opened, log)
    await log.recorder.close()


def require_proportion(counts: Sequence[int]) -> None:
    """What is added by doubling is at most twice what was added by doubling before."""
    first, second = (after - before for before, after in pairwise(counts))
    assert second <= 2 * MARGIN * max(first, 0) + SLACK, counts


class TestSteps:
    @pytest.mark.parametrize("kind", SHAPES)
    async def test_twice_the_size_takes_twice_the_steps_at_most(self, way: Way, kind: str) -> None:
        shape = SHAPES[kind]
        facts = {} if shape.is_forward else {"captures": [], "to": [KIM]}
        await way.steps(shape.make(shape.sizes[0] - 1), **facts)  # what is done once is done now
        counted = []
        for size in shape.sizes:
            steps, decisions = await way.steps(shape.make(size), **facts)
            assert {each.reason for each in decisions} == {shape.reason}
            counted.append(steps)
        require_proportion([each.calls for each in counted])
        require_proportion([each.octets for each in counted])

    async def test_what_another_server_brings_is_proven_in_proportion(self, opened: Any) -> None:
        signer = Signer("acme.example")
        with DnsZone(signer.records) as zone:
            log = JudgedLog(opened.database, opened.folder, nameservers=(zone.server,))
            way = Way(opened, log)
            outside = {"login": None, "captures": [BCC], "source": "bcc", "reply": "", "host": ""}
            counted = []
            for size in (LARGE[0], *LARGE):
                text = filled(WORDS + b" \t" * 400 + b"x\r\n" + NO_BLOCKS, size)
                content = signer.sign(head(ANN, KIM, "copy") + b"\r\n" + text, body=b"relaxed")
                steps, decisions = await way.steps(content, **outside)
                assert [each.reason for each in decisions] == ["bcc_address"]
                counted.append(steps)
            require_proportion([each.calls for each in counted[1:]])
            require_proportion([each.octets for each in counted[1:]])
            await log.recorder.close()

    async def test_a_thousand_parts_in_each_other_are_recorded_without_being_followed(self, way: Way) -> None:
        for nested in (multiparts(1000), messages(1000)):
            content = head(ANN, KIM, "m" + str(len(nested))) + nested
            steps, _ = await way.steps(content, captures=[], to=[KIM])
            assert steps.calls < 10_000
            last = (await way.emails())[-1]
            assert (last.flags, last.size) == (["unparsed"], len(content))

    async def test_of_fifty_megabytes_of_text_a_beginning_is_read_line_by_line(self, way: Way) -> None:
        content = inline(BLOCK + filled(NO_BLOCKS, 50 * MIB))
        steps, (decision,) = await way.steps(content)
        assert sorted(decision.flags) == ["body_truncated", "unverified_forward"]
        lines = content[: 4 * ParseLimits().text].count(b"\n")  # a character has four octets at most
        assert steps.calls <= 10 * lines + 5 * OriginalLimits().delimiters
        assert steps.octets <= 16 * len(content)


class TestMemory:
    @pytest.fixture
    async def way(self, opened: Any) -> AsyncIterator[Way]:
        """With the parser's own process, under its limit of memory and none of time."""
        parser = Parser(seconds=600.0, memory=MEMORY, limits=ParseLimits())
        log = JudgedLog(opened.database, opened.folder, parser=parser)
        yield Way(opened, log)
        await log.recorder.close()

    async def peak(self, way: Way, *entries: Entry) -> int:
        """How much more memory the recorder has at most, while it records these."""
        tracemalloc.start()
        try:
            await way.log.pass_by(*entries)
            left, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert left < 4 * MIB
        return peak

    @pytest.mark.parametrize("kind", ["attached", "several", "in the text"])
    async def test_a_forward_of_fifty_megabytes_takes_a_small_multiple_of_them(self, way: Way, kind: str) -> None:
        if kind == "attached":
            content = attached(with_pdf(50 * MIB))
        elif kind == "several":
            content = attached(*(with_pdf(10 * MIB, f"o{number}") for number in range(5)))
        else:
            content = inline(BLOCK + filled(NO_BLOCKS, 50 * MIB))
        assert await self.peak(way, way.entry(content)) <= 6 * len(content)
        emails = await way.emails()
        assert len(emails) == (5 if kind == "several" else 1)
        assert not any("unparsed" in each.flags for each in emails)

    async def test_a_header_without_end_takes_no_more_than_its_beginning(self, way: Way) -> None:
        content = attached(head(KIM, ANN, "o") + filled(b"X:\r\n", 6 * MIB))
        assert await self.peak(way, way.entry(content)) <= 8 * len(content)
        assert [each.size for each in await way.emails()] == [len(content) - len(attached(b""))]

    async def test_of_many_forwards_one_is_in_memory_at_a_time(self, way: Way) -> None:
        entries = [way.entry(attached(with_pdf(2 * MIB, f"o{number}"))) for number in range(9)]
        first = await self.peak(way, entries[0])
        assert await self.peak(way, *entries[1:]) <= 2 * first
