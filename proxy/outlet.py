"""The writing side of a connection: what one event makes us say goes out in one call of the system.

A message's content and its end, or the replies to a group of commands (RFC 2920 §3.2), come from several places, but
are one segment on the wire: every call costs us, and wakes whoever reads.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["HIGH_WATER", "Outlet"]

HIGH_WATER = 256 * 1024  # octets waiting in a transport before the other side is asked to pause


class Outlet:
    """Writes to `transport`, at once, or when the `with` block is left in which it was asked to.

    What is written to a connection that is going is lost.
    """

    __slots__ = ("_gathered", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._gathered: list[bytes] | None = None

    def write(self, octets: bytes) -> None:
        """Sends `octets`, behind all that was written before."""
        if self._gathered is not None:
            self._gathered.append(octets)
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.write(octets)

    def flush(self) -> None:
        """Sends what has gathered."""
        gathered = self._gathered
        if gathered:
            self._gathered = []
            if self.transport is not None and not self.transport.is_closing():
                self.transport.writelines(gathered)

    def __enter__(self) -> None:
        assert self._gathered is None, "an event is handled within another one"
        self._gathered = []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.flush()
        self._gathered = None
