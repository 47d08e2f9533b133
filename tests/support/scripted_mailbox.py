"""A pretend IMAP server that answers as a test tells it, and keeps what it was told.

Without being told it has one mailbox, knows the login of the tests, and answers OK to whatever else is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType

from debian_peers import PASSWORD

from proxy.route import Provider, ProviderKind, Tls

__all__ = ["LOGIN", "LoggedIn", "ScriptedMailbox"]

LOGIN = "ann@acme.example"
CAPABILITIES = b"IMAP4rev1 SASL-IR LITERAL+ IDLE ID AUTH=PLAIN AUTH=XOAUTH2"
PATIENCE = 20.0


class LoggedIn:
    """One connection of a client, as the server has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, octets: bytes) -> None:
        """Sends octets."""
        self.writer.write(octets)

    async def drain(self) -> None:
        """Waits until the octets are on their way, as far as they are taken."""
        await self.writer.drain()

    def hang_up(self) -> None:
        """Closes the connection once what was said is on its way."""
        self.writer.close()

    def reset(self) -> None:
        """Closes it at once."""
        self.writer.transport.abort()


Answer = bytes | Callable[[LoggedIn, bytes], Awaitable[None]]


class ScriptedMailbox:
    """An async context manager: the server. `answers` are by command, in capitals: octets in which `%tag` is replaced,
    or what is to be done, which gets the connection and the tag. "greeting" is one of them.
    """

    def __init__(
        self,
        *,
        tls: Tls = Tls.NONE,
        context: ssl.SSLContext | None = None,
        answers: Mapping[str, Answer] | None = None,
        password: str = PASSWORD,
    ) -> None:
        self.tls = tls
        self.answers: dict[str, Answer] = {
            "greeting": b"* OK [CAPABILITY " + CAPABILITIES + b"] ready\r\n",
            "CAPABILITY": b"* CAPABILITY " + CAPABILITIES + b"\r\n%tag OK done\r\n",
            "SELECT": b"* 1 EXISTS\r\n* OK [UIDVALIDITY 1] ok\r\n%tag OK [READ-WRITE] done\r\n",
            "IDLE": b"+ idling\r\n",
        } | dict(answers or {})
        self.lines: list[bytes] = []
        self.connections: list[LoggedIn] = []
        self.opened = 0
        self.port = 0
        self._context = context
        self._password = password
        self._server: asyncio.Server
        self._idle: dict[LoggedIn, bytes] = {}

    async def __aenter__(self) -> ScriptedMailbox:
        implicit = self._context if self.tls is Tls.IMPLICIT else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=implicit)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for each in self.connections:
            each.reset()
        await self.until(lambda: not self.connections)

    def provider(self, pki_file: object = None) -> Provider:
        """The settings that lead here."""
        return Provider(
            name="provider",
            kind=ProviderKind.IMAP,
            host="127.0.0.1" if self.tls is Tls.NONE else "localhost",
            port=self.port,
            tls=self.tls,
            ca_file=pki_file,  # type: ignore[arg-type]
        )

    def table(self, pki_file: object = None) -> dict[str, object]:
        """The same as `[[provider]]` table."""
        host = "127.0.0.1" if self.tls is Tls.NONE else "localhost"
        table = {"name": "provider", "kind": "imap", "host": host, "port": self.port, "tls": self.tls.value}
        return table | ({"ca_file": pki_file} if pki_file else {})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Gives the loop its turns until `condition` holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.001)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = LoggedIn(reader, writer)
        self.connections.append(connection)
        self.opened += 1
        try:
            await self._answer("greeting", connection, b"*")
            while line := await reader.readline():
                self.lines.append(line)
                await self._take(connection, line)
        except (ConnectionError, ssl.SSLError, ValueError):
            pass  # the client is gone
        finally:
            self.connections.remove(connection)
            writer.close()

    async def _take(self, connection: LoggedIn, line: bytes) -> None:
        tag, _, rest = line.rstrip(b"\r\n").partition(b" ")
        verb = rest.partition(b" ")[0].upper().decode("latin-1")
        if tag.upper() == b"DONE":
            connection.say(self._idle.pop(connection) + b" OK done\r\n")
        elif verb in self.answers:
            self._idle |= {connection: tag} if verb == "IDLE" else {}
            await self._answer(verb, connection, tag)
        elif verb == "STARTTLS":
            connection.say(tag + b" OK begin\r\n")
            await connection.writer.start_tls(self._context)  # type: ignore[arg-type]
        elif verb == "LOGOUT":
            connection.say(b"* BYE bye\r\n" + tag + b" OK done\r\n")
            connection.hang_up()
        elif verb in ("LOGIN", "AUTHENTICATE"):
            is_right = verb != "LOGIN" or self._password.encode() in rest
            connection.say(tag + (b" OK in\r\n" if is_right else b" NO [AUTHENTICATIONFAILED] wrong\r\n"))
        else:
            connection.say(tag + b" OK done\r\n")

    async def _answer(self, name: str, connection: LoggedIn, tag: bytes) -> None:
        answer = self.answers[name]
        if isinstance(answer, bytes):
            connection.say(answer.replace(b"%tag", tag))
        else:
            await answer(connection, tag)
        with contextlib.suppress(ConnectionError):
            await connection.drain()
