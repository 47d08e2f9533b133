"""A submission session between one client and one provider: pure, fed by events, speaking through a `Wire`.

`Session` takes the events and hands each command to its part: greeting, TLS and the small commands here, AUTH to
`Login`, MAIL, RCPT and DATA to `MailTransaction`, BDAT to `Chunks`. What they share is the `Conversation`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from proxy.smtp.chunks import Chunks
from proxy.smtp.command import BadCommand, Command, parse_command
from proxy.smtp.conversation import Conversation
from proxy.smtp.envelope import Envelope, Recipient
from proxy.smtp.extension import Extensions, advertise
from proxy.smtp.login import Login
from proxy.smtp.onward import Nowhere, ProviderOnward
from proxy.smtp.reply import Reply, reply
from proxy.smtp.reply_queue import Place
from proxy.smtp.transaction import MailTransaction
from proxy.smtp.wire import Policy, Wire

__all__ = ["Envelope", "Phase", "Policy", "Recipient", "Session", "Wire"]

# ALPACA: a browser tricked into talking to us must get nothing it could use.
HTTP_VERBS = frozenset(
    (b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH", b"PRI")
)
NOT_IMPLEMENTED = frozenset(
    (b"AUTH", b"EXPN", b"ETRN", b"TURN", b"ATRN", b"XCLIENT", b"XFORWARD", b"BURL", b"SEND", b"SOML")
)
BEFORE_TLS = frozenset((b"EHLO", b"HELO", b"STARTTLS", b"NOOP", b"RSET", b"QUIT"))
# What is offered before TLS holds for nothing: the client must forget it (RFC 3207 §4.2). But Postfix bounces a message
# that needs SMTPUTF8 when that first EHLO reply lacks it, so it is there even if the provider has it not.
QUIRK_SMTPUTF8_BEFORE_TLS: Extensions = {b"SMTPUTF8": b"", b"PIPELINING": b"", b"ENHANCEDSTATUSCODES": b""}
OUT_OF_TURN = "4.3.0 The mail provider spoke out of turn"


class Phase(Enum):
    """What the session waits for; each has its deadline."""

    CLIENT_COMMAND = auto()
    CLIENT_DATA = auto()
    PROVIDER_COMMAND = auto()
    PROVIDER_DATA_INITIATION = auto()
    PROVIDER_DATA_TERMINATION = auto()
    OURSELVES = auto()


class Session:
    """One session."""

    def __init__(self, wire: Wire, policy: Policy, *, is_secure: bool) -> None:
        self._conversation = Conversation(
            wire, policy, is_secure=is_secure, read_command=self._read_command, discard_message=self._discard_message
        )
        self._queue = self._conversation.queue
        self._login = Login(self._conversation)
        onward = ProviderOnward(self._conversation) if policy.relays else Nowhere(self._conversation)
        self._transaction = MailTransaction(self._conversation, onward)
        self._chunks = Chunks(self._conversation, self._transaction)
        self._handlers: dict[bytes, Callable[[Command], None]] = {
            b"EHLO": self._ehlo,
            b"HELO": self._ehlo,
            b"STARTTLS": self._starttls,
            b"AUTH": self._login.auth,
            b"MAIL": self._transaction.mail,
            b"RCPT": self._transaction.rcpt,
            b"DATA": self._transaction.data,
            b"BDAT": self._chunks.bdat,
            b"RSET": self._rset,
            b"NOOP": self._noop,
            b"VRFY": self._vrfy,
            b"HELP": self._help,
            b"QUIT": self._quit,
        }
        if not policy.relays:
            del self._handlers[b"AUTH"]

    @property
    def login(self) -> str | None:
        """The identity the provider accepted."""
        return self._conversation.login

    # -- events -------------------------------------------------------------------------------------------------------

    def greet(self) -> None:
        """The client has connected (and TLS is up where it comes first)."""
        self._conversation.wire.to_client(b"220 " + self._conversation.policy.hostname + b" ESMTP onrecord\r\n")

    def refuse_early_talk(self) -> None:
        """The client spoke before our greeting (RFC 5321 §4.3.1): it is no mail client, or not alone."""
        self._conversation.end(reply(554, "5.5.0 The client must wait for the greeting"))

    def receive(self, octets: bytes) -> None:
        """Octets of the client."""
        self._conversation.receive(octets)

    def client_is_secure(self) -> None:
        """TLS with the client is up: everything said in clear is forgotten (RFC 3207 §4.2)."""
        self._conversation.is_secure = True
        self._conversation.greeted = None
        self._transaction.reset()
        self._conversation.resume()

    def client_lost(self) -> None:
        """The client is gone. A message whose end was sent is seen through; any other comes to nothing."""
        self._conversation.is_closing = True
        self._transaction.discard()
        if not self._queue.awaits(self._transaction.on_end_of_data):
            self._conversation.wire.drop_provider()

    def provider_ready(self, extensions: Extensions) -> None:
        """The provider is connected, secure where it must be, and has said what it can do."""
        if self._conversation.is_closing:
            self._conversation.wire.drop_provider()
            return
        self._conversation.extensions = extensions
        if self._login.is_under_way:
            self._login.start_exchange()
        else:
            self._queue.answer(self._greeting())
            self._conversation.resume()

    def provider_failed(self, octets: bytes) -> None:
        """The provider cannot be had: `octets` is the reply, and the end of the session."""
        self._conversation.end(octets)

    def provider_replied(self, reply_: Reply) -> None:
        """One reply of the provider."""
        awaited = self._queue.awaited
        if awaited is None and self._transaction.relays_data:
            # Before the end of data: RFC 5321 §4.2.5 does not foresee it, servers do it. Nothing was accepted yet.
            self._transaction.refuse(reply_.octets if reply_.code >= 400 else reply(451, OUT_OF_TURN))
        elif reply_.code == 421:
            self._provider_leaves(reply_)
        elif awaited is None or not self._fits(awaited, reply_.code):
            self._provider_ends(reply(421, OUT_OF_TURN))
        else:
            self._queue.take(reply_)
            self._conversation.unstall()
        self._conversation.close_when_answered()

    def provider_lost(self) -> None:
        """The provider's connection is gone, or had to be dropped."""
        if self._conversation.extensions is not None or self._login.is_under_way:
            self._provider_ends(reply(421, "4.4.2 The mail provider closed the connection"))

    def shut_down(self) -> bool:
        """The program is ending. False while a transaction is open or a reply is owed: both may still end well."""
        if self._transaction.is_open or not self._queue.is_empty or self._conversation.holds:
            return False
        self._conversation.end(reply(421, "4.3.2 The relay is shutting down; try again"))
        return True

    def expire(self) -> None:
        """The deadline of `phase` has passed."""
        if self.phase in (Phase.CLIENT_COMMAND, Phase.CLIENT_DATA):
            self._conversation.end(reply(421, "4.4.2 Timed out waiting for the client"))
        else:
            self._provider_ends(reply(421, "4.4.2 The mail provider did not answer in time"))

    @property
    def phase(self) -> Phase:
        """What is awaited now."""
        awaited = self._queue.awaited
        if awaited is not None:
            if awaited.on_reply == self._transaction.on_end_of_data:
                return Phase.PROVIDER_DATA_TERMINATION
            is_data = awaited.on_reply == self._transaction.on_data
            return Phase.PROVIDER_DATA_INITIATION if is_data else Phase.PROVIDER_COMMAND
        if self._conversation.holds:
            return Phase.OURSELVES
        has_begun = self._transaction.transfer is not None or self._chunks.is_reading
        return Phase.CLIENT_DATA if has_begun else Phase.CLIENT_COMMAND

    # -- commands -----------------------------------------------------------------------------------------------------

    def _read_command(self) -> bool:
        conversation = self._conversation
        line = conversation.take_command_line()
        if line is None:
            return False
        try:
            command = parse_command(line)
            handler = self._handlers.get(command.verb)
            if handler is None:
                self._unknown(command)
            elif conversation.policy.requires_tls and not conversation.is_secure and command.verb not in BEFORE_TLS:
                raise BadCommand(530, "5.7.0 Must issue a STARTTLS command first")
            else:
                handler(command)
        except BadCommand as error:
            conversation.refuse_command(error)
        return True

    def _unknown(self, command: Command) -> None:
        if command.verb in HTTP_VERBS:
            self._conversation.end(reply(554, "5.5.0 This is a mail server"))
        elif command.verb in NOT_IMPLEMENTED:
            raise BadCommand(502, "5.5.1 Command not implemented")
        else:
            raise BadCommand(500, "5.5.2 Command not recognised")

    def _ehlo(self, command: Command) -> None:
        if not command.argument or any(octet < 33 or octet > 126 for octet in command.argument):
            raise BadCommand(501, f"5.5.4 Syntax: {command.verb.decode()} hostname")
        self._conversation.greeted = command.verb
        self._transaction.reset()
        if self._conversation.policy.requires_tls and not self._conversation.is_secure:
            self._queue.answer(self._greeting())
        elif self._conversation.extensions is not None:
            self._conversation.forward(b"EHLO " + self._conversation.policy.hostname + b"\r\n", self._on_ehlo)
        elif self._conversation.policy.route_is_known:
            self._conversation.hold()
            self._conversation.wire.dial(None)
        else:
            self._queue.answer(self._greeting())

    def _on_ehlo(self, place: Place, answer: Reply) -> None:
        self._transaction.forget()
        self._queue.resolve(place, self._greeting() if answer.is_positive else answer.octets)

    def _greeting(self) -> bytes:
        policy = self._conversation.policy
        if self._conversation.greeted == b"HELO":
            return b"250 " + policy.hostname + b"\r\n"
        needs_tls = policy.requires_tls and not self._conversation.is_secure
        return advertise(
            policy.hostname,
            QUIRK_SMTPUTF8_BEFORE_TLS if needs_tls else self._conversation.offered_extensions(),
            max_size=self._conversation.limits.message,
            max_recipients=self._conversation.limits.recipients,
            offered=[] if needs_tls or self._conversation.is_authenticated else self._login.mechanisms(),
            starttls=policy.starttls and not self._conversation.is_secure,
        )

    def _starttls(self, command: Command) -> None:
        if command.argument:
            raise BadCommand(501, "5.5.4 STARTTLS takes no argument")
        if not self._conversation.policy.starttls or self._conversation.is_secure:
            raise BadCommand(503, "5.5.1 TLS is not to be had here, or is up already")
        if self._conversation.has_input or not self._queue.is_empty:
            # Octets behind STARTTLS in clear would be taken for encrypted ones (CVE-2011-0411): no reply, no TLS.
            self._conversation.end(b"")
            return
        self._conversation.hold()
        self._conversation.wire.upgrade_client()

    def _rset(self, command: Command) -> None:
        self._transaction.reset()
        if self._conversation.extensions is None:
            self._queue.answer(reply(250, "2.0.0 Ok"))
        else:
            self._conversation.forward(command.line, self._on_rset)

    def _on_rset(self, place: Place, answer: Reply) -> None:
        self._transaction.forget()
        self._queue.resolve(place, answer.octets)

    def _noop(self, command: Command) -> None:
        if self._conversation.extensions is None:
            self._queue.answer(reply(250, "2.0.0 Ok"))
        else:
            self._conversation.forward(b"NOOP\r\n", self._conversation.on_simple)

    def _vrfy(self, command: Command) -> None:
        self._queue.answer(reply(252, "2.5.0 Send some mail and see"))

    def _help(self, command: Command) -> None:
        self._queue.answer(reply(214, "2.0.0 See RFC 5321 and RFC 6409"))

    def _quit(self, command: Command) -> None:
        self._transaction.discard()
        if self._conversation.extensions is None:
            self._conversation.end(reply(221, "2.0.0 Bye"))
        else:
            self._conversation.hold()
            self._conversation.forward(b"QUIT\r\n", self._on_quit)

    def _on_quit(self, place: Place, answer: Reply) -> None:
        self._queue.resolve(place, answer.octets)
        self._conversation.end(b"")

    # -- the provider -------------------------------------------------------------------------------------------------

    def _fits(self, awaited: Place, code: int) -> bool:
        """Whether the awaited command can have such an answer (RFC 5321 §4.3.2, RFC 4954 §4).

        A client that hears 354 where there is none would send its content, to be read as commands; one that hears 250
        to DATA could think that its mail was taken.
        """
        if code >= 400:
            return True
        if awaited.on_reply == self._transaction.on_data:
            return code == 354
        return code < 300 or (code == 334 and self._login.takes(awaited))

    def _provider_leaves(self, reply_: Reply) -> None:
        """421 answers the command it is the reply to, whatever that is, and every other one with it."""
        conversation = self._conversation
        is_closing, conversation.is_closing = conversation.is_closing, True  # so that nothing sent ahead is carried out
        is_answer = conversation.queue.take(reply_)
        conversation.is_closing = is_closing
        self._provider_ends(b"" if is_answer else reply_.octets)

    def _provider_ends(self, octets: bytes) -> None:
        """The provider is of no more use. Each open command gets an answer; the client is told and let go."""
        self._conversation.drop_provider()
        if self._transaction.reads_data and self._queue.awaited is None:
            self._transaction.provider_is_lost()
            return
        told = not octets
        for place in self._queue.abandon():
            if place.on_reply == self._transaction.on_end_of_data:
                self._transaction.verdict_is_lost(place)
            else:
                self._queue.resolve(place, b"" if told else octets)
                told = True
        self._conversation.end(b"" if told else octets)

    def _discard_message(self) -> None:
        self._transaction.discard()
