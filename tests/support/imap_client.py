"""An IMAP client for tests: says exactly the octets it is told, and keeps every octet it hears."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl

from debian_peers import PASSWORD
from smtp_client import PATIENCE, Client

__all__ = ["ImapClient", "plain_response"]

LONGEST_LINE = 16384  # what is read again when a search goes on


def plain_response(login: str, password: str = PASSWORD) -> bytes:
    """The message of RFC 4616."""
    return base64.b64encode(f"\0{login}\0{password}".encode())


class ImapClient(Client):
    """An async context manager over one connection; `transcript` is all that the server has said."""

    def __init__(self, port: int, *, context: ssl.SSLContext | None = None) -> None:
        super().__init__(port, context=context)
        self.transcript = bytearray()
        self.taken = 0

    async def until(self, pattern: bytes) -> bytes:
        """What comes up to the end of the first match. Raises `EOFError` with what came instead."""
        searched = self.taken
        wanted = re.compile(pattern, re.MULTILINE)
        async with asyncio.timeout(PATIENCE):
            while (match := wanted.search(self.transcript, searched)) is None:
                searched = max(self.taken, len(self.transcript) - LONGEST_LINE)
                octets = await self._read()
                if not octets:
                    raise EOFError(bytes(self.transcript[self.taken :])[-LONGEST_LINE:])
                self.transcript += octets
        began, self.taken = self.taken, match.end()
        return bytes(self.transcript[began : self.taken])

    async def tagged(self, tag: bytes) -> bytes:
        """What comes up to and with the tagged response."""
        return await self.until(rb"^%s (?:OK|NO|BAD)[^\r\n]*\r\n" % re.escape(tag))

    async def command(self, line: bytes) -> bytes:
        """Sends a command, whose tag is its first word; what comes up to its end."""
        self.send(line + b"\r\n")
        return await self.tagged(line.split(b" ", 1)[0])

    async def go_ahead(self, line: bytes) -> bytes:
        """Sends a line; what comes up to and with the continuation request."""
        self.send(line + b"\r\n")
        return await self.until(rb"^\+[^\r\n]*\r\n")

    async def rest(self) -> bytes:
        """All that comes until the connection is closed."""
        async with asyncio.timeout(PATIENCE):
            while octets := await self._read():
                self.transcript += octets
        began, self.taken = self.taken, len(self.transcript)
        return bytes(self.transcript[began:])

    async def greet(self) -> bytes:
        """The greeting."""
        return await self.until(rb"^\* (?:OK|PREAUTH|BYE)[^\r\n]*\r\n")

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS, both halves."""
        answer = await self.command(b"tls STARTTLS")
        assert answer.startswith(b"tls OK"), answer
        await self.handshake(context)

    async def enter(self, login: str, password: str = PASSWORD) -> bytes:
        """LOGIN with the whole address; what comes up to its end."""
        return await self.command(f'login LOGIN "{login}" "{password}"'.encode())

    async def begin(self, login: str) -> None:
        """Reads the greeting and logs in."""
        await self.greet()
        answer = await self.enter(login)
        assert b"login OK" in answer, answer
