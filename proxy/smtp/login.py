"""AUTH: a SASL exchange between the client and the provider, step by step (RFC 4954).

Where the login chooses the provider, or only known users may log in, the first message is read before anything goes
on: we ask for it ourselves, and the provider gets it in answer to its own prompt.
"""

from __future__ import annotations

from proxy.sasl import CHALLENGE_FIRST, READERS, LoginReader, Secret, first_prompt
from proxy.smtp.command import BadCommand, Command
from proxy.smtp.conversation import Conversation
from proxy.smtp.extension import mechanisms
from proxy.smtp.reply import Reply, reply
from proxy.smtp.reply_queue import Place

__all__ = ["Login"]

INITIAL_RESPONSE_LINE = 512  # RFC 4954 §4: a longer initial response waits for the provider's 334


class Login:
    """The logins of one session, of which one may succeed."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._exchange: LoginReader | None = None
        self._first_message: Secret | None = None
        self._user_is_checked = False
        self._failures = 0

    @property
    def is_under_way(self) -> bool:
        """Whether an exchange has begun that has not ended."""
        return self._exchange is not None

    def takes(self, place: Place) -> bool:
        """Whether the reply to `place` is a step of an exchange, so that 334 may be one (RFC 4954 §4)."""
        return place.on_reply in (self._on_auth, self._on_replayed_prompt)

    def mechanisms(self) -> list[bytes]:
        """Those whose login can be read in time, where we need it before the provider gets it."""
        offered = mechanisms(self._conversation.offered_extensions())
        if not self._conversation.policy.route_is_known:
            return [each for each in offered if first_prompt(each) is not None]
        return [each for each in offered if each in READERS] if self._conversation.policy.known_users_only else offered

    def auth(self, command: Command) -> None:
        """AUTH mechanism [initial-response]. Raises `BadCommand`."""
        self._conversation.require_greeting()
        name, _, initial = command.argument.partition(b" ")
        mechanism, initial = name.upper(), initial.strip()
        if self._conversation.is_authenticated:
            raise BadCommand(503, "5.5.1 Already authenticated")
        if not mechanism:
            raise BadCommand(501, "5.5.4 Syntax: AUTH mechanism [initial-response]")
        if mechanism not in self.mechanisms():
            raise BadCommand(504, "5.5.4 Mechanism not offered here")
        if initial and mechanism in CHALLENGE_FIRST:
            # Servers that ignore it log in whoever answers the challenge, which may be somebody else.
            raise BadCommand(501, "5.7.0 The server speaks first in this mechanism")
        self._exchange = LoginReader(mechanism)
        self._user_is_checked = not self._conversation.policy.known_users_only
        self._first_message = None
        if initial:
            self._exchange.feed(initial)
            self._first_message = Secret(initial)
        needs_login = self._conversation.policy.known_users_only or not self._conversation.policy.route_is_known
        if not needs_login:
            self._conversation.hold()
            if mechanism == b"LOGIN" and initial and initial != b"=":
                self.start_exchange()  # so that the name is read where the provider reads it: behind its prompt
            else:
                self._first_message = None
                self._conversation.forward(command.line, self._on_auth)
        elif self._exchange.login is not None or (initial and initial != b"="):
            self._conversation.hold()
            self._route_login()
        elif (prompt := first_prompt(mechanism)) is not None:
            self._first_message = None
            self._conversation.queue.answer(b"334 " + prompt + b"\r\n")
            self._conversation.read = self._read_first_message
        else:
            self._conversation.forward(command.line, self._on_auth)
            self._conversation.hold()

    def start_exchange(self) -> None:
        """Sends what the client said so far to the provider, within the limits of RFC 4954 §4."""
        assert self._exchange is not None
        message = self._first_message
        line = b"AUTH " + self._exchange.mechanism
        if message is None:
            self._conversation.forward(line + b"\r\n", self._on_auth)
        elif self._exchange.mechanism == b"LOGIN" or len(line) + len(message.reveal()) + 3 > INITIAL_RESPONSE_LINE:
            self._conversation.forward(line + b"\r\n", self._on_replayed_prompt)
        else:
            self._conversation.forward(line + b" " + message.reveal() + b"\r\n", self._on_auth)
            self._first_message = None

    def _read_first_message(self) -> bool:
        """The client's answer to our own 334: what the provider gets once it is known which one."""
        message = self._take_response()
        if message is None:
            return False
        self._conversation.read = self._conversation.read_command
        if message == b"*":
            self._fail_login(reply(501, "5.7.0 Authentication cancelled"))
            return True
        assert self._exchange is not None
        self._exchange.feed(message)
        self._first_message = Secret(message)
        self._conversation.hold()
        self._route_login()
        return True

    def _route_login(self) -> None:
        """The login is as well known as it will be: ask whether it may, then find its provider. Holds the client."""
        assert self._exchange is not None
        login = self._exchange.login
        if login is None:
            self._resume_with_failure(reply(501, "5.5.2 The login name could not be read"))
        elif not self._user_is_checked:
            self._conversation.wire.check_user(login, self._user_checked)
        elif not self._conversation.policy.route_is_known or self._conversation.extensions is None:
            self._conversation.extensions = None
            self._conversation.wire.dial(login)
        else:
            self.start_exchange()

    def _user_checked(self, is_known: bool) -> None:
        if self._conversation.is_closing:
            return
        self._user_is_checked = True
        if is_known:
            self._route_login()
        else:
            self._resume_with_failure(reply(535, "5.7.8 Authentication credentials invalid"))

    def _on_replayed_prompt(self, place: Place, answer: Reply) -> None:
        """The provider asks for what the client has said already."""
        if answer.code != 334 or self._first_message is None:
            self._on_auth(place, answer)
            return
        message, self._first_message = self._first_message, None
        self._conversation.queue.retake(place, self._on_auth)
        self._conversation.wire.to_provider(message.reveal() + b"\r\n")

    def _on_auth(self, place: Place, answer: Reply) -> None:
        if answer.code == 334:
            self._conversation.read = self._read_response
            self._conversation.queue.resolve(place, answer.octets)
            self._conversation.resume()
        elif answer.is_positive:
            self._conversation.is_authenticated = True
            self._conversation.login = self._exchange.login if self._exchange else None
            self._exchange = None
            self._conversation.read = self._conversation.read_command
            self._conversation.queue.resolve(place, answer.octets)
            self._conversation.resume()
        else:
            self._conversation.read = self._conversation.read_command
            self._delay_failure(place, answer.octets)

    def _read_response(self) -> bool:
        message = self._take_response()
        if message is None:
            return False
        assert self._exchange is not None
        self._exchange.feed(message)
        self._conversation.hold()
        secret = Secret(message)
        if self._exchange.is_contradictory:
            self._send_response(False, secret)
        elif self._user_is_checked:
            self._send_response(True, secret)
        elif self._exchange.login is not None:
            self._conversation.wire.check_user(
                self._exchange.login, lambda is_known: self._send_response(is_known, secret)
            )
        else:
            self._send_response(False, secret)
        return True

    def _send_response(self, may: bool, message: Secret) -> None:
        """The client's message, or "*" when its login must not go on (RFC 4954 §4)."""
        if self._conversation.is_closing:
            return
        self._user_is_checked = may
        self._conversation.forward((message.reveal() if may else b"*") + b"\r\n", self._on_auth)

    def _take_response(self) -> bytes | None:
        line = self._conversation.take_line(self._conversation.limits.auth_line)
        if line is None:
            return None
        if line[-2:] != b"\r\n" or line.find(b"\r") != len(line) - 2 or b"\0" in line:
            self._conversation.end(reply(500, "5.5.2 Lines end with CRLF and hold no other CR, LF or NUL"))
            return None
        return line[:-2]

    def _resume_with_failure(self, octets: bytes) -> None:
        self._delay_failure(self._conversation.queue.reserve(), octets)

    def _fail_login(self, octets: bytes) -> None:
        self._conversation.hold()
        self._delay_failure(self._conversation.queue.reserve(), octets)

    def _delay_failure(self, place: Place, octets: bytes) -> None:
        """A failed login costs time, and too many the session."""
        self._exchange = None
        self._first_message = None
        self._failures += 1

        def answer() -> None:
            self._conversation.queue.resolve(place, octets)
            if self._failures >= self._conversation.limits.failed_logins:
                self._conversation.end(reply(421, "4.7.0 Too many failed logins"))
            self._conversation.resume()
            self._conversation.close_when_answered()

        self._conversation.wire.later(self._conversation.policy.failed_login_delay, answer)
