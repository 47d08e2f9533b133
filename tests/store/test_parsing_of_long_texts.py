"""Of a message that is one long text only the beginning is parsed, and all of it is kept."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

import pytest
import zstandard

from store import parsing
from store.parsing import ParseLimits, parse

LIMITS = ParseLimits(text=100)
LINE = "Grüße aus der Ferne, und noch viel mehr davon.\r\n"
TEXT = LINE * 1000


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many octets the parser of the library got, each time."""
    lengths: list[int] = []

    def counted(octets: bytes, **options: Any) -> Any:
        lengths.append(len(octets))
        return message_from_bytes(octets, **options)

    monkeypatch.setattr(parsing, "message_from_bytes", counted)
    return lengths


def message(body: bytes, fields: str = "Content-Type: text/plain; charset=utf-8\r\n") -> bytes:
    return b"From: ann@acme.example\r\nTo: kim@cust.example\r\n" + fields.encode() + b"\r\n" + body


def test_a_long_text_is_parsed_no_further_than_is_kept(seen: list[int]) -> None:
    kept: list[bytes] = []
    octets = message(TEXT.encode())
    result = parse(octets, lambda digest, number, part: kept.append(part), LIMITS)
    assert seen[0] < 2000 < len(octets)
    assert result["text"] == TEXT[:100]
    assert result["flags"] == ["body_truncated"]
    assert result["size"] == len(octets)
    assert b"".join(zstandard.ZstdDecompressor().decompress(part) for part in kept) == octets


def test_quoted_printable_gives_as_much_text(seen: list[int]) -> None:
    quoted = "".join(f"={octet:02X}=\r\n" for octet in TEXT.encode()).encode()
    fields = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: Quoted-Printable\r\n"
    result = parse(message(quoted, fields), lambda *_: None, LIMITS)
    assert seen[0] < 2000 < len(quoted)
    assert result["text"] == TEXT[:100]


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Type: multipart/mixed; boundary=x\r\n",
        "Content-Type: application/octet-stream\r\n",
        'Content-Type: text/plain; name="notes.txt"\r\n',
        "Content-Type: text/plain\r\nContent-Disposition: attachment\r\n",
        "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n",
    ],
)
def test_whatever_else_it_is_is_parsed_whole(seen: list[int], fields: str) -> None:
    octets = message(TEXT.encode(), fields)
    parse(octets, lambda *_: None, LIMITS)
    assert seen == [len(octets)]


def test_a_text_within_the_window_is_parsed_as_before(seen: list[int]) -> None:
    octets = message(LINE.encode())
    result = parse(octets, lambda *_: None, LIMITS)
    assert seen == [len(octets)]
    assert result["text"] == LINE
    assert result["flags"] == []
