"""What makes two captures the same message (rules.md 6.1, 6.2)."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from engine.address import canonical
from engine.message import REPLY_WORDS, Message

__all__ = [
    "bearing_key", "date_of", "essence", "header_print", "id_key", "keys", "normalised_subject", "submitted_key",
]  # fmt: skip

FORWARD_WORDS = "fwd?|wg|tr|rv|enc|vl|doorst|pd|i"
MARKS = re.compile(rf"^(?:(?:{REPLY_WORDS}|{FORWARD_WORDS})(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE)


def header_print(message: Message) -> str:
    """A hash of what two copies of one message share whatever servers did to them: author, sorted To and Cc, subject
    without marks, date to the second.
    """
    date = date_of(message)
    return _hash(
        canonical(message.authors[0]) if message.authors else "",
        " ".join(sorted({canonical(each) for each in (*message.to, *message.cc)})),
        normalised_subject(message.subject),
        str(int(date.timestamp())) if date else "",
    )


def keys(message: Message, body_hash: str) -> list[str]:
    """What another copy of the message has at least one of: its id with author, subject and date (6.1), and the
    fingerprint of header section and body (6.2).

    Subject and date belong to the first because ids are reused, by mistake or to keep another message out of the log.
    Without a date a fingerprint says little, so it counts only for what has no id either.
    """
    is_named = bool(message.message_id and message.authors)
    found = []
    if not is_named or date_of(message) is not None:
        found.append(_hash("fingerprint", header_print(message), body_hash))
    if is_named:
        found.append(id_key(message.message_id or "", essence(message)))
    return found


def essence(message: Message) -> str:
    """A hash of author, subject without marks, and date to the second: two messages with one id differ in it."""
    date = date_of(message)
    return _hash(
        canonical(message.authors[0]) if message.authors else "",
        normalised_subject(message.subject),
        str(int(date.timestamp())) if date else "",
    )


def id_key(message_id: str, of: str) -> str:
    """The key by an id that a message with the essence `of` is known by, be it its own or one given on the way."""
    return _hash("id", message_id, of)


def submitted_key(print_: str, message_id: str = "") -> str:
    """The key that says that a message with this fingerprint was submitted under an id of its own, or under this id.

    A user who submits the same words twice in a second, under two ids, has sent two messages. Only copies seen
    elsewhere may have got another id on their way.
    """
    return _hash("submitted", print_, message_id) if message_id else _hash("submitted", print_)


def bearing_key(print_: str, message_id: str) -> str:
    """The key that says that a copy with this fingerprint bears this id, though none was submitted like that.

    Where the record of two messages is parted, it tells whose the fingerprint of an altered copy is.
    """
    return _hash("bearing", print_, message_id)


def normalised_subject(subject: str) -> str:
    """The subject without reply and forward marks, white space folded, in one case."""
    return MARKS.sub("", " ".join(subject.split())).casefold()


def date_of(message: Message) -> datetime | None:
    """The Date field as an aware time; `None` when it is missing or senseless."""
    value = message.header.first(b"date")
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value[:128].decode("latin-1"))
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
