"""Messages that clients have read and whose reader may ask for them to be logged.

Who puts a message into the folder for the log sends its number and not its octets. If the same user has read it here
before, on whichever connection, it is still at hand. Only what would be logged then is kept; in memory, never on disk;
as long as a session of the login is there and as far as memory is meant for it. What is forgotten has to be read again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from proxy.imap.watch import Place
from proxy.seen import mailbox_key

__all__ = ["RecentMessage", "RecentMessages"]

MOST_OCTETS = 4 * 1024 * 1024  # of one process: some hundred messages without files
OVERHEAD = 512  # octets that each costs besides its own
Key = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class RecentMessage:
    """A message with its flags as they were when it was read, where that was told."""

    octets: bytes
    flags: frozenset[str] | None


class RecentMessages:
    """The messages at hand of one process. What was read longest ago is forgotten first."""

    def __init__(self, most: int = MOST_OCTETS) -> None:
        self._most = most
        self._octets = 0
        self._messages: OrderedDict[Key, tuple[str, RecentMessage]] = OrderedDict()
        self._keys: dict[str, set[Key]] = {}
        self._sessions: Counter[str] = Counter()

    @property
    def octets(self) -> int:
        """What all of them take."""
        return self._octets

    def enter(self, login: str) -> None:
        """A session of `login` begins."""
        self._sessions[login] += 1

    def leave(self, login: str) -> None:
        """A session of `login` is over; with the last one, all of its messages are forgotten."""
        self._sessions[login] -= 1
        if self._sessions[login] <= 0:
            del self._sessions[login]
            for key in tuple(self._keys.get(login, ())):
                self._forget(key)

    def add(self, login: str, place: Place, uid: int | None, message: RecentMessage) -> None:
        """Keeps a message; one that cannot be told from others, or would take all the room, is not kept."""
        size = len(message.octets) + OVERHEAD
        if uid is None or place.uidvalidity is None or size > self._most or login not in self._sessions:
            return
        key = (mailbox_key(login, place), uid)
        self._forget(key)
        while self._octets + size > self._most:
            self._forget(next(iter(self._messages)))
        self._messages[key] = login, message
        self._keys.setdefault(login, set()).add(key)
        self._octets += size

    def get(self, login: str, place: Place, uid: int) -> RecentMessage | None:
        """The message, if it is at hand."""
        if not self._messages or place.uidvalidity is None:
            return None
        found = self._messages.get((mailbox_key(login, place), uid))
        return found[1] if found is not None else None

    def _forget(self, key: Key) -> None:
        found = self._messages.pop(key, None)
        if found is None:
            return
        login, message = found
        self._octets -= len(message.octets) + OVERHEAD
        keys = self._keys[login]
        keys.discard(key)
        if not keys:
            del self._keys[login]
