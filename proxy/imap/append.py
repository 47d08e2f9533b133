"""APPEND: the messages that a client saves (RFC 9051 §6.3.12, RFC 3502 for several in one command)."""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.imap.command import Arguments, BadCommand
from proxy.imap.framing import Literal
from proxy.imap.mailbox import FLAGS, Mailboxes, decode_name, flags_of
from proxy.imap.message import Message
from proxy.imap.watch import Appended, Unobservable, Watcher, Why

__all__ = ["Append"]

MAX_MESSAGES = 20  # of one command that are followed
MAX_NAME = 1024  # octets of a mailbox name in a literal
VERB = re.compile(rb"(?i)[^ ]+ (?:APPEND|(?:UID )?REPLACE [0-9*]+)(?= )")
# RFC 9051 §9: append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal; RFC 6855 §4 has UTF8 (literal8)
MESSAGE = re.compile(rb"(?i)\)?(?: " + FLAGS + rb')?(?: "[^"]{1,40}")? (?:UTF8 \()?~?\{[0-9]+\+?\}\r\n')
# RFC 4315 §3: resp-code-apnd = "APPENDUID" SP nz-number SP append-uid
APPENDUID = re.compile(rb"\[APPENDUID ([0-9]{1,10}) ([0-9:,]+)\]", re.IGNORECASE)


class Append:
    """One APPEND, or one REPLACE (RFC 8508), which saves in the same words."""

    def __init__(self, watcher: Watcher, mailboxes: Mailboxes, header_limit: int) -> None:
        self._watcher = watcher
        self._mailboxes = mailboxes
        self._limit = header_limit
        self._parts: list[bytes] = []
        self._name: str | None = None
        self._messages: list[tuple[Message | None, frozenset[str], int]] = []
        self._is_lost = False
        self._feed: Callable[[bytes], bool] | None = None

    def text(self, text: bytes, literal: Literal | None) -> bool:
        """A text of the command. Whether the literal that follows is wanted."""
        self._feed = None
        if self._messages and (message := self._messages[-1][0]) is not None:
            message.settle()
        if self._is_lost or (literal is None and self._name is not None):
            return False
        rest = text
        if self._name is None:
            try:
                found = self._mailbox(text, literal)
            except BadCommand:
                return self._lose(Why.APPEND_FORM)
            if found is None:
                return True
            rest = found
        match = MESSAGE.fullmatch(rest)
        if match is None or literal is None:
            return self._lose(Why.CATENATE if b"CATENATE" in rest.upper() else Why.APPEND_FORM)
        if len(self._messages) >= MAX_MESSAGES:
            return self._lose(Why.TOO_LONG)
        return self._message(flags_of(match[1] or b""), literal.size)

    def literal(self, octets: bytes) -> bool:
        """Octets of a literal that was wanted. Whether more are."""
        return self._feed is not None and self._feed(octets)

    def complete(self, text: bytes, *, is_ok: bool) -> None:
        """The provider's answer to the command."""
        uidvalidity, uids = _appended(text, len(self._messages))
        place = self._mailboxes.place(self._name or "", uidvalidity)
        for (message, flags, size), uid in zip(self._messages, uids, strict=True):
            if message is not None and is_ok:
                message.end(Appended(place, uid, flags, size))
            elif message is not None:
                message.discard()

    def discard(self) -> None:
        """There will be no answer."""
        self._feed = None
        for message, _, _ in self._messages:
            if message is not None:
                message.discard()

    def _mailbox(self, text: bytes, literal: Literal | None) -> bytes | None:
        """What stands behind the mailbox name; `None` when that is the literal that follows. Raises `BadCommand`."""
        self._parts.append(text)
        match = VERB.match(self._parts[0])
        if match is None:
            raise BadCommand("no mailbox")
        arguments = Arguments(self._parts, match.end())
        if len(self._parts) == 1 and literal is not None and text[match.end() : match.end() + 2] == b" {":
            if literal.size > MAX_NAME:
                raise BadCommand("the name of the mailbox is too long")
            self._parts.append(b"")
            self._feed = self._collect_name
            return None
        self._name = decode_name(arguments.take())
        return arguments.rest()

    def _collect_name(self, octets: bytes) -> bool:
        self._parts[-1] += octets
        return True

    def _message(self, flags: frozenset[str], size: int) -> bool:
        watch = self._watcher.watch(self._mailboxes.place(self._name or ""))
        message = Message(watch, self._limit) if watch is not None else None
        self._messages.append((message, flags, size))
        self._feed = message.feed if message is not None else None
        return message is not None

    def _lose(self, why: Why) -> bool:
        """Which octets make which message cannot be told any more."""
        self._is_lost = True
        self.discard()
        self._messages.clear()
        self._watcher.tell(Unobservable(why))
        return False


def _appended(text: bytes, count: int) -> tuple[int | None, list[int | None]]:
    """UIDVALIDITY and the UID of each message, as far as told. No set is expanded beyond `count`."""
    match = APPENDUID.search(text)
    if match is None:
        return None, [None] * count
    uids: list[int | None] = []
    for each in match[2].split(b",")[: count + 1]:
        first, _, last = each.partition(b":")
        if not first or len(first) > 10 or len(last) > 10:
            return int(match[1]), [None] * count
        low = int(first)
        high = int(last) if last else low
        uids += range(low, min(high, low + count) + 1)
    return int(match[1]), uids if len(uids) == count else [None] * count
