"""Who watches a message pass by, so that it can be logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.smtp.reply import Reply

__all__ = ["Tap"]


class Tap(Protocol):
    """Who watches one message. No method raises: a tap may fail, the stream may not."""

    def header_section(self, section: bytes, *, dot_stuffed: bool) -> None:
        """The whole header section, once, before the content behind it. Earlier chunks may have shown parts of it."""

    def content(self, octets: bytes) -> None:
        """The next octets of content, header section included, as the provider gets them."""

    def journal(self, then: Callable[[bool], None]) -> bool:
        """Policy `closed`: makes the message durable before its end is sent, then calls `then(succeeded)`.

        False when there is nothing to wait for, and then `then` is not called.
        """

    def deliver(self, reply: Reply, then: Callable[[], None]) -> bool:
        """The provider accepted the message. True when its reply must wait until `then` is called."""

    def refuse(self, reply: Reply) -> None:
        """The provider refused the message."""

    def lose(self) -> None:
        """The provider was lost after the end of data, before its reply: nobody knows what became of the message."""

    def keep(self, then: Callable[[bool], None]) -> bool:
        """Nobody else gets the message: makes it durable, then calls `then(succeeded)`.

        False when that has failed already, and then `then` is not called.
        """

    def discard(self) -> None:
        """The message came to nothing."""
