"""A client's connection, whatever it speaks: counted, secured when asked, read only as fast as the other side takes it.

`ClientSession` is the shell that every session with a mail client shares. What is said is for the session that is
pure; this moves octets, keeps the two sides in step, and measures time.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, cast

import structlog

from certs import HTTP_PROTOCOLS
from proxy.failures import DialError, Failure
from proxy.leg import Leg
from proxy.outlet import HIGH_WATER, Outlet
from proxy.relay import Door, Relay
from proxy.route import Provider, ProviderKind, Tls

__all__ = ["ClientSession"]

log = structlog.get_logger("session")


class ClientSession(asyncio.Protocol):
    """A client's connection and, once needed, its provider's (`_leg`). `kind` is the kind of provider it needs."""

    kind: ProviderKind

    def __init__(self, relay: Relay, door: Door) -> None:
        self._relay = relay
        self._door = door
        self._clock = relay.clock
        self._transport: asyncio.Transport | None = None
        self._outlet = Outlet()
        self._leg: Leg | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._provider: Provider | None = door.provider
        self._peer = ""
        self._pauses: set[str] = set()
        self._upgrading = False
        self._early: list[bytes] = []
        self._last_activity = relay.clock()
        self._is_counted = False
        self._phase: object | None = None
        self._phase_began = 0.0
        self.id = relay.new_id()

    # -- what a protocol says and does --------------------------------------------------------------------------------

    @abstractmethod
    def begin(self) -> None:
        """The client is connected, and TLS is up where it comes first."""

    @abstractmethod
    def refuse_crowd(self) -> None:
        """There are too many connections: says so and closes."""

    @abstractmethod
    def receive(self, octets: bytes) -> None:
        """Octets of the client."""

    @abstractmethod
    def client_is_secure(self) -> None:
        """TLS that the client asked for is up."""

    @abstractmethod
    def client_lost(self) -> None:
        """The client is gone."""

    @abstractmethod
    async def connect(self, provider: Provider) -> None:
        """Dials `provider`, adopts the connection and goes on. Raises `DialError`."""

    @abstractmethod
    def provider_failed(self, failure: Failure) -> None:
        """The provider cannot be had."""

    @abstractmethod
    def sweep(self, now: float) -> None:
        """Ends the session when the side it waits for has been silent for too long."""

    @abstractmethod
    def shut_down(self) -> bool:
        """The program is ending: ends the session if that costs nobody anything; whether it did."""

    # -- the client's transport ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._outlet.transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        address = transport.get_extra_info("peername")
        self._peer = str(address[0]) if address else ""
        self._relay.sessions.add(self)
        self._is_counted = self._relay.census.enter(self._peer)
        if not self._is_counted:
            self.refuse_crowd()
        elif self._is_browser(self._transport):
            self._transport.abort()
        else:
            self.begin()

    def data_received(self, data: bytes) -> None:
        self._last_activity = self._clock()
        if self._upgrading:
            self._early.append(data)
        else:
            self.receive(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is None:
            return  # told already
        if self._is_counted:
            self._relay.census.leave(self._peer)
            self._is_counted = False
        self._transport = self._outlet.transport = None
        self.client_lost()
        if self._leg is None:
            self._relay.sessions.discard(self)

    def pause_writing(self) -> None:
        """The client does not take what it gets: it gets no more of it, so it may ask for no more either."""
        self._pause("client", on=True)
        if self._leg is not None:
            self._leg.hold(on=True)

    def resume_writing(self) -> None:
        self._pause("client", on=False)
        if self._leg is not None:
            self._leg.hold(on=False)

    # -- what a session asks for --------------------------------------------------------------------------------------

    def to_client(self, octets: bytes) -> None:
        if octets:
            self._outlet.write(octets)

    def dial(self, login: str | None) -> None:
        self.drop_provider()
        if login is not None:
            self._provider = self._relay.provider_of(login, self.kind)
        if self._provider is None:
            self.provider_failed(Failure.NO_ROUTE)
        else:
            self._dialling = self._start(self._dial(self._provider))

    async def _dial(self, provider: Provider) -> None:
        try:
            await self.connect(provider)
        except DialError as error:
            self._dialling = None
            log.warning("provider not reached", session=self.id, provider=provider.name, cause=str(error))
            self.provider_failed(error.failure)

    def _adopt(self, leg: Leg) -> bool:
        """Makes a new connection the session's own; false when the client has gone meanwhile, and then it is closed."""
        if self._transport is None or self._transport.is_closing():
            leg.drop()
            self._relay.sessions.discard(self)
            return False
        self._dialling = None
        self._leg = leg
        self._last_activity = self._clock()
        leg.on_pause = lambda on: self._pause("provider", on=on)
        return True

    def close_client(self) -> None:
        if self._transport is not None:
            self._outlet.flush()
            self._transport.close()

    def drop_provider(self) -> None:
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        leg, self._leg = self._leg, None
        if leg is not None:
            leg.drop()
        self._pause("provider", on=False)
        if self._transport is None:
            self._relay.sessions.discard(self)

    def hold_client(self, on: bool) -> None:
        self._pause("session", on=on)

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, then)

    def check_user(self, login: str, then: Callable[[bool], None]) -> None:
        self._start(self._check_user(self._complete(login), then))

    async def _check_user(self, login: str, then: Callable[[bool], None]) -> None:
        try:
            is_known = await self._relay.captures.is_known(login)
        except Exception as error:  # of one strange login, which must not end every session of the process
            log.error("a login could not be looked up", session=self.id, cause=type(error).__name__)
            is_known = False
        then(is_known)

    # -- TLS ----------------------------------------------------------------------------------------------------------

    def _start_tls(self, last_in_clear: bytes) -> None:
        """Says `last_in_clear` and waits for the client's handshake; `client_is_secure` follows."""
        assert self._transport is not None
        self._upgrading = True
        self._transport.pause_reading()
        self._outlet.write(last_in_clear)
        self._outlet.flush()
        self._start(self._upgrade(self._transport))

    async def _upgrade(self, transport: asyncio.Transport) -> None:
        context = self._door.server_context
        assert context is not None, "settings refuse a STARTTLS listener without certificates"
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._relay.deadlines.tls_handshake,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            log.info("TLS with the client failed", session=self.id, peer=self._peer, cause=type(error).__name__)
            secure = None
        if secure is None or self._transport is None:
            transport.abort()
            self.connection_lost(None)  # asyncio tells nobody of a connection that is lost during the handshake
            return
        if self._is_browser(secure):
            secure.abort()
            return
        self._transport = self._outlet.transport = secure
        secure.set_write_buffer_limits(HIGH_WATER)
        self._upgrading = False
        self._last_activity = self._clock()
        self.client_is_secure()
        early, self._early = b"".join(self._early), []
        if early:
            self.receive(early)

    @property
    def _is_implicit(self) -> bool:
        return self._door.listener.tls is Tls.IMPLICIT

    @staticmethod
    def _is_browser(transport: asyncio.Transport) -> bool:
        """Whether TLS was set up for HTTP (ALPACA): then nothing is said at all."""
        tls = transport.get_extra_info("ssl_object")
        return tls is not None and tls.selected_alpn_protocol() in HTTP_PROTOCOLS

    # -- time and the end ---------------------------------------------------------------------------------------------

    def _has_expired(self, now: float, phase: object, heard: float, seconds: float | None) -> bool:
        """Whether `phase` has lasted `seconds` without an octet from whom it waits for, who was `heard` last then.

        What the other side sends does not count: a client could keep a mute provider's session for ever. The handshake
        has a deadline of its own.
        """
        if phase is not self._phase:
            self._phase, self._phase_began = phase, now
        return not self._upgrading and seconds is not None and now - max(heard, self._phase_began) > seconds

    def abort(self) -> None:
        """Closes both sides at once; nothing more is sent."""
        self.drop_provider()
        if self._transport is not None:
            self._transport.abort()

    # -- tasks --------------------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._relay.tasks.create_task(self._alone(work))

    async def _alone(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong in a task of this session ends this session, and not all those of the group."""
        try:
            await work
        except Exception as error:
            log.error("a session failed", session=self.id, cause=type(error).__name__)
            self.abort()

    def _pause(self, reason: str, *, on: bool) -> None:
        """Reading from the client stops while there is at least one reason, and goes on when the last has gone."""
        had = bool(self._pauses)
        self._pauses.add(reason) if on else self._pauses.discard(reason)
        if self._transport is None or self._transport.is_closing() or had == bool(self._pauses):
            return
        if self._pauses:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _complete(self, login: str) -> str:
        """The login as an address: bare names get the provider's domain."""
        if "@" not in login and self._provider is not None and self._provider.login_domain:
            return f"{login}@{self._provider.login_domain}"
        return login
