"""The header section as it lies on the wire: names and values, nothing understood yet (RFC 5322 §2.2).

A field named twice keeps both values in order; who asks for one gets the first, except where a rule says otherwise.
Lines that are no fields are passed over. Octets above 0x7F stay as they are.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterable

__all__ = ["Header", "decode_text", "usable_codec"]

# RFC 2047 §2: encoded-word = "=?" charset "?" encoding "?" encoded-text "?="
ENCODED_WORD = re.compile(r"=\?([^?\s]{1,40})\?([bBqQ])\?([^?\s]{0,1000})\?=")
BETWEEN_WORDS = re.compile(r"(\?=)\s+(=\?)")
# Punycode takes time in the square of a text, others warn, raise or read escapes that are none.
SLOW_OR_UNSAFE_CODECS = frozenset(("idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"))
MAX_TEXT = 16384


class Header:
    """The fields of one header section."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[bytes, list[bytes]]) -> None:
        self._fields = fields

    @classmethod
    def read(cls, section: bytes) -> Header:
        """Reads a section; it may end with or without an empty line and have LF for line ends. Never raises."""
        text = section.replace(b"\r\n", b"\n")
        if b"\n " in text or b"\n\t" in text:
            text = text.replace(b"\n ", b" ").replace(b"\n\t", b" ")
        fields: dict[bytes, list[bytes]] = {}
        for line in text.split(b"\n"):
            name, colon, value = line.partition(b":")
            if colon:
                fields.setdefault(name.rstrip(b" \t").lower(), []).append(value)
        return cls(fields)

    def first(self, name: bytes) -> bytes | None:
        """The value of the first field called `name` (in lower case), without surrounding space."""
        values = self._fields.get(name)
        return values[0].strip() if values else None

    def all(self, name: bytes) -> list[bytes]:
        """The values of all fields called `name`."""
        return [value.strip() for value in self._fields.get(name, ())]

    def has(self, names: Iterable[bytes]) -> bool:
        """Whether there is a field of any of `names`."""
        return not self._fields.keys().isdisjoint(names)


def decode_text(value: bytes) -> str:
    """An unstructured field for people: encoded words decoded, the rest as UTF-8 or else Latin-1. Never raises."""
    octets = value[:MAX_TEXT]
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    if "=?" not in text:
        return text
    return ENCODED_WORD.sub(_decode_word, BETWEEN_WORDS.sub(r"\1\2", text))


def usable_codec(charset: str) -> str | None:
    """Python's codec for a charset; `None` where there is none, or none that may be let loose on strangers' text."""
    try:
        codec = codecs.lookup(charset).name  # its own name: Python finds a codec under many spellings
    except (LookupError, ValueError):
        return None
    return None if codec.replace("-", "_") in SLOW_OR_UNSAFE_CODECS else codec


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, text = match[1].partition("*")[0].lower(), match[2].lower(), match[3]
    try:
        octets = binascii.a2b_base64(text + "=" * (-len(text) % 4)) if encoding == "b" else _unquote_printable(text)
        codec = usable_codec(charset)
        return match[0] if codec is None else octets.decode(codec, "replace")
    except (binascii.Error, LookupError, UnicodeError, ValueError):
        return match[0]


def _unquote_printable(text: str) -> bytes:
    return binascii.a2b_qp(text.encode("ascii", "replace"), header=True)
