"""The tap: what can be learnt of a session from the texts and literals that pass by, in both directions.

It follows commands by their tags, and asks for a literal only when that may be a message, or a mailbox name. It changes
nothing, and nothing waits for it.
"""

from __future__ import annotations

import re

from proxy.imap.append import Append
from proxy.imap.fetch import FETCH, Fetches
from proxy.imap.following import Copy, Followed, Partial, Select, Unselect
from proxy.imap.framing import Literal
from proxy.imap.mailbox import Mailboxes
from proxy.imap.watch import FoldersChange, Unobservable, Watcher, Why

__all__ = ["GONE", "Tap"]

MAX_COMMANDS = 100  # under way at a time that are followed; each may hold a message
# RFC 9051 §7.5.1, RFC 7162 §3.2.10: messages are gone, and those after them have other numbers.
GONE = re.compile(rb"(?i)\* (?:[0-9]+ EXPUNGE|VANISHED )")
COMMAND = re.compile(rb"(?i)([^ \r\n]{1,128}) (UID )?([A-Z]{4,8})(?= |\r)")
FOLLOWED = frozenset((b"SELECT", b"EXAMINE", b"CLOSE", b"UNSELECT", b"APPEND", b"REPLACE", b"COPY", b"MOVE", b"FETCH"))
CHANGING_FOLDERS = frozenset((b"CREATE", b"DELETE", b"RENAME"))


class Tap:
    """Listens to one session that is logged in. Each method gets a text, with the literal that it announces."""

    def __init__(self, watcher: Watcher, header_limit: int) -> None:
        self._watcher = watcher
        self._limit = header_limit
        self._mailboxes = Mailboxes()
        self._asked: list[tuple[int, int]] = []
        self._fetches = Fetches(watcher, self._mailboxes, header_limit, self._asked)
        self._pending: dict[bytes, Followed] = {}
        self._command: Followed | None = None
        self._is_fetch = False

    # -- the client ---------------------------------------------------------------------------------------------------

    def command(self, text: bytes, literal: Literal | None) -> bool:
        """The first text of a command. Whether the literal that follows is wanted, here as below."""
        self._command = None
        match = COMMAND.match(text)
        verb = match[3].upper() if match is not None else b""
        if verb in CHANGING_FOLDERS:
            self._watcher.tell(FoldersChange())
        if match is None or verb not in FOLLOWED or (verb == b"FETCH" and b"]<" not in text):
            return False
        if match[1] in self._pending:
            self._pending.pop(match[1]).discard()
            self._watcher.tell(Unobservable(Why.TAG_REUSED))
        if len(self._pending) >= MAX_COMMANDS:
            self._watcher.tell(Unobservable(Why.TOO_MANY_COMMANDS))
            return False
        self._command = self._pending[match[1]] = self._follow(verb, by_uid=match[2] is not None)
        return self._command.text(text, literal)

    def command_goes_on(self, text: bytes, literal: Literal | None) -> bool:
        """Another text of it."""
        return self._command is not None and self._command.text(text, literal)

    def command_literal(self, octets: bytes) -> bool:
        """Octets of a literal that is wanted. Whether more are."""
        return self._command is not None and self._command.literal(octets)

    def _follow(self, verb: bytes, *, by_uid: bool) -> Followed:
        match verb:
            case b"SELECT" | b"EXAMINE":
                return Select(self._watcher, self._mailboxes, self._fetches)
            case b"CLOSE" | b"UNSELECT":
                return Unselect(self._mailboxes, self._fetches)
            case b"APPEND" | b"REPLACE":
                return Append(self._watcher, self._mailboxes, self._limit)
            case b"FETCH":
                return Partial(self._asked)
            case _:
                return Copy(self._watcher, self._mailboxes, by_uid=by_uid)

    # -- the provider -------------------------------------------------------------------------------------------------

    def response(self, text: bytes, literal: Literal | None) -> bool:
        """The first text of an untagged response."""
        match = FETCH.match(text) if literal is not None else None
        self._is_fetch = match is not None
        if match is not None:
            self._fetches.begin(int(match[1]))
            return self._fetches.text(text, literal)
        if GONE.match(text) is not None:
            self._fetches.renumber()
        if literal is not None and text[:2] != b"* ":  # the end of a text that was too long to keep
            self._watcher.tell(Unobservable(Why.TOO_LONG))
        self._mailboxes.read(text)
        if b"[COPYUID " in text[:16].upper():
            moves = (each for each in self._pending.values() if isinstance(each, Copy))
            if (move := next(moves, None)) is not None:
                move.hear(text)
        return False

    def response_goes_on(self, text: bytes, literal: Literal | None) -> bool:
        """Another text of it."""
        return self._is_fetch and self._fetches.text(text, literal)

    def response_literal(self, octets: bytes) -> bool:
        """Octets of a literal that is wanted. Whether more are."""
        return self._fetches.literal(octets)

    def completed(self, tag: bytes, text: bytes, *, is_ok: bool) -> None:
        """A tagged response."""
        command = self._pending.pop(tag, None)
        if command is not None:
            if command is self._command:
                self._command = None
            command.complete(text, is_ok=is_ok)

    def close(self) -> None:
        """The session is over, or cannot be followed any longer."""
        pending, self._pending = self._pending, {}
        self._command = None
        for each in pending.values():
            each.discard()
        self._fetches.close()
