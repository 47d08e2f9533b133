"""One ordered queue of replies: the client gets them in the order of its commands, whoever answers (RFC 2920 §3.1).

Some commands go to the provider, some are answered here, and a provider's reply to mail data may have to wait until
the capture is durable. Each of them takes a place in the queue; nothing overtakes a place before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from proxy.smtp.reply import Reply

__all__ = ["MOST_PLACES", "Place", "ReplyQueue"]

MOST_PLACES = 1000  # commands a client may have under way; RFC 2920 sets no limit, memory does

OnReply = Callable[["Place", Reply], None]


class Place:
    """A place in the queue. `on_reply` takes the provider's reply; `octets` is what the client will get."""

    __slots__ = ("detail", "octets", "on_reply")

    def __init__(self, on_reply: OnReply | None, detail: object = None) -> None:
        self.on_reply = on_reply
        self.detail = detail
        self.octets: bytes | None = None


class ReplyQueue:
    """The places of one session. `write` takes the octets for the client."""

    __slots__ = ("_awaiting", "_places", "_write")

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._places: deque[Place] = deque()
        self._awaiting: deque[Place] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether the client has got a reply to each command so far."""
        return not self._places

    @property
    def is_full(self) -> bool:
        """Whether the client has sent as many commands ahead as it may."""
        return len(self._places) >= MOST_PLACES

    @property
    def awaited(self) -> Place | None:
        """The place whose reply the provider owes next."""
        return self._awaiting[0] if self._awaiting else None

    def awaits(self, on_reply: OnReply) -> bool:
        """Whether the provider owes a reply to anything that `on_reply` takes."""
        return any(place.on_reply == on_reply for place in self._awaiting)

    def expect(self, on_reply: OnReply, detail: object = None) -> Place:
        """Takes a place for a command that was just sent to the provider."""
        place = Place(on_reply, detail)
        self._places.append(place)
        self._awaiting.append(place)
        return place

    def retake(self, place: Place, on_reply: OnReply) -> None:
        """The provider owes `place` one more reply, before any other."""
        place.on_reply = on_reply
        self._awaiting.appendleft(place)

    def reserve(self, detail: object = None) -> Place:
        """Takes a place that something other than the provider will resolve."""
        place = Place(None, detail)
        self._places.append(place)
        return place

    def answer(self, octets: bytes) -> None:
        """A reply of ours, in its turn."""
        if self._places:
            self.reserve().octets = octets
        else:
            self._write(octets)

    def take(self, reply: Reply) -> bool:
        """Hands the provider's reply to the place it belongs to; false when none was owed."""
        if not self._awaiting:
            return False
        place = self._awaiting.popleft()
        assert place.on_reply is not None
        place.on_reply(place, reply)
        return True

    def resolve(self, place: Place, octets: bytes) -> None:
        """Decides what the client gets for `place`, and writes all that is next in turn."""
        place.octets = octets
        places = self._places
        while places and (ready := places[0].octets) is not None:
            places.popleft()
            self._write(ready)

    def abandon(self) -> list[Place]:
        """The places whose replies the provider will never give, in order; each must be resolved."""
        lost = list(self._awaiting)
        self._awaiting.clear()
        return lost
