"""What all sessions of one relay process share: listeners, providers, limits, captures, and the end.

Listening and sessions end separately: `stop` closes the doors first, lets open transactions end, then closes the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Protocol

import structlog

from proxy.capture import Captures
from proxy.census import Census
from proxy.companions import Companions
from proxy.dial import ProviderLeg, dial
from proxy.failures import DialError
from proxy.imap.offer import common_offer
from proxy.imap.opening import Opened
from proxy.limits import Deadlines, Limits
from proxy.mailbox_dial import MailboxLeg, dial_mailbox
from proxy.route import Listener, Provider, ProviderKind, provider_of_login
from proxy.smtp.extension import Extensions, common
from proxy.smtp.session import Phase

__all__ = ["Door", "Relay", "RelaySession"]

log = structlog.get_logger("relay")

BACKLOG = 1024
SWEEPS_PER_DEADLINE = 4  # how finely the shortest deadline is measured
SLOWEST_SWEEP = 1.0  # seconds


class RelaySession(Protocol):
    """What the relay does with a session of whatever kind."""

    def sweep(self, now: float) -> None: ...
    def shut_down(self) -> bool: ...
    def abort(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A listener with what its sessions need. `provider` is `None` where the login chooses."""

    listener: Listener
    sockets: tuple[socket.socket, ...]
    provider: Provider | None
    server_context: ssl.SSLContext | None


class Relay:
    """One relay process. `tasks` is the group every task of a session lives in."""

    def __init__(
        self,
        *,
        hostname: str,
        limits: Limits,
        deadlines: Deadlines,
        providers: Mapping[Provider, ssl.SSLContext | None],
        captures: Captures,
        census: Census,
        tasks: asyncio.TaskGroup,
        companions: Companions | None = None,
    ) -> None:
        self.hostname = hostname.encode("ascii")
        self.limits = limits
        self.deadlines = deadlines
        self.captures = captures
        self.census = census
        self.tasks = tasks
        self.companions = companions
        self.sessions: set[RelaySession] = set()
        self.clock = asyncio.get_running_loop().time
        self._providers = dict(providers)
        self._learned: dict[str, Extensions] = {}
        self._listed: dict[str, bytes] = {}
        self._servers: list[asyncio.Server] = []
        self._serial = 0
        self._prefix = f"{os.getpid():x}-{os.urandom(4).hex()}"
        self._deadline_of = {
            Phase.CLIENT_COMMAND: deadlines.client_command,
            Phase.CLIENT_DATA: deadlines.client_data,
            Phase.PROVIDER_COMMAND: deadlines.provider_command,
            Phase.PROVIDER_DATA_INITIATION: deadlines.provider_data_initiation,
            Phase.PROVIDER_DATA_TERMINATION: deadlines.provider_data_termination,
        }

    # -- what sessions ask --------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        """An id that joins log lines, decisions and records of one session."""
        self._serial += 1
        return f"{self._prefix}-{self._serial:x}"

    @property
    def opened(self) -> int:
        """Sessions that ever began."""
        return self._serial

    def new_fields(self) -> tuple[bytes, bytes]:
        """Values for a missing Date and Message-ID."""
        date = format_datetime(datetime.now().astimezone()).encode("ascii")
        return date, b"<" + os.urandom(16).hex().encode("ascii") + b"@" + self.hostname + b">"

    def provider_of(self, login: str, kind: ProviderKind) -> Provider | None:
        """The provider that the login's domain leads to."""
        return provider_of_login(login, self._routed(kind))

    def offer(self) -> Extensions:
        """What every provider has that a login may lead to; until all were seen, what costs nothing to carry."""
        routed = self._routed(ProviderKind.SUBMISSION)
        if routed and all(each.name in self._learned for each in routed):
            return common(self._learned[each.name] for each in routed)
        return {b"PIPELINING": b"", b"ENHANCEDSTATUSCODES": b"", b"AUTH": b"PLAIN LOGIN"}

    def mailbox_offer(self) -> tuple[bytes, ...]:
        """The same as capabilities of IMAP."""
        routed = self._routed(ProviderKind.IMAP)
        known = all(each.name in self._listed for each in routed)
        return common_offer([self._listed[each.name] for each in routed] if known else [])

    def _routed(self, kind: ProviderKind) -> tuple[Provider, ...]:
        return tuple(each for each in self._providers if each.domains and each.kind is kind)

    async def dial(self, provider: Provider) -> ProviderLeg:
        """Connects to `provider` and learns what it offers. Raises `DialError`."""
        leg = await dial(
            provider, self._providers[provider], self.hostname, limits=self.limits, deadlines=self.deadlines
        )
        self._learned[provider.name] = leg.extensions
        return leg

    async def dial_mailbox(self, provider: Provider) -> tuple[MailboxLeg, Opened]:
        """The same for a provider of kind IMAP. Raises `DialError`."""
        leg, opened = await dial_mailbox(provider, self._providers[provider], deadlines=self.deadlines)
        self._listed[provider.name] = opened.listed
        return leg, opened

    def deadline(self, phase: Phase, *, provider_is_slow: bool) -> float | None:
        """Seconds that `phase` may last without an octet from anybody; `None` where its task has its own."""
        if phase is Phase.CLIENT_DATA and provider_is_slow:
            return self.deadlines.provider_data_block
        return self._deadline_of.get(phase)

    # -- the process --------------------------------------------------------------------------------------------------

    async def listen(self, doors: Sequence[Door], session: Callable[[Relay, Door], asyncio.Protocol]) -> None:
        """Opens the doors. The sockets are bound and listening already; implicit TLS is of the listener.

        The capture addresses are known before the first recipient comes, if the store can be asked.
        """
        await self.captures.look()
        loop = asyncio.get_running_loop()
        for door in doors:
            for each in door.sockets:
                self._servers.append(await self._serve(loop, door, each, session))

    async def _serve(
        self,
        loop: asyncio.AbstractEventLoop,
        door: Door,
        bound: socket.socket,
        session: Callable[[Relay, Door], asyncio.Protocol],
    ) -> asyncio.Server:
        is_implicit = door.listener.tls == "implicit"
        return await loop.create_server(
            lambda: session(self, door),
            sock=bound,
            backlog=BACKLOG,
            ssl=door.server_context if is_implicit else None,
            ssl_handshake_timeout=self.deadlines.tls_handshake if is_implicit else None,
        )

    async def sweep(self) -> None:
        """Measures deadlines, for ever."""
        shortest = min(self._deadline_of.values())
        pause = min(SLOWEST_SWEEP, shortest / SWEEPS_PER_DEADLINE)
        while True:
            await asyncio.sleep(pause)
            now = self.clock()
            for session in tuple(self.sessions):
                session.sweep(now)

    async def learn(self) -> None:
        """Asks each provider that logins lead to what it offers, so that a client can be told before a login."""
        for provider in self._providers:
            try:
                if provider.domains and provider.kind is ProviderKind.SUBMISSION:
                    (await self.dial(provider)).drop()
                elif provider.domains:
                    (await self.dial_mailbox(provider))[0].drop()
            except DialError as error:
                log.warning("provider not reached", provider=provider.name, cause=str(error))

    async def stop(self) -> None:
        """Closes the doors, waits for open transactions as long as `deadlines.drain`, then closes what is left."""
        for server in self._servers:
            server.close()
        if self.companions is not None:
            self.companions.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.deadlines.drain):
                while self.sessions:
                    for session in tuple(self.sessions):
                        session.shut_down()
                    await asyncio.sleep(0.02)
        for session in tuple(self.sessions):
            session.abort()
