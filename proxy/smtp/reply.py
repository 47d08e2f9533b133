"""Replies: what a server says, read and written (RFC 5321 §4.2).

`Reply` is the value. `ReplyReader` turns a provider's octets into replies and is strict: what a provider sends goes on
to a client, so a line that is no reply ends the provider's connection instead of reaching anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ProviderViolation", "Reply", "ReplyReader", "reply"]

# RFC 5321 §4.2: Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
# Octets above 0x7F are UTF-8 under SMTPUTF8 (RFC 6531 §3.7.4); control characters other than HT are no text.
LINE = re.compile(rb"([2-5][0-5][0-9])(?:([- ])([^\x00-\x08\x0a-\x1f\x7f]*))?\r\n")


class ProviderViolation(Exception):
    """The provider sent what is no reply. Its connection must be dropped, after `replies`, which came before, count."""

    def __init__(self, text: str, replies: list[Reply]) -> None:
        super().__init__(text)
        self.replies = replies


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as it goes over the wire: `octets` holds all of its lines with their line ends."""

    code: int
    octets: bytes

    @property
    def is_positive(self) -> bool:
        """Whether the command was carried out (RFC 5321 §4.2.1, 2yz)."""
        return 200 <= self.code < 300

    def texts(self) -> list[bytes]:
        """The text of each line, without code and line end."""
        return [line[4:] for line in self.octets.split(b"\r\n")[:-1]]

    def line(self) -> str:
        """Code and last text on one line, for logs and records; undecodable octets are replaced."""
        return f"{self.code} {self.texts()[-1].decode('utf-8', 'replace')}".rstrip()


def reply(code: int, *texts: str) -> bytes:
    """A reply of ours. An enhanced status code (RFC 3463 §2) is part of the text."""
    last = len(texts) - 1
    return b"".join(f"{code}{'-' if n < last else ' '}{text}\r\n".encode("ascii") for n, text in enumerate(texts))


class ReplyReader:
    """Reads replies from chunks of any size."""

    __slots__ = ("_lines", "_max_line", "_max_lines", "_rest")

    def __init__(self, *, max_line: int, max_lines: int) -> None:
        self._max_line = max_line
        self._max_lines = max_lines
        self._rest = b""
        self._lines: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Whether no octet of an unfinished reply is held."""
        return not self._rest and not self._lines

    def feed(self, chunk: bytes) -> list[Reply]:
        """The replies that `chunk` completes. Raises `ProviderViolation`."""
        octets = self._rest + chunk if self._rest else chunk
        replies: list[Reply] = []
        start = 0
        while (end := octets.find(b"\n", start) + 1) > 0:
            line = octets[start:end] if start or end < len(octets) else octets
            start = end
            self._line(line, replies)
        self._rest = octets[start:]
        if len(self._rest) > self._max_line:
            raise ProviderViolation("a reply line is longer than allowed", replies)
        return replies

    def _line(self, line: bytes, replies: list[Reply]) -> None:
        match = LINE.fullmatch(line)
        if match is None or len(line) > self._max_line:
            raise ProviderViolation("a line is no reply", replies)
        lines = self._lines
        if lines and lines[0][:3] != match[1]:
            raise ProviderViolation("the codes of a multi-line reply differ", replies)
        if match[2] == b"-":
            lines.append(line)
            if len(lines) >= self._max_lines:
                raise ProviderViolation("a reply has more lines than allowed", replies)
            return
        if lines:
            line = b"".join(lines) + line
            lines.clear()
        replies.append(Reply(int(match[1]), line))
