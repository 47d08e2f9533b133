"""The process that sanitises HTML mail, and the other end of its pipes.

    request:   a length (4 octets) and that many octets of HTML in UTF-8
    answer:    a length and JSON: {"html", "remote", "embedded"}, or {"trouble"}

Every HTML mail goes through it, however small: what is slow in a parser or breaks it is not to be seen from outside,
deep nesting takes minutes in little text, and a parser that dies takes its process along. A process that takes too
long, grows too large or dies is ended and the mail shown as text. What comes back is JSON, never anything that runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

from engine.forwarded import html_text
from onrecord.web.mail_body import MAX_HTML, NotShown, SafeDocument, safe_document, text_document

__all__ = ["MailBodies"]

LENGTH = struct.Struct(">I")
SECONDS = 5.0  # a newsletter of 100 kB takes some hundredths of one
MEMORY = 512 * 1024 * 1024  # of addresses; the interpreter needs about 35 MiB of it
MAX_WAITING = 32  # mails at once, of which one is worked on; more are shown as text
MAX_ANSWER = 64 * 1024 * 1024  # octets: `MAX_DOCUMENT` characters in the longest way to write them, and more
TRIES = 2
GRACE = 5  # seconds after which a process ends by itself whose asker has died without ending it
# What asking a process that has died raises; `RuntimeError` is uvloop's word for a pipe that it has closed already.
DIED = (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError, RuntimeError)


class MailBodies:
    """Makes documents of mail, with one process that is started when needed."""

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def document(self, html: str, text: str) -> SafeDocument:
        """The document for a mail that has `html` and `text`, either of which may be empty. Never raises for a mail.

        Where the HTML cannot be shown it is that of the text, or of the text in the HTML, with a note.
        """
        if not html.strip():
            return await asyncio.to_thread(text_document, text)
        try:
            return await self._sanitised(html)
        except NotShown as error:
            note = f"The formatting of this message is not shown: {error}"
            return await asyncio.to_thread(_as_text, html, text, note)

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            # Reads what is left besides: asyncio's own loop never ends to wait for a process with a full pipe.
            await process.communicate()

    async def _sanitised(self, html: str) -> SafeDocument:
        """Raises `NotShown`."""
        if len(html) > MAX_HTML:
            raise NotShown("it is too large")
        if self._waiting >= MAX_WAITING:
            raise NotShown("too many messages are being opened")
        self._waiting += 1
        try:
            async with self._turn:
                return _document(await self._answer(html.encode("utf-8", "replace")))
        finally:
            self._waiting -= 1

    async def _answer(self, html: bytes) -> dict[str, Any]:
        """What the process says. One that dies gets a successor once: it may have been killed for another's sake."""
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._exchange(html)
            except DIED:
                await self.close()
            except TimeoutError:
                await self.close()
                raise NotShown("it takes too long to read") from None
            except OSError as error:
                await self.close()
                raise NotShown("the program that reads it did not start") from error
            except BaseException:
                await self.close()  # the rest of this answer would be taken for the answer about the next mail
                raise
        raise NotShown("it cannot be read safely")

    async def _exchange(self, html: bytes) -> dict[str, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(LENGTH.pack(len(html)) + html)
        await process.stdin.drain()
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        if length > MAX_ANSWER:
            raise BrokenPipeError("not an answer of ours")
        answer: dict[str, Any] = json.loads(await process.stdout.readexactly(length))
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        """What the process says when it dies may quote the mail and is not kept."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "onrecord.web.mail_body_worker",
            str(self._memory),
            str(int(self._seconds) + GRACE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )


def _as_text(html: str, text: str, note: str) -> SafeDocument:
    return text_document(text if text.strip() else html_text(html), note=note)


def _document(answer: dict[str, Any]) -> SafeDocument:
    if "trouble" in answer:
        raise NotShown(answer["trouble"])
    return SafeDocument(html=answer["html"], remote=answer["remote"], embedded=answer["embedded"])


def main(memory: int, seconds: int, requests: BinaryIO, answers: BinaryIO) -> None:
    """The process: one mail after the other until its input ends. It can grow no further, and writes no files."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # there would be mail in it
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        signal.alarm(seconds)
        html = requests.read(LENGTH.unpack(head)[0]).decode("utf-8", "replace")
        answer = json.dumps(_attempt(html)).encode("ascii")
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()
        signal.alarm(0)


def _attempt(html: str) -> dict[str, Any]:
    try:
        document = safe_document(html)
    except NotShown as error:
        return {"trouble": str(error)}
    return {"html": document.html, "remote": document.remote, "embedded": document.embedded}


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # whoever asked has died
        main(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
