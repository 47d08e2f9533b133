"""A submission session between one client and one provider: pure, fed by events, speaking through a `Wire`.

Rules of the whole:

- The provider's replies go to the client as they are, in the order of the commands (`ReplyQueue`); only what the
  provider cannot answer is answered here.
- While a reply decides what the next octets mean (login, DATA, TLS, connecting) the client's octets wait in `_input`.
- The end of data is sent only after all of it came and nothing was wrong with it. A client that dies, or a message
  that breaks a rule, costs the provider's connection and never produces an end of data.
- A reply to mail data waits for the capture when the message is to be logged (`Tap.deliver`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import ClassVar, Protocol

from proxy.limits import Limits
from proxy.sasl import CHALLENGE_FIRST, READERS, LoginReader, Secret, first_prompt
from proxy.smtp.command import BadCommand, Chunk, Command, parse_chunk, parse_command, parse_path
from proxy.smtp.extension import Extensions, advertise, mechanisms
from proxy.smtp.mail_data import END_OF_DATA, DataReader, MendingReader
from proxy.smtp.reply import Reply, reply
from proxy.smtp.reply_queue import Place, ReplyQueue
from proxy.smtp.transfer import Tap, Transfer

__all__ = ["Envelope", "Phase", "Policy", "Recipient", "Session", "Wire"]

# ALPACA: a browser tricked into talking to us must get nothing it could use.
HTTP_VERBS = frozenset(
    (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH", b"PRI")
)
BEFORE_TLS = frozenset((b"EHLO", b"HELO", b"STARTTLS", b"NOOP", b"RSET", b"QUIT"))
# What is offered before TLS holds for nothing: the client must forget it (RFC 3207 §4.2). But Postfix bounces a message
# that needs SMTPUTF8 when that first EHLO reply lacks it, so it is there even if the provider has it not.
QUIRK_SMTPUTF8_BEFORE_TLS: Extensions = {b"SMTPUTF8": b"", b"PIPELINING": b"", b"ENHANCEDSTATUSCODES": b""}
INITIAL_RESPONSE_LINE = 512  # RFC 4954 §4: a longer initial response waits for the provider's 334
TOO_LARGE = "5.3.4 The message is larger than this relay takes"
OUT_OF_TURN = "4.3.0 The mail provider spoke out of turn"
PENDING_INPUT = 65536  # octets a client may send ahead while it must wait


class Phase(Enum):
    """What the session waits for; each has its deadline."""

    CLIENT_COMMAND = auto()
    CLIENT_DATA = auto()
    PROVIDER_COMMAND = auto()
    PROVIDER_DATA_INITIATION = auto()
    PROVIDER_DATA_TERMINATION = auto()
    OURSELVES = auto()


@dataclass(frozen=True, slots=True)
class Recipient:
    """A forward-path as written and the provider's verdict on it."""

    path: bytes
    reply: Reply


