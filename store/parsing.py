"""Reading a whole message: text, attachments, identity, and its octets packed for keeping.

Runs in a process of its own (`store.parser`), because mail is written by strangers: parts, nesting and sizes are
bounded, every accessor of the stdlib parser is guarded, and what goes wrong costs the understanding of this message
and nothing else. The parser uses the compat32 policy; the newer one raises on real mail.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message as MimeMessage
from email.policy import compat32
from typing import Any

import zstandard

import engine
from engine.correspondence import kinds
from engine.decision import Flag
from engine.directory import Switches
from engine.fingerprint import date_of, essence, header_print, keys
from engine.forwarded import html_text
from engine.header import decode_text, usable_codec
from engine.message import Message

__all__ = ["HEADER_OCTETS", "PART", "ParseLimits", "clean", "described", "packed", "parse", "split", "unstuff"]

PART = 1024 * 1024  # octets of content in one compressed part
HEADER_OCTETS = 1024 * 1024  # of a header section that are understood, as many as the relay takes
MAX_NAME = 255
# By encoding: the octets for one character at most, four of UTF-8; quoted-printable makes twelve of these, and soft
# line breaks.
CHARACTER = {b"": 4, b"7bit": 4, b"8bit": 4, b"binary": 4, b"quoted-printable": 16}
# The parser ends a line at a bare CR, too.
NESTING_MARK = re.compile(rb"(?:^|\r)content-type[ \t]*:[ \t]*(?:multipart|message)/", re.IGNORECASE | re.MULTILINE)
PART_MARK = re.compile(rb"(?:^|\r)--", re.MULTILINE)
PARAMETER_FIELD = re.compile(
    rb"(?:^|\r)content-(?:type|disposition)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseLimits:
    """Sizes are octets (of text: characters).

    `parameters` bounds the fields that have parameters, which the parser reads in time that grows with the square of
    their length: it is the length of one such field alone, or the root of the sum of all their squares.
    """

    attachment: int = 50 * 1024 * 1024
    text: int = 1024 * 1024
    parts: int = 1000
    nesting: int = 100
    part_marks: int = 100_000  # lines that may begin a part, before the parser is tried at all
    parameters: int = 30_000  # about a second


class Unparsed(Exception):
    """The message breaks a limit; the text says which."""


def unstuff(octets: bytes) -> bytes:
    """Mail data to content: a leading dot of a line goes (RFC 5321 §4.5.2)."""
    if octets[:1] == b".":
        octets = octets[1:]
    return octets.replace(b"\r\n.", b"\r\n") if b"\r\n." in octets else octets


def parse(octets: bytes, keep: Callable[[str, int, bytes], None], limits: ParseLimits) -> dict[str, Any]:
    """All that the log keeps of a message, as JSON values; `keep(hash, number, part)` takes packed content.

    Never raises on bad mail: what cannot be parsed has the flag `unparsed` and `trouble` says why.
    """
    section, body = split(octets)
    message = engine.read(section[:HEADER_OCTETS])
    flags = set(kinds(message, Switches())[0])
    result = described(message, octets, body, content=_keep(octets, keep))
    needed = _needed(octets, section, message, limits)
    if len(needed) < len(octets):
        flags.add(Flag.BODY_TRUNCATED)
    try:
        _check_shape(needed, limits)
        _read_parts(message_from_bytes(needed, policy=compat32), result, flags, keep, limits)
    except Unparsed as error:
        flags.add(Flag.UNPARSED)
        result["trouble"] = str(error)
    except Exception as error:  # the stdlib parser raises what it likes on hostile mail
        flags.add(Flag.UNPARSED)
        result["trouble"] = type(error).__name__
    result["flags"] = sorted(flags)
    return result


def described(message: Message, whole: bytes, body: bytes, *, content: str) -> dict[str, Any]:
    """What the header section tells of the message `whole`, kept under the hash `content`; of its parts nothing yet."""
    date = date_of(message)
    return {
        "keys": keys(message, hashlib.sha256(body).hexdigest()),
        "essence": essence(message) if message.authors else None,
        "print": header_print(message) if message.authors and date else None,
        "message_id": message.message_id,
        "parents": list(message.parents),
        "subject": clean(message.subject),
        "date": date.timestamp() if date else None,
        "from": [clean(each) for each in message.authors],
        "to": [clean(each) for each in message.to],
        "cc": [clean(each) for each in message.cc],
        "size": len(whole),
        "content": content,
        "text": "",
        "html": "",
        "other_text": "",
        "attachments": [],
    }


def split(octets: bytes) -> tuple[bytes, bytes]:
    """Header section and body."""
    if octets[:2] == b"\r\n":
        return b"", octets[2:]
    end = octets.find(b"\r\n\r\n")
    return (octets[: end + 2], octets[end + 4 :]) if end >= 0 else (octets, b"")


def _needed(octets: bytes, section: bytes, message: Message, limits: ParseLimits) -> bytes:
    """What the parser must see: where the whole body is text to show, only as much as can be kept of it.

    It takes ten times the memory of what it reads, and a minute for a gigabyte. Base64 is left to it whole: it gives up
    where the end is missing.
    """
    kind = message.content_type
    encoding = (message.header.first(b"content-transfer-encoding") or b"").lower()
    is_text = kind.partition(b";")[0].strip() in (b"", b"text/plain", b"text/html")
    is_attached = b"name" in kind or message.header.has((b"content-disposition",))
    if not is_text or is_attached or encoding not in CHARACTER:
        return octets
    return octets[: len(section) + limits.text * CHARACTER[encoding]]


def _check_shape(octets: bytes, limits: ParseLimits) -> None:
    """Refuses what would take the parser deep or long, by counting marks in one pass."""
    if sum(1 for _ in NESTING_MARK.finditer(octets)) > limits.nesting:
        raise Unparsed("nested too deeply")
    if sum(1 for _ in PART_MARK.finditer(octets)) > limits.part_marks:
        raise Unparsed("too many parts")
    if sum((match.end() - match.start()) ** 2 for match in PARAMETER_FIELD.finditer(octets)) > limits.parameters**2:
        raise Unparsed("parameters too long")


def _read_parts(
    mime: MimeMessage, result: dict[str, Any], flags: set[Flag], keep: Callable[..., None], limits: ParseLimits
) -> None:
    texts: dict[str, list[str]] = {"text/plain": [], "text/html": []}
    for number, part in enumerate(_leaves(mime)):
        if number >= limits.parts:
            raise Unparsed("too many parts")
        kind = part.get_content_type()
        if kind == "text/calendar":
            flags.add(Flag.CALENDAR)
        name = _file_name(part)
        if kind in texts and name is None and part.get_content_disposition() != "attachment":
            texts[kind].append(_text(part))
        else:
            _attach(part, kind, name or "", result, flags, keep, limits)
    for kind, key in (("text/plain", "text"), ("text/html", "html")):
        whole = "\n".join(texts[kind])
        if len(whole) > limits.text:
            flags.add(Flag.BODY_TRUNCATED)
        result[key] = clean(whole[: limits.text])
    result["other_text"] = other_text(result, limits)


def other_text(result: dict[str, Any], limits: ParseLimits) -> str:
    """What is searched besides subject, people and text: HTML's text where it stands alone, and attachments' names."""
    shown = "" if result["text"].strip() else html_text(result["html"])[: limits.text]
    return "\n".join(each for each in (shown, *(one["name"] for one in result["attachments"])) if each)


def _leaves(mime: MimeMessage) -> Iterator[MimeMessage]:
    """Parts that hold content, in order; an attached message is one part and not looked into."""
    waiting: list[Any] = [mime]
    while waiting:
        part = waiting.pop()
        payload = part.get_payload()
        if isinstance(payload, list) and part.get_content_maintype() == "multipart":
            waiting.extend(reversed(payload))
        elif isinstance(part, MimeMessage):
            yield part


def _attach(
    part: MimeMessage,
    kind: str,
    name: str,
    result: dict[str, Any],
    flags: set[Flag],
    keep: Callable[..., None],
    limits: ParseLimits,
) -> None:
    octets = _octets(part)
    too_large = len(octets) > limits.attachment
    if too_large:
        flags.add(Flag.ATTACHMENT_TOO_LARGE)
    result["attachments"].append(
        {
            "name": clean(name)[:MAX_NAME],
            "type": clean(kind)[:200],
            "size": len(octets),
            "content": None if too_large else _keep(octets, keep),
        }
    )


def _octets(part: MimeMessage) -> bytes:
    payload = part.get_payload()
    if isinstance(payload, list):  # message/rfc822 and its like
        return b"\n".join(each.as_bytes() for each in payload if isinstance(each, MimeMessage))
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else b""


def _text(part: MimeMessage) -> str:
    octets = _octets(part)
    codec = usable_codec(part.get_content_charset() or "utf-8") or "latin-1"
    try:
        return octets.decode(codec, "replace")
    except (LookupError, ValueError):  # a codec that is none of text
        return octets.decode("latin-1")


def _file_name(part: MimeMessage) -> str | None:
    name = part.get_filename()
    return decode_text(name.encode("utf-8", "surrogateescape")) if name else None


def _keep(octets: bytes, keep: Callable[[str, int, bytes], None]) -> str:
    """Packs `octets` in parts under the hash of the whole."""
    digest = hashlib.sha256(octets).hexdigest()
    for number, part in enumerate(packed(octets)):
        keep(digest, number, part)
    return digest


def packed(octets: bytes) -> Iterator[bytes]:
    """`octets` in compressed parts, of which there is one at least."""
    packer = zstandard.ZstdCompressor(level=3)
    for start in range(0, max(len(octets), 1), PART):
        yield packer.compress(octets[start : start + PART])


def clean(text: str) -> str:
    """Text that a database and JSON take: no lone surrogates, no NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
