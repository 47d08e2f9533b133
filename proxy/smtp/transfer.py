"""One message passing through: content from the client to the provider, shown to the tap on its way.

`Transfer` holds content back only until the header section is whole (for nearly every message, one chunk), so that a
missing Date or Message-ID is in the relayed and in the captured octets alike. It knows nothing of replies.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.smtp.header_section import HeaderCollector, added_fields, lacks_fields
from proxy.smtp.tap import Tap

__all__ = ["Transfer"]


class Transfer:
    """Content of one message. `send` takes what goes on; `fields` makes values for missing fields, or is `None` where
    none are added.
    """

    __slots__ = ("_collector", "_fields", "_held", "_released", "_send", "dot_stuffed", "size", "tap")

    def __init__(
        self,
        tap: Tap | None,
        send: Callable[[bytes], None],
        fields: Callable[[], tuple[bytes, bytes]] | None,
        *,
        header_limit: int,
        dot_stuffed: bool,
    ) -> None:
        self.tap = tap
        self.dot_stuffed = dot_stuffed
        self.size = 0
        self._send = send
        self._fields = fields
        self._collector: HeaderCollector | None = HeaderCollector(header_limit)
        self._held: list[bytes] = []
        self._released = 0

    def feed(self, content: bytes) -> None:
        """Mail data: goes on at once when the header section is known, else waits for it."""
        self.size += len(content)
        if self._collector is not None:
            content = self._collect(content)
        if content:
            self._pass(content)

    def finish(self) -> None:
        """Mail data has ended: what is held back goes on."""
        if (collector := self._collector) is not None:
            collector.finish()
            self._pass(self._complete(collector))

    def collect_chunk(self, content: bytes) -> bool:
        """Part of a BDAT chunk: held until its header section is known or `release_chunk`. True when it is known."""
        self.size += len(content)
        self._held.append(content)
        return self._collector is None or self._collector.feed(content)

    def release_chunk(self, *, is_last: bool) -> bytes:
        """The held part of the chunk, with the fields it lacked; its length goes into the BDAT command."""
        collector = self._collector
        if collector is not None and (is_last or collector.section is not None):
            collector.finish()
            return self._complete(collector)
        held = self._take_held()
        self._released += len(held)
        return held

    def pass_chunk(self, content: bytes) -> None:
        """Content of a chunk behind its header section."""
        self.size += len(content)
        self._pass(content)

    def show(self, content: bytes) -> None:
        """Content that is sent by the caller; the tap sees it too."""
        if self.tap is not None and content:
            self.tap.content(content)

    def _collect(self, content: bytes) -> bytes:
        collector = self._collector
        assert collector is not None
        self._held.append(content)
        return self._complete(collector) if collector.feed(content) else b""

    def _complete(self, collector: HeaderCollector) -> bytes:
        """Puts the missing fields behind the section and shows it to the tap.

        Before it, where content stops in the middle of a field. Parts of the section that went on with an earlier chunk
        stay as they are; when the place for fields went on, none are added.
        """
        section = collector.finish()
        held = self._take_held()
        self._collector = None
        end = len(section) if section[-2:] == b"\r\n" else 0
        place = end - self._released
        added = self._missing(section) if place >= 0 and not collector.is_cut else b""
        if self.tap is not None:
            self.tap.header_section(section[:end] + added + section[end:], dot_stuffed=self.dot_stuffed)
        if not added:
            return held
        if not section and held[:2] != b"\r\n":
            added += b"\r\n"  # content without a header section: the fields become one
        return held[:place] + added + held[place:]

    def _take_held(self) -> bytes:
        held = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        return held

    def _missing(self, section: bytes) -> bytes:
        if self._fields is None or not lacks_fields(section):
            return b""
        date, message_id = self._fields()
        return added_fields(section, date=date, message_id=message_id)

    def _pass(self, content: bytes) -> None:
        if content:
            self.show(content)
            self._send(content)
