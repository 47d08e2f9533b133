"""Commands: what a client asks, read strictly (RFC 9051 §2.2.1).

A command goes on to the provider as it was written, so the reader refuses what two servers could read differently.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from proxy.imap.framing import LITERAL

__all__ = ["Arguments", "BadCommand", "Command", "as_synchronising", "parse_command"]

# RFC 9051 §9: tag = 1*<any ASTRING-CHAR except "+">. Fewer here: what is reflected in an answer must be nothing to a
# browser (ALPACA), and no client uses other letters.
TAG = rb"[0-9A-Za-z!#$,./:;=?@^_|~-]{1,128}"
COMMAND = re.compile(rb"(" + TAG + rb") ([A-Za-z][0-9A-Za-z.=-]*)(?: ([^\r\n]*))?\r\n")
TAG_ALONE = re.compile(rb"(" + TAG + rb")(?:[ \r]|$)")
# RFC 9051 §9: quoted = DQUOTE *QUOTED-CHAR DQUOTE; UTF-8 may stand in it.
QUOTED = re.compile(rb'"((?:[^"\\\x00\r\n]|\\["\\])*)"(?=[ )\r])')
ESCAPED = re.compile(rb"\\(.)")
# RFC 9051 §9: astring = 1*ASTRING-CHAR / string. quirk_loose_atoms: people's passwords hold "%", "*" and "\", and some
# clients do not quote them; servers read on to the next space.
ATOM = re.compile(rb'[^ "(){}\x00-\x1f\x7f]+(?=[ )\r])')


class BadCommand(Exception):
    """The client's line is no command, or none for now. `text` is a resp-text, `is_no` when it is well formed.

    `tag` is the command's where it has one; `closes`: what follows cannot be trusted.
    """

    def __init__(self, text: str, *, tag: bytes = b"*", is_no: bool = False, closes: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.tag = tag
        self.is_no = is_no
        self.closes = closes


@dataclass(frozen=True, slots=True)
class Command:
    """A command: `parts` are its texts and literals by turns, as they came.

    Only tag and verb are shown where the value is printed: LOGIN and AUTHENTICATE carry passwords.
    """

    tag: bytes
    verb: bytes
    parts: list[bytes] = field(repr=False)

    @property
    def argument(self) -> bytes:
        """What stands behind the verb in the first text, without line end."""
        return self.parts[0][len(self.tag) + len(self.verb) + 2 : -2].strip(b" ")

    def arguments(self) -> Arguments:
        """A reader for what stands behind the verb."""
        return Arguments(self.parts, len(self.tag) + len(self.verb) + 1)


def parse_command(parts: list[bytes]) -> Command:
    """Reads a whole command. Raises `BadCommand`, with the tag where there is one."""
    first = parts[0]
    match = COMMAND.fullmatch(first)
    if match is not None and b"\0" not in first:
        return Command(match[1], match[2].upper(), parts)
    if first[-2:] != b"\r\n" or first.find(b"\r") != len(first) - 2 or b"\0" in first:
        raise BadCommand("Lines end with CRLF and hold no other CR, LF or NUL", closes=True)
    tag = TAG_ALONE.match(first)
    raise BadCommand("This is no command", tag=tag[1] if tag else b"*")


def as_synchronising(text: bytes) -> bytes:
    """`text` with the literal that it announces, if any, made one that waits."""
    return text[:-4] + b"}\r\n" if text[-4:] == b"+}\r\n" else text


class Arguments:
    """Takes the arguments of a command one by one, from its texts and literals."""

    def __init__(self, parts: list[bytes], position: int) -> None:
        self._parts = parts
        self._part = 0
        self._position = position

    @property
    def is_end(self) -> bool:
        """Whether nothing is left but the line end."""
        return self._part == len(self._parts) - 1 and not self.rest().strip(b" \r\n")

    def rest(self) -> bytes:
        """What is left of the text that was reached, with its line end."""
        return self._parts[self._part][self._position :]

    def take(self) -> bytes:
        """The next astring, as the octets that it means. Raises `BadCommand`."""
        text = self._parts[self._part]
        if text[self._position : self._position + 1] != b" ":
            raise BadCommand("An argument is missing")
        position = self._position + 1
        if (match := QUOTED.match(text, position)) is not None:
            self._position = match.end()
            return ESCAPED.sub(rb"\1", match[1])
        if LITERAL.fullmatch(text, position) and self._part + 2 < len(self._parts):
            self._part += 2
            self._position = 0
            return self._parts[self._part - 1]
        if (match := ATOM.match(text, position)) is not None:
            self._position = match.end()
            return match[0]
        raise BadCommand("An argument cannot be read")
