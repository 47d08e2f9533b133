"""Messages that mail software stumbles over, whole and with CRLF line ends, each under a Message-ID of the test's."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["KINDS", "Sample", "big_message", "new_message_id", "text_message"]

MIB = 1024 * 1024
LINE = 76  # of the attachment that makes a message big


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One message. `recipients` are the envelope's."""

    message_id: str
    content: bytes
    recipients: tuple[str, ...] = ("kim@cust.example",)


def new_message_id() -> str:
    """One that no other test has, without its brackets."""
    return f"{uuid.uuid4()}@acme.example"


def text_message(body: bytes, *, fields: bytes = b"", recipients: tuple[str, ...] = ("kim@cust.example",)) -> Sample:
    """A message from Ann; `fields` come last in its header section."""
    message_id = new_message_id()
    section = (
        f"Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <{message_id}>\r\n"
        f"From: Ann <ann@acme.example>\r\nTo: {', '.join(recipients)}\r\n"
    ).encode()
    return Sample(message_id=message_id, content=section + fields + b"\r\n" + body, recipients=recipients)


def big_message(size: int) -> Sample:
    """A message of exactly `size` octets: an attachment whose every line is another."""
    head = text_message(
        b"--b\r\nContent-Type: text/plain\r\n\r\nSee the attachment.\r\n"
        b"--b\r\nContent-Type: application/octet-stream; name=big.bin\r\n"
        b"Content-Disposition: attachment; filename=big.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        fields=b"Subject: Big\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n",
    )
    tail = b"--b--\r\n"
    lines, rest = divmod(size - len(head.content) - len(tail), LINE + 2)
    if rest < 2:
        lines, rest = lines - 1, rest + LINE + 2
    numbered = b"".join(b"%076d\r\n" % number for number in range(lines))
    content = head.content + numbered + b"A" * (rest - 2) + b"\r\n" + tail
    assert len(content) == size
    return Sample(message_id=head.message_id, content=content)


def _header_section_only() -> Sample:
    sample = text_message(b"", fields=b"Subject: nothing to say\r\n")
    return Sample(message_id=sample.message_id, content=sample.content.removesuffix(b"\r\n"))


def _empty_body() -> Sample:
    return text_message(b"", fields=b"Subject: nothing to say\r\n")


def _eight_bit() -> Sample:
    """Every octet but NUL, CR and LF; no character set has them all."""
    octets = bytes(each for each in range(1, 256) if each not in b"\r\n")
    fields = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n"
    return text_message(b"".join(octets[turn:] + octets[:turn] + b"\r\n" for turn in range(0, 253, 11)), fields=fields)


def _long_lines() -> Sample:
    """Lines at and over every limit: RFC 5322 §2.1.1 has 998, Postfix cuts its records at 2048."""
    lengths = (997, 998, 999, 1000, 1023, 1024, 2046, 2047, 2048, 2049, 4096, 8191, 8192, 65535, 100_000)
    body = b"".join(bytes(itertools.islice(itertools.cycle(b"abcdefghij "), length)) + b".\r\n" for length in lengths)
    references = b" ".join(b"<%d@acme.example>" % number for number in range(400))
    return text_message(body, fields=b"Subject: " + b"long " * 300 + b"\r\nReferences: " + references + b"\r\n")


def _dots() -> Sample:
    """Dots wherever a line begins, also where a reader's or writer's buffer ends."""
    first = b".\r\n..\r\n...\r\n.a\r\n. \r\n..a\r\n\r\n.\r\n\r\n..\r\n"
    borders = b"".join(b"x" * length + b"\r\n.\r\n" for length in range(90, 130))
    return text_message(first + b".\r\n" * 30_000 + borders + b"..\r\n" * 10_000 + b"QUIT\r\n.\r\n.\r\n")


def _international() -> Sample:
    """UTF-8 in the header section and in the envelope (RFC 6531, RFC 6532)."""
    recipients = ("kim@cust.example", "j\u00f6rg@b\u00fccher.example", "\u7528\u6237@\u4f8b\u5b50.example")
    fields = "Subject: \u00dcbergr\u00f6\u00dfe \u2013 \u4f60\u597d\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return text_message("Gr\u00fc\u00dfe \U0001f600\r\n".encode(), fields=fields.encode(), recipients=recipients)


KINDS: dict[str, Callable[[], Sample]] = {
    "header section only": _header_section_only,
    "empty body": _empty_body,
    "eight-bit": _eight_bit,
    "long lines": _long_lines,
    "dots": _dots,
    "SMTPUTF8": _international,
    "one MiB": lambda: big_message(MIB),
}
