"""Framing: where commands and responses begin and end, for octets that come in chunks of any size (RFC 9051 §2.2).

Both are lines in which literals may stand: a line that ends with "{n}" goes on behind the n octets that follow it. A
piece of text between two literals, with its CRLF, is called a text here.

- `Reader` collects whole commands or responses, within limits: what is needed until a client is logged in.
- `Scanner` follows a stream without keeping it: a text at a time, literals skipped by count. It gives back what is to
  go on, which is what it was fed unless a text was replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AUTHENTICATE_LINE", "COMMAND", "BadFrame", "Literal", "Reader", "Scanner", "command_limit", "literal_of"]

COMMAND = 8192  # octets of a command with its literals; RFC 7162 §4 asks for 8192, Dovecot's login takes as many
AUTHENTICATE_LINE = 16384  # OAuth tokens and Kerberos tickets are longer; RFC 4954 §4 asks SMTP servers for 12288
TEXT = 65536  # octets of a text that a scanner keeps; a longer one is only followed
WITHHELD = 8192  # octets that may wait for the end of a text that may have to be replaced
TAIL = 32  # of a text that is too long to keep: room for a literal's size
NUMBER64 = 2**63 - 1  # RFC 9051 §4: number64 is a 63-bit integer

# RFC 9051 §9: literal = "{" number64 ["+"] "}" CRLF *CHAR8; literal8 = "~{" number64 "}" CRLF *OCTET
# RFC 7888 §8 has the same "+" under LITERAL-.
LITERAL = re.compile(rb"\{([0-9]{1,20})(\+?)\}\r\n")
AUTHENTICATE = re.compile(rb"[^ \r\n]{1,128} AUTHENTICATE ", re.IGNORECASE)


class BadFrame(Exception):
    """Nobody can say where the next command or response begins."""


@dataclass(frozen=True, slots=True)
class Literal:
    """What the end of a text announces. A synchronising one waits until the server asks for it."""

    size: int
    is_synchronising: bool


def literal_of(text: bytes) -> Literal | None:
    """The literal that `text`, which ends with CRLF, announces. Raises `BadFrame` for one of senseless size."""
    if text[-3:] != b"}\r\n":
        return None
    start = text.rfind(b"{", max(0, len(text) - TAIL))
    match = LITERAL.fullmatch(text, start) if start >= 0 else None
    if match is None or (size := int(match[1])) > NUMBER64:
        raise BadFrame("the size of a literal is no number")
    return Literal(size, not match[2])


def command_limit(start: bytes) -> int:
    """How long the command that begins with `start` may be before login."""
    return AUTHENTICATE_LINE if AUTHENTICATE.match(start) else COMMAND


class Reader:
    """Collects commands or responses as lists of texts and literals by turns, which begin and end with a text.

    `limit_of` tells how long one may be from how it begins, `literal_of` which literal a text announces; its second
    argument is whether the text is the first.
    """

    __slots__ = ("_held", "_limit_of", "_literal", "_literal_of", "_parts", "_size", "asks")

    def __init__(self, limit_of: Callable[[bytes], int], literal_of: Callable[[bytes, bool], Literal | None]) -> None:
        self._limit_of = limit_of
        self._literal_of = literal_of
        self._held = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._literal: Literal | None = None
        self.asks = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held, not even of an unfinished command or response."""
        return not self._held and not self._parts

    @property
    def waiting(self) -> int:
        """How many octets were not taken yet."""
        return len(self._held)

    def feed(self, octets: bytes) -> None:
        """The next octets."""
        self._held += octets

    def take(self) -> list[bytes] | None:
        """The next one, or `None` until it is whole. Raises `BadFrame` when it is too long or its end is unknowable.

        `asks` is set when a synchronising literal was announced: the client must be told to go on, before the next
        call.
        """
        while True:
            part = self._take_text() if self._literal is None else self._take_octets(self._literal.size)
            if part is None:
                return None
            self._parts.append(part)
            self._size += len(part)
            if self._literal is not None:
                self._literal = None
                continue
            self._literal = self._literal_of(part, len(self._parts) == 1)
            if self._literal is None:
                parts, self._parts, self._size = self._parts, [], 0
                return parts
            if self._size + self._literal.size > self._limit_of(self._parts[0]):
                raise BadFrame("a literal is too long")
            if self._literal.is_synchronising:
                self.asks = True
                return None

    def take_line(self, limit: int) -> bytes | None:
        """The next line as it is, or `None` until it is whole. Raises `BadFrame` when it is longer than `limit`."""
        end = self._held.find(b"\n") + 1
        if (end or len(self._held)) > limit + 2:
            raise BadFrame("a line is too long")
        return self._take_octets(end) if end else None

    def take_rest(self) -> bytes:
        """All octets that were not taken yet."""
        return self._take_octets(len(self._held)) or b""

    def _take_text(self) -> bytes | None:
        start = self._parts[0] if self._parts else bytes(self._held[:160])
        return self.take_line(self._limit_of(start) - self._size)

    def _take_octets(self, size: int) -> bytes | None:
        if len(self._held) < size:
            return None
        octets = bytes(self._held[:size])
        del self._held[:size]
        return octets


