"""FETCH responses: the messages that a client reads (RFC 9051 §7.5.2).

Only literals that are a whole message, or a part of one that the rest may follow, are looked at. Stretches are put
together when they come in order and their end is known: from RFC822.SIZE, or because fewer octets came than were asked
for. A header section and the text of the same message are put together when no other header section came in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from proxy.imap.framing import Literal
from proxy.imap.mailbox import FLAGS, Mailboxes, flags_of
from proxy.imap.message import Message
from proxy.imap.watch import HeaderSeen, Place, Seen, Unobservable, Watcher, Why

__all__ = ["FETCH", "PARTIAL", "Fetches"]

MAX_STRETCHED = 8  # messages that are put together at a time
NAME = 64  # octets before a literal in which its name stands
FETCH = re.compile(rb"(?i)\* ([0-9]{1,10}) FETCH \(")
# RFC 9051 §9: msg-att-static; RFC 3516 §4.3 has BINARY. What stands before the literal must be the item's name itself.
ITEM = re.compile(
    rb"(?i)[ (]((?:BODY|BINARY)\[(HEADER|TEXT|[0-9.]+)?\]|RFC822(?:\.(HEADER|TEXT))?)"
    rb"(?:<([0-9]{1,20})>)? ~?\{[0-9]+\}\r\n"
)
# Quoted strings are skipped: a subject may hold anything.
FACT = re.compile(
    rb'"(?:[^"\\]|\\.)*(?:"|\Z)|[ (](UID|RFC822\.SIZE) ([0-9]{1,19})(?=[ )])|[ (]FLAGS ' + FLAGS,
    re.IGNORECASE | re.DOTALL,
)
# RFC 9051 §6.4.5: BODY[]<origin.count> in a command
PARTIAL = re.compile(rb"(?i)(?:BODY|BINARY)(?:\.PEEK)?\[\]<([0-9]{1,19})\.([0-9]{1,19})>")


@dataclass(slots=True)
class Stretched:
    """A message that comes in stretches. Its `message` is `None` when nobody wants it."""

    message: Message | None
    end: int = 0
    size: int | None = None
    flags: frozenset[str] | None = None


@dataclass(slots=True)
class Whole:
    """A message, or a header section alone, in one literal. Its `message` is `None` when nobody wants it."""

    message: Message | None
    size: int
    is_header: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A header section that came alone. Its message is known by its number; not all responses tell a UID."""

    number: int
    uid: int | None
    flags: frozenset[str] | None
    octets: bytes


