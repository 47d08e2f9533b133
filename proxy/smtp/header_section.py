"""The header section of a message passing by: where it ends, and the two fields a submission must not lack.

RFC 6409 §8.2 and §8.3 let a submission server add a missing Date and Message-ID; that is all we ever add.
"""

from __future__ import annotations

import re

__all__ = ["HeaderCollector", "added_fields", "lacks_fields"]

# RFC 5322 §2.2: field names are printable US-ASCII without colon. obs-optional (§4.5.8) allows space before the colon.
FIRST_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
DATE = re.compile(rb"^Date[ \t]*:", re.IGNORECASE | re.MULTILINE)
MESSAGE_ID = re.compile(rb"^Message-ID[ \t]*:", re.IGNORECASE | re.MULTILINE)
# quirk_mbox_from_line: a leading "From " line of an mbox file sent as it is; the section goes on behind it.
MBOX_FROM = re.compile(rb">?From [^\r\n]*\r\n")


class HeaderCollector:
    """Watches content until the header section is whole, or longer than `limit`, where it is cut for good.

    No octet is searched twice, however small the pieces are: a client chooses them.
    """

    __slots__ = ("_begins_well", "_limit", "_searched", "_seen", "is_cut", "section")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen = bytearray()
        self._searched = 0
        self._begins_well = False
        self.is_cut = False
        self.section: bytes | None = None

    def feed(self, content: bytes) -> bool:
        """Whether `section` is known now. Its length is where it ends, counted from the first octet fed."""
        seen: bytes | bytearray = content
        if self._seen:
            self._seen += content
            seen = self._seen
        end = self._end(seen)
        if end is None and len(seen) <= self._limit:
            if seen is content:
                self._seen += content
            self._searched = len(seen)
            return False
        self.is_cut = end is None
        self.section = bytes(seen[: end if end is not None else self._limit])
        self._seen.clear()
        return True

    def finish(self) -> bytes:
        """The section of a message that ended without an empty line: all of it, or nothing."""
        if self.section is None:
            self.section = bytes(self._seen) if _begins_section(self._seen) else b""
            self._seen.clear()
        return self.section

    def _end(self, seen: bytes | bytearray) -> int | None:
        """Where the section ends (behind its last CRLF); `None` when more octets are needed.

        0 means that there is none: the message begins with an empty line, or with a line that is no field.
        """
        searched = self._searched
        stop = self._limit + 1  # so that it does not depend on the pieces whether a section is cut
        if not self._begins_well:
            if seen[:2] == b"\r\n":
                return 0
            if seen.find(b"\r\n", max(0, searched - 1), stop) < 0:
                return None
            if not _begins_section(seen):
                return 0
            self._begins_well = True
        end = seen.find(b"\r\n\r\n", max(0, searched - 3), stop)
        return end + 2 if end >= 0 else None


def lacks_fields(section: bytes) -> bool:
    """Whether `section` lacks Date or Message-ID."""
    return DATE.search(section) is None or MESSAGE_ID.search(section) is None


def added_fields(section: bytes, *, date: bytes, message_id: bytes) -> bytes:
    """The fields that `section` lacks, as lines to stand behind it. `message_id` comes with its brackets."""
    lines = b""
    if not DATE.search(section):
        lines += b"Date: " + date + b"\r\n"
    if not MESSAGE_ID.search(section):
        lines += b"Message-ID: " + message_id + b"\r\n"
    return lines


def _begins_section(octets: bytes | bytearray) -> bool:
    return FIRST_FIELD.match(octets) is not None or MBOX_FROM.match(octets) is not None
