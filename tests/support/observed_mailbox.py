"""A mailbox that is observed: Dovecot that can be killed, a line to it that can go dead, and an observer at work.

The observer, the spool, the recorder and the store are the real ones, in the test's own event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debian_peers import PASSWORD, Dovecot
from family import ended
from in_process import InProcess
from pki import Pki

from certs import client_context
from engine.secret import Secret
from proxy.imap.own_login import MailboxCredentials
from proxy.limits import Deadlines
from proxy.mailbox_login import ConnectedMailbox
from proxy.observer import Observer, Rhythm, State
from proxy.route import Provider, ProviderKind, Tls
from store.observed import Observed

__all__ = ["QUICK", "Dovecots", "Line", "Observing", "Password", "message", "provider_at"]

ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux, which the socket module does not name
PATIENCE = 20.0
POLL = 0.02
QUICK = Rhythm(answer=5.0, round=0.3, poll=0.1, first_pause=0.05, longest_pause=0.1, refused_pause=0.1)


class Dovecots(Dovecot):
    """Dovecot with mailboxes, on the same ports and with the same mail after it was killed."""

    def __init__(self, pki: Pki) -> None:
        super().__init__(pki, mailboxes=True)

    async def kill(self) -> None:
        """SIGKILL to all of its processes; back when they are gone, and nobody holds its sockets any more."""
        assert self._process is not None
        family = await asyncio.to_thread(_group, self._process.pid)
        os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.to_thread(self._process.wait)
        await ended(family)

    async def start_again(self) -> None:
        """After `kill`."""
        command = ["dovecot", "-F", "-c", str(self.folder / "dovecot.conf")]
        await self._start(command, [self.sasl_port, self.imap_starttls_port, self.imap_implicit_port])


def _group(leader: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(int(each.name)) == leader:
                found.append(int(each.name))
    return found


class Line:
    """A TCP line to a server on `port`: it forwards until it is `cut`, and then swallows, without closing anything.

    Connections made after `mend` are forwarded again; those before stay dead. When it is `gone`, nobody acknowledges
    what comes either, as when a network is lost.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._is_cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._dead: set[int] = set()
        self._serial = 0
        self.port = 0
        self.connections = 0

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(each.wait_closed() for each in self._writers), return_exceptions=True)

    def cut(self) -> None:
        """All connections go dead."""
        self._dead.update(range(self._serial + 1))
        self._is_cut = True

    def gone(self) -> None:
        """All connections go dead, and the kernel takes not a packet of them any more."""
        self.cut()
        for writer in self._writers:
            if not writer.is_closing():
                _deafen(writer)

    def mend(self) -> None:
        """New connections live."""
        self._is_cut = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serial += 1
        number = self._serial
        self._writers.append(writer)
        if self._is_cut:
            self._dead.add(number)
            return
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        self._writers.append(far_writer)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._forward(number, source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(self, number: int, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while octets := await source.read(65536):
                if number in self._dead:
                    continue
                target.write(octets)
                await target.drain()
        if number not in self._dead:
            target.close()


def _deafen(writer: asyncio.StreamWriter) -> None:
    """The socket gets a packet filter that drops everything."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, nothing of it
    found = writer.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


@dataclass(slots=True)
class Password:
    """A source of one password; `refusals` are what it was told of, `successes` how often it opened the mailbox."""

    login: str
    secret: str = PASSWORD
    mechanism: str = "PLAIN"
    refusals: list[str] = field(default_factory=list)
    successes: int = 0

    async def credentials(self, mailbox: int) -> MailboxCredentials:
        return MailboxCredentials(login=self.login, mechanism=self.mechanism, secret=Secret(self.secret.encode()))

    async def refused(self, credentials: MailboxCredentials, text: str) -> bool:
        self.refusals.append(text)
        return False

    async def worked(self, credentials: MailboxCredentials) -> None:
        self.successes += 1


@dataclass(slots=True, kw_only=True)
class Observing:
    """An installation with the sample portal, and observers in it."""

    here: InProcess
    pki: Pki
    states: list[State] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, folder: Path, pki: Pki, **options: Any) -> AsyncIterator[Observing]:
        async with InProcess(folder, [], listeners=(), **options) as here:
            try:
                yield cls(here=here, pki=pki)
            finally:
                for event in here.log:
                    print(event)  # shown when the test fails

    @contextlib.asynccontextmanager
    async def observer(
        self, address: str, provider: Provider, credentials: Any = None, *, rhythm: Rhythm = QUICK, **options: Any
    ) -> AsyncIterator[Observer]:
        """An observer at work; it is cancelled at the end."""
        context: ssl.SSLContext | None = client_context(provider.ca_file) if provider.tls is not Tls.NONE else None
        mailbox = ConnectedMailbox(
            credentials or Password(address),
            1,
            provider,
            context,
            Deadlines(provider_connect=5.0, provider_greeting=1.0, provider_command=QUICK.answer),
        )
        observer = Observer(
            address=address,
            server=provider.name,
            open_mailbox=mailbox.open,
            captures=self.here.captures,
            observed=Observed(self.here.database),
            rhythm=rhythm,
            tell=self.states.append,
            **options,
        )
        task = asyncio.create_task(observer.run())
        try:
            yield observer
            assert not task.done(), "the observer has ended"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Gives the loop its turns until `holds`."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await asyncio.sleep(POLL)

    async def until_watching(self, observer: Observer) -> None:
        """Everything that was there is read, and the observer waits for more."""
        await self.until(lambda: observer.state is State.WATCHING)

    async def rows(self, ask: Callable[[], Awaitable[list[Any]]], count: int) -> list[Any]:
        """The rows that `ask` gives, once they are `count`. The database is not interrupted at its work."""
        clock = asyncio.get_running_loop().time
        end = clock() + PATIENCE
        while len(found := await ask()) < count and clock() < end:
            await asyncio.sleep(POLL)
        assert len(found) == count
        return found

    async def logged(self, *subjects: str) -> None:
        """Waits until these are logged, and asserts that nothing else is, nor anything twice."""
        found = await self.rows(self.here.emails, len(subjects))
        assert sorted(each.subject for each in found) == sorted(subjects)


def provider_at(port: int, pki: Pki | None, tls: Tls = Tls.IMPLICIT) -> Provider:
    """The settings of an IMAP server on localhost."""
    host = "localhost" if tls is not Tls.NONE else "127.0.0.1"
    return Provider(
        name="mail", kind=ProviderKind.IMAP, host=host, port=port, tls=tls, ca_file=pki.ca_file if pki else None
    )


def message(
    subject: str,
    *,
    author: str = "kim@cust.example",
    to: str = "ann@acme.example",
    body: bytes = b"hello\r\n",
    **fields: str,
) -> bytes:
    """A message, by default from Kim to Ann; its Message-ID is made of its subject."""
    lines = [
        f"From: {author}",
        f"To: {to}",
        f"Subject: {subject}",
        f"Message-ID: <{subject.replace(' ', '-')}@cust.example>",
        "Date: Mon, 2 Nov 2026 10:00:00 +0000",
        *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items()),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body
