"""A parser process that dies, hangs or does not start costs the reading of one message, never its octets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import zstandard
from family import children_of

from store.database import StoreUnavailable
from store.parser import Parser
from store.parsing import ParseLimits

STUCK = r"""
import sys
sys.stdin.buffer.readline()
while True:
    pass
"""


class Kept:
    """What a parse wants kept, by hash."""

    def __init__(self) -> None:
        self.parts: dict[str, list[bytes]] = defaultdict(list)

    async def __call__(self, digest: str, number: int, octets: bytes) -> None:
        assert number == len(self.parts[digest])
        self.parts[digest].append(zstandard.ZstdDecompressor().decompress(octets))

    def content(self, result: dict[str, Any]) -> bytes:
        """The raw message of a result."""
        octets = b"".join(self.parts[result["content"]])
        assert hashlib.sha256(octets).hexdigest() == result["content"]
        return octets


def message(number: int, size: int = 100) -> bytes:
    """A message that says which it is."""
    head = b"From: ann@acme.example\r\nMessage-ID: <%d@x>\r\nSubject: number %d\r\n\r\n" % (number, number)
    return head + b"line of %d\r\n" % number * (size // 10)


@pytest.fixture
async def parser() -> AsyncIterator[Parser]:
    """A parser with all the time it needs."""
    parser = Parser(seconds=20.0, memory=0, limits=ParseLimits())
    yield parser
    await parser.close()


def process_of(parser: Parser) -> int:
    """The process that parses now."""
    assert parser._process is not None
    return parser._process.pid


async def test_a_process_that_was_killed_between_two_messages_costs_nothing(parser: Parser) -> None:
    await parser.parse(message(1), dot_stuffed=False, keep=Kept())
    os.kill(process_of(parser), signal.SIGKILL)
    kept = Kept()
    result = await parser.parse(message(2), dot_stuffed=False, keep=kept)
    assert result["flags"] == []
    assert kept.content(result) == message(2)


async def test_a_message_that_kills_each_process_is_kept_unparsed(
    parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    kept = Kept()
    result = await parser.parse(message(3), dot_stuffed=False, keep=kept)
    assert (result["flags"], result["trouble"]) == (["unparsed"], "the parser died")
    assert (result["message_id"], result["subject"]) == ("3@x", "number 3")
    assert kept.content(result) == message(3)


async def test_a_message_that_takes_too_long_is_kept_unparsed_and_its_process_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = tmp_path / "stuck"
    stuck.write_text(f"#!{sys.executable}\n{STUCK}")
    stuck.chmod(0o700)
    parser = Parser(seconds=0.2, memory=0, limits=ParseLimits())
    kept = Kept()
    before = set(children_of(os.getpid()))  # servers that other tests use
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(stuck))
        result = await parser.parse(message(4), dot_stuffed=False, keep=kept)
    assert (result["flags"], result["trouble"]) == (["unparsed"], "took too long")
    assert kept.content(result) == message(4)
    assert set(children_of(os.getpid())) <= before


async def test_a_process_that_cannot_be_started_costs_no_content(
    parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure counted as a missing body: the message was dropped from the log for a gap."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    kept = Kept()
    result = await parser.parse(message(5), dot_stuffed=False, keep=kept)
    assert result["trouble"] == "the parser did not start: FileNotFoundError"
    assert kept.content(result) == message(5)


async def test_a_body_that_is_missing_is_told_from_a_parser_that_died(parser: Parser, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await parser.parse(tmp_path / "gone", dot_stuffed=False, keep=Kept())


async def test_an_answer_that_nobody_could_keep_is_not_taken_for_the_next_message(parser: Parser) -> None:
    """The rest of it stood in the pipe, and the next message was recorded with the content of the one before."""

    async def refuse(digest: str, number: int, octets: bytes) -> None:
        raise StoreUnavailable("locked")

    with pytest.raises(StoreUnavailable):
        await parser.parse(message(6, size=3_000_000), dot_stuffed=False, keep=refuse)
    kept = Kept()
    result = await parser.parse(message(7), dot_stuffed=False, keep=kept)
    assert result["message_id"] == "7@x"
    assert kept.content(result) == message(7)


async def test_a_process_whose_asker_died_in_the_middle_ends_by_itself() -> None:
    """A message that takes for ever kept a processor busy for ever when the recorder was killed meanwhile.

    Here nobody reads what it has to say, so that it can never end its work.
    """
    content = os.urandom(1_000_000)
    request = {"size": len(content), "path": None, "dot_stuffed": False, "limits": asdict(ParseLimits()), "seconds": 1}
    with subprocess.Popen(
        [sys.executable, "-m", "store.parser", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        await asyncio.to_thread(process.stdin.write, json.dumps(request).encode() + b"\n" + content)
        process.stdin.flush()
        assert await asyncio.to_thread(process.wait) == -signal.SIGALRM


async def test_a_process_with_much_to_say_can_be_ended(parser: Parser) -> None:
    """The recorder waited for ever for the end of a process whose pipe was full; on asyncio's own loop only."""
    begun = asyncio.Event()

    async def dawdle(digest: str, number: int, octets: bytes) -> None:
        begun.set()
        await asyncio.sleep(3600)

    parsing = asyncio.create_task(parser.parse(os.urandom(30_000_000), dot_stuffed=False, keep=dawdle))
    await begun.wait()
    assert parser._process is not None
    assert parser._process.stdout is not None
    while not parser._process.stdout._paused:  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
    parsing.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([parsing])
