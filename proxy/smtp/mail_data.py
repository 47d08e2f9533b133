"""Mail data: finding where it ends, and nothing else in it (RFC 5321 §4.1.1.4, §4.5.2).

Only CRLF "." CRLF ends mail data. Octets go on as they came, but a message with a bare CR or LF is refused: the
servers behind us may take one for a line end, and then see an end of data that we did not (SMTP smuggling,
CVE-2023-51764 and its kin). `MendingReader` is for old devices: it makes every line end a CRLF and stuffs a dot where
this would otherwise make an end of data.

Both readers take chunks of any size and keep at most two octets back, so that no octet of the end mark is forwarded
before all of it was seen.
"""

from __future__ import annotations

import re
from io import IncrementalNewlineDecoder  # no I/O: it knows line ends

__all__ = ["END_OF_DATA", "DataReader", "MendingReader"]

END_OF_DATA = b".\r\n"
LINE_END = re.compile(rb"[\r\n]")


class DataReader:
    """Reads one message's mail data.

    `violation` tells why the message must be refused, once there is a reason; reading on finds the true end.
    """

    __slots__ = ("_after_cr", "_at_line_start", "_held", "_line_ends", "_nul_passes", "size", "violation")

    def __init__(self, *, nul_passes: bool = False) -> None:
        self._nul_passes = nul_passes
        self._at_line_start = True
        self._after_cr = False
        self._held = b""
        self._line_ends = IncrementalNewlineDecoder(None, translate=False)
        self.size = 0
        self.violation: str | None = None

    def feed(self, chunk: bytes) -> tuple[bytes, bytes | None]:
        """Content that may go on, and, once the end was seen, what came after it (else `None`)."""
        octets = self._held + chunk if self._held else chunk
        self._held = b""
        content, rest = self._split(octets)
        if content:
            self._inspect(content)
            self.size += len(content)
            self._at_line_start = content[-2:] == b"\r\n" or (content == b"\n" and self._after_cr)
            self._after_cr = content[-1] == 13
        return content, rest

    def _split(self, octets: bytes) -> tuple[bytes, bytes | None]:
        if self._at_line_start and octets[:3] == END_OF_DATA:
            return b"", octets[3:]
        if self._after_cr and octets[:4] == b"\n.\r\n":
            return octets[:1], octets[4:]
        end = octets.find(b"\r\n.\r\n")
        if end >= 0:
            return octets[: end + 2], octets[end + 5 :]
        return self._hold(octets), None

    def _hold(self, octets: bytes) -> bytes:
        """Keeps a trailing "." or ". CR" back when it stands at a line's start."""
        length = 2 if octets[-1:] == b"\r" else 1
        if octets[-length:] not in (b".", b".\r"):
            return octets
        before = octets[:-length]
        starts_line = (
            self._at_line_start if not before else before[-2:] == b"\r\n" or (before == b"\n" and self._after_cr)
        )
        if not starts_line:
            return octets
        self._held = octets[-length:]
        return before

    def _inspect(self, content: bytes) -> None:
        """Looks for line ends that are no CRLF, also across the border of chunks.

        The decoder does so in one pass in C and is the fastest of what the library has: counting takes three times
        as long, a regular expression fifty times.
        """
        self._line_ends.decode(content.decode("latin-1"))
        if self._line_ends.newlines not in (None, "\r\n"):
            self.violation = "bare CR or LF"
        if not self._nul_passes and b"\0" in content:
            self.violation = "NUL"


class MendingReader:
    """Reads mail data and makes each bare CR or LF a CRLF. Slow, octet by octet at line ends; for old devices only."""

    __slots__ = ("_after_cr", "_is_continued", "_line", "_mended", "size", "violation")

    def __init__(self) -> None:
        self._line = bytearray()
        self._is_continued = False
        self._after_cr = False
        self._mended = False
        self.size = 0
        self.violation: str | None = None

    def feed(self, chunk: bytes) -> tuple[bytes, bytes | None]:
        """As `DataReader.feed`; content comes in whole lines, or in parts of a line that is too long to wait for."""
        out = bytearray()
        position = 0
        while position < len(chunk):
            octet = chunk[position : position + 1]
            position += 1
            if self._after_cr:
                self._after_cr = False
                if octet == b"\n":
                    if self._is_lone_dot() and not self._mended:
                        return self._passed(out), chunk[position:]
                    self._end_line(out, mended=False)
                    continue
                self._end_line(out, mended=True)
            if octet == b"\r":
                self._after_cr = True
            elif octet == b"\n":
                self._end_line(out, mended=True)
            else:
                line_end = LINE_END.search(chunk, position)
                stop = line_end.start() if line_end is not None else len(chunk)
                self._line += chunk[position - 1 : stop]
                position = stop
        if len(self._line) > 1024:
            out += self._take_line()
            self._is_continued = True
        return self._passed(out), None

    def _passed(self, out: bytearray) -> bytes:
        if b"\0" in out:
            self.violation = "NUL"
        self.size += len(out)
        return bytes(out)

    def _end_line(self, out: bytearray, *, mended: bool) -> None:
        """A lone dot is an end of data only between two true CRLFs; otherwise it is content and gets stuffed."""
        if self._is_lone_dot():
            self._line += b"."
        out += self._take_line()
        out += b"\r\n"
        self._is_continued = False
        self._mended = mended

    def _is_lone_dot(self) -> bool:
        return self._line == b"." and not self._is_continued

    def _take_line(self) -> bytes:
        line = bytes(self._line)
        self._line.clear()
        return line
