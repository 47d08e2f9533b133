"""Messages of an open folder: their UIDs, header sections and whole contents, by FETCH (RFC 9051 §6.4.5, §7.5.2).

PEEK leaves the flag alone that tells whether a message was read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from proxy.imap.framing import BadFrame
from proxy.imap.mailbox import flags_of
from proxy.imap_client.dialogue import Command, Sink
from proxy.smtp.header_section import HeaderCollector

__all__ = ["MONTHS", "Body", "Fetched", "Headers", "LastUid", "Uids", "sequence_set"]

MAX_UIDS = 50_000  # that are held at once
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FETCH = re.compile(rb"(?i)\* [0-9]{1,10} FETCH \(")
# RFC 9051 §9: msg-att. Quoted strings are skipped where they are not the date's.
FACT = re.compile(
    rb'[ (]INTERNALDATE "([^"\r\n]{1,40})"|"(?:[^"\\]|\\.)*(?:"|\Z)'
    rb"|[ (](UID|RFC822\.SIZE) ([0-9]{1,19})(?=[ )])|[ (]FLAGS \(([^()\"]*)\)",
    re.IGNORECASE | re.DOTALL,
)
CONTENT = re.compile(rb"(?i)[ (]BODY\[(HEADER)?\](?:<0>)? ~?\{[0-9]+\}\r\n\Z")
IN_LINE = re.compile(rb'(?i)[ (]BODY\[(?:HEADER)?\](?:<0>)? (?:NIL|"((?:[^"\\]|\\.)*)")')
# RFC 9051 §9: date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
DATE_TIME = re.compile(
    rb" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"
)


class Uids(Command):
    """The UIDs from `first` on. "n:*" has the last message always, which may be one before n (RFC 9051 §9)."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._found: set[int] = set()
        self.is_cut = False

    def octets(self) -> bytes:
        return b"UID FETCH %d:* (UID)\r\n" % self._first

    def untagged(self, parts: list[bytes]) -> None:
        for match in FACT.finditer(parts[0]) if FETCH.match(parts[0]) else ():
            if match[2] is None or match[2].upper() != b"UID" or int(match[3]) < self._first:
                continue
            if len(self._found) < MAX_UIDS:
                self._found.add(int(match[3]))
            else:
                self.is_cut = True

    @property
    def found(self) -> list[int]:
        """In ascending order, and complete from the first up to the last of them when the server tells them so."""
        return sorted(self._found)


