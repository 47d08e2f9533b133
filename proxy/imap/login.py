"""LOGIN and AUTHENTICATE: what the client says to log in, relayed as it is (RFC 9051 §6.2.2, §6.2.3).

Where the login chooses the provider, or only known users may log in, the first message is read before anything goes
on: we ask for it ourselves, and the provider gets it when it asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from proxy.failures import Failure
from proxy.imap.capability import mechanisms
from proxy.imap.command import BadCommand, Command
from proxy.imap.conversation import Conversation
from proxy.imap.failure import FAILURES
from proxy.imap.response import Response, tagged
from proxy.imap.wire import Credentials
from proxy.sasl import CHALLENGE_FIRST, READERS, LoginReader, Secret, first_prompt

__all__ = ["Login"]

# How many messages of the client make a login that can be made again with the same; `None` is LOGIN.
REUSABLE: dict[bytes | None, int] = {None: 2, b"PLAIN": 1, b"LOGIN": 2, b"XOAUTH2": 1, b"OAUTHBEARER": 1}
# RFC 5530 §3: LIMIT. quirk_uncoded_limit: Google says "Too many simultaneous connections" without that code.
TOO_MANY = re.compile(rb"(?i)[^ ]+ NO (?:\[LIMIT\]|.*too many)")
FAILED = "[AUTHENTICATIONFAILED] Invalid credentials"


@dataclass(slots=True)
class Attempt:
    """One attempt to log in. `first_message` was said before the provider asked; `reader` is `None` for LOGIN."""

    command: Command
    login: str | None = None
    reader: LoginReader | None = None
    first_message: Secret | None = None
    is_checked: bool = False
    said: list[Secret] = field(default_factory=list)

    def feed(self, message: bytes) -> None:
        """A message of the client."""
        assert self.reader is not None
        self.said.append(Secret(message))
        self.reader.feed(message)
        self.login = _name(self.reader.login)


class Login:
    """The logins of one session, of which one may succeed."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._attempt: Attempt | None = None
        self._failures = 0

    @property
    def is_under_way(self) -> bool:
        """Whether an attempt has begun that has not ended."""
        return self._attempt is not None

    def may_offer(self, mechanism: bytes) -> bool:
        """Whether the login can be read in time, where we need it before the provider gets it."""
        if not self._conversation.policy.route_is_known:
            return first_prompt(mechanism) is not None
        return not self._conversation.policy.known_users_only or mechanism in READERS

    # -- commands -----------------------------------------------------------------------------------------------------

    def login(self, command: Command) -> None:
        """LOGIN user-name password. Raises `BadCommand`."""
        self._require_privacy()
        arguments = command.arguments()
        name, password = arguments.take(), arguments.take()
        if not arguments.is_end:
            raise BadCommand("Syntax: LOGIN user-name password")
        if any(octet in said for said in (name, password) for octet in (b"\r", b"\n", b"\0")):
            raise BadCommand("Neither name nor password may hold CR, LF or NUL")
        if b"LOGINDISABLED" in (self._conversation.capabilities or ()):
            raise BadCommand("[PRIVACYREQUIRED] The mail provider takes no LOGIN", is_no=True)
        login = _name(name.decode("utf-8", "replace").strip())
        self._attempt = Attempt(command, login=login, said=[Secret(name), Secret(password)])
        self._conversation.hold()
        self._go_on()

    def authenticate(self, command: Command) -> None:
        """AUTHENTICATE mechanism [initial-response]. Raises `BadCommand`."""
        self._require_privacy()
        name, _, initial = command.argument.partition(b" ")
        mechanism, initial = name.upper(), initial.strip()
        if not mechanism or len(command.parts) > 1:
            raise BadCommand("Syntax: AUTHENTICATE mechanism [initial-response]")
        if not mechanisms([b"AUTH=" + mechanism]) or not self.may_offer(mechanism):
            raise BadCommand("[CANNOT] This mechanism is not to be had here", is_no=True)
        if initial and mechanism in CHALLENGE_FIRST:
            # Servers that ignore it log in whoever answers the challenge, which may be somebody else.
            raise BadCommand("The server speaks first in this mechanism")
        self._attempt = Attempt(command, reader=LoginReader(mechanism))
        if initial:
            self._attempt.feed(initial)
            self._attempt.first_message = Secret(initial)
        prompt = first_prompt(mechanism) if self._needs_login else None
        if prompt is not None and self._attempt.login is None and initial in (b"", b"="):
            self._conversation.wire.to_client(b"+ " + prompt + b"\r\n")
            self._conversation.read = self._read_first_message
        else:
            self._conversation.hold()
            self._go_on()

    def start_exchange(self) -> None:
        """The provider is there: it gets what the client said so far. The client is held."""
        assert self._attempt is not None
        self._conversation.holds -= 1  # forwarding holds it again
        command, reader = self._attempt.command, self._attempt.reader
        if reader is None:
            self._conversation.forward(command, self._on_tagged)
            return
        line, message = command.parts[0], self._attempt.first_message
        if message is not None:
            line = command.tag + b" AUTHENTICATE " + reader.mechanism
            # The name of LOGIN goes where the provider reads it: behind its prompt.
            if reader.mechanism != b"LOGIN" and (not self._needs_login or b"SASL-IR" in self._capabilities):
                line += b" " + message.reveal()
                self._attempt.first_message = None
            line += b"\r\n"
        self._conversation.forward(Command(command.tag, command.verb, [line]), self._on_tagged, self._on_challenge)

    def provider_failed(self, failure: Failure) -> None:
        """The provider of this login cannot be had. The client may try again."""
        self._fail(tagged(self._conversation.tag or b"*", "NO", FAILURES[failure]))

    # -- on the way ---------------------------------------------------------------------------------------------------

    @property
    def _needs_login(self) -> bool:
        policy = self._conversation.policy
        return policy.known_users_only or not policy.route_is_known

    @property
    def _capabilities(self) -> frozenset[bytes]:
        return self._conversation.capabilities or frozenset()

    def _require_privacy(self) -> None:
        if self._conversation.needs_tls:
            raise BadCommand("[PRIVACYREQUIRED] Say STARTTLS first", is_no=True)

    def _go_on(self) -> None:
        """The login is as well known as it will be: ask whether it may, then find its provider. The client is held."""
        attempt, conversation = self._attempt, self._conversation
        assert attempt is not None
        needs_no_name = not self._needs_login or (attempt.reader is not None and not attempt.said)
        if attempt.login is None and not needs_no_name:
            self._fail(tagged(conversation.tag or b"*", "NO", "[AUTHENTICATIONFAILED] The login name cannot be read"))
        elif conversation.policy.known_users_only and not attempt.is_checked and attempt.login is not None:
            conversation.wire.check_user(attempt.login, self._user_checked)
        elif not conversation.policy.route_is_known:
            conversation.drop_provider()
            conversation.wire.dial(attempt.login)
        elif conversation.capabilities is None:
            conversation.wire.dial(None)
        else:
            self.start_exchange()

    def _user_checked(self, is_known: bool) -> None:
        if self._conversation.is_closing or self._attempt is None:
            return
        self._attempt.is_checked = True
        if is_known:
            self._go_on()
        else:
            self._fail(tagged(self._conversation.tag or b"*", "NO", FAILED))

    def _read_first_message(self) -> bool:
        """The client's answer to our own prompt: what the provider gets once it is known which one."""
        message = self._conversation.take_response()
        if message is None:
            return False
        assert self._attempt is not None
        self._conversation.hold()
        if message == b"*":
            self._fail(tagged(self._conversation.tag or b"*", "BAD", "Cancelled"))
            return True
        self._attempt.said.clear()
        self._attempt.feed(message)
        self._attempt.first_message = Secret(message)
        self._go_on()
        return True

    # -- the exchange -------------------------------------------------------------------------------------------------

    def _on_challenge(self, octets: bytes) -> None:
        assert self._attempt is not None
        message, self._attempt.first_message = self._attempt.first_message, None
        if message is not None:
            self._conversation.wire.to_provider((b"" if message.reveal() == b"=" else message.reveal()) + b"\r\n")
            return
        self._conversation.wire.to_client(octets)
        self._conversation.read = self._read_response
        self._conversation.resume()

    def _read_response(self) -> bool:
        message = self._conversation.take_response()
        if message is None:
            return False
        attempt, conversation = self._attempt, self._conversation
        assert attempt is not None
        assert attempt.reader is not None
        conversation.hold()
        attempt.feed(message)
        secret = Secret(message)
        if attempt.reader.is_contradictory:
            self._send_response(False, secret)
        elif not conversation.policy.known_users_only or attempt.is_checked:
            self._send_response(True, secret)
        elif attempt.login is not None:
            conversation.wire.check_user(attempt.login, lambda is_known: self._send_response(is_known, secret))
        else:
            self._send_response(False, secret)
        return True

    def _send_response(self, may: bool, message: Secret) -> None:
        """The client's message, or "*" when its login must not go on (RFC 9051 §6.2.2)."""
        if self._conversation.is_closing or self._attempt is None:
            return
        self._attempt.is_checked = may
        self._conversation.wire.to_provider((message.reveal() if may else b"*") + b"\r\n")

    # -- how it ended -------------------------------------------------------------------------------------------------

    def _on_tagged(self, response: Response) -> None:
        attempt, conversation = self._attempt, self._conversation
        assert attempt is not None
        octets = conversation.edited(response.octets)
        if response.status != b"OK":
            if attempt.login is not None and TOO_MANY.match(octets) is not None:
                conversation.wire.lack_room(attempt.login)
            self._fail(octets)
            return
        self._attempt = None
        conversation.answer(octets)
        conversation.pass_on(attempt.login, _credentials(attempt))

    def _fail(self, octets: bytes) -> None:
        """A failed login costs time, and too many the session."""
        self._attempt = None
        self._failures += 1
        conversation = self._conversation
        conversation.holds = max(1, conversation.holds)  # a provider may refuse while it is the client's turn
        conversation.read = conversation.read_command
        if not conversation.policy.route_is_known:
            conversation.drop_provider()

        def answer() -> None:
            if conversation.is_closing:
                return
            conversation.answer(octets)
            if self._failures >= conversation.policy.limits.failed_logins:
                conversation.end("Too many failed logins")
            else:
                conversation.resume()

        conversation.wire.later(conversation.policy.failed_login_delay, answer)


def _name(login: str | None) -> str | None:
    """A login that can be a name. Others go to no log: a message that was meant otherwise may hold a password."""
    return login if login and login.isprintable() else None


def _credentials(attempt: Attempt) -> Credentials | None:
    mechanism = attempt.reader.mechanism if attempt.reader is not None else None
    if len(attempt.said) != REUSABLE.get(mechanism):
        return None
    return Credentials(mechanism, tuple(attempt.said))
