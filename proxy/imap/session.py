"""A session until its client is logged in: pure, fed by events, speaking through a `Wire`.

Client and provider stand in the not authenticated state of RFC 9051 §3.1. What the provider can answer it answers;
what must be known or kept from it is ours: TLS, and who may log in where. A login that succeeds ends the session: both
sides are handed over with what they sent ahead, and a `Passage` takes them on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

from proxy.failures import Failure
from proxy.imap.command import BadCommand, Command, parse_command
from proxy.imap.conversation import Conversation
from proxy.imap.failure import FAILURES
from proxy.imap.login import Login
from proxy.imap.opening import Opened
from proxy.imap.response import Response, tagged, untagged
from proxy.imap.wire import Authenticated, Credentials, Policy, Wire
from proxy.smtp.session import HTTP_VERBS

__all__ = ["Authenticated", "Credentials", "Phase", "Policy", "Session", "Wire"]

# RFC 2971 §3.1: id = "ID" SP ("NIL" / "(" [string SP nstring *(SP string SP nstring)] ")")
ID_LIST = re.compile(rb"(?i)[^ ]+ ID (?:NIL|\([^()]*\)) *\r\n")
STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)')
# Dovecot and others take these from proxies that they trust, which may be us: a client could be anybody.
FORWARDED = re.compile(rb"(?i)x-(?:originating-|connected-|proxy-|session-|forward-)")


class Phase(Enum):
    """What the session waits for; each has its deadline."""

    CLIENT_COMMAND = auto()
    PROVIDER_COMMAND = auto()
    OURSELVES = auto()
    OVER = auto()


class Session:
    """One session."""

    def __init__(self, wire: Wire, policy: Policy, *, is_secure: bool) -> None:
        self._conversation = Conversation(wire, policy, is_secure=is_secure, read_command=self._read_command)
        self._login = Login(self._conversation)
        self._conversation.may_offer = self._login.may_offer
        self._deferred: Command | None = None
        self._handlers: dict[bytes, Callable[[Command], None]] = {
            b"CAPABILITY": self._capability,
            b"NOOP": self._noop,
            b"ID": self._id,
            b"LOGOUT": self._logout,
            b"STARTTLS": self._starttls,
            b"LOGIN": self._login.login,
            b"AUTHENTICATE": self._login.authenticate,
        }

    # -- events -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The client has connected (and TLS is up where it comes first). What it sends waits for the greeting."""
        if self._is_alone:
            self._conversation.greet(None)
        else:
            self._conversation.hold()
            self._conversation.wire.dial(None)

    def receive(self, octets: bytes) -> None:
        """Octets of the client."""
        self._conversation.receive(octets)

    def client_is_secure(self) -> None:
        """TLS with the client is up."""
        self._conversation.is_secure = True
        self._conversation.is_upgrading = False
        self._conversation.resume()

    def client_lost(self) -> None:
        """The client is gone."""
        self._conversation.end(None)

    def provider_ready(self, opened: Opened) -> None:
        """The provider is connected, secure where it must be, and has said what it can do."""
        conversation = self._conversation
        if conversation.is_closing:
            conversation.wire.drop_provider()
            return
        conversation.provider_ready(opened)
        if conversation.is_closing:
            return
        if self._login.is_under_way:
            self._login.start_exchange()
        elif (command := self._deferred) is not None:
            self._deferred = None
            self._ask_provider(command)
            conversation.resume()
        else:
            conversation.resume()

    def provider_failed(self, failure: Failure) -> None:
        """The provider cannot be had."""
        if self._conversation.is_closing:
            return
        if self._login.is_under_way and not self._conversation.policy.route_is_known:
            self._login.provider_failed(failure)
        else:
            self._conversation.end(FAILURES[failure])

    def provider_octets(self, octets: bytes) -> None:
        """Octets of the provider."""
        self._conversation.hear(octets)

    def provider_lost(self) -> None:
        """The provider's connection is gone."""
        if self._conversation.capabilities is not None:
            self._conversation.end("[UNAVAILABLE] The mail provider closed the connection")

    def shut_down(self) -> None:
        """The program is ending."""
        self._conversation.end("[UNAVAILABLE] The relay is shutting down; try again")

    def expire(self) -> None:
        """The deadline of `phase` has passed."""
        is_ours = self.phase is Phase.CLIENT_COMMAND
        self._conversation.end(
            "Timed out waiting for the client" if is_ours else "[UNAVAILABLE] The mail provider did not answer in time"
        )

    def close(self) -> None:
        """The session is over. Lets go of everything, so that no cycle of references keeps it in memory."""
        self._handlers = {}
        self._deferred = None
        self._conversation.let_go()

    @property
    def phase(self) -> Phase:
        """What is awaited now."""
        if self._conversation.is_closing:
            return Phase.OVER
        if not self._conversation.holds:
            return Phase.CLIENT_COMMAND
        return Phase.PROVIDER_COMMAND if self._conversation.awaited is not None else Phase.OURSELVES

    # -- commands -----------------------------------------------------------------------------------------------------

    @property
    def _is_alone(self) -> bool:
        """Whether commands are answered here: the provider is not known, or the client not yet private."""
        return self._conversation.needs_tls or not self._conversation.policy.route_is_known

    def _read_command(self) -> bool:
        parts = self._conversation.take_command()
        if parts is None:
            return False
        try:
            command = parse_command(parts)
            self._conversation.tag = command.tag
            handler = self._handlers.get(command.verb)
            if handler is None:
                raise BadCommand("No such command, or not before login")
            handler(command)
        except BadCommand as error:
            if parts[0].partition(b" ")[0].upper() in HTTP_VERBS:
                self._conversation.tag = None
                self._conversation.end("This is a mail server")
            else:
                self._conversation.refuse(error)
        return True

    def _ask_provider(self, command: Command) -> None:
        if self._conversation.capabilities is None:
            self._deferred = command
            self._conversation.hold()
            self._conversation.wire.dial(None)
        else:
            self._conversation.forward(command, self._on_simple)

    def _on_simple(self, response: Response) -> None:
        self._conversation.answer(self._conversation.edited(response.octets))
        self._conversation.resume()

    def _capability(self, command: Command) -> None:
        _require_no_argument(command)
        if self._is_alone:
            self._answer(b"* CAPABILITY " + self._conversation.own_capabilities() + b"\r\n")
        else:
            self._ask_provider(command)

    def _noop(self, command: Command) -> None:
        _require_no_argument(command)
        if self._is_alone:
            self._answer(b"")
        else:
            self._ask_provider(command)

    def _id(self, command: Command) -> None:
        if not ID_LIST.fullmatch(STRING.sub(b"", b"".join(command.parts[::2]))) or len(command.parts) > 1:
            raise BadCommand("Syntax: ID NIL or ID with one list of quoted strings")
        if FORWARDED.search(command.parts[0]):
            raise BadCommand("[CANNOT] Nobody may speak for another here", is_no=True)
        if self._is_alone:
            self._answer(untagged("ID NIL"))
        else:
            self._ask_provider(command)

    def _logout(self, command: Command) -> None:
        _require_no_argument(command)
        if self._conversation.capabilities is None or self._is_alone:
            self._conversation.wire.to_client(untagged("BYE Logging out"))
            self._answer(b"")
            self._conversation.end(None)
        else:
            self._conversation.forward(command, self._on_logout)

    def _on_logout(self, response: Response) -> None:
        self._conversation.answer(response.octets)
        self._conversation.end(None)

    def _starttls(self, command: Command) -> None:
        _require_no_argument(command)
        if not self._conversation.needs_tls:
            raise BadCommand("TLS is not to be had here, or is up already")
        if self._conversation.has_input:
            # Octets behind STARTTLS in clear would be taken for encrypted ones (CVE-2011-0411): no answer, no TLS.
            self._conversation.end(None)
            return
        self._conversation.hold()
        self._conversation.is_upgrading = True
        self._conversation.tag = None
        self._conversation.wire.upgrade_client(tagged(command.tag, "OK", "Begin TLS negotiation now"))

    def _answer(self, untagged_octets: bytes) -> None:
        self._conversation.wire.to_client(untagged_octets)
        self._conversation.respond("OK", "Completed")


def _require_no_argument(command: Command) -> None:
    if command.argument:
        raise BadCommand(f"{command.verb.decode()} takes no argument")
