"""Commands whose outcome matters: SELECT and its kin, COPY and MOVE, and FETCH of stretches of a message."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Protocol

from proxy.imap.command import Arguments, BadCommand
from proxy.imap.fetch import PARTIAL, Fetches
from proxy.imap.framing import COMMAND, Literal
from proxy.imap.mailbox import Mailboxes, decode_name
from proxy.imap.watch import CopiedToLog, Unobservable, Watcher, Why

__all__ = ["Copy", "Followed", "Partial", "Select", "Unselect"]

VERB = re.compile(rb"[^ ]+ (?:[Uu][Ii][Dd] )?[A-Za-z]+(?= )")
# RFC 4315 §3: resp-code-copy = "COPYUID" SP nz-number SP uid-set SP uid-set
COPYUID = re.compile(rb"\[COPYUID ([0-9]{1,10}) ([0-9:,]+) ([0-9:,]+)\]", re.IGNORECASE)
MAX_STRETCHES = 1000  # that the commands under way may ask for


class Followed(Protocol):
    """A command that is followed until its tagged response."""

    def text(self, text: bytes, literal: Literal | None) -> bool:
        """A text of the command. Whether the literal that follows is wanted."""

    def literal(self, octets: bytes) -> bool:
        """Octets of a literal that was wanted. Whether more are."""

    def complete(self, text: bytes, *, is_ok: bool) -> None:
        """The provider's answer."""

    def discard(self) -> None:
        """There will be no answer."""


class Collected:
    """A command that is small enough to be kept, read when all of it is there."""

    def __init__(self) -> None:
        self._parts: list[bytes] | None = []
        self._size = 0

    def text(self, text: bytes, literal: Literal | None) -> bool:
        if self._parts is None:
            return False
        self._size += len(text) + (literal.size if literal is not None else 0)
        if self._size > COMMAND:
            self._parts = None
            self.failed(Why.TOO_LONG)
            return False
        self._parts.append(text)
        if literal is not None:
            self._parts.append(b"")
            return True
        match = VERB.match(self._parts[0])
        with suppress(BadCommand):  # the provider will refuse it
            self.read(Arguments(self._parts, match.end() if match else len(self._parts[0])))
        self._parts = None
        return False

    def literal(self, octets: bytes) -> bool:
        assert self._parts is not None
        self._parts[-1] += octets
        return True

    def read(self, arguments: Arguments) -> None:
        """All of the command is there. Raises `BadCommand`."""

    def failed(self, why: Why) -> None:
        """It cannot be read."""

    def complete(self, text: bytes, *, is_ok: bool) -> None: ...
    def discard(self) -> None: ...


class Select(Collected):
    """SELECT and EXAMINE."""

    def __init__(self, watcher: Watcher, mailboxes: Mailboxes, fetches: Fetches) -> None:
        super().__init__()
        self._watcher = watcher
        self._mailboxes = mailboxes
        self._fetches = fetches
        self._name: str | None = None

    def read(self, arguments: Arguments) -> None:
        self._name = decode_name(arguments.take())
        self._mailboxes.opening.append(self._name)

    def failed(self, why: Why) -> None:
        self._watcher.tell(Unobservable(why))

    def complete(self, text: bytes, *, is_ok: bool) -> None:
        if not is_ok and _status(text) == b"BAD":
            self.discard()  # it changed nothing
            return
        self._fetches.close()
        if self._name is not None:
            self._mailboxes.opened(self._name, is_open=is_ok)
        else:
            self._mailboxes.selected = None

    def discard(self) -> None:
        if self._name is not None:
            self._mailboxes.opening.remove(self._name)


class Unselect(Collected):
    """CLOSE and UNSELECT."""

    def __init__(self, mailboxes: Mailboxes, fetches: Fetches) -> None:
        super().__init__()
        self._mailboxes = mailboxes
        self._fetches = fetches

    def complete(self, text: bytes, *, is_ok: bool) -> None:
        if is_ok:
            self._fetches.close()
            self._mailboxes.selected = None


class Copy(Collected):
    """COPY and MOVE. With MOVE, what was copied is told in an untagged response (RFC 6851 §4.3)."""

    def __init__(self, watcher: Watcher, mailboxes: Mailboxes, *, by_uid: bool) -> None:
        super().__init__()
        self._watcher = watcher
        self._mailboxes = mailboxes
        self._by_uid = by_uid
        self._asked: str | None = None
        self._name: str | None = None
        self._told: re.Match[bytes] | None = None

    def read(self, arguments: Arguments) -> None:
        asked, name = arguments.take(), decode_name(arguments.take())
        if self._watcher.is_for_log(name):
            self._name = name
            self._asked = asked.decode("ascii", "replace") if self._by_uid else None

    def failed(self, why: Why) -> None:
        self._watcher.tell(Unobservable(why))

    def hear(self, text: bytes) -> None:
        """An untagged COPYUID."""
        self._told = COPYUID.search(text)

    def complete(self, text: bytes, *, is_ok: bool) -> None:
        place = self._mailboxes.selected
        if not is_ok or self._name is None:
            return
        if place is None:
            self._watcher.tell(Unobservable(Why.NO_MAILBOX))
            return
        told = COPYUID.search(text) or self._told
        if told is None:
            event = CopiedToLog(place, self._asked, self._mailboxes.place(self._name), None)
        else:
            log = self._mailboxes.place(self._name, int(told[1]))
            event = CopiedToLog(place, told[2].decode(), log, told[3].decode())
        self._watcher.tell(event)


class Partial(Collected):
    """FETCH: how many octets are asked for from which origin, told in `asked` while it is under way."""

    def __init__(self, asked: list[tuple[int, int]]) -> None:
        super().__init__()
        self._asked = asked
        self._mine: list[tuple[int, int]] = []

    def text(self, text: bytes, literal: Literal | None) -> bool:
        for match in PARTIAL.finditer(text):
            if len(self._asked) < MAX_STRETCHES:
                self._mine.append((int(match[1]), int(match[2])))
                self._asked.append(self._mine[-1])
        return False

    def complete(self, text: bytes, *, is_ok: bool) -> None:
        self.discard()

    def discard(self) -> None:
        for each in self._mine:
            self._asked.remove(each)
        self._mine.clear()


def _status(text: bytes) -> bytes:
    return text.split(b" ", 2)[1].strip().upper() if b" " in text else b""
