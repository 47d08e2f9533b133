"""A dialogue with an IMAP server: one command at a time, and the responses until its tagged one (RFC 9051 §2.2).

Nothing that the server sends is kept beyond a bound that is ours: a line as long as the scanner keeps one, a literal as
far as the command wants it. What makes no sense raises `BadFrame`, and then the connection is of no use any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from proxy.imap.framing import BadFrame, Scanner
from proxy.imap.response import literal_in_response, parse_response

__all__ = ["Answer", "Command", "Dialogue", "Idle", "Sink"]

PARTS = 64  # texts and literals of one response; a server that needs more talks of what was not asked for
COLLECTED = 8192  # octets of a literal that nobody has asked for: the name of a mailbox
EXISTS = re.compile(rb"(?i)\* ([0-9]{1,10}) EXISTS\r\n")
CODE = re.compile(rb"\[([A-Za-z0-9.-]{1,60})[ \]]")

Sink = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended: OK, NO or BAD, and the line that said so."""

    status: bytes
    line: bytes

    @property
    def is_ok(self) -> bool:
        """Whether the server did what it was asked for."""
        return self.status == b"OK"

    @property
    def code(self) -> str:
        """The response code (RFC 5530), or the status where there is none. What else the line says is for nobody."""
        match = CODE.search(self.line)
        return match[1].decode().upper() if match else self.status.decode()


class Command:
    """What is asked, until the tagged response. The methods are told what the server says meanwhile."""

    def octets(self) -> bytes:
        """What stands behind the tag, with line end; up to the first literal."""
        raise NotImplementedError

    def sink(self, text: bytes, size: int) -> Sink | None:
        """Who takes the literal that `text` announces. `None`: it is collected, and may be short only."""
        return None

    def untagged(self, parts: list[bytes]) -> None:
        """An untagged response, as texts and literals by turns; a literal that went to a sink is empty."""

    def challenge(self, line: bytes) -> bytes:
        """What is sent when the server asks to go on."""
        raise BadFrame("the server asks for what was not announced")


class Idle(Command):
    """RFC 2177. `stop` ends it, at once or as soon as the server has begun it."""

    def __init__(self) -> None:
        self.is_idling = False
        self._is_stopped = False

    def octets(self) -> bytes:
        return b"IDLE\r\n"

    def challenge(self, line: bytes) -> bytes:
        if self.is_idling:
            return b""  # quirk_idle_reminder: "+" once more while it idles says nothing new
        self.is_idling = True
        return b"DONE\r\n" if self._is_stopped else b""

    def stop(self) -> bytes:
        """What is to be sent now."""
        if self._is_stopped:
            return b""
        self._is_stopped = True
        return b"DONE\r\n" if self.is_idling else b""


class Dialogue:
    """One connection from the greeting on. What it says goes to `send`; `hear` gets every untagged response.

    `answer` is the tagged response to the command that was asked last; until then it is `None`. `has_news` is set when
    the server tells of messages on its own, and cleared by whoever looks at them. `is_over` once it said BYE.
    """

    def __init__(self, send: Callable[[bytes], None], hear: Callable[[list[bytes]], None] = lambda parts: None) -> None:
        self._send = send
        self._hear_all = hear
        self._scanner = Scanner(self._read_text, lambda start: False)
        self._serial = 0
        self._tag = b""
        self._command: Command | None = None
        self._parts: list[bytes] = []
        self.answer: Answer | None = None
        self.has_news = False
        self.is_over = False

    def ask(self, command: Command) -> None:
        """Sends a command. The one before has ended."""
        assert self._command is None, "a command is still under way"
        self._serial += 1
        self._tag = b"o%d" % self._serial
        self._command = command
        self.answer = None
        self._send(self._tag + b" " + command.octets())

    def receive(self, octets: bytes) -> None:
        """Octets of the server. Raises `BadFrame`."""
        self._scanner.feed(octets)

    def close(self) -> None:
        """Lets go of everybody."""
        self._scanner.close()
        self._command = None

    def _read_text(self, text: bytes, is_cut: bool) -> None:
        if is_cut or len(self._parts) >= PARTS:
            raise BadFrame("a response is too long")
        literal = literal_in_response(text, not self._parts)
        self._parts.append(text)
        if literal is None:
            parts, self._parts = self._parts, []
            self._respond(parts)
            return
        self._parts.append(b"")
        sink = self._command.sink(text, literal.size) if self._command is not None else None
        if sink is None and literal.size > COLLECTED:
            raise BadFrame("a literal is too long")
        self._scanner.expect(literal.size, _taking(sink or self._collect))

    def _collect(self, octets: bytes) -> None:
        self._parts[-1] += octets

    def _respond(self, parts: list[bytes]) -> None:
        response = parse_response(parts)
        if response.tag == b"*":
            self._hear(response.status, parts)
        elif self._command is None:
            raise BadFrame("the server answers what was not asked")
        elif response.tag == b"+":
            if reply := self._command.challenge(parts[0]):
                self._send(reply)
        elif response.tag != self._tag:
            raise BadFrame("the server answers somebody else")
        else:
            self._command = None
            self.answer = Answer(response.status, parts[0])

    def _hear(self, status: bytes, parts: list[bytes]) -> None:
        if status == b"BYE":
            self.is_over = True
        elif EXISTS.fullmatch(parts[0]):
            self.has_news = True
        self._hear_all(parts)
        if self._command is not None:
            self._command.untagged(parts)


def _taking(sink: Sink) -> Callable[[bytes], bool]:
    def take(octets: bytes) -> bool:
        sink(octets)
        return True

    return take
