"""How values are written for people: times, and what strangers wrote."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

__all__ = ["UNSAFE", "moment", "visible"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Controls of C0 (but for tab and line feed), DEL and C1; marks and overrides of direction; surrogates.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """`text` with everything that could steer a terminal replaced."""
    return UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def moment(seconds: float | None, *, timespec: str = "seconds") -> str | None:
    """Unix time as ISO 8601 in UTC; `None` for none, and for what is no time of our calendar."""
    if seconds is None:
        return None
    try:
        at = EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return None
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")
