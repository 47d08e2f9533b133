"""Where one message goes: to the provider, whose verdict is the reply, or into the log alone, where ours is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.smtp.conversation import Conversation
from proxy.smtp.reply import Reply, reply
from proxy.smtp.reply_queue import Place
from proxy.smtp.tap import Tap

__all__ = ["Destination", "ToLog", "ToProvider"]

LOGGED = reply(250, "2.6.0 Taken for the log")
NOT_LOGGED = reply(451, "4.3.0 The message cannot be recorded now; try again later")


class Destination(Protocol):
    """What takes the content of one message."""

    needs_provider: bool

    def send(self, octets: bytes) -> None:
        """The next octets: content, or the line before a chunk."""

    def end_chunk(self, size: int) -> None:
        """A chunk is whole and not the last: the client is owed a reply."""

    def end(self, octets: bytes, tap: Tap | None) -> None:
        """All of the message came; `octets` are its end."""


class ToProvider:
    """`on_verdict` takes the provider's reply to the message, `on_end` is told when its transaction has ended."""

    needs_provider = True

    def __init__(
        self, conversation: Conversation, on_verdict: Callable[[Place, Reply], None], on_end: Callable[[], None]
    ) -> None:
        self._conversation = conversation
        self._on_verdict = on_verdict
        self._on_end = on_end
        self.send = conversation.wire.to_provider

    def end_chunk(self, size: int) -> None:
        self._conversation.queue.expect(self._conversation.on_simple)

    def end(self, octets: bytes, tap: Tap | None) -> None:
        """Policy `closed`: nothing of the end goes out before the message is durable; else it goes at once."""

        def journalled(succeeded: bool) -> None:
            if self._conversation.is_closing or not succeeded:
                if tap is not None:
                    tap.discard()
                self._conversation.end(NOT_LOGGED)
                return
            self._send_end(octets, tap)
            self._conversation.resume()

        self._conversation.hold()
        if tap is None or not tap.journal(journalled):
            self._conversation.holds -= 1
            self._send_end(octets, tap)

    def _send_end(self, octets: bytes, tap: Tap | None) -> None:
        self._conversation.forward(octets, self._on_verdict, tap)
        self._on_end()


class ToLog:
    """Nobody else has the message: it is durable before it is accepted, whatever the policy."""

    needs_provider = False

    def __init__(self, conversation: Conversation, on_end: Callable[[], None]) -> None:
        self._conversation = conversation
        self._on_end = on_end

    def send(self, octets: bytes) -> None:
        """The tap has them."""

    def end_chunk(self, size: int) -> None:
        self._conversation.queue.answer(reply(250, f"2.0.0 {size} octets taken"))

    def end(self, octets: bytes, tap: Tap | None) -> None:
        place = self._conversation.queue.reserve()
        self._on_end()

        def kept(succeeded: bool) -> None:
            self._answer(place, LOGGED if succeeded else NOT_LOGGED)
            self._conversation.resume()

        self._conversation.hold()
        if tap is None or not tap.keep(kept):
            self._conversation.holds -= 1
            self._answer(place, NOT_LOGGED)

    def _answer(self, place: Place, octets: bytes) -> None:
        self._conversation.queue.resolve(place, octets)
        if self._conversation.has_lost_provider:  # the message had no need of it, what comes next has
            self._conversation.end(reply(421, "4.4.2 The mail provider closed the connection"))
        self._conversation.close_when_answered()