class Scanner:
    """Follows one direction of a session.

    `read_text(text, is_cut)` is told each text; one that `is_cut` was too long to keep, and only its end is given. It
    calls `expect` when a literal follows, and may return octets to stand for the text. `may_replace(start)` says
    whether a text that begins so may have to be replaced: then it waits until it is whole.
    """

    __slots__ = ("_held", "_is_cut", "_left", "_may_replace", "_read_text", "_take", "_withheld", "is_stopped")

    def __init__(self, read_text: Callable[[bytes, bool], bytes | None], may_replace: Callable[[bytes], bool]) -> None:
        self._read_text = read_text
        self._may_replace = may_replace
        self._held = bytearray()
        self._is_cut = False
        self._withheld = b""
        self._left = 0
        self._take: Callable[[bytes], bool] | None = None
        self.is_stopped = False

    def expect(self, size: int, take: Callable[[bytes], bool] | None = None) -> None:
        """`size` octets of a literal come next. `take`, if any, gets them until it returns False."""
        self._left = size
        self._take = take

    @property
    def is_between(self) -> bool:
        """Whether all octets so far belong to texts and literals that are whole."""
        return not (self._held or self._withheld or self._left)

    def stop(self) -> None:
        """From here on nothing is looked at any more."""
        self.is_stopped = True

    def close(self) -> None:
        """Lets go of whoever was told: nothing is looked at any more."""
        self.is_stopped = True
        self._take = None
        self._read_text = _read_nothing
        self._may_replace = _replace_nothing

    def release(self) -> bytes:
        """What was withheld, which then has to go on."""
        octets, self._withheld = self._withheld, b""
        return octets

    def feed(self, chunk: bytes) -> bytes:
        """The next octets; returns what goes on now."""
        if self._withheld:
            chunk = self.release() + chunk
        gone: list[bytes] = []
        copied = position = 0
        end = len(chunk)
        while position < end and not self.is_stopped:
            if self._left:
                position = self._pass_literal(chunk, position)
                continue
            start, position = position, chunk.find(b"\n", position) + 1
            if not position:
                return b"".join((*gone, self._pass_unfinished(chunk, copied, start)))
            if not self._held and chunk[position - 2 : position] == b"\r\n" and position - start > 1:
                text = chunk[start:position]
            else:
                self._hold(chunk[start:position])
                if self._held[-2:] != b"\r\n":
                    continue  # a bare LF ends nothing
                text, start = bytes(self._held), position
                self._held.clear()
            is_cut, self._is_cut = self._is_cut or len(text) > TEXT, False
            replaced = self._read_text(text[-TAIL:] if is_cut else text, is_cut)
            if replaced is not None and start < position <= start + WITHHELD:
                gone += (chunk[copied:start], replaced)
                copied = position
        if not gone:
            return chunk
        return b"".join((*gone, chunk[copied:]))

    def _pass_literal(self, chunk: bytes, start: int) -> int:
        end = min(start + self._left, len(chunk))
        self._left -= end - start
        if self._take is not None and not self._take(chunk[start:end]):
            self._take = None
        return end

    def _pass_unfinished(self, chunk: bytes, copied: int, start: int) -> bytes:
        rest = chunk[start:]
        if not self._held and len(rest) <= WITHHELD and self._may_replace(rest):
            self._withheld = rest
            return chunk[copied:start]
        self._hold(rest)
        return chunk[copied:] if copied else chunk

    def _hold(self, octets: bytes) -> None:
        self._held += octets
        self._is_cut = self._is_cut or len(self._held) > TEXT
        if self._is_cut:
            del self._held[:-TAIL]


def _read_nothing(text: bytes, is_cut: bool) -> None:
    return None


def _replace_nothing(start: bytes) -> bool:
    return False
