"""A mail client for tests: says exactly the octets it is told, and hands back replies as they came."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
import struct
from types import TracebackType

from recording_provider import PASSWORD

__all__ = ["PATIENCE", "Client", "plain"]

PATIENCE = 20.0  # seconds a test waits for octets before it fails; nothing in a passing test comes near
LAST_LINE = re.compile(rb"^[0-9]{3} .*\r\n|^[0-9]{3}\r\n", re.MULTILINE)


def plain(login: str = "ann@acme.example", password: str = PASSWORD) -> bytes:
    """The message of RFC 4616."""
    return base64.b64encode(b"\0" + login.encode() + b"\0" + password.encode())


class Client:
    """An async context manager over one connection. `context` makes it TLS from the first octet."""

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        *,
        context: ssl.SSLContext | None = None,
        server_name: str = "localhost",
        limit: int = 4 * 1024 * 1024,
    ) -> None:
        self._address = (host, port)
        self._context = context
        self._server_name = server_name
        self._limit = limit
        self._kept = b""
        self.sent = 0  # octets
        self._reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Client:
        self._reader, self.writer = await asyncio.open_connection(
            *self._address,
            ssl=self._context,
            server_hostname=self._server_name if self._context else None,
            limit=self._limit,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    def send(self, octets: bytes) -> None:
        """Sends octets and waits for nothing."""
        self.sent += len(octets)
        self.writer.write(octets)

    async def flush(self) -> None:
        """Waits until the octets sent are on their way, as far as the relay takes them."""
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def reply(self) -> bytes:
        """One whole reply. Raises `EOFError` with what came instead of one."""
        async with asyncio.timeout(PATIENCE):
            while (match := LAST_LINE.search(self._kept)) is None:
                octets = await self._read()
                if not octets:
                    raise EOFError(self._kept)
                self._kept += octets
        found, self._kept = self._kept[: match.end()], self._kept[match.end() :]
        return found

    async def replies(self, count: int) -> list[bytes]:
        """The next replies, one after the other."""
        return [await self.reply() for _ in range(count)]

    async def say(self, octets: bytes) -> bytes:
        """Sends octets; the next reply."""
        self.send(octets)
        return await self.reply()

    async def rest(self) -> bytes:
        """All that comes until the relay closes the connection."""
        kept, self._kept = self._kept, b""
        async with asyncio.timeout(PATIENCE):
            while octets := await self._read():
                kept += octets
        return kept

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(65536)
        except (ConnectionError, ssl.SSLError):
            return b""

    def stop_reading(self) -> None:
        """Takes no more octets out of the connection (a zero window, once the kernel's buffer is full)."""
        self.writer.transport.pause_reading()

    def start_reading(self) -> None:
        """Takes octets again."""
        self.writer.transport.resume_reading()

    def reset(self) -> None:
        """Ends the connection without a word (TCP reset)."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS, both halves."""
        answer = await self.say(b"STARTTLS\r\n")
        assert answer.startswith(b"220"), answer
        await self.handshake(context)

    async def handshake(self, context: ssl.SSLContext) -> None:
        """TLS on the connection as it is."""
        async with asyncio.timeout(PATIENCE):
            await self.writer.start_tls(context, server_hostname=self._server_name)

    async def greet(self) -> bytes:
        """Reads the greeting and says EHLO; the reply to EHLO."""
        greeting = await self.reply()
        assert greeting.startswith(b"220"), greeting
        return await self.say(b"EHLO client.example\r\n")

    async def log_in(self, login: str = "ann@acme.example") -> None:
        """AUTH PLAIN."""
        answer = await self.say(b"AUTH PLAIN " + plain(login) + b"\r\n")
        assert answer.startswith(b"235"), answer

    async def begin(self, login: str = "ann@acme.example") -> None:
        """Greets and logs in."""
        await self.greet()
        await self.log_in(login)

    async def address(self, *recipients: bytes, sender: bytes = b"ann@acme.example") -> None:
        """MAIL and RCPT, which must be accepted."""
        for line in (b"MAIL FROM:<" + sender + b">", *(b"RCPT TO:<" + each + b">" for each in recipients)):
            answer = await self.say(line + b"\r\n")
            assert answer.startswith(b"250"), answer

    async def submit(
        self, mail_data: bytes, *recipients: bytes, sender: bytes = b"ann@acme.example", end: bytes = b".\r\n"
    ) -> bytes:
        """One transaction by DATA, to Kim when nobody is named; the reply to its end."""
        await self.address(*(recipients or (b"kim@cust.example",)), sender=sender)
        answer = await self.say(b"DATA\r\n")
        assert answer.startswith(b"354"), answer
        return await self.say(mail_data + end)