@dataclass(slots=True)
class Envelope:
    """RFC 5321 §2.3.1: the reverse-path as written (`b""` is the null path) and the forward-paths with verdicts."""

    reverse_path: bytes | None = None
    recipients: list[Recipient] = field(default_factory=list)

    @property
    def has_accepted(self) -> bool:
        """Whether the provider took at least one recipient."""
        return any(each.reply.is_positive for each in self.recipients)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a listener asks of its sessions.

    `mends` and `nul_passes` are of the provider and may change when the login chooses another one. `offer` gives the
    extensions to advertise while the provider is not known yet.
    """

    hostname: bytes
    limits: Limits
    failed_login_delay: float
    starttls: bool
    route_is_known: bool
    known_users_only: bool
    offer: Callable[[], Extensions]


class Wire(Protocol):
    """What a session can do to the world."""

    def to_client(self, octets: bytes) -> None: ...
    def to_provider(self, octets: bytes) -> None: ...
    def dial(self, login: str | None) -> None:
        """Connects to the provider of the listener, or of `login`; `provider_ready` or `provider_failed` follows."""

    def upgrade_client(self) -> None:
        """Starts TLS with the client; `client_is_secure` follows."""

    def close_client(self) -> None: ...
    def drop_provider(self) -> None: ...
    def hold_client(self, on: bool) -> None: ...
    def later(self, seconds: float, then: Callable[[], None]) -> None: ...
    def check_user(self, login: str, then: Callable[[bool], None]) -> None: ...
    def tap(self, envelope: Envelope) -> Tap | None: ...
    def undelivered(self, envelope: Envelope) -> None: ...
    def fields(self) -> tuple[bytes, bytes]: ...
    def mending(self) -> bool: ...


class Session:
    """One session. `login` is the identity the provider accepted."""

    def __init__(self, wire: Wire, policy: Policy, *, is_secure: bool) -> None:
        self._wire = wire
        self._policy = policy
        self._limits = policy.limits
        self._is_secure = is_secure
        self._queue = ReplyQueue(wire.to_client)
        self._input = b""
        self._read: Callable[[], bool] = self._read_command
        self._holds = 0
        self._stalled = False
        self._closing = False
        self._client_is_gone = False
        self._greeted: bytes | None = None
        self._extensions: Extensions | None = None
        self._authenticated = False
        self.login: str | None = None
        self._exchange: LoginReader | None = None
        self._first_message: Secret | None = None
        self._user_is_checked = False
        self._failed_logins = 0
        self._bad_commands = 0
        self._recipients_asked = 0
        self._envelope = Envelope()
        self._transfer: Transfer | None = None
        self._reader: DataReader | MendingReader | None = None
        self._chunk: Chunk | None = None
        self._chunk_left = 0
        self._chunk_is_open = False
        self._refusal: bytes | None = None

    # -- events -------------------------------------------------------------------------------------------------------

    def greet(self) -> None:
        """The client has connected (and TLS is up where it comes first)."""
        self._wire.to_client(b"220 " + self._policy.hostname + b" ESMTP onrecord\r\n")

    def refuse_early_talk(self) -> None:
        """The client spoke before our greeting (RFC 5321 §4.3.1): it is no mail client, or not alone."""
        self._end(reply(554, "5.5.0 The client must wait for the greeting"))

    def receive(self, octets: bytes) -> None:
        """Octets of the client."""
        if self._closing:
            return
        self._input = self._input + octets if self._input else octets
        self._advance()

    def client_is_secure(self) -> None:
        """TLS with the client is up: everything said in clear is forgotten (RFC 3207 §4.2)."""
        self._is_secure = True
        self._greeted = None
        self._resume()

    def client_lost(self) -> None:
        """The client is gone. A message whose end was sent is seen through; any other comes to nothing."""
        self._client_is_gone = self._closing = True
        self._discard_transfer()
        if not self._queue.awaits(self._on_end_of_data):
            self._wire.drop_provider()

    def provider_ready(self, extensions: Extensions) -> None:
        """The provider is connected, secure where it must be, and has said what it can do."""
        if self._closing:
            self._wire.drop_provider()
            return
        self._extensions = extensions
        if self._exchange is not None:
            self._start_exchange()
        else:
            self._queue.answer(self._greeting())
            self._resume()

    def provider_failed(self, octets: bytes) -> None:
        """The provider cannot be had: `octets` is the reply, and the end of the session."""
        self._end(octets)

    def provider_replied(self, reply_: Reply) -> None:
        """One reply of the provider."""
        if self._reader is not None and self._queue.awaited is None:
            # Before the end of data: RFC 5321 §4.2.5 does not foresee it, servers do it. Nothing was accepted yet.
            self._refuse(reply_.octets if reply_.code >= 400 else reply(451, OUT_OF_TURN))
        elif reply_.code == 421:
            self._provider_leaves(reply_)
        elif not self._fits(reply_.code) or not self._queue.take(reply_):
            self._provider_ends(reply(421, OUT_OF_TURN))
        elif self._stalled and self._queue.awaited is None:
            self._stalled = False
            self._resume()
        self._close_when_answered()

    def _fits(self, code: int) -> bool:
        """Whether the awaited command can have such an answer (RFC 5321 §4.3.2, RFC 4954 §4).

        A client that hears 354 where there is none would send its content, to be read as commands; one that hears 250
        to DATA could think that its mail was taken.
        """
        awaited = self._queue.awaited
        if awaited is None or code >= 400:
            return True
        if awaited.on_reply == self._on_data:
            return code == 354
        is_login = awaited.on_reply in (self._on_auth, self._on_replayed_prompt)
        return code < 300 or (is_login and code == 334)

    def _provider_leaves(self, reply_: Reply) -> None:
        """421 answers the command it is the reply to, whatever that is, and every other one with it."""
        is_closing, self._closing = self._closing, True  # so that nothing sent ahead is carried out
        is_answer = self._queue.take(reply_)
        self._closing = is_closing
        self._provider_ends(b"" if is_answer else reply_.octets)

    def provider_lost(self) -> None:
        """The provider's connection is gone, or had to be dropped."""
        if self._extensions is not None or self._exchange is not None:
            self._provider_ends(reply(421, "4.4.2 The mail provider closed the connection"))

    def shut_down(self) -> bool:
        """The program is ending. False when a message is on its way, which may still end well."""
        if self._transfer is not None or not self._queue.is_empty or self._holds:
            return False
        self._end(reply(421, "4.3.2 The relay is shutting down; try again"))
        return True

    def expire(self) -> None:
        """The deadline of `phase` has passed."""
        if self.phase in (Phase.CLIENT_COMMAND, Phase.CLIENT_DATA):
            self._end(reply(421, "4.4.2 Timed out waiting for the client"))
        else:
            self._provider_ends(reply(421, "4.4.2 The mail provider did not answer in time"))

    @property
    def phase(self) -> Phase:
        """What is awaited now."""
        awaited = self._queue.awaited
        if awaited is not None:
            if awaited.on_reply == self._on_end_of_data:
                return Phase.PROVIDER_DATA_TERMINATION
            return Phase.PROVIDER_DATA_INITIATION if awaited.on_reply == self._on_data else Phase.PROVIDER_COMMAND
        if self._holds:
            return Phase.OURSELVES
        return Phase.CLIENT_DATA if self._transfer is not None or self._chunk is not None else Phase.CLIENT_COMMAND

    # -- the client's octets ------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        while self._input and not self._holds and not self._closing and self._read():
            pass
        if self._holds and len(self._input) > PENDING_INPUT:
            self._wire.hold_client(True)

    def _hold(self) -> None:
        self._holds += 1

    def _resume(self) -> None:
        self._holds = max(0, self._holds - 1)
        if not self._holds:
            self._wire.hold_client(False)
            self._advance()

    def _take_line(self) -> bytes | None:
        """The next line, or `None` until it is whole. Only a login may have a long one."""
        is_login = self._exchange is not None or self._input[:5].upper() == b"AUTH "
        limit = self._limits.auth_line if is_login else self._limits.command_line
        end = self._input.find(b"\n") + 1
        if not end and len(self._input) <= limit:
            return None
        if not end or end > limit + 2:
            self._end(reply(500, "5.5.6 The line is too long"))
            return None
        line, self._input = self._input[:end], self._input[end:]
        return line

    def _read_command(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        try:
            command = parse_command(line)
            handler = self.HANDLERS.get(command.verb)
            if handler is None:
                self._unknown(command)
            elif self._policy.starttls and not self._is_secure and command.verb not in BEFORE_TLS:
                raise BadCommand(530, "5.7.0 Must issue a STARTTLS command first")
            else:
                handler(self, command)
        except BadCommand as error:
            self._bad(error)
        return True

    def _bad(self, error: BadCommand) -> None:
        self._bad_commands += 1
        octets = reply(error.code, error.text)
        if error.closes:
            self._end(octets)
        elif self._bad_commands > self._limits.bad_commands:
            self._queue.answer(octets)
            self._end(reply(421, "4.7.0 Too many errors"))
        else:
            self._queue.answer(octets)

    def _unknown(self, command: Command) -> None:
        if command.verb in HTTP_VERBS:
            self._end(reply(554, "5.5.0 This is a mail server"))
        elif command.verb in (b"EXPN", b"ETRN", b"TURN", b"ATRN", b"XCLIENT", b"XFORWARD", b"BURL", b"SEND", b"SOML"):
            raise BadCommand(502, "5.5.1 Command not implemented")
        else:
            raise BadCommand(500, "5.5.2 Command not recognised")

    # -- greeting, TLS ------------------------------------------------------------------------------------------------

    def _ehlo(self, command: Command) -> None:
        if not command.argument or any(octet < 33 or octet > 126 for octet in command.argument):
            raise BadCommand(501, f"5.5.4 Syntax: {command.verb.decode()} hostname")
        self._greeted = command.verb
        self._reset()
        if self._policy.starttls and not self._is_secure:
            self._queue.answer(self._greeting())
        elif self._extensions is not None:
            self._forward(b"EHLO " + self._policy.hostname + b"\r\n", self._on_ehlo)
        elif self._policy.route_is_known:
            self._hold()
            self._wire.dial(None)
        else:
            self._queue.answer(self._greeting())

    def _on_ehlo(self, place: Place, answer: Reply) -> None:
        self._envelope = Envelope()
        self._queue.resolve(place, self._greeting() if answer.is_positive else answer.octets)

    def _greeting(self) -> bytes:
        policy = self._policy
        if self._greeted == b"HELO":
            return b"250 " + policy.hostname + b"\r\n"
        needs_tls = policy.starttls and not self._is_secure
        return advertise(
            policy.hostname,
            QUIRK_SMTPUTF8_BEFORE_TLS if needs_tls else self._offered_extensions(),
            max_size=self._limits.message,
            max_recipients=self._limits.recipients,
            offered=[] if needs_tls or self._authenticated else self._mechanisms(),
            starttls=needs_tls,
        )

    def _offered_extensions(self) -> Extensions:
        return self._extensions if self._extensions is not None else self._policy.offer()

    def _mechanisms(self) -> list[bytes]:
        """Those whose login can be read in time, where we need it before the provider gets it."""
        offered = mechanisms(self._offered_extensions())
        if not self._policy.route_is_known:
            return [each for each in offered if first_prompt(each) is not None]
        return [each for each in offered if each in READERS] if self._policy.known_users_only else offered

    def _starttls(self, command: Command) -> None:
        if command.argument:
            raise BadCommand(501, "5.5.4 STARTTLS takes no argument")
        if not self._policy.starttls or self._is_secure:
            raise BadCommand(503, "5.5.1 TLS is not to be had here, or is up already")
        if self._input or not self._queue.is_empty:
            # Octets behind STARTTLS in clear would be taken for encrypted ones (CVE-2011-0411): no reply, no TLS.
            self._end(b"")
            return
        self._hold()
        self._wire.upgrade_client()

    # -- login --------------------------------------------------------------------------------------------------------

    def _auth(self, command: Command) -> None:
        self._require_greeting()
        name, _, initial = command.argument.partition(b" ")
        mechanism, initial = name.upper(), initial.strip()
        if self._authenticated:
            raise BadCommand(503, "5.5.1 Already authenticated")
        if not mechanism:
            raise BadCommand(501, "5.5.4 Syntax: AUTH mechanism [initial-response]")
        if mechanism not in self._mechanisms():
            raise BadCommand(504, "5.5.4 Mechanism not offered here")
        if initial and mechanism in CHALLENGE_FIRST:
            # Servers that ignore it log in whoever answers the challenge, which may be somebody else.
            raise BadCommand(501, "5.7.0 The server speaks first in this mechanism")
        self._exchange = LoginReader(mechanism)
        self._user_is_checked = not self._policy.known_users_only
        self._first_message = None
        if initial:
            self._exchange.feed(initial)
            self._first_message = Secret(initial)
        needs_login = self._policy.known_users_only or not self._policy.route_is_known
        if not needs_login:
            self._hold()
            if mechanism == b"LOGIN" and initial and initial != b"=":
                self._start_exchange()  # so that the name is read where the provider reads it: behind its prompt
            else:
                self._first_message = None
                self._forward(command.line, self._on_auth)
        elif self._exchange.login is not None or (initial and initial != b"="):
            self._hold()
            self._route_login()
        elif (prompt := first_prompt(mechanism)) is not None:
            self._first_message = None
            self._queue.answer(b"334 " + prompt + b"\r\n")
            self._read = self._read_first_message
        else:
            self._forward(command.line, self._on_auth)
            self._hold()

    def _read_first_message(self) -> bool:
        """The client's answer to our own 334: what the provider gets once it is known which one."""
        message = self._take_response()
        if message is None:
            return False
        self._read = self._read_command
        if message == b"*":
            self._fail_login(reply(501, "5.7.0 Authentication cancelled"))
            return True
        assert self._exchange is not None
        self._exchange.feed(message)
        self._first_message = Secret(message)
        self._hold()
        self._route_login()
        return True

    def _route_login(self) -> None:
        """The login is as well known as it will be: ask whether it may, then find its provider. Holds the client."""
        assert self._exchange is not None
        login = self._exchange.login
        if login is None:
            self._resume_with_failure(reply(501, "5.5.2 The login name could not be read"))
        elif not self._user_is_checked:
            self._wire.check_user(login, self._user_checked)
        elif not self._policy.route_is_known or self._extensions is None:
            self._extensions = None
            self._wire.dial(login)
        else:
            self._start_exchange()

    def _user_checked(self, is_known: bool) -> None:
        if self._closing:
            return
        self._user_is_checked = True
        if is_known:
            self._route_login()
        else:
            self._resume_with_failure(reply(535, "5.7.8 Authentication credentials invalid"))

    def _start_exchange(self) -> None:
        """Sends what the client said so far to the provider, within the limits of RFC 4954 §4."""
        assert self._exchange is not None
        message = self._first_message
        line = b"AUTH " + self._exchange.mechanism
        if message is None:
            self._forward(line + b"\r\n", self._on_auth)
        elif self._exchange.mechanism == b"LOGIN" or len(line) + len(message.reveal()) + 3 > INITIAL_RESPONSE_LINE:
            self._forward(line + b"\r\n", self._on_replayed_prompt)
        else:
            self._forward(line + b" " + message.reveal() + b"\r\n", self._on_auth)
            self._first_message = None

    def _on_replayed_prompt(self, place: Place, answer: Reply) -> None:
        """The provider asks for what the client has said already."""
        if answer.code != 334 or self._first_message is None:
            self._on_auth(place, answer)
            return
        message, self._first_message = self._first_message, None
        self._queue.retake(place, self._on_auth)
        self._wire.to_provider(message.reveal() + b"\r\n")

    def _on_auth(self, place: Place, answer: Reply) -> None:
        if answer.code == 334:
            self._read = self._read_response
            self._queue.resolve(place, answer.octets)
            self._resume()
        elif answer.is_positive:
            self._authenticated = True
            self.login = self._exchange.login if self._exchange else None
            self._exchange = None
            self._read = self._read_command
            self._queue.resolve(place, answer.octets)
            self._resume()
        else:
            self._read = self._read_command
            self._delay_failure(place, answer.octets)

    def _read_response(self) -> bool:
        message = self._take_response()
        if message is None:
            return False
        assert self._exchange is not None
        self._exchange.feed(message)
        self._hold()
        secret = Secret(message)
        if self._exchange.is_contradictory:
            self._send_response(False, secret)
        elif self._user_is_checked:
            self._send_response(True, secret)
        elif self._exchange.login is not None:
            self._wire.check_user(self._exchange.login, lambda is_known: self._send_response(is_known, secret))
        else:
            self._send_response(False, secret)
        return True

    def _send_response(self, may: bool, message: Secret) -> None:
        """The client's message, or "*" when its login must not go on (RFC 4954 §4)."""
        if self._closing:
            return
        self._user_is_checked = may
        self._forward((message.reveal() if may else b"*") + b"\r\n", self._on_auth)

    def _take_response(self) -> bytes | None:
        line = self._take_line()
        if line is None:
            return None
        if line[-2:] != b"\r\n" or line.find(b"\r") != len(line) - 2 or b"\0" in line:
            self._end(reply(500, "5.5.2 Lines end with CRLF and hold no other CR, LF or NUL"))
            return None
        return line[:-2]

    def _resume_with_failure(self, octets: bytes) -> None:
        self._delay_failure(self._queue.reserve(), octets)

    def _fail_login(self, octets: bytes) -> None:
        self._hold()
        self._delay_failure(self._queue.reserve(), octets)

    def _delay_failure(self, place: Place, octets: bytes) -> None:
        """A failed login costs time, and too many the session."""
        self._exchange = None
        self._first_message = None
        self._failed_logins += 1

        def answer() -> None:
            self._queue.resolve(place, octets)
            if self._failed_logins >= self._limits.failed_logins:
                self._end(reply(421, "4.7.0 Too many failed logins"))
            self._resume()
            self._close_when_answered()

        self._wire.later(self._policy.failed_login_delay, answer)

    # -- mail transaction ---------------------------------------------------------------------------------------------

    def _mail(self, command: Command) -> None:
        self._require_login()
        self._require_no_message()
        path = parse_path(command)
        if path.size is not None and path.size > self._limits.message:
            self._queue.answer(reply(552, TOO_LARGE))
            return
        self._recipients_asked = 0
        self._forward(command.line, self._on_mail, path.path)

    def _on_mail(self, place: Place, answer: Reply) -> None:
        if answer.is_positive and isinstance(place.detail, bytes):
            self._envelope = Envelope(place.detail)
        self._queue.resolve(place, answer.octets)

    def _rcpt(self, command: Command) -> None:
        self._require_login()
        self._require_no_message()
        path = parse_path(command)
        if max(self._recipients_asked, len(self._envelope.recipients)) >= self._limits.recipients:
            self._queue.answer(reply(452, "4.5.3 Too many recipients; send the rest in another transaction"))
            return
        self._recipients_asked += 1
        self._forward(command.line, self._on_rcpt, path.path)

    def _on_rcpt(self, place: Place, answer: Reply) -> None:
        if self._envelope.reverse_path is not None and isinstance(place.detail, bytes):
            self._envelope.recipients.append(Recipient(place.detail, answer))
        self._queue.resolve(place, answer.octets)

    def _data(self, command: Command) -> None:
        self._require_login()
        self._require_no_message()
        if command.argument:
            raise BadCommand(501, "5.5.4 DATA takes no argument")
        self._forward(command.line, self._on_data)
        self._hold()

    def _on_data(self, place: Place, answer: Reply) -> None:
        if answer.code == 354:
            self._transfer = self._begin(dot_stuffed=True)
            self._reader = MendingReader() if self._wire.mending() else DataReader()
            self._read = self._read_data
        elif self._envelope.recipients and not self._envelope.has_accepted:
            self._wire.undelivered(self._envelope)
        self._queue.resolve(place, answer.octets)
        if self._transfer is None and self._input:
            # RFC 2920 §3.1: DATA is the last of a group. What was sent ahead is content, and never commands.
            self._end(reply(503, "5.5.0 The message was sent before it was asked for"))
        self._resume()

    def _begin(self, *, dot_stuffed: bool) -> Transfer:
        return Transfer(
            self._wire.tap(self._envelope),
            self._wire.to_provider,
            self._wire.fields,
            header_limit=self._limits.header_section,
            dot_stuffed=dot_stuffed,
        )

    def _read_data(self) -> bool:
        octets, self._input = self._input, b""
        reader, transfer = self._reader, self._transfer
        assert reader is not None
        content, rest = reader.feed(octets)
        if self._refusal is None:
            assert transfer is not None
            if reader.violation is not None:
                self._refuse(reply(550, f"5.6.11 The message has a line end that is not CRLF: {reader.violation}"))
            elif reader.size > self._limits.message:
                self._refuse(reply(552, TOO_LARGE))
            elif content:
                transfer.feed(content)
        if rest is None:
            return False
        self._input = rest
        self._read = self._read_command
        self._reader = None
        self._finish_data()
        return True

    def _finish_data(self) -> None:
        transfer, self._transfer = self._transfer, None
        if self._refusal is not None:
            self._end(self._refusal)
            return
        assert transfer is not None
        transfer.finish()
        self._journal(transfer.tap, lambda: self._send_end(END_OF_DATA, transfer.tap))

    def _send_end(self, octets: bytes, tap: Tap | None) -> None:
        self._forward(octets, self._on_end_of_data, tap)
        self._envelope = Envelope()

    def _journal(self, tap: Tap | None, send: Callable[[], None]) -> None:
        """Policy `closed`: nothing of the end goes out before the message is durable; else it goes at once."""

        def journalled(succeeded: bool) -> None:
            if self._closing or not succeeded:
                if tap is not None:
                    tap.discard()
                self._end(reply(451, "4.3.0 The message cannot be recorded now; try again later"))
                return
            send()
            self._resume()

        self._hold()
        if tap is None or not tap.journal(journalled):
            self._holds -= 1
            send()

    def _on_end_of_data(self, place: Place, answer: Reply) -> None:
        tap = place.detail
        if tap is not None:
            tap_: Tap = tap  # type: ignore[assignment]  # the only thing _send_end ever puts there
            if not answer.is_positive:
                tap_.refuse(answer)
            elif tap_.deliver(answer, lambda: self._conclude(place, answer)):
                return
        self._conclude(place, answer)

    def _conclude(self, place: Place, answer: Reply) -> None:
        self._queue.resolve(place, answer.octets)
        self._close_when_answered()

    def _refuse(self, octets: bytes) -> None:
        """The message must not end well: the provider goes at once, the client is read to the end of its data."""
        self._refusal = octets
        if self._transfer is not None and self._transfer.tap is not None:
            self._transfer.tap.discard()
        self._extensions = None
        self._wire.drop_provider()

    def _discard_transfer(self) -> None:
        transfer, self._transfer = self._transfer, None
        if transfer is not None and transfer.tap is not None and self._refusal is None:
            transfer.tap.discard()

    # -- BDAT ---------------------------------------------------------------------------------------------------------

    def _bdat(self, command: Command) -> None:
        if self._queue.awaited is not None and self._transfer is None:
            # The tap needs the verdicts on MAIL and RCPT before the first content.
            self._input = command.line + self._input
            self._stalled = True
            self._hold()
            return
        chunk = parse_chunk(command)
        if chunk.size > self._limits.message:
            raise BadCommand(552, TOO_LARGE, closes=True)
        self._chunk, self._chunk_left = chunk, chunk.size
        self._chunk_is_open = False
        self._read = self._read_chunk
        if not self._authenticated or self._extensions is None or b"CHUNKING" not in self._extensions:
            self._read = self._skip_chunk
        elif self._transfer is None:
            self._transfer = self._begin(dot_stuffed=False)
        if not chunk.size:
            self._read()

    def _skip_chunk(self) -> bool:
        """A chunk that cannot go on is swallowed, so that its octets are not taken for commands."""
        self._take_chunk()
        if self._chunk_left:
            return False
        self._chunk = None
        self._read = self._read_command
        self._bad(BadCommand(503, "5.5.1 BDAT is not to be had here or now"))
        return True

    def _take_chunk(self) -> bytes:
        octets, self._input = self._input[: self._chunk_left], self._input[self._chunk_left :]
        self._chunk_left -= len(octets)
        return octets

    def _read_chunk(self) -> bool:
        transfer, chunk = self._transfer, self._chunk
        assert transfer is not None
        assert chunk is not None
        octets = self._take_chunk()
        if transfer.size + len(octets) > self._limits.message:
            self._discard_transfer()
            self._end(reply(552, TOO_LARGE))
            return False
        if chunk.is_last and not self._chunk_left:
            self._finish_chunks(transfer, octets)
            return True
        if self._chunk_is_open:
            transfer.pass_chunk(octets)
        elif transfer.collect_chunk(octets) or not self._chunk_left:
            self._open_chunk(transfer)
        if self._chunk_left:
            return False
        # A refused chunk fails the transaction until RSET (RFC 3030 §2). What was sent ahead still goes on as it is,
        # and the reply to the last chunk decides.
        self._queue.expect(self._on_simple)
        self._close_chunk()
        return True

    def _open_chunk(self, transfer: Transfer) -> None:
        """Sends BDAT with what is held of the chunk; fields that the section lacked make it longer."""
        assert self._chunk is not None
        held = transfer.release_chunk(is_last=self._chunk.is_last and not self._chunk_left)
        last = b" LAST" if self._chunk.is_last else b""
        self._wire.to_provider(b"BDAT %d%s\r\n" % (len(held) + self._chunk_left, last))
        if held:
            transfer.show(held)
            self._wire.to_provider(held)
        self._chunk_is_open = True

    def _finish_chunks(self, transfer: Transfer, octets: bytes) -> None:
        """The end of a BDAT message is its last octets: they go when the journal has them."""
        if self._chunk_is_open:
            transfer.show(octets)
            transfer.size += len(octets)
            ending = octets
        else:
            transfer.collect_chunk(octets)
            held = transfer.release_chunk(is_last=True)
            transfer.show(held)
            ending = b"BDAT %d LAST\r\n" % len(held) + held
        self._close_chunk()
        self._transfer = None
        self._journal(transfer.tap, lambda: self._send_end(ending, transfer.tap))

    def _close_chunk(self) -> None:
        self._chunk = None
        self._chunk_is_open = False
        self._read = self._read_command

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _rset(self, command: Command) -> None:
        self._reset()
        if self._extensions is None:
            self._queue.answer(reply(250, "2.0.0 Ok"))
        else:
            self._forward(command.line, self._on_rset)

    def _reset(self) -> None:
        """RSET and EHLO end the transaction, now and once more in their turn: a MAIL before them may be open still."""
        self._envelope = Envelope()
        self._recipients_asked = 0
        self._discard_transfer()

    def _on_rset(self, place: Place, answer: Reply) -> None:
        self._envelope = Envelope()
        self._queue.resolve(place, answer.octets)

    def _noop(self, command: Command) -> None:
        if self._extensions is None:
            self._queue.answer(reply(250, "2.0.0 Ok"))
        else:
            self._forward(b"NOOP\r\n", self._on_simple)

    def _vrfy(self, command: Command) -> None:
        self._queue.answer(reply(252, "2.5.0 Send some mail and see"))

    def _help(self, command: Command) -> None:
        self._queue.answer(reply(214, "2.0.0 See RFC 5321 and RFC 6409"))

    def _quit(self, command: Command) -> None:
        self._discard_transfer()
        if self._extensions is None:
            self._end(reply(221, "2.0.0 Bye"))
        else:
            self._hold()
            self._forward(b"QUIT\r\n", self._on_quit)

    def _on_quit(self, place: Place, answer: Reply) -> None:
        self._queue.resolve(place, answer.octets)
        self._end(b"")

    def _on_simple(self, place: Place, answer: Reply) -> None:
        self._queue.resolve(place, answer.octets)

    def _forward(self, line: bytes, on_reply: Callable[[Place, Reply], None], detail: object = None) -> None:
        self._queue.expect(on_reply, detail)
        self._wire.to_provider(line)

    def _require_greeting(self) -> None:
        if self._greeted is None:
            raise BadCommand(503, "5.5.1 Say EHLO first")

    def _require_login(self) -> None:
        self._require_greeting()
        if not self._authenticated:
            raise BadCommand(530, "5.7.0 Authentication required")

    def _require_no_message(self) -> None:
        """RFC 3030 §2: between chunks there is no MAIL, RCPT or DATA; the tap knows one envelope and one content."""
        if self._transfer is not None:
            raise BadCommand(503, "5.5.1 The message has begun; finish it or say RSET")

    # -- the end ------------------------------------------------------------------------------------------------------

    def _provider_ends(self, octets: bytes) -> None:
        """The provider is of no more use. Each open command gets an answer; the client is told and let go."""
        self._extensions = None
        self._wire.drop_provider()
        if self._reader is not None and self._queue.awaited is None:
            if self._refusal is None:
                self._refuse(reply(451, "4.4.2 The mail provider closed the connection during the message"))
            return  # the client is read to the end of its data, then told
        told = not octets
        for place in self._queue.abandon():
            if place.on_reply == self._on_end_of_data:
                if place.detail is not None:
                    tap: Tap = place.detail  # type: ignore[assignment]  # see _on_end_of_data
                    tap.lose()
                lost = reply(451, "4.4.2 The mail provider was lost before it answered; the outcome is unknown")
                self._queue.resolve(place, lost)
            else:
                self._queue.resolve(place, b"" if told else octets)
                told = True
        self._end(b"" if told else octets)

    def _end(self, octets: bytes) -> None:
        """The last reply of the session, in its turn; both sides are closed when all before it were given."""
        if octets and not self._closing:
            self._queue.answer(octets)
        self._closing = True
        self._input = b""
        self._discard_transfer()
        self._close_when_answered()

    def _close_when_answered(self) -> None:
        if self._closing and self._queue.is_empty:
            self._close()

    def _close(self) -> None:
        self._wire.drop_provider()
        self._wire.close_client()

    HANDLERS: ClassVar[dict[bytes, Callable[[Session, Command], None]]] = {
        b"EHLO": _ehlo,
        b"HELO": _ehlo,
        b"STARTTLS": _starttls,
        b"AUTH": _auth,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"BDAT": _bdat,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"VRFY": _vrfy,
        b"HELP": _help,
        b"QUIT": _quit,
    }
