"""A text as lines: where each begins, how deeply it is quoted, and what it says without the quoting.

Only a window of the text is looked at, each line is cut out once, and every look at a line is counted, so that tests
can hold the scanner to its promise: time in proportion to the text, whatever the text says.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["MAX_BLOCK", "MAX_SEARCH", "Line", "Lines"]

# A forwarder's note is short; what comes first in a megabyte of text is not a header block behind a note.
MAX_SEARCH = 256 * 1024
MAX_BLOCK = 256 * 1024  # of the block itself: a To list of some thousand addresses
MAX_LINE = 128 * 1024  # a longer line is cut
MAX_DEPTH = 50
# Quoting and indentation at the beginning of a line; "|" is how some editors quote.
QUOTING = re.compile(r"[\s\u200b\u200e\u200f\ufeff>|]*")
SPACE = " \t\r\n\f\v\u00a0\u3000\u200b\u200e\u200f\u202a\u202c\ufeff"


class Line(NamedTuple):
    """`text` is without quoting and outer space; `start` is where the line begins in the whole text."""

    start: int
    depth: int
    text: str

    @property
    def is_blank(self) -> bool:
        """Whether nothing is on the line but quoting."""
        return not self.text


class Lines:
    """The lines of the window, by number; `steps` counts the looks taken at them."""

    def __init__(self, text: str) -> None:
        self._text = text[: MAX_SEARCH + MAX_BLOCK]
        self._starts = [0]
        self._lines: list[Line] = []
        self.length = len(text)
        self.steps = 0

    def at(self, number: int) -> Line | None:
        """The line of that number, `None` behind the last one."""
        self.steps += 1
        while len(self._lines) <= number:
            if self._starts[-1] < 0:
                return None
            self._cut()
        return self._lines[number]

    def start(self, number: int) -> int:
        """Where that line begins, or else the end of the text."""
        line = self.at(number)
        return line.start if line else self.length

    def _cut(self) -> None:
        start = self._starts[-1]
        end = self._text.find("\n", start)
        self._starts.append(end + 1 if end >= 0 else -1)
        stop = min(end if end >= 0 else len(self._text), start + MAX_LINE)
        quoting = QUOTING.match(self._text, start, stop)
        content = quoting.end() if quoting else start
        depth = min(self._text.count(">", start, content), MAX_DEPTH)
        self._lines.append(Line(start, depth, self._text[content:stop].strip(SPACE)))
