"""What the parts of a session share: the client's octets, the replies it is owed, and the end.

- The provider's replies go to the client as they are, in the order of the commands (`ReplyQueue`); only what the
  provider cannot answer is answered here.
- While a reply decides what the next octets mean (login, DATA, TLS, connecting) the client's octets wait here.
- `read` is what the next octets are: it takes what it can use and says whether to go on.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.smtp.command import BadCommand
from proxy.smtp.extension import Extensions
from proxy.smtp.reply import Reply, reply
from proxy.smtp.reply_queue import Place, ReplyQueue
from proxy.smtp.wire import Policy, Wire

__all__ = ["Conversation"]

PENDING_INPUT = 65536  # octets a client may send ahead while it must wait


class Conversation:
    """The state of one session that is of no single command.

    `extensions` are those of the provider while it is there, `greeted` the verb the client said hello with, `login` the
    identity the provider accepted.
    """

    def __init__(
        self,
        wire: Wire,
        policy: Policy,
        *,
        is_secure: bool,
        read_command: Callable[[], bool],
        discard_message: Callable[[], None],
    ) -> None:
        self.wire = wire
        self.policy = policy
        self.limits = policy.limits
        self.queue = ReplyQueue(wire.to_client)
        self.is_secure = is_secure
        self.greeted: bytes | None = None
        self.extensions: Extensions | None = None
        self.is_authenticated = False
        self.login: str | None = None
        self._input = b""
        self._taken = 0
        self.read = self.read_command = read_command
        self.holds = 0
        self.is_stalled = False
        self.is_closing = False
        self._discard_message = discard_message
        self._bad_commands = 0

    # -- the client's octets ------------------------------------------------------------------------------------------

    def receive(self, octets: bytes) -> None:
        """Octets of the client."""
        if self.is_closing:
            return
        self._input = self._input[self._taken :] + octets if self._taken < len(self._input) else octets
        self._taken = 0
        self._advance()

    @property
    def has_input(self) -> bool:
        """Whether octets of the client wait to be taken. They are counted off, so that many small lines cost little."""
        return self._taken < len(self._input)

    def hold(self) -> None:
        """The client's octets wait until `resume`."""
        self.holds += 1

    def resume(self) -> None:
        """Reads on when nothing else holds the client's octets."""
        self.holds = max(0, self.holds - 1)
        if not self.holds:
            self.wire.hold_client(False)
            self._advance()

    def stall(self, line: bytes) -> None:
        """Puts the command that was taken last back, until the provider owes nothing more."""
        self._input = line + self._input[self._taken :]
        self._taken = 0
        self.is_stalled = True
        self.hold()

    def unstall(self) -> None:
        """Lets a command that was put back go on, if it may."""
        if self.is_stalled and self.queue.awaited is None and not self.queue.is_full:
            self.is_stalled = False
            self.resume()

    def take_line(self, limit: int) -> bytes | None:
        """The next line, or `None` until it is whole; the session ends when it is too long."""
        start = self._taken
        end = self._input.find(b"\n", start) + 1
        if not end and len(self._input) - start <= limit:
            return None
        if not end or end - start > limit + 2:
            self.end(reply(500, "5.5.6 The line is too long"))
            return None
        self._taken = end
        return self._input[start:end]

    def take_command_line(self) -> bytes | None:
        """As `take_line`; only AUTH may have a long one. With too many commands under way the next one waits."""
        if self.queue.is_full:
            self.stall(b"")
            return None
        start = self._taken
        end = self._input.find(b"\n", start) + 1
        if start < end <= start + self.limits.command_line:
            self._taken = end
            return self._input[start:end]
        is_login = self._input[self._taken : self._taken + 5].upper() == b"AUTH "
        return self.take_line(self.limits.auth_line if is_login else self.limits.command_line)

    def take(self, size: int) -> bytes:
        """At most `size` octets."""
        octets = self._input[self._taken : self._taken + size]
        self._taken += len(octets)
        return octets

    def take_all(self) -> bytes:
        """All octets that are there."""
        octets = self._input[self._taken :] if self._taken else self._input
        self._taken = len(self._input)
        return octets

    def put_back(self, octets: bytes) -> None:
        """Octets that `take_all` gave and that are not wanted."""
        self._input = octets
        self._taken = 0

    def _advance(self) -> None:
        while self._taken < len(self._input) and not self.holds and not self.is_closing and self.read():
            pass
        if self.holds and len(self._input) - self._taken > PENDING_INPUT:
            self.wire.hold_client(True)

    # -- commands and replies -----------------------------------------------------------------------------------------

    def forward(self, line: bytes, on_reply: Callable[[Place, Reply], None], detail: object = None) -> None:
        """Sends a command to the provider; its reply goes to `on_reply`."""
        self.queue.expect(on_reply, detail)
        self.wire.to_provider(line)

    def on_simple(self, place: Place, answer: Reply) -> None:
        """A reply that goes to the client and means nothing else."""
        self.queue.resolve(place, answer.octets)

    def refuse_command(self, error: BadCommand) -> None:
        """Answers a bad command; too many of them end the session."""
        self._bad_commands += 1
        octets = reply(error.code, error.text)
        if error.closes:
            self.end(octets)
        elif self._bad_commands > self.limits.bad_commands:
            self.queue.answer(octets)
            self.end(reply(421, "4.7.0 Too many errors"))
        else:
            self.queue.answer(octets)

    def require_greeting(self) -> None:
        """Raises `BadCommand` before EHLO."""
        if self.greeted is None:
            raise BadCommand(503, "5.5.1 Say EHLO first")

    def require_login(self) -> None:
        """Raises `BadCommand` before EHLO and, where one is needed, a login."""
        if not self.may_send:
            self.require_greeting()
            raise BadCommand(530, "5.7.0 Authentication required")

    @property
    def may_send(self) -> bool:
        """Whether mail is taken from this client."""
        return self.greeted is not None and (self.is_authenticated or not self.policy.relays)

    @property
    def has_lost_provider(self) -> bool:
        """Whether a login was accepted by a provider that is gone."""
        return self.is_authenticated and self.extensions is None

    def offered_extensions(self) -> Extensions:
        """The provider's, or what all providers carry while it is not known."""
        return self.extensions if self.extensions is not None else self.policy.offer()

    def drop_provider(self) -> None:
        """The provider is of no more use."""
        self.extensions = None
        self.wire.drop_provider()

    # -- the end ------------------------------------------------------------------------------------------------------

    def end(self, octets: bytes) -> None:
        """The last reply of the session, in its turn; both sides are closed when all before it were given."""
        if octets and not self.is_closing:
            self.queue.answer(octets)
        self.is_closing = True
        self._input = b""
        self._taken = 0
        self._discard_message()
        self.close_when_answered()

    def close_when_answered(self) -> None:
        """Closes both sides when the session has ended and each command has its reply."""
        if self.is_closing and self.queue.is_empty:
            self.wire.drop_provider()
            self.wire.close_client()
