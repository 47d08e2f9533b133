"""One SMTP submission session on the wire: the shell round `proxy.smtp.session`.

`Submission` is the client's protocol object. It owns both transports, moves octets, keeps the two sides in step when
one of them reads slowly, and does what the pure session asks for. It decides nothing about SMTP.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, cast

import structlog

from certs import HTTP_PROTOCOLS
from engine.decision import Source
from proxy.dial import HIGH_WATER, ProviderLeg
from proxy.failures import DialError, Failure
from proxy.outlet import Outlet
from proxy.relay import Door, Relay
from proxy.route import LineEndings, ListenerKind, Provider, Tls
from proxy.smtp.extension import Extensions
from proxy.smtp.reply import Reply, reply
from proxy.smtp.session import Envelope, Phase, Policy, Session
from proxy.smtp.tap import Tap

__all__ = ["Submission"]

log = structlog.get_logger("submission")

# What a listener for the mail of other servers can do; none of it depends on anybody else.
RECEPTION: Extensions = {
    b"SIZE": b"",
    b"8BITMIME": b"",
    b"SMTPUTF8": b"",
    b"PIPELINING": b"",
    b"ENHANCEDSTATUSCODES": b"",
    b"CHUNKING": b"",
}
SOURCES = {ListenerKind.SUBMISSION: Source.RELAY, ListenerKind.CAPTURE: Source.BCC}


class Submission(asyncio.Protocol):
    """A client's connection and, once needed, its provider's. Implements `proxy.smtp.session.Wire`."""

    def __init__(self, relay: Relay, door: Door) -> None:
        self._relay = relay
        self._door = door
        self._clock = relay.clock
        self._transport: asyncio.Transport | None = None
        self._outlet = Outlet()
        self._leg: ProviderLeg | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._provider: Provider | None = door.provider
        self._peer = ""
        self._pauses: set[str] = set()
        self._upgrading = False
        self._early: list[bytes] = []
        self._last_activity = relay.clock()
        self._is_counted = False
        self._phase: Phase | None = None
        self._phase_began = 0.0
        self.id = relay.new_id()
        self._session = Session(self, _policy(relay, door), is_secure=door.listener.tls is Tls.IMPLICIT)

    # -- the client's transport ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = self._outlet.transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        address = transport.get_extra_info("peername")
        self._peer = str(address[0]) if address else ""
        self._relay.sessions.add(self)
        self._is_counted = self._relay.census.enter(self._peer)
        if not self._is_counted:
            self.to_client(reply(421, "4.7.0 Too many connections; try again later"))
            self.close_client()
        elif self._is_browser(self._transport):
            self._transport.abort()
        elif self._door.listener.tls is not Tls.IMPLICIT and _has_spoken(transport):
            self._session.refuse_early_talk()
        else:
            self._session.greet()

    def data_received(self, data: bytes) -> None:
        self._last_activity = self._clock()
        if self._upgrading:
            self._early.append(data)
        elif self._leg is None:
            self._session.receive(data)
        else:
            with self._leg.outlet:
                self._session.receive(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is None:
            return  # told already
        if self._is_counted:
            self._relay.census.leave(self._peer)
            self._is_counted = False
        self._transport = self._outlet.transport = None
        self._session.client_lost()
        if self._leg is None:
            self._relay.sessions.discard(self)

    def pause_writing(self) -> None:
        """The client does not take its replies: it gets no more of them, so it may ask for no more either."""
        self._pause("client", on=True)
        if self._leg is not None and self._leg.transport is not None:
            self._leg.transport.pause_reading()

    def resume_writing(self) -> None:
        self._pause("client", on=False)
        if self._leg is not None and self._leg.transport is not None:
            self._leg.transport.resume_reading()

    # -- what the session asks for ------------------------------------------------------------------------------------

    def to_client(self, octets: bytes) -> None:
        if octets:
            self._outlet.write(octets)

    def to_provider(self, octets: bytes) -> None:
        if self._leg is not None:
            self._leg.outlet.write(octets)

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

    def dial(self, login: str | None) -> None:
        self.drop_provider()
        if login is not None:
            self._provider = self._relay.provider_of(login)
        if self._provider is None:
            self._session.provider_failed(Failure.NO_ROUTE.value)
        else:
            self._dialling = self._start(self._dial(self._provider))

    def upgrade_client(self) -> None:
        assert self._transport is not None
        self._upgrading = True
        self._transport.pause_reading()
        self._outlet.write(reply(220, "2.0.0 Ready to start TLS"))
        self._outlet.flush()
        self._start(self._upgrade(self._transport))

    def check_user(self, login: str, then: Callable[[bool], None]) -> None:
        self._start(self._check_user(self._complete(login), then))

    def is_capture_address(self, path: bytes) -> bool | None:
        return self._relay.captures.is_capture_address(path)

    def ask_capture_address(self, path: bytes, then: Callable[[bool | None], None]) -> None:
        self._relay.tasks.create_task(self._ask_capture_address(path, then))

    def tap(self, envelope: Envelope) -> Tap | None:
        login = self._session.login
        return self._relay.captures.begin(
            self.id,
            self._complete(login) if login else None,
            envelope,
            source=SOURCES[self._door.listener.kind],
            host=self._provider.host if self._provider is not None else "",
        )

    def undelivered(self, envelope: Envelope) -> None:
        login = self._session.login
        self._relay.captures.undelivered(self.id, self._complete(login) if login else None, envelope)

    def fields(self) -> tuple[bytes, bytes]:
        return self._relay.new_fields()

    def mending(self) -> bool:
        return self._provider is not None and self._provider.line_endings is LineEndings.NORMALIZE

    # -- time and the end ---------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Ends the session when the side it waits for has sent no octet within the deadline of its phase.

        What the other side sends does not count: a client could keep a mute provider's session for ever.
        """
        transport = self._transport
        is_closing = transport is not None and transport.is_closing()
        phase = Phase.CLIENT_COMMAND if is_closing else self._session.phase
        if phase is not self._phase:
            self._phase, self._phase_began = phase, now
        heard = self._last_activity
        if phase not in (Phase.CLIENT_COMMAND, Phase.CLIENT_DATA):
            heard = self._leg.last_activity if self._leg is not None else 0.0
        seconds = self._relay.deadline(phase, provider_is_slow="provider" in self._pauses)
        if self._upgrading or seconds is None or now - max(heard, self._phase_began) <= seconds:
            return  # the handshake has a deadline of its own
        if transport is not None and is_closing:
            transport.abort()  # the client does not take its last octets
        else:
            self._session.expire()

    def shut_down(self) -> bool:
        """Ends the session if no message is on its way; whether it did."""
        return self._session.shut_down()

    def abort(self) -> None:
        """Closes both sides at once; no end of data is sent."""
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

    async def _dial(self, provider: Provider) -> None:
        try:
            leg = await self._relay.dial(provider)
        except DialError as error:
            self._dialling = None
            log.warning("provider not reached", session=self.id, provider=provider.name, cause=str(error))
            self._session.provider_failed(error.failure.value)
            return
        if self._transport is None or self._transport.is_closing():
            leg.drop()
            self._relay.sessions.discard(self)
            return
        self._dialling = None
        self._leg = leg
        self._last_activity = self._clock()
        leg.on_pause = lambda on: self._pause("provider", on=on)
        leg.on_lost = self._provider_lost
        leg.on_replies = self._provider_replied
        if (trouble := leg.is_broken()) is not None:
            self._provider_lost(trouble)
        else:
            self._session.provider_ready(leg.extensions)

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
        self._session.client_is_secure()
        early, self._early = b"".join(self._early), []
        if early:
            self._session.receive(early)

    async def _check_user(self, login: str, then: Callable[[bool], None]) -> None:
        try:
            is_known = await self._relay.captures.is_known(login)
        except Exception as error:  # of one strange login, which must not end every session of the process
            log.error("a login could not be looked up", session=self.id, cause=type(error).__name__)
            is_known = False
        then(is_known)

    async def _ask_capture_address(self, path: bytes, then: Callable[[bool | None], None]) -> None:
        login = self._session.login
        then(await self._relay.captures.ask_capture_address(path, self._complete(login) if login else None))

    def _provider_replied(self, replies: list[Reply]) -> None:
        leg = self._leg
        with self._outlet:
            for each in replies:
                if self._leg is leg:  # the one before may have been its last
                    self._session.provider_replied(each)

    def _provider_lost(self, trouble: str) -> None:
        log.warning("provider lost", session=self.id, cause=trouble)
        self._session.provider_lost()

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

    @staticmethod
    def _is_browser(transport: asyncio.Transport) -> bool:
        """Whether TLS was set up for HTTP (ALPACA): then nothing is said at all."""
        tls = transport.get_extra_info("ssl_object")
        return tls is not None and tls.selected_alpn_protocol() in HTTP_PROTOCOLS

    def _complete(self, login: str) -> str:
        """The login as an address: bare names get the provider's domain."""
        if "@" not in login and self._provider is not None and self._provider.login_domain:
            return f"{login}@{self._provider.login_domain}"
        return login


def _policy(relay: Relay, door: Door) -> Policy:
    listener = door.listener
    is_submission = listener.kind is ListenerKind.SUBMISSION
    return Policy(
        hostname=relay.hostname,
        limits=relay.limits,
        failed_login_delay=relay.deadlines.failed_login_delay,
        starttls=listener.tls is Tls.STARTTLS,
        route_is_known=door.provider is not None,
        known_users_only=listener.known_users_only,
        offer=relay.offer if is_submission else lambda: RECEPTION,
        relays=is_submission,
    )


def _has_spoken(transport: asyncio.BaseTransport) -> bool:
    """Whether octets are there although nothing was asked yet."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return any(event & select.POLLIN for _, event in poll.poll(0))
