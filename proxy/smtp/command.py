"""Commands: what a client asks, read strictly (RFC 5321 §4.1.1).

A command line goes on to the provider as it was written, so the reader refuses every line that two servers could read
differently: bare CR or LF, NUL, and paths that do not end where they seem to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["BadCommand", "Chunk", "Command", "MailPath", "parse_chunk", "parse_command", "parse_path"]

# RFC 5321 §4.1.2, loosely: a path is anything between angle brackets that holds no bracket, space or control character
# outside of a quoted string. What the address means is for the provider to judge.
PATH = rb'<((?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|[^<>"\x00-\x20\x7f])*)>'
# RFC 5321 §4.1.2: esmtp-param = esmtp-keyword ["=" esmtp-value]; the value may be UTF-8 (RFC 6531 §3.4).
PARAMETERS = rb"((?: +[A-Za-z0-9][A-Za-z0-9-]*(?:=[^= \x00-\x1f\x7f][^ \x00-\x1f\x7f]*)?)*) *"
# quirk_space_before_path: old devices and scripts write "MAIL FROM: <a@b>"; every large provider takes it.
MAIL = re.compile(rb"(?i:FROM): ?" + PATH + PARAMETERS)
RCPT = re.compile(rb"(?i:TO): ?" + PATH + PARAMETERS)
CHUNK = re.compile(rb"([0-9]{1,20})( +(?i:LAST))? *")  # RFC 3030 §2
SIZE = re.compile(rb"(?i) SIZE=([0-9]{1,20})(?: |$)")  # RFC 1870 §3


class BadCommand(Exception):
    """The client's line is no command. `code` and `text` are the reply; `closes`: nothing after it can be trusted."""

    def __init__(self, code: int, text: str, *, closes: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.closes = closes


@dataclass(frozen=True, slots=True)
class Command:
    """A command line: `verb` in capitals, `argument` without surrounding space, `line` as it came.

    Only the verb is shown where the value is printed: AUTH may carry a password in its line.
    """

    verb: bytes
    argument: bytes = field(repr=False)
    line: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailPath:
    """The path of MAIL or RCPT without its brackets, the SIZE parameter where there is one, and all as written."""

    path: bytes
    size: int | None
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The argument of BDAT."""

    size: int
    is_last: bool


def parse_command(line: bytes) -> Command:
    """Reads one line that ends with LF. Raises `BadCommand`.

    A line with a bare CR, a bare LF or a NUL closes the session: what follows may be smuggled (CVE-2023-51764 is the
    same trick in mail data).
    """
    if line[-2:] != b"\r\n" or line.find(b"\r") != len(line) - 2 or b"\0" in line:
        raise BadCommand(500, "5.5.2 Lines end with CRLF and hold no other CR, LF or NUL", closes=True)
    verb, _, argument = line[:-2].partition(b" ")
    return Command(verb.upper(), argument.strip(b" \t"), line)


def parse_path(command: Command) -> MailPath:
    """Reads the argument of MAIL or RCPT. Raises `BadCommand`."""
    match = (MAIL if command.verb == b"MAIL" else RCPT).fullmatch(command.argument)
    if match is None:
        form = "MAIL FROM:<address>" if command.verb == b"MAIL" else "RCPT TO:<address>"
        raise BadCommand(501, f"5.5.4 Syntax: {form} [parameters]")
    size = SIZE.search(match[2]) if match[2] else None
    return MailPath(match[1], int(size[1]) if size else None, match[2])


def parse_chunk(command: Command) -> Chunk:
    """Reads the argument of BDAT. Raises `BadCommand`; the octets that follow cannot be told apart, so it closes."""
    match = CHUNK.fullmatch(command.argument)
    if match is None:
        raise BadCommand(501, "5.5.4 Syntax: BDAT size [LAST]", closes=True)
    return Chunk(int(match[1]), match[2] is not None)
