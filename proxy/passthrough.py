"""One IMAP session on the wire: the shell round `proxy.imap.session`, and round `proxy.imap.passage` once logged in.

It does what these ask for, and decides nothing about IMAP.
"""

from __future__ import annotations

import weakref

import structlog

from proxy.client_session import ClientSession
from proxy.companions import Companion
from proxy.failures import Failure
from proxy.imap.passage import Passage
from proxy.imap.session import Authenticated, Phase, Policy, Session
from proxy.mailbox_dial import MailboxLeg
from proxy.relay import Door, Relay
from proxy.route import Provider, ProviderKind, Tls
from proxy.watching import MailboxWatcher

__all__ = ["Passthrough"]

log = structlog.get_logger("passthrough")

SHUTTING_DOWN = b"* BYE [UNAVAILABLE] The relay is shutting down; try again\r\n"
TIMED_OUT = b"* BYE Nobody has said anything for too long\r\n"


class Passthrough(ClientSession):
    """One session. Implements `proxy.imap.session.Wire`; `_passage` is there from the login on."""

    kind = ProviderKind.IMAP
    _leg: MailboxLeg | None

    def __init__(self, relay: Relay, door: Door) -> None:
        super().__init__(relay, door)
        # By a weak reference: a cycle would keep each session in memory until the collector comes.
        self._session = Session(weakref.proxy(self), _policy(relay, door), is_secure=self._is_implicit)
        self._passage: Passage | None = None
        self._watcher: MailboxWatcher | None = None
        self._companion: Companion | None = None

    # -- the client ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self._session.start()

    def refuse_crowd(self) -> None:
        self.to_client(b"* BYE [LIMIT] Too many connections; try again later\r\n")
        self.close_client()

    def receive(self, octets: bytes) -> None:
        if self._passage is not None:
            self._passage.client_octets(octets)
        else:
            self._session.receive(octets)

    def client_is_secure(self) -> None:
        self._session.client_is_secure()

    def client_lost(self) -> None:
        if self._passage is None:
            self._session.client_lost()
        else:
            self._passage.client_lost()
            leg, self._leg = self._leg, None
            if leg is not None:
                leg.close()
            self._end()
        self._session.close()

    # -- what the session asks for ------------------------------------------------------------------------------------

    def to_provider(self, octets: bytes) -> None:
        if self._leg is not None:
            self._leg.outlet.write(octets)

    def upgrade_client(self, response: bytes) -> None:
        self._start_tls(response)

    def lack_room(self, login: str) -> None:
        if self._relay.companions is not None and self._provider is not None:
            self._relay.companions.make_room(self._complete(login), self._provider)

    def pass_through(self, authenticated: Authenticated) -> None:
        login = authenticated.login
        if login is not None:
            address = self._complete(login)
            self._watcher = MailboxWatcher(self._relay.captures, self.id, address)
            if self._relay.companions is not None and self._provider is not None:
                self._companion = self._relay.companions.join(
                    self.id, address, self._provider, authenticated.credentials
                )
        passage = self._passage = Passage(
            self.to_client,
            self.to_provider,
            self._watcher,
            capabilities=authenticated.capabilities,
            header_limit=self._relay.limits.header_section,
        )
        if authenticated.provider_octets:
            passage.provider_octets(authenticated.provider_octets)
        if authenticated.client_octets:
            passage.client_octets(authenticated.client_octets)

    # -- the provider -------------------------------------------------------------------------------------------------

    async def connect(self, provider: Provider) -> None:
        leg, opened = await self._relay.dial_mailbox(provider)
        if not self._adopt(leg):
            return
        leg.on_lost = self._provider_lost
        self._session.provider_ready(opened)
        if (trouble := leg.is_broken()) is not None:
            self._provider_lost(trouble)
        elif self._leg is leg:
            leg.listen(self._provider_said)

    def provider_failed(self, failure: Failure) -> None:
        self._session.provider_failed(failure)

    def _provider_said(self, octets: bytes) -> None:
        if self._passage is not None:
            self._passage.provider_octets(octets)
        else:
            self._session.provider_octets(octets)

    def _provider_lost(self, trouble: str) -> None:
        if self._passage is None:
            log.warning("provider lost", session=self.id, cause=trouble)
            self._session.provider_lost()
            return
        self._passage.provider_lost()
        self._end()
        self.drop_provider()
        self.close_client()

    # -- time and the end ---------------------------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Ends the session when the side it waits for has sent no octet within the deadline of its phase."""
        heard_of_provider = self._leg.last_activity if self._leg is not None else 0.0
        if self._transport is not None and self._transport.is_closing():
            if self._has_expired(now, Phase.OVER, self._last_activity, self._relay.deadlines.client_command):
                self._transport.abort()  # the client does not take its last octets
        elif self._passage is not None:
            heard = max(self._last_activity, heard_of_provider)
            # The class stands for the phase: the passage itself, remembered as one, would never let go of the session.
            if self._has_expired(now, Passage, heard, self._relay.deadlines.mailbox_idle):
                self._say_goodbye(TIMED_OUT)
        else:
            phase = self._session.phase
            is_ours = phase is Phase.CLIENT_COMMAND
            heard = self._last_activity if is_ours else heard_of_provider
            if self._has_expired(now, phase, heard, self._seconds(phase)):
                self._session.expire()

    def _seconds(self, phase: Phase) -> float | None:
        if phase is Phase.PROVIDER_COMMAND:
            return self._relay.deadlines.provider_command
        return self._relay.deadlines.client_command if phase is Phase.CLIENT_COMMAND else None

    def shut_down(self) -> bool:
        """Ends the session unless it is in the middle of a response; whether it did."""
        if self._passage is None:
            self._session.shut_down()
        elif not self._passage.is_between_responses:
            return False
        else:
            self._say_goodbye(SHUTTING_DOWN)
        return True

    def abort(self) -> None:
        """Closes both sides at once; nothing more is sent."""
        self._end()
        super().abort()

    def _say_goodbye(self, bye: bytes) -> None:
        if self._passage is not None and self._passage.is_between_responses:
            self.to_client(bye)
        self._end()
        self.drop_provider()
        self.close_client()

    def _end(self) -> None:
        """Lets go of the passage, of who watches it, and of its companion."""
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.close()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
        companion, self._companion = self._companion, None
        if companion is not None and self._relay.companions is not None:
            self._relay.companions.leave(companion)


def _policy(relay: Relay, door: Door) -> Policy:
    listener = door.listener
    return Policy(
        limits=relay.limits,
        failed_login_delay=relay.deadlines.failed_login_delay,
        starttls=listener.tls is Tls.STARTTLS,
        route_is_known=door.provider is not None,
        known_users_only=listener.known_users_only,
        offer=relay.mailbox_offer,
    )
