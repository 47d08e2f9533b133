"""How often a sign-in may fail before one has to wait: by address and by login, so that neither can be tried through.

What is counted is in memory only, and bounded: the oldest are forgotten first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Attempts"]

FREE = 5  # failures in a row that cost nothing
FIRST_PAUSE = 2.0  # seconds after the next one; it doubles
LONGEST_PAUSE = 900.0
REMEMBERED = 10_000
FORGET_SECONDS = 3600.0


class Attempts:
    """Failed sign-ins of late. Keys are whatever is to be slowed down."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def pause(self, *keys: str) -> float:
        """Seconds until one of these may be tried again."""
        return max(map(self._pause, keys))

    def _pause(self, key: str) -> float:
        number, at = self._failures.get(key, (0, 0.0))
        if number <= FREE:
            return 0.0
        return max(0.0, at + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (number - FREE - 1)) - self._clock())

    def failed(self, *keys: str) -> None:
        """A sign-in with these has failed."""
        now = self._clock()
        for key in keys:
            number, at = self._failures.pop(key, (0, now))
            self._failures[key] = (1 if now - at > FORGET_SECONDS else number + 1, now)
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """One has worked: what failed before is forgotten."""
        for key in keys:
            self._failures.pop(key, None)
