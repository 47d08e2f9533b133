"""Which messages of which mailboxes need not be looked at again.

A client that reads a mailbox anew shows us nothing new. What was handed to the spool is remembered here by UIDVALIDITY
and UID (RFC 9051 §2.3.1.1), for as long as this process lives and as far as memory is meant for it. It saves work and
nothing else depends on it: what is forgotten is handed on once more, under the same key, and the recorder knows that.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import OrderedDict

from proxy.imap.watch import Place

__all__ = ["SeenMessages", "mailbox_key"]

MOST_RANGES = 10_000  # of one process, some 500 octets each at worst; a mailbox that was read from end to end is one


class SeenMessages:
    """The messages seen by one process. The mailbox that was not read for longest is forgotten first, all of it."""

    def __init__(self, most: int = MOST_RANGES) -> None:
        self._most = most
        self._ranges = 0
        self._mailboxes: OrderedDict[bytes, _Uids] = OrderedDict()

    def add(self, login: str, place: Place, uid: int) -> None:
        """Remembers a message; one without UIDVALIDITY cannot be told from others."""
        if place.uidvalidity is None:
            return
        key = mailbox_key(login, place)
        uids = self._mailboxes.setdefault(key, _Uids())
        self._mailboxes.move_to_end(key)
        before = len(uids)
        uids.add(uid)
        self._ranges += len(uids) - before
        while self._ranges > self._most:
            _, forgotten = self._mailboxes.popitem(last=False)
            self._ranges -= len(forgotten)

    def has(self, login: str, place: Place, uid: int) -> bool:
        """Whether the message was seen, as far as that is remembered."""
        if place.uidvalidity is None:
            return False
        uids = self._mailboxes.get(mailbox_key(login, place))
        return uids is not None and uid in uids

    def __len__(self) -> int:
        """The ranges that are remembered."""
        return self._ranges


class _Uids:
    """A set of UIDs as ranges, because clients read them in order."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __contains__(self, uid: int) -> bool:
        place = bisect_right(self._firsts, uid) - 1
        return place >= 0 and uid <= self._lasts[place]

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, uid: int) -> None:
        if uid in self:
            return
        place = bisect_right(self._firsts, uid)
        follows = place > 0 and self._lasts[place - 1] == uid - 1
        precedes = place < len(self._firsts) and self._firsts[place] == uid + 1
        if follows and precedes:
            self._lasts[place - 1] = self._lasts.pop(place)
            del self._firsts[place]
        elif follows:
            self._lasts[place - 1] = uid
        elif precedes:
            self._firsts[place] = uid
        else:
            self._firsts.insert(place, uid)
            self._lasts.insert(place, uid)


def mailbox_key(login: str, place: Place) -> bytes:
    """What tells a mailbox of a login from others; of one length, whatever the client calls it."""
    name = f"{login}\n{place.uidvalidity}\n{place.mailbox}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(name, digest_size=16).digest()