class Fetches:
    """The FETCH responses of one session. `asked` are the stretches, as origin and count, that were asked for."""

    def __init__(self, watcher: Watcher, mailboxes: Mailboxes, header_limit: int, asked: list[tuple[int, int]]) -> None:
        self._watcher = watcher
        self._mailboxes = mailboxes
        self._limit = header_limit
        self._asked = asked
        self._stretched: dict[tuple[Place, int], Stretched] = {}
        self._section: Section | None = None
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self._uid: int | None = None
        self._size: int | None = None
        self._flags: frozenset[str] | None = None
        self._whole: Whole | None = None
        self._header = bytearray()
        self._feed: Callable[[bytes], bool] | None = None
        self._stretch: tuple[int, int] | None = None

    def begin(self, number: int) -> None:
        """A response begins, about the message of that number."""
        self._number = number

    def renumber(self) -> None:
        """Numbers may belong to other messages from here on."""
        self._section = None

    def text(self, text: bytes, literal: Literal | None) -> bool:
        """A text of a response. Whether the literal that follows is wanted."""
        for match in FACT.finditer(text):
            if match[3] is not None:
                self._flags = flags_of(match[3])
            elif match[1] is not None and match[1].upper() == b"UID":
                self._uid = int(match[2])
            elif match[1] is not None:
                self._size = int(match[2])
        if literal is not None:
            return self._literal(text, literal.size)
        self._end()
        return False

    def literal(self, octets: bytes) -> bool:
        """Octets of a literal that was wanted. Whether more are."""
        return self._feed is not None and self._feed(octets)

    def close(self) -> None:
        """No more will come: the mailbox is another, or the session is over."""
        if self._whole is not None and self._whole.message is not None:
            self._whole.message.discard()
        for key in list(self._stretched):
            self._give_up(key, Why.PARTIAL_INCOMPLETE)
        self._section = None
        self._begin()

    def _tell(self, why: Why) -> None:
        self._watcher.tell(Unobservable(why))

    # -- literals -----------------------------------------------------------------------------------------------------

    def _literal(self, text: bytes, size: int) -> bool:
        self._feed = None
        match = ITEM.search(text, max(0, len(text) - NAME))
        if match is None or match.end() != len(text):
            return False
        part, place = (match[2] or match[3] or b"").upper(), self._mailboxes.selected
        if place is None:
            return self._refuse(Why.NO_MAILBOX)
        if part == b"TEXT" and match[4] is None and (section := self._take_section()) is not None:
            return self._text_after(section, place, size)
        if part not in (b"", b"HEADER"):
            is_known = self._uid is not None and self._watcher.is_known(place, self._uid)
            return False if is_known else self._refuse(Why.NO_HEADER_SECTION)
        if part == b"HEADER":
            return self._header_alone(match[4], size)
        if match[4] is not None:
            return self._begin_stretch(place, int(match[4]), size)
        if self._whole is not None and not self._whole.is_header:
            return False  # the same message once more
        message = self._message(place)
        self._whole = Whole(message, size)
        self._feed = message.feed if message is not None else None
        return message is not None

    def _refuse(self, why: Why) -> bool:
        self._tell(why)
        return False

    def _message(self, place: Place) -> Message | None:
        if self._uid is not None and self._watcher.is_known(place, self._uid):
            return None
        watch = self._watcher.watch(place)
        return Message(watch, self._limit) if watch is not None else None

    def _header_alone(self, origin: bytes | None, size: int) -> bool:
        if origin is not None or self._whole is not None:
            return False
        if size > self._limit:
            return self._refuse(Why.TOO_LONG)
        self._whole = Whole(None, size, is_header=True)
        self._feed = self._collect_header
        return True

    def _collect_header(self, octets: bytes) -> bool:
        self._header += octets
        return True

    def _keep_section(self) -> None:
        """Without its empty line what follows would be another header field, so such a one is not kept."""
        octets = bytes(self._header)
        is_whole = (b"\r\n" + octets).endswith(b"\r\n\r\n")
        self._section = Section(self._number, self._uid, self._flags, octets) if is_whole else None

    def _take_section(self) -> Section | None:
        """That of this message, which came last or stands before in the same response."""
        if self._whole is not None and self._whole.is_header:
            self._keep_section()
        elif self._whole is not None:
            return None
        section = self._section
        if section is None or section.number != self._number:
            return None
        self._section = None
        return section

    def _text_after(self, section: Section, place: Place, size: int) -> bool:
        """RFC 9051 §6.4.5: header section, with its empty line, and text are all of a message."""
        self._uid = self._uid if self._uid is not None else section.uid
        self._flags = self._flags if self._flags is not None else section.flags
        message = self._message(place)
        self._whole = Whole(message, len(section.octets) + size)
        self._feed = message.feed if message is not None else None
        return message is not None and message.feed(section.octets)

    # -- stretches ----------------------------------------------------------------------------------------------------

    def _begin_stretch(self, place: Place, origin: int, size: int) -> bool:
        if self._uid is None or self._whole is not None:
            return self._refuse(Why.PARTIAL_OUT_OF_ORDER)
        key = (place, self._uid)
        if origin == 0:
            self._give_up(key, Why.PARTIAL_INCOMPLETE)
            while len(self._stretched) >= MAX_STRETCHED:
                self._give_up(next(iter(self._stretched)), Why.PARTIAL_INCOMPLETE)
            self._stretched[key] = Stretched(self._message(place))
        stretched = self._stretched.get(key)
        if stretched is None or stretched.end != origin:
            self._give_up(key, None)
            return self._refuse(Why.PARTIAL_OUT_OF_ORDER)
        stretched.end += size
        self._stretch = (origin, size)
        self._feed = stretched.message.feed if stretched.message is not None else None
        return self._feed is not None

    def _give_up(self, key: tuple[Place, int], why: Why | None) -> None:
        stretched = self._stretched.pop(key, None)
        if stretched is not None and stretched.message is not None:
            stretched.message.discard()
            if why is not None:
                self._tell(why)

    def _end_stretch(self, place: Place, origin: int, size: int) -> None:
        assert self._uid is not None
        key = (place, self._uid)
        stretched = self._stretched[key]
        stretched.size = self._size if self._size is not None else stretched.size
        stretched.flags = self._flags if self._flags is not None else stretched.flags
        # The least of them, so that a stretch that was asked for longer by another command is not taken for the last.
        asked = min((count for start, count in self._asked if start == origin), default=None)
        if stretched.end != stretched.size and (asked is None or size >= asked):
            return
        del self._stretched[key]
        if stretched.message is not None:
            stretched.message.end(Seen(place, self._uid, stretched.flags, stretched.end))

    # -- the end of a response ----------------------------------------------------------------------------------------

    def _end(self) -> None:
        place, whole = self._mailboxes.selected, self._whole
        if place is not None and self._stretch is not None:
            self._end_stretch(place, *self._stretch)
        if place is not None and whole is not None:
            if whole.message is not None:
                whole.message.end(Seen(place, self._uid, self._flags, whole.size))
            elif whole.is_header:
                self._end_header(place)
        self._begin()

    def _end_header(self, place: Place) -> None:
        self._keep_section()
        if self._uid is None or not self._watcher.is_known(place, self._uid):
            self._watcher.tell(HeaderSeen(place, self._uid, bytes(self._header)))
