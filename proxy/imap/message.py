"""One message passing by in literals: shown to its watch up to the end of the header section, and beyond if wanted."""

from __future__ import annotations

from proxy.imap.watch import Appended, Seen, Watch
from proxy.smtp.header_section import HeaderCollector

__all__ = ["Message"]


class Message:
    """A message that passes."""

    __slots__ = ("_collector", "_held", "_is_wanted", "_watch")

    def __init__(self, watch: Watch, header_limit: int) -> None:
        self._watch = watch
        self._collector: HeaderCollector | None = HeaderCollector(header_limit)
        self._held: list[bytes] = []
        self._is_wanted = True

    def feed(self, octets: bytes) -> bool:
        """The next octets. Whether more are wanted."""
        if self._collector is None:
            self._is_wanted = self._is_wanted and self._watch.content(octets)
            return self._is_wanted
        self._held.append(octets)
        if self._collector.feed(octets):
            self._decide(self._collector.section or b"")
        return self._is_wanted

    def settle(self) -> None:
        """All of its octets have passed, though nobody knows yet what becomes of it: nothing is held any longer."""
        if self._collector is not None:
            self._decide(self._collector.finish())

    def end(self, sighting: Seen | Appended) -> None:
        """All of it has passed."""
        self.settle()
        self._watch.end(sighting)

    def discard(self) -> None:
        """It came to nothing."""
        self._held.clear()
        self._watch.discard()

    def _decide(self, section: bytes) -> None:
        held, self._held, self._collector = self._held, [], None
        self._is_wanted = self._watch.header_section(section)
        for octets in held:
            self._is_wanted = self._is_wanted and self._watch.content(octets)
