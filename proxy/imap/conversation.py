"""What the parts of a session share: the octets of both sides, the command under way, and the end.

Before login one command is under way at a time; what the client sends meanwhile waits here. `read` is what the client's
next octets are: it takes what it can use and says whether to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.imap.capability import capabilities_of, takes_at_once, withhold
from proxy.imap.command import BadCommand, Command, as_synchronising
from proxy.imap.framing import AUTHENTICATE_LINE, BadFrame, Reader, command_limit, literal_of
from proxy.imap.opening import Opened
from proxy.imap.response import Response, parse_response, response_reader, tagged, untagged, without_referral
from proxy.imap.wire import Authenticated, Credentials, Policy, Wire

__all__ = ["OUT_OF_TURN", "Conversation"]

PENDING_INPUT = 65536  # octets a client may send ahead while it must wait
OUT_OF_TURN = "[UNAVAILABLE] The mail provider spoke out of turn"


@dataclass(slots=True)
class Awaited:
    """A command at the provider: what of it was not sent yet, and who takes its tagged response and its challenges."""

    tag: bytes
    on_tagged: Callable[[Response], None]
    on_challenge: Callable[[bytes], None] | None
    unsent: list[bytes] = field(repr=False)


class Conversation:
    """The state of one session that is of no single command.

    `capabilities` are the provider's while it is there, `tag` is that of the command that the client is owed an answer
    to. `may_offer` says which SASL mechanisms can be had here.
    """

    def __init__(self, wire: Wire, policy: Policy, *, is_secure: bool, read_command: Callable[[], bool]) -> None:
        self.wire = wire
        self.policy = policy
        self.is_secure = is_secure
        self.is_upgrading = False
        self.read = self.read_command = read_command
        self.may_offer: Callable[[bytes], bool] | None = None
        self.capabilities: frozenset[bytes] | None = None
        self.tag: bytes | None = None
        self.awaited: Awaited | None = None
        self.holds = 0
        self.has_greeted = False
        self.is_closing = False
        self.is_passing = False
        self._has_heard_bye = False
        self._client = Reader(command_limit, lambda text, _: literal_of(text))
        self._provider = response_reader()
        self._bad_commands = 0

    @property
    def needs_tls(self) -> bool:
        """Whether the client must secure its connection before it logs in."""
        return self.policy.starttls and not self.is_secure

    # -- the client's octets ------------------------------------------------------------------------------------------

    def receive(self, octets: bytes) -> None:
        """Octets of the client."""
        if self.is_upgrading:
            self.end(None)  # in clear, where only TLS may be
        if not self.is_closing:
            self._client.feed(octets)
            self._advance()

    @property
    def has_input(self) -> bool:
        """Whether octets of the client wait to be taken."""
        return not self._client.is_empty

    def hold(self) -> None:
        """The client's octets wait until `resume`."""
        self.holds += 1

    def resume(self) -> None:
        """Reads on when nothing else holds the client's octets."""
        self.holds = max(0, self.holds - 1)
        if not self.holds:
            self.wire.hold_client(False)
            self._advance()

    def take_command(self) -> list[bytes] | None:
        """The parts of the next command, or `None` until it is whole; the client is told to go on where it waits."""
        while (parts := self._client.take()) is None and self._client.asks:
            self._client.asks = False
            self.wire.to_client(b"+ Ready for the literal\r\n")
        return parts

    def take_response(self) -> bytes | None:
        """The client's next line in a SASL exchange, without line end. Raises `BadFrame`."""
        line = self._client.take_line(AUTHENTICATE_LINE)
        if line is None:
            return None
        if line[-2:] != b"\r\n" or line.find(b"\r") != len(line) - 2 or b"\0" in line:
            raise BadFrame("a line holds what no line may hold")
        return line[:-2]

    def _advance(self) -> None:
        try:
            while not self.holds and not self.is_closing and self.read():
                pass
        except BadFrame:
            self.wire.to_client(untagged("BAD Too long, or no end to be found"))
            self.end("Goodbye")
        if self.holds and self._client.waiting > PENDING_INPUT:
            self.wire.hold_client(True)

    # -- answers ------------------------------------------------------------------------------------------------------

    def answer(self, octets: bytes) -> None:
        """What ends the command of the client that is under way."""
        self.tag = None
        self.wire.to_client(octets)

    def respond(self, status: str, text: str) -> None:
        """Answers the command under way ourselves."""
        self.answer(tagged(self.tag or b"*", status, text))

    def refuse(self, error: BadCommand) -> None:
        """Answers a bad command; too many of them end the session."""
        self.tag = self.tag or error.tag
        self.respond("NO" if error.is_no else "BAD", error.text)
        self._bad_commands += 1
        if error.closes or self._bad_commands > self.policy.limits.bad_commands:
            self.end("Too many errors" if not error.closes else "Goodbye")

    def edited(self, octets: bytes) -> bytes:
        """A response of the provider as the client gets it."""
        return withhold(without_referral(octets), self.may_offer)

    # -- the provider -------------------------------------------------------------------------------------------------

    def provider_ready(self, opened: Opened) -> None:
        """The provider is there."""
        self.capabilities = frozenset(opened.listed.upper().split())
        self._provider = response_reader()
        self._has_heard_bye = False
        if not self.has_greeted:
            greeting = opened.greeting or b"* OK [CAPABILITY " + opened.listed + b"] onrecord ready\r\n"
            self.greet(self.edited(greeting))
        if opened.rest:
            self.hear(opened.rest)

    def greet(self, greeting: bytes | None) -> None:
        """Greets the client, in the provider's words where it has said any to us in private."""
        self.has_greeted = True
        self.wire.to_client(greeting or b"* OK [CAPABILITY " + self.own_capabilities() + b"] onrecord ready\r\n")

    def own_capabilities(self) -> bytes:
        """What is told while the provider is not known, or must not be believed yet."""
        if self.needs_tls:
            return b"IMAP4rev1 ID STARTTLS LOGINDISABLED"
        listed = b"* CAPABILITY " + b" ".join(self.policy.offer()) + b"\r\n"
        return withhold(listed, self.may_offer)[13:-2]

    def forward(
        self,
        command: Command,
        on_tagged: Callable[[Response], None],
        on_challenge: Callable[[bytes], None] | None = None,
    ) -> None:
        """Sends a command to the provider, literals when it asks for them. Holds the client until it was answered."""
        self.hold()
        pieces = self._pieces(command.parts)
        self.awaited = Awaited(command.tag, on_tagged, on_challenge, pieces[1:])
        self.wire.to_provider(pieces[0])

    def _pieces(self, parts: list[bytes]) -> list[bytes]:
        capabilities = self.capabilities or frozenset()
        announced = [literal_of(text) for text in parts[::2]]
        if all(
            each is None or (not each.is_synchronising and takes_at_once(capabilities, each.size)) for each in announced
        ):
            return [b"".join(parts)]
        texts = [as_synchronising(text) for text in parts[::2]]
        return [texts[0], *(literal + text for literal, text in zip(parts[1::2], texts[1:], strict=True))]

    def hear(self, octets: bytes) -> None:
        """Octets of the provider."""
        if self.capabilities is None:
            return
        self._provider.feed(octets)
        try:
            while not self.is_passing and not self.is_closing and (parts := self._provider.take()) is not None:
                self._hear(parse_response(parts))
        except BadFrame:
            self.end("[UNAVAILABLE] The mail provider does not speak IMAP as expected")

    def _hear(self, response: Response) -> None:
        self.capabilities = capabilities_of(response.octets) or self.capabilities
        awaited = self.awaited
        if response.tag == b"*":
            self._has_heard_bye = self._has_heard_bye or response.status == b"BYE"
            self.wire.to_client(self.edited(response.octets))
        elif awaited is None:
            self.end(OUT_OF_TURN)
        elif response.tag == awaited.tag:
            self.awaited = None
            awaited.on_tagged(response)
        elif response.tag != b"+":
            self.end(OUT_OF_TURN)
        elif awaited.unsent:
            self.wire.to_provider(awaited.unsent.pop(0))
        elif awaited.on_challenge is not None:
            awaited.on_challenge(response.octets)
        else:
            self.end(OUT_OF_TURN)

    def drop_provider(self) -> None:
        """The provider is of no more use."""
        self.capabilities = None
        self.awaited = None
        self.wire.drop_provider()

    # -- the end ------------------------------------------------------------------------------------------------------

    def pass_on(self, login: str | None, credentials: Credentials | None) -> None:
        """The client is logged in: both sides go on without us."""
        self.is_passing = self.is_closing = True
        self.wire.hold_client(False)
        self.wire.pass_through(
            Authenticated(
                login=login,
                credentials=credentials,
                capabilities=self.capabilities or frozenset(),
                client_octets=self._client.take_rest(),
                provider_octets=self._provider.take_rest(),
            )
        )

    def let_go(self) -> None:
        """Forgets whoever was to be told."""
        self.is_closing = True
        self.awaited = None
        self.may_offer = None
        self.read = self.read_command = _read_nothing

    def end(self, text: str | None) -> None:
        """The session is over; `text` tells the client why, unless the provider has told it goodbye."""
        if self.is_closing:
            return
        self.is_closing = True
        if self.is_upgrading:
            text = None  # nothing in clear may stand in its handshake
        if text is not None and self.tag is not None:
            self.respond("NO", text)
        if text is not None and not self._has_heard_bye:
            self.wire.to_client(untagged(f"BYE {text}"))
        self.drop_provider()
        self.wire.close_client()


def _read_nothing() -> bool:
    return False
