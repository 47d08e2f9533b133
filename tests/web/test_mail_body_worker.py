"""HTML mail that is slow, large or deadly costs its formatting, never the program, and never shows itself."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from browser_view import breaches
from family import children_of

from onrecord.web import mail_body_worker
from onrecord.web.mail_body import MAX_HTML, safe_document, text_document
from onrecord.web.mail_body_worker import MailBodies

ENDLESS = "<div>" * 200_000 + "<script>alert(1)</script>"  # takes time in the square of its depth: minutes
# Each paragraph opens again what the first one left open: 20 000 times 900 elements out of 100 kB.
BOMB = "<p>" + "".join(f"<font lang=a{number}>" for number in range(900)) + "<p>x" * 20_000
STUCK = "import sys\nsys.stdin.buffer.readline()\nwhile True:\n    pass\n"
BABBLING = "import sys\nsys.stdout.buffer.write(b'<script>alert(1)</script>' * 10)\nsys.stdout.flush()\n"


@pytest.fixture
async def bodies() -> AsyncIterator[MailBodies]:
    """A sanitiser with all the time it needs."""
    bodies = MailBodies(seconds=60.0)
    yield bodies
    await bodies.close()


def program(folder: Path, text: str) -> str:
    """A program in place of the interpreter."""
    path = folder / "program"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o700)
    return str(path)


def process_of(bodies: MailBodies) -> int:
    """The process that reads mail now."""
    assert bodies._process is not None
    return bodies._process.pid


async def test_the_document_is_that_of_the_html(bodies: MailBodies) -> None:
    html = '<p style="color:red">Grüße 🙂<img src=https://e.example/><img src=cid:x>'
    document = await bodies.document(html, "other")
    assert document == safe_document(html)
    assert (document.remote, document.embedded, document.note) == (1, 1, None)


async def test_mail_without_html_is_shown_as_text_without_a_note_and_without_a_process(bodies: MailBodies) -> None:
    assert await bodies.document(" \n", "Hello <b>") == text_document("Hello <b>")
    assert bodies._process is None


async def test_one_process_reads_many_mails(bodies: MailBodies) -> None:
    documents = await asyncio.gather(*(bodies.document(f"<p>{number}", "") for number in range(20)))
    assert documents == [safe_document(f"<p>{number}") for number in range(20)]
    first = process_of(bodies)
    await bodies.document("<p>x", "")
    assert process_of(bodies) == first


async def test_html_that_is_too_deep_is_shown_as_its_text(bodies: MailBodies) -> None:
    document = await bodies.document("<div>" * 300 + "Hello <script>alert(1)</script>", "")
    assert document.note == "The formatting of this message is not shown: it is nested too deeply"
    assert "Hello" in document.html
    assert breaches(document.html) == []


async def test_html_that_is_too_large_is_not_sent_to_the_process(bodies: MailBodies) -> None:
    document = await bodies.document("x" * (MAX_HTML + 1), "the text")
    assert document == text_document("the text", note="The formatting of this message is not shown: it is too large")
    assert bodies._process is None


async def test_html_that_takes_too_long_is_shown_as_text_and_its_process_ended() -> None:
    before = set(children_of(os.getpid()))
    bodies = MailBodies(seconds=0.5)
    document = await bodies.document(ENDLESS, "the text")
    assert document.note == "The formatting of this message is not shown: it takes too long to read"
    assert document.html == text_document("the text").html
    assert set(children_of(os.getpid())) <= before
    bodies._seconds = 60.0
    assert await bodies.document("<p>next", "") == safe_document("<p>next")
    await bodies.close()


async def test_html_that_needs_too_much_memory_is_shown_as_text() -> None:
    bodies = MailBodies(seconds=60.0, memory=256 * 1024 * 1024)
    document = await bodies.document(BOMB, "the text")
    assert document.note == "The formatting of this message is not shown: it cannot be read safely"
    assert document.html == text_document("the text").html
    assert await bodies.document("<p>next", "") == safe_document("<p>next")
    await bodies.close()


async def test_a_process_that_was_killed_between_two_mails_costs_nothing(bodies: MailBodies) -> None:
    await bodies.document("<p>1", "")
    os.kill(process_of(bodies), signal.SIGKILL)
    assert await bodies.document("<p>2", "") == safe_document("<p>2")


async def test_a_process_that_dies_each_time_shows_text(bodies: MailBodies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    document = await bodies.document("<script>alert(1)</script><p>Hello", "")
    assert document.note == "The formatting of this message is not shown: it cannot be read safely"
    assert "Hello" in document.html
    assert breaches(document.html) == []


async def test_a_process_that_does_not_start_shows_text(bodies: MailBodies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    document = await bodies.document("<p>x", "the text")
    assert document.html == text_document("the text").html


async def test_a_process_that_says_something_else_shows_text(
    bodies: MailBodies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, BABBLING))
    document = await bodies.document("<p>x", "the text")
    assert document.html == text_document("the text").html


async def test_who_leaves_while_it_is_read_does_not_get_the_next_one_a_wrong_answer(
    bodies: MailBodies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", program(tmp_path, STUCK))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await bodies.document("<p>first", "")
    assert bodies._process is None
    assert await bodies.document("<p>second", "") == safe_document("<p>second")


async def test_more_mails_than_may_wait_are_shown_as_text(bodies: MailBodies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_body_worker, "MAX_WAITING", 3)
    documents = await asyncio.gather(*(bodies.document("<p>x", "text") for _ in range(5)))
    assert [each.note for each in documents[:3]] == [None] * 3
    assert [each.note for each in documents[3:]] == [
        "The formatting of this message is not shown: too many messages are being opened"
    ] * 2
    assert await bodies.document("<p>x", "text") == safe_document("<p>x")


def test_a_process_whose_asker_is_gone_ends_by_itself() -> None:
    html = ENDLESS.encode()
    command = [sys.executable, "-m", "onrecord.web.mail_body_worker", str(512 * 1024 * 1024), "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(struct.pack(">I", len(html)) + html)
        process.stdin.flush()
        assert process.wait() == -signal.SIGALRM
