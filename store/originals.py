"""Messages attached to a message, octet for octet (rules.md 7.3).

They are cut out of the octets as they lie between the boundaries and never written anew, because Message-ID, signatures
and hashes must be those of the copy in the mailbox. One pass over the lines that begin with "--" finds them: the
boundaries of the multiparts that are open are known, everything else is content. So the time grows with the octets
alone, not with nesting, and hostile mail costs no more than other mail.

The outermost ones count: what is attached to an attached message is its own affair.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from engine.header import Header, decode_text

__all__ = ["Attached", "OriginalLimits", "find_attached"]

MAX_BOUNDARY = 200  # RFC 2046 §5.1.1 allows 70 characters
MESSAGES = frozenset((b"message/rfc822", b"message/global"))  # RFC 2046 §5.2.1, RFC 6532 §3.7
BOUNDARY = re.compile(rb";\s*boundary\s*=\s*(?:\"([^\"]*)\"|([^\s;]+))", re.IGNORECASE)
# A file name of Content-Disposition or Content-Type, in one piece or in several (RFC 2231 §3).
NAME = re.compile(rb"[;\s](?:file)?name(?:\*\d{1,3})?\*?\s*=\s*(?:\"([^\"]*)\"|([^\s;]+))", re.IGNORECASE)
EMPTY_LINE = re.compile(rb"\n\r?\n")
BEGINS_AS_HEADER = re.compile(rb"\s{0,80}(?:From |[!-9;-~]{1,200}[ \t]*:)")
NOT_QUOTED_PRINTABLE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]{0,80}\r?\n|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalLimits:
    """Sizes are octets. What is beyond a limit is left out; `delimiters` are lines that could be a boundary.

    `size` is that of the largest message that the relay takes: whatever fits into a forward is found.
    """

    count: int = 100
    nesting: int = 20
    size: int = 150 * 1024 * 1024
    header: int = 1024 * 1024
    delimiters: int = 100_000


class Attached(NamedTuple):
    """What was found; `is_all` unless a limit left something out."""

    originals: list[bytes]
    is_all: bool


class _Part(NamedTuple):
    """A part that may be an original: where its content begins, its encoding, and whether only its name says so."""

    start: int
    encoding: bytes
    is_named_only: bool


def find_attached(octets: bytes, limits: OriginalLimits | None = None) -> Attached:
    """The messages attached to the message `octets`, in order.

    Parts of type message/rfc822, parts of a digest that name no type, and files called `*.eml` that begin with a header
    field. An encoding, which such parts should not have and do, is undone. Never raises.
    """
    walk = _Walk(octets, limits or OriginalLimits())
    walk.run()
    return Attached(walk.found, walk.is_all)


class _Walk:
    """One pass over a message."""

    def __init__(self, octets: bytes, limits: OriginalLimits) -> None:
        self._octets = octets
        self._limits = limits
        self._boundaries: list[bytes] = []  # of the open multiparts, outermost first
        self._digests: list[bool] = []
        self._levels: dict[bytes, int] = {}
        self._part: _Part | None = None
        self._empty_line = (0, 0)  # the last one found; searched for forwards only
        self.found: list[bytes] = []
        self.is_all = True

    def run(self) -> None:
        """Fills `found`, and says whether that `is_all`."""
        position = self._open(0) - 1
        for _ in range(self._limits.delimiters):
            start = self._octets.find(b"\n--", position)
            if start < 0:
                break
            position = self._delimiter(start)
        else:
            self._part = None  # more lines than are looked at: where the part ends is not known
            self.is_all = False
        self._close(len(self._octets))

    def _delimiter(self, line_break: int) -> int:
        """Reads the line behind `line_break`, which begins with "--"; returns where to look on."""
        start = line_break + 3
        name = self._octets[start : start + MAX_BOUNDARY + 4].partition(b"\n")[0].rstrip()
        is_last = name not in self._levels and name.endswith(b"--")
        level = self._levels.get(name[:-2] if is_last else name)
        if level is None:
            return start
        crlf = self._octets[line_break - 1 : line_break] == b"\r" and line_break > 0
        self._close(line_break - crlf)
        self._end_multiparts(level if is_last else level + 1)
        end = self._octets.find(b"\n", start)
        if is_last or end < 0:
            return start
        return self._open(end + 1) - 1

    def _open(self, start: int) -> int:
        """Reads the header section of the part that begins at `start`; returns where its content may begin."""
        if self._octets.startswith((b"\r\n", b"\n"), start):
            section, content = b"", self._octets.index(b"\n", start) + 1
        else:
            end, content = self._next_empty_line(start)
            delimiter = self._octets.find(b"\n--", start, end)
            if delimiter >= 0:  # the next part begins within the header of this one
                return delimiter + 1
            is_readable = end - start <= self._limits.header
            section = self._octets[start:end] if is_readable else b""
            self.is_all &= is_readable
        self._begin(Header.read(section), content)
        return content

    def _begin(self, header: Header, content: int) -> None:
        value = header.first(b"content-type") or (b"message/rfc822" if self._digests and self._digests[-1] else b"")
        kind = value.partition(b";")[0].strip().lower()
        if kind.startswith(b"multipart/"):
            self._begin_multipart(value, is_digest=kind == b"multipart/digest")
        elif kind in MESSAGES or (not kind.startswith(b"message/") and _is_named_as_message(header)):
            encoding = (header.first(b"content-transfer-encoding") or b"").strip().lower()
            self._part = _Part(content, encoding, kind not in MESSAGES)

    def _begin_multipart(self, value: bytes, *, is_digest: bool) -> None:
        match = BOUNDARY.search(value)
        boundary = (match[1] or match[2] or b"").rstrip() if match else b""
        is_usable = 0 < len(boundary) <= MAX_BOUNDARY and boundary not in self._levels
        if is_usable and len(self._boundaries) >= self._limits.nesting:
            self.is_all = False
        elif is_usable:
            self._levels[boundary] = len(self._boundaries)
            self._boundaries.append(boundary)
            self._digests.append(is_digest)

    def _end_multiparts(self, level: int) -> None:
        for boundary in self._boundaries[level:]:
            del self._levels[boundary]
        del self._boundaries[level:], self._digests[level:]

    def _close(self, end: int) -> None:
        """Ends the part that is being read."""
        part, self._part = self._part, None
        if part is None or end <= part.start:
            return
        if end - part.start > 2 * self._limits.size or len(self.found) >= self._limits.count:
            self.is_all = False
            return
        original = _decoded(self._octets[part.start : end], part.encoding)
        if part.is_named_only and not BEGINS_AS_HEADER.match(original):
            return
        if len(original) > self._limits.size:
            self.is_all = False
        elif original:
            self.found.append(original)

    def _next_empty_line(self, start: int) -> tuple[int, int]:
        """Where the header section that begins at `start` ends and its content begins."""
        if self._empty_line[0] <= start:
            match = EMPTY_LINE.search(self._octets, start)
            self._empty_line = (match.start() + 1, match.end()) if match else (len(self._octets), len(self._octets))
        return self._empty_line


def _is_named_as_message(header: Header) -> bool:
    for field in (b"content-disposition", b"content-type"):
        for match in NAME.finditer(header.first(field) or b""):
            name = decode_text(match[1] or match[2] or b"")
            if unquote(name, errors="replace").strip().lower().endswith(".eml"):
                return True
    return False


def _decoded(content: bytes, encoding: bytes) -> bytes:
    """The content without its encoding; as it is when it has none, or one that it evidently has not."""
    if encoding == b"base64" and not _quirk_not_encoded(content):
        try:
            return binascii.a2b_base64(content + b"==")  # padding may be missing; too much of it is passed over
        except binascii.Error:
            return b""
    if encoding == b"quoted-printable" and not NOT_QUOTED_PRINTABLE.search(content):
        return binascii.a2b_qp(content)
    return content


def _quirk_not_encoded(content: bytes) -> bool:
    """Some gateways name an encoding for an attached message and do not apply it: a header has colons, base64 none."""
    return b":" in content[:200]
