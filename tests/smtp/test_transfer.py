"""Content on its way: what goes on is what came, with the fields it lacked, and the tap sees the very same octets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from octets import CountedOctets, chunkings, singly, splits

from proxy.smtp.reply import Reply
from proxy.smtp.transfer import Transfer

ADDED = b"Date: today\r\nMessage-ID: <1@relay.example>\r\n"
COMPLETE = b"Date: x\r\nMessage-ID: <y>\r\n"
# (content, what goes on, the header section the tap is shown)
MESSAGES = [
    (COMPLETE + b"\r\nbody\r\n", COMPLETE + b"\r\nbody\r\n", COMPLETE),
    (b"Subject: x\r\n\r\nbody\r\n", b"Subject: x\r\n" + ADDED + b"\r\nbody\r\n", b"Subject: x\r\n" + ADDED),
    (b"Subject: x\r\n", b"Subject: x\r\n" + ADDED, b"Subject: x\r\n" + ADDED),
    (b"", ADDED + b"\r\n", ADDED),
    (b"\r\nbody\r\n", ADDED + b"\r\nbody\r\n", ADDED),
    (b"Hello\r\n", ADDED + b"\r\nHello\r\n", ADDED),
    (b"Date: x\r\n\r\n", b"Date: x\r\n" + ADDED[13:] + b"\r\n", b"Date: x\r\n" + ADDED[13:]),
    (b"A: " + b"x" * 300 + b"\r\n\r\nbody\r\n", b"A: " + b"x" * 300 + b"\r\n\r\nbody\r\n", b"A: " + b"x" * 197),
]


class Witness:
    """A tap that remembers."""

    def __init__(self) -> None:
        self.sections: list[bytes] = []
        self.seen = b""

    def header_section(self, section: bytes, *, dot_stuffed: bool) -> None:
        self.sections.append(section)

    def content(self, octets: bytes) -> None:
        self.seen += octets

    def journal(self, then: Callable[[bool], None]) -> bool:
        raise AssertionError

    def deliver(self, reply: Reply, then: Callable[[], None]) -> bool:
        raise AssertionError

    def refuse(self, reply: Reply) -> None:
        raise AssertionError

    def lose(self) -> None:
        raise AssertionError

    def keep(self, then: Callable[[bool], None]) -> bool:
        raise AssertionError

    def discard(self) -> None:
        raise AssertionError


def transfer(sent: list[bytes], tap: Witness | None, *, limit: int = 200) -> Transfer:
    fields = (b"today", b"<1@relay.example>")
    return Transfer(tap, sent.append, lambda: fields, header_limit=limit, dot_stuffed=True)


def relay(chunks: list[bytes], tap: Witness | None = None) -> bytes:
    sent: list[bytes] = []
    passing = transfer(sent, tap)
    for chunk in chunks:
        passing.feed(chunk)
    passing.finish()
    assert passing.size == sum(map(len, chunks))
    assert b"" not in sent
    return b"".join(sent)


class TestMailData:
    @pytest.mark.parametrize(("content", "relayed", "section"), MESSAGES)
    def test_goes_on_with_the_fields_it_lacked_however_it_is_cut(
        self, content: bytes, relayed: bytes, section: bytes
    ) -> None:
        for chunks in ([content], singly(content), *splits(content)):
            tap = Witness()
            assert relay(chunks, tap) == relayed
            assert relay(chunks) == relayed
            assert tap.sections == [section]
            assert tap.seen == relayed

    @given(chunkings(st.binary(max_size=100)))
    def test_goes_on_as_it_came_when_it_lacks_nothing(self, case: tuple[bytes, list[bytes]]) -> None:
        body, chunks = case
        assert relay([COMPLETE, b"\r\n", *chunks]) == COMPLETE + b"\r\n" + body

    def test_goes_on_at_once_behind_the_header_section(self) -> None:
        sent: list[bytes] = []
        passing = transfer(sent, None)
        passing.feed(COMPLETE)
        assert sent == []
        passing.feed(b"\r\n")
        assert sent == [COMPLETE + b"\r\n"]
        body = b"x" * 100
        passing.feed(body)
        assert sent[-1] is body, "content is not copied"

    @pytest.mark.parametrize("size", [1, 10, 1000])
    def test_is_touched_a_few_times_however_small_the_pieces(self, size: int) -> None:
        octets = b"Subject: x\r\n" * 500
        touched = [0]
        passing = transfer([], None, limit=len(octets))
        for start in range(0, len(octets), size):
            passing.feed(CountedOctets(octets[start : start + size], touched))
        assert touched[0] < 20 * len(octets)


class TestChunks:
    """As `Session` uses it: each chunk collects until the section is known or the chunk is whole."""

    @pytest.mark.parametrize(("content", "relayed", "section"), MESSAGES[:-1])
    def test_as_one_are_like_mail_data(self, content: bytes, relayed: bytes, section: bytes) -> None:
        tap = Witness()
        passing = transfer([], tap)
        passing.collect_chunk(content)
        assert passing.release_chunk(is_last=True) == relayed
        assert tap.sections == [section]

    @pytest.mark.parametrize("cut", range(1, 16))
    def test_of_one_header_section_stay_as_they_are_where_they_went_on(self, cut: int) -> None:
        content = b"Subject: x\r\n\r\nbody"
        tap = Witness()
        passing = transfer([], tap)
        assert passing.collect_chunk(content[:cut]) == (cut >= 14)
        relayed = passing.release_chunk(is_last=False)
        passing.collect_chunk(content[cut:])
        relayed += passing.release_chunk(is_last=True)
        if cut in (12, 13):  # the place for the fields has gone on with the first chunk, or is the border itself
            assert relayed in (content, content[:12] + ADDED + content[12:])
        else:
            assert relayed == content[:12] + ADDED + content[12:]
        assert tap.sections in ([b"Subject: x\r\n" + ADDED], [b"Subject: x\r\n"])
