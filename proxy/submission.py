"""One SMTP submission session on the wire: the shell round `proxy.smtp.session`.

It does what the pure session asks for, and decides nothing about SMTP.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

import structlog

from engine.decision import Source
from proxy.client_session import ClientSession
from proxy.dial import ProviderLeg
from proxy.failures import Failure
from proxy.relay import Door, Relay
from proxy.route import LineEndings, ListenerKind, Provider, ProviderKind, Tls
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


class Submission(ClientSession):
    """One session. Implements `proxy.smtp.session.Wire`."""

    kind = ProviderKind.SUBMISSION
    _leg: ProviderLeg | None

    def __init__(self, relay: Relay, door: Door) -> None:
        super().__init__(relay, door)
        self._session = Session(self, _policy(relay, door), is_secure=self._is_implicit)

    # -- the client ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        assert self._transport is not None
        if not self._is_implicit and _has_spoken(self._transport):
            self._session.refuse_early_talk()
        else:
            self._session.greet()

    def refuse_crowd(self) -> None:
        self.to_client(reply(421, "4.7.0 Too many connections; try again later"))
        self.close_client()

    def receive(self, octets: bytes) -> None:
        if self._leg is None:
            self._session.receive(octets)
        else:
            with self._leg.outlet:
                self._session.receive(octets)

    def client_is_secure(self) -> None:
        self._session.client_is_secure()

    def client_lost(self) -> None:
        self._session.client_lost()

    # -- what the session asks for ------------------------------------------------------------------------------------

    def to_provider(self, octets: bytes) -> None:
        if self._leg is not None:
            self._leg.outlet.write(octets)

    def upgrade_client(self) -> None:
        self._start_tls(reply(220, "2.0.0 Ready to start TLS"))

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
        """Ends the session when the side it waits for has sent no octet within the deadline of its phase."""
        transport = self._transport
        is_closing = transport is not None and transport.is_closing()
        phase = Phase.CLIENT_COMMAND if is_closing else self._session.phase
        heard = self._last_activity
        if phase not in (Phase.CLIENT_COMMAND, Phase.CLIENT_DATA):
            heard = self._leg.last_activity if self._leg is not None else 0.0
        seconds = self._relay.deadline(phase, provider_is_slow="provider" in self._pauses)
        if not self._has_expired(now, phase, heard, seconds):
            return
        if transport is not None and is_closing:
            transport.abort()  # the client does not take its last octets
        else:
            self._session.expire()

    def shut_down(self) -> bool:
        """Ends the session if no message is on its way; whether it did."""
        return self._session.shut_down()

    # -- tasks --------------------------------------------------------------------------------------------------------

    async def connect(self, provider: Provider) -> None:
        leg = await self._relay.dial(provider)
        if not self._adopt(leg):
            return
        leg.on_lost = self._provider_lost
        leg.on_replies = self._provider_replied
        if (trouble := leg.is_broken()) is not None:
            self._provider_lost(trouble)
        else:
            self._session.provider_ready(leg.extensions)

    def provider_failed(self, failure: Failure) -> None:
        self._session.provider_failed(failure.value)

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
