"""The parser process: hostile mail costs its own understanding, and a process that fails is replaced."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import zstandard

import engine
from engine.fingerprint import essence, id_key
from store.parser import Parser
from store.parsing import ParseLimits

HEAD = b"From: ann@acme.example\r\nTo: kim@cust.example\r\nSubject: Offer\r\nMessage-ID: <1@acme.example>\r\n"
MEMORY = 1024 * 1024 * 1024  # the program's default


class Kept:
    """The content that came out, unpacked."""

    def __init__(self) -> None:
        self.parts: dict[str, list[bytes]] = {}

    async def keep(self, digest: str, number: int, part: bytes) -> None:
        parts = self.parts.setdefault(digest, [])
        if number == len(parts):  # an attempt that failed in the middle began at the first part, too
            parts.append(zstandard.ZstdDecompressor().decompress(part, max_output_size=1024 * 1024))

    def __getitem__(self, digest: str) -> bytes:
        content = b"".join(self.parts[digest])
        assert hashlib.sha256(content).hexdigest() == digest
        return content


@pytest_asyncio.fixture
async def parser() -> AsyncIterator[Parser]:
    parser = Parser(seconds=60.0, memory=MEMORY, limits=ParseLimits())
    yield parser
    await parser.close()


@pytest.fixture
def kept() -> Kept:
    return Kept()


async def test_a_message_is_read_from_memory_and_from_a_file(parser: Parser, kept: Kept, tmp_path: Path) -> None:
    content = HEAD + b"\r\n..dots\r\n" + os.urandom(3_000_000).replace(b"\r\n.", b"\r\nx")
    plain = content.replace(b"\r\n..", b"\r\n.")
    path = tmp_path / "content"
    path.write_bytes(content)
    for source in (content, path):
        result = await parser.parse(source, dot_stuffed=True, keep=kept.keep)
        assert kept[result["content"]] == plain
        assert result["subject"] == "Offer"
        result = await parser.parse(source, dot_stuffed=False, keep=kept.keep)
        assert kept[result["content"]] == content


async def test_one_process_reads_many_messages(parser: Parser, kept: Kept) -> None:
    for number in range(50):
        body = b"body %d\r\n" % number
        result = await parser.parse(HEAD + b"\r\n" + body, dot_stuffed=False, keep=kept.keep)
        assert result["text"] == body.decode()
    assert parser._process is not None


async def test_a_file_that_is_gone_is_told(parser: Parser, kept: Kept, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await parser.parse(tmp_path / "gone", dot_stuffed=False, keep=kept.keep)
    result = await parser.parse(HEAD + b"\r\nstill here", dot_stuffed=False, keep=kept.keep)
    assert result["text"] == "still here"


HOSTILE = {
    "a million parts": HEAD + b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\n" * 1_000_000,
    "nested messages": HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 1000,
    "nested multiparts": HEAD
    + b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(1000)),
    "nested below the limit": HEAD
    + b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(99))
    + b"\r\n"
    + b"--x\r\n" * 90_000,
    "continued parameters": HEAD
    + b"Content-Type: text/plain;"
    + b"".join(b" name*%d*=x;" % n for n in range(100_000))
    + b"\r\n\r\nx",
    "encoded words": b"Subject: "
    + b"=?utf-8?q?a?= " * 100_000
    + b"\r\nFrom: "
    + b"=?utf-8?q?a?= " * 100_000
    + b"\r\n\r\nx",
    "open comments": b"From: " + b"(" * 100_000 + b"\r\nDate: " + b"(" * 100_000 + b"\r\n\r\nx",
    "open quotes": b"From: " + b'"' * 100_001 + b"\r\nTo: " + b"<" * 100_000 + b"\r\n\r\nx",
    "many addresses": b"To: " + b"a@b.example, " * 200_000 + b"\r\n\r\nx",
    "many references": b"References: "
    + b"<a@b.example> " * 200_000
    + b"\r\nIn-Reply-To: "
    + b"<" * 300_000
    + b"\r\n\r\nx",
    "many fields": b"".join(b"X-%d: x\r\n" % n for n in range(100_000)) + HEAD + b"\r\nx",
    "one field of 10 MiB": b"X: " + b"x" * 10_485_760 + b"\r\n" + HEAD + b"\r\nx",
    "folds": b"Subject:" + b"\r\n x" * 300_000 + b"\r\n" + HEAD + b"\r\nx",
    "boundaries that begin each other": HEAD
    + b"Content-Type: multipart/mixed; boundary=aaaa\r\n\r\n"
    + b"".join(b"--" + b"a" * (n % 8) + b"\r\n" for n in range(99_000)),
    "a long boundary": HEAD
    + b"Content-Type: multipart/mixed; boundary="
    + b"a" * 50_000
    + b"\r\n\r\n"
    + b"--"
    + b"a" * 50_000
    + b"\r\n",
    "semicolons": HEAD + b"Content-Type: text/plain" + b";" * 300_000 + b"\r\n\r\nx",
    "quoted semicolons": HEAD + b'Content-Type: text/plain; a="' + b'\\";' * 100_000 + b"\r\n\r\nx",
    "base64 of 20 MiB": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QUJD" * 18 * 262_144,
    "quoted-printable of 10 MiB": HEAD
    + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    + b"=41=42\r\n" * 1_300_000,
    "uuencode": HEAD
    + b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\r\n"
    + b"M"
    + b"!" * 60
    + b"\r\n" * 300_000,
    "an idna charset": HEAD + b"Content-Type: text/plain; charset=idna\r\n\r\n" + b"xn--" + b"a" * 300_000,
    "an encoded idna word": b"Subject: =?idna?q?xn--" + b"a" * 900 + b"?=\r\n" + HEAD + b"\r\nx",
    "a year far away": b"Date: Tue, 24 Nov 1000000000 10:00:00 +0100\r\n" + HEAD + b"\r\nx",
    "a long date": b"Date: " + b"1 " * 200_000 + b"\r\n" + HEAD + b"\r\nx",
    "one line of 20 MiB": HEAD + b"\r\n" + b"x" * 20_971_520,
    "line ends only": HEAD + b"\r\n" + b"\r\n" * 5_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_mail_is_kept_whole_within_time_and_memory(parser: Parser, kept: Kept, kind: str) -> None:
    content = HOSTILE[kind]
    result = await parser.parse(content, dot_stuffed=False, keep=kept.keep)
    assert result.get("trouble") not in ("took too long", "the parser died"), result["trouble"]
    assert kept[result["content"]] == content
    assert len(result["text"]) <= ParseLimits().text
    after = await parser.parse(HEAD + b"\r\nnext", dot_stuffed=False, keep=kept.keep)
    assert after["text"] == "next"


class TestFailing:
    async def test_a_process_that_is_killed_is_replaced_and_the_message_read(self, parser: Parser, kept: Kept) -> None:
        await parser.parse(HEAD + b"\r\nx", dot_stuffed=False, keep=kept.keep)
        assert parser._process is not None
        first = parser._process.pid
        os.kill(first, signal.SIGKILL)
        result = await parser.parse(HEAD + b"\r\nafter", dot_stuffed=False, keep=kept.keep)
        assert result["text"] == "after"
        assert "trouble" not in result
        assert parser._process.pid != first

    async def test_a_process_that_dies_of_each_try_costs_the_understanding_and_no_octet(
        self, kept: Kept, tmp_path: Path
    ) -> None:
        parser = Parser(seconds=60.0, memory=160 * 1024 * 1024, limits=ParseLimits())
        content = HEAD + b"\r\n" + b"x" * (200 * 1024 * 1024)
        path = tmp_path / "content"
        path.write_bytes(content)
        result = await parser.parse(path, dot_stuffed=False, keep=kept.keep)
        assert result["trouble"] == "the parser died"
        assert result["flags"] == ["unparsed"]
        assert result["subject"] == "Offer"
        assert result["message_id"] == "1@acme.example"
        assert id_key("1@acme.example", essence(engine.read(HEAD))) in result["keys"]
        assert result["size"] == len(content)
        assert kept[result["content"]] == content
        await parser.close()

    async def test_a_process_that_is_too_slow_is_ended_and_costs_the_understanding_and_no_octet(
        self, kept: Kept
    ) -> None:
        parser = Parser(seconds=60.0, memory=0, limits=ParseLimits())
        await parser.parse(HEAD + b"\r\nx", dot_stuffed=False, keep=kept.keep)
        process: Any = parser._process
        os.kill(process.pid, signal.SIGSTOP)
        parser._seconds = 0.05
        content = HEAD + b"\r\nslow"
        result = await parser.parse(content, dot_stuffed=False, keep=kept.keep)
        assert result["trouble"] == "took too long"
        assert result["flags"] == ["unparsed"]
        assert kept[result["content"]] == content
        assert process.returncode == -signal.SIGKILL
        parser._seconds = 60.0
        assert (await parser.parse(HEAD + b"\r\nnext", dot_stuffed=False, keep=kept.keep))["text"] == "next"
        await parser.close()

    async def test_a_keeper_that_fails_does_not_disturb_the_next_message(self, parser: Parser, kept: Kept) -> None:
        async def refuse(digest: str, number: int, part: bytes) -> None:
            raise RuntimeError("the store is away")

        with pytest.raises(RuntimeError):
            await parser.parse(HEAD + b"\r\nfirst" + b"x" * 3_000_000, dot_stuffed=False, keep=refuse)
        result = await parser.parse(HEAD + b"\r\nsecond", dot_stuffed=False, keep=kept.keep)
        assert result["text"] == "second"

    async def test_a_cancelled_reading_does_not_disturb_the_next_message(self, parser: Parser, kept: Kept) -> None:
        reached = asyncio.Event()

        async def stall(digest: str, number: int, part: bytes) -> None:
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(parser.parse(HEAD + b"\r\nfirst", dot_stuffed=False, keep=stall))
        await reached.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        result = await parser.parse(HEAD + b"\r\nsecond", dot_stuffed=False, keep=kept.keep)
        assert result["text"] == "second"

    async def test_closing_leaves_no_process(self, kept: Kept) -> None:
        parser = Parser(seconds=60.0, memory=MEMORY, limits=ParseLimits())
        await parser.parse(HEAD + b"\r\nx", dot_stuffed=False, keep=kept.keep)
        process: Any = parser._process
        await parser.close()
        assert process.returncode is not None
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
