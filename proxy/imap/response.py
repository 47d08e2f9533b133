"""Responses: what a server says, read and written (RFC 9051 §7).

Until a client is logged in a provider's responses are read strictly: what is no response ends its connection.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.imap.framing import BadFrame, Literal, Reader, literal_of

__all__ = ["Response", "parse_response", "response_reader", "tagged", "untagged", "without_referral"]

RESPONSE = 32768  # octets of one response before login, with its literals
STATUS = re.compile(rb"(?i)(\*|[^ \r\n+*]{1,128}) (OK|NO|BAD|PREAUTH|BYE)(?: |\r\n)")
CONTINUATION = re.compile(
    rb"\+[ \r]"
)  # quirk_bare_plus: "+" without the space of RFC 9051 §7.6 is what some servers send
UNTAGGED = re.compile(rb"(?i)\* [0-9A-Z]")
# RFC 2221 §4.1: a client that follows a referral takes its password elsewhere.
REFERRAL = re.compile(rb"(?i)\A([^ \r\n]{1,128} (?:OK|NO|BYE) )\[REFERRAL [^\]\r\n]*\] ?")


@dataclass(frozen=True, slots=True)
class Response:
    """One response: `tag` is the command's, "*" or "+"; `status` is OK, NO, BAD, PREAUTH, BYE, or empty for data."""

    tag: bytes
    status: bytes
    octets: bytes

    @property
    def is_tagged(self) -> bool:
        """Whether it ends a command."""
        return self.tag not in (b"*", b"+")


def parse_response(parts: list[bytes]) -> Response:
    """Reads a whole response. Raises `BadFrame` for what is none."""
    text = parts[0]
    octets = text if len(parts) == 1 else b"".join(parts)
    if b"\0" in text or text[-2:] != b"\r\n" or text.find(b"\r") != len(text) - 2:
        raise BadFrame("a line of the provider holds what no line may hold")
    if (match := STATUS.match(text)) is not None:
        status = match[2].upper()
        if match[1] != b"*" and status in (b"PREAUTH", b"BYE"):
            raise BadFrame("a tagged response has a status that none may have")
        return Response(match[1], status, octets)
    if CONTINUATION.match(text):
        return Response(b"+", b"", octets)
    if UNTAGGED.match(text):
        return Response(b"*", b"", octets)
    raise BadFrame("a line of the provider is no response")


def response_reader() -> Reader:
    """A reader for the responses before login."""
    return Reader(lambda start: RESPONSE, literal_in_response)


def literal_in_response(text: bytes, is_first: bool) -> Literal | None:
    """The literal that `text` announces. Status responses and continuation requests end with text for people.

    Raises `BadFrame`.
    """
    if text[-3:] != b"}\r\n" or (is_first and (text[:1] != b"*" or STATUS.match(text))):
        return None
    literal = literal_of(text)
    return Literal(literal.size, is_synchronising=False) if literal is not None else None


def tagged(tag: bytes, status: str, text: str) -> bytes:
    """A tagged response of ours, or an untagged one where `tag` is "*"; `text` may begin with a response code."""
    return tag + f" {status} {text}\r\n".encode("ascii")


def untagged(text: str) -> bytes:
    """An untagged response of ours."""
    return f"* {text}\r\n".encode("ascii")


def without_referral(line: bytes) -> bytes:
    """A status response without the code that would send the client elsewhere."""
    return REFERRAL.sub(rb"\1", line, count=1)