class LastUid(Uids):
    """The UID of the newest message."""

    def __init__(self) -> None:
        super().__init__(1)

    def octets(self) -> bytes:
        return b"UID FETCH * (UID)\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What is known of a message before its body: `received` is its INTERNALDATE in Unix seconds.

    `is_cut` when its header section may go on behind what was asked for.
    """

    uid: int
    section: bytes
    flags: frozenset[str] = frozenset()
    size: int = 0
    received: float | None = None
    is_cut: bool = False


class Headers(Command):
    """Header sections, of each message no more than `limit` octets, whatever the server sends."""

    def __init__(self, uids: Sequence[int], limit: int) -> None:
        self._uids = frozenset(uids)
        self._limit = limit
        self._section = bytearray()
        self._found: dict[int, Fetched] = {}

    def octets(self) -> bytes:
        items = b"(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER]<0.%d>)" % self._limit
        return b"UID FETCH " + sequence_set(self._uids) + b" " + items + b"\r\n"

    def sink(self, text: bytes, size: int) -> Sink | None:
        match = CONTENT.search(text)
        if match is None or not match[1] or not FETCH.match(text):
            return None
        self._section.clear()
        return self._collect

    def _collect(self, octets: bytes) -> None:
        self._section += octets[: self._limit - len(self._section)]

    def untagged(self, parts: list[bytes]) -> None:
        if not FETCH.match(parts[0]):
            return
        octets = bytes(self._section)
        self._section.clear()
        texts = parts[::2]
        uid, size, flags, received, in_line = _facts(texts)
        if len(parts) == 1:
            if in_line is None:
                return  # flags that somebody has changed
            octets = in_line[: self._limit]
        if uid not in self._uids:
            return
        collector = HeaderCollector(self._limit)
        is_cut = not collector.feed(octets) and len(octets) >= self._limit
        self._found[uid] = Fetched(
            uid=uid, section=collector.finish(), flags=flags, size=size, received=received, is_cut=is_cut
        )

    @property
    def found(self) -> list[Fetched]:
        """In ascending order of UIDs. What is not there has gone from the folder."""
        return [self._found[uid] for uid in sorted(self._found)]


class Body(Command):
    """A whole message, which goes to `sink` while it comes. `is_whole` when it came, in one piece and to its end.

    One of more than `limit` octets is nonsense: its size was told before, and it was not to be asked for.
    """

    def __init__(self, uid: int, sink: Sink, limit: int) -> None:
        self._uid = uid
        self._sink = sink
        self._limit = limit
        self._announced: int | None = None
        self._seen = 0
        self.is_whole = False

    def octets(self) -> bytes:
        return b"UID FETCH %d (UID BODY.PEEK[])\r\n" % self._uid

    def sink(self, text: bytes, size: int) -> Sink | None:
        match = CONTENT.search(text)
        if match is None or match[1] or not FETCH.match(text):
            return None
        if self._announced is not None:
            raise BadFrame("the server sends a message twice")
        if size > self._limit:
            raise BadFrame("a message is longer than the server said")
        self._announced = size
        return self._take

    def _take(self, octets: bytes) -> None:
        self._seen += len(octets)
        self._sink(octets)

    def untagged(self, parts: list[bytes]) -> None:
        if not FETCH.match(parts[0]):
            return
        uid, _, _, _, in_line = _facts(parts[::2])
        if self._announced is None and in_line and uid == self._uid:
            self._announced = len(in_line)
            self._take(in_line)
        if self._announced is not None and not self.is_whole:
            if uid != self._uid:
                raise BadFrame("the server sends another message than it was asked for")
            self.is_whole = self._seen == self._announced


def sequence_set(uids: frozenset[int] | Sequence[int]) -> bytes:
    """The UIDs as a command holds them: "1:3,7"."""
    runs: list[list[int]] = []
    for uid in sorted(uids):
        if runs and runs[-1][1] == uid - 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return b",".join(b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in runs)


def _facts(texts: list[bytes]) -> tuple[int, int, frozenset[str], float | None, bytes | None]:
    """UID, size, flags and date of a FETCH response, and its content where that came in no literal."""
    uid = size = 0
    flags: frozenset[str] = frozenset()
    received: float | None = None
    for text in texts:
        for match in FACT.finditer(text):
            if match[1] is not None:
                received = _seconds(match[1])
            elif match[4] is not None:
                flags = flags_of(match[4])
            elif match[2] is not None and match[2].upper() == b"UID":
                uid = int(match[3])
            elif match[2] is not None:
                size = int(match[3])
    content = IN_LINE.search(texts[0])
    in_line = re.sub(rb"\\(.)", rb"\1", content[1] or b"") if content is not None else None
    return uid, size, flags, received, in_line


def _seconds(written: bytes) -> float | None:
    """An INTERNALDATE in Unix seconds; `None` when it is no date."""
    match = DATE_TIME.fullmatch(written)
    if match is None or match[2].decode().capitalize() not in MONTHS:
        return None
    day, year, hour, minute, second, hours, minutes = (int(match[each]) for each in (1, 3, 4, 5, 6, 8, 9))
    month = MONTHS.index(match[2].decode().capitalize()) + 1
    zone = timedelta(hours=hours, minutes=minutes) * (-1 if match[7] == b"-" else 1)
    try:
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(zone)).timestamp()
    except ValueError:
        return None
