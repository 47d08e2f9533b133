"""A message as the rule sees it: its header section, read once, as far as a decision needs it.

The few fields that every decision needs are read at once; the rest lazily. Nothing here raises on bad mail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.address import read_addresses
from engine.header import Header, decode_text

__all__ = ["MAX_PARENTS", "REPLY_WORDS", "Message", "read"]

MAX_PARENTS = 100  # ids of In-Reply-To and References that count; the last ones are the nearest
MAX_IDS_FIELD = 65536
# Reply marks of common clients and languages, at the beginning of a subject; a number may stand in brackets ("Re[2]:").
REPLY_WORDS = "re|aw|sv|vs|antw|odp|ynt|r"
REPLY_MARK = re.compile(rf"\s*(?:{REPLY_WORDS})(?:\[\d+\])?\s*:", re.IGNORECASE)
# What `engine.correspondence` and section 4 of the rules look at; fields of one kind begin alike.
DECIDING_FIELDS = (
    b"in-reply-to",
    b"references",
    b"list-id",
    b"list-post",
    b"list-unsubscribe",
    b"precedence",
    b"auto-submitted",
    b"x-autoreply",
    b"x-autorespond",
    b"content-class",
    b"x-microsoft-cdo-busystatus",
)
DECIDING_TYPES = (b"multipart/report", b"text/calendar")
# An id behind its bracket, whether or not the closing one is there, or else a bare word, which takes all that could
# begin an id: a pattern that asked for the "@" at once would try each place of a long word anew.
MSG_ID = re.compile(r"<\s*([^<>\s]+)|([^<>\s,;\"]+)")


@dataclass(frozen=True, slots=True)
class Message:
    """`authors`, `to`, `cc` and `bcc` are addr-specs as written; `message_id` is without its brackets."""

    header: Header
    authors: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    message_id: str | None

    @property
    def in_reply_to(self) -> tuple[str, ...]:
        """Ids of In-Reply-To (rules.md 4.1)."""
        return _ids(self.header.all(b"in-reply-to"))

    @property
    def references(self) -> tuple[str, ...]:
        """Ids of References, oldest first as written."""
        return _ids(self.header.all(b"references"))

    @property
    def parents(self) -> tuple[str, ...]:
        """Every id that the message names as a parent, nearest first, each once, at most `MAX_PARENTS`."""
        if not self.is_reply:
            return ()  # as most messages; it is asked for again and again
        ids = dict.fromkeys((*reversed(self.in_reply_to), *reversed(self.references)))
        ids.pop(self.message_id or "", None)
        return tuple(ids)[:MAX_PARENTS]

    @property
    def subject(self) -> str:
        """The subject for people."""
        return decode_text(self.header.first(b"subject") or b"")

    @property
    def is_reply(self) -> bool:
        """Whether the message says that it answers something."""
        return self.header.has((b"in-reply-to", b"references"))

    @property
    def has_reply_mark(self) -> bool:
        """Whether the subject says so, which proves nothing (rules.md 4.2)."""
        return REPLY_MARK.match(self.subject) is not None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but its addresses matters to a decision: no list, no report, no answer, nothing automatic."""
        return not self.header.has(DECIDING_FIELDS) and not self.content_type.startswith(DECIDING_TYPES)

    @property
    def content_type(self) -> bytes:
        """Content-Type in lower case, parameters and all."""
        return (self.header.first(b"content-type") or b"").lower()


def read(header_section: bytes) -> Message:
    """Reads a header section. Never raises; what cannot be understood is missing from the message."""
    header = Header.read(header_section)
    ids = _ids(header.all(b"message-id")[:1])
    return Message(
        header,
        _addresses(header, b"from"),
        _addresses(header, b"to"),
        _addresses(header, b"cc"),
        _addresses(header, b"bcc"),
        ids[0] if ids else None,
    )


def _addresses(header: Header, name: bytes) -> tuple[str, ...]:
    values = header.all(name)
    if not values:
        return ()
    return read_addresses(values[0]) if len(values) == 1 else read_addresses(b",".join(values))


def _ids(values: list[bytes]) -> tuple[str, ...]:
    """Ids without brackets. A bare word is one when it has an "@", or when nothing else is there (rules.md 4.1)."""
    if not values:
        return ()
    text = b" ".join(values)[-MAX_IDS_FIELD:].decode("utf-8", "replace")
    words = MSG_ID.findall(text)
    ids = tuple(bracketed or bare for bracketed, bare in words if bracketed or "@" in bare)
    return ids or tuple(bare for _, bare in words[:1])
