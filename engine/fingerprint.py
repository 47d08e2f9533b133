"""What makes two captures the same message (rules.md 6.1, 6.2)."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from engine.address import canonical
from engine.message import REPLY_WORDS, Message

__all__ = ["date_of", "fingerprint", "identity", "normalised_subject"]

FORWARD_WORDS = "fwd?|wg|tr|rv|enc|vl|doorst|pd|i"
MARKS = re.compile(rf"^(?:(?:{REPLY_WORDS}|{FORWARD_WORDS})(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE)


def identity(message: Message) -> str | None:
    """Message-ID and author (6.1); `None` without a usable id."""
    if not message.message_id or not message.authors:
        return None
    return f"{message.message_id} {canonical(message.authors[0])}"


def fingerprint(message: Message, body_hash: str) -> str:
    """A hash of author, sorted To and Cc, subject without marks, date to the second, and body (6.2)."""
    date = date_of(message)
    parts = [
        canonical(message.authors[0]) if message.authors else "",
        " ".join(sorted({canonical(each) for each in (*message.to, *message.cc)})),
        normalised_subject(message.subject),
        str(int(date.timestamp())) if date else "",
        body_hash,
    ]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


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
