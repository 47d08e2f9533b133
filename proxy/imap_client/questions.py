"""What we ask a mailbox: what it can, what is in which folder, and which messages came since a day. Nothing changes it.

EXAMINE leaves even the flags alone that tell whether a message is new (RFC 9051 §6.3.3).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from proxy.imap.capability import capabilities_of
from proxy.imap_client.dialogue import Command
from proxy.imap_client.folders import Mailbox, quoted
from proxy.imap_client.messages import MONTHS
from proxy.imap_client.notify import FolderStatus, status_in

__all__ = ["WINDOW", "Capability", "Examine", "Identify", "Noop", "Search", "Status", "WithId", "newest_window"]

WINDOW = 5000  # messages that one SEARCH is about: its answer is one line, which must be short enough to be kept
EXISTS = re.compile(rb"(?i)\* ([0-9]{1,10}) EXISTS\r\n")
VALIDITY = re.compile(rb"(?i)\* OK \[UIDVALIDITY ([0-9]{1,10})\]")
NEXT = re.compile(rb"(?i)\* OK \[UIDNEXT ([0-9]{1,10})\]")
SEARCH = re.compile(rb"(?i)\* SEARCH((?: [0-9]{1,10})*) ?(?:\([^()]*\) ?)?\r\n")


class Capability(Command):
    """CAPABILITY; `capabilities` are in capitals."""

    def __init__(self) -> None:
        self.capabilities: frozenset[bytes] = frozenset()

    def octets(self) -> bytes:
        return b"CAPABILITY\r\n"

    def untagged(self, parts: list[bytes]) -> None:
        self.capabilities = capabilities_of(parts[0]) or self.capabilities


class Identify(Command):
    """ID (RFC 2971): an administrator sees who reads; some providers ask everybody for it."""

    def octets(self) -> bytes:
        return b'ID ("name" "onrecord")\r\n'


class Noop(Command):
    """NOOP: news, where IDLE is not to be had."""

    def octets(self) -> bytes:
        return b"NOOP\r\n"


class Status(Command):
    """STATUS: whether a folder must be looked into."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self.status = FolderStatus()

    def octets(self) -> bytes:
        return b"STATUS " + self._mailbox.quoted + b" (UIDNEXT UIDVALIDITY)\r\n"

    def untagged(self, parts: list[bytes]) -> None:
        found = status_in(parts)
        if found is not None and found[0] == self._mailbox.name:  # others are told of when NOTIFY is on
            self.status = found[1]


class Examine(Command):
    """EXAMINE: opens a folder, and cannot change it."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self.exists = 0
        self.uidvalidity: int | None = None
        self.uidnext: int | None = None

    def octets(self) -> bytes:
        return b"EXAMINE " + self._mailbox.quoted + b"\r\n"

    def untagged(self, parts: list[bytes]) -> None:
        if (match := EXISTS.fullmatch(parts[0])) is not None:
            self.exists = int(match[1])
        elif (match := VALIDITY.match(parts[0])) is not None:
            self.uidvalidity = int(match[1])
        elif (match := NEXT.match(parts[0])) is not None:
            self.uidnext = int(match[1])


class _Searching(Command):
    """A SEARCH; what it found is bounded."""

    def __init__(self) -> None:
        self._found: set[int] = set()

    def untagged(self, parts: list[bytes]) -> None:
        if (match := SEARCH.fullmatch(parts[0])) is not None:
            for each in match[1].split():
                if len(self._found) < WINDOW:
                    self._found.add(int(each))

    @property
    def found(self) -> list[int]:
        """In ascending order."""
        return sorted(self._found)


class Search(_Searching):
    """The UIDs of messages that came since a day, among those with the sequence numbers of `window`, or all.

    The server compares days of its own zone; `since` therefore begins two days early (RFC 9051 §6.4.4).
    """

    def __init__(self, since: float, window: tuple[int, int] | None = None) -> None:
        super().__init__()
        self._window = window
        self._day = datetime.fromtimestamp(max(since, 0.0), UTC) - timedelta(days=2)

    def octets(self) -> bytes:
        day = f"{self._day.day}-{MONTHS[self._day.month - 1]}-{self._day.year:04}"
        among = f"{self._window[0]}:{self._window[1]} " if self._window is not None else ""
        return f"UID SEARCH {among}SINCE {day}\r\n".encode()


class WithId(_Searching):
    """The UIDs of messages with that Message-ID, which is given without its brackets.

    The server looks for the text anywhere in the field (RFC 9051 §6.4.4), so that more may be found.
    """

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self._message_id = message_id

    def octets(self) -> bytes:
        return b"UID SEARCH HEADER Message-ID " + quoted(self._message_id.encode()) + b"\r\n"


def newest_window(last: int) -> tuple[int, int]:
    """The sequence numbers up to `last` that one SEARCH may be about.

    Windows are taken from the newest down: when messages are removed meanwhile others move down, into a window that is
    still to come, and none is missed.
    """
    return max(1, last - WINDOW + 1), last
