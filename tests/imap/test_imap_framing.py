"""Where commands and responses begin and end, for every way to cut them, and what it costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from octets import CountedOctets, cut, singly, splits

from proxy.imap.framing import (
    AUTHENTICATE_LINE,
    COMMAND,
    BadFrame,
    Literal,
    Reader,
    Scanner,
    command_limit,
    literal_of,
)

TEXTS = [
    (b"a LOGIN {3}\r\n", Literal(3, True)),
    (b"a LOGIN {3+}\r\n", Literal(3, False)),
    (b"a APPEND x ~{0}\r\n", Literal(0, True)),
    (b"a APPEND x {9223372036854775807}\r\n", Literal(2**63 - 1, True)),
    (b"a SEARCH SUBJECT {00000000000000000003}\r\n", Literal(3, True)),
    (b"a NOOP\r\n", None),
    (b'a SEARCH "{3}"\r\n', None),
    (b"\r\n", None),
]
SENSELESS = [
    b"{}\r\n", b"{-1}\r\n", b"{3-}\r\n", b"{+}\r\n", b"{3++}\r\n", b"{ 3}\r\n", b"{x}\r\n", b"}\r\n", b"{3}}\r\n",
    b"{9223372036854775808}\r\n", b"{18446744073709551617}\r\n", b"{" + b"9" * 50 + b"}\r\n",
]  # fmt: skip
COMMANDS = (
    b"a NOOP\r\nb LOGIN {3+}\r\nx\r\n {0+}\r\n\r\nc LOGIN {4+}\r\n{1+} {2+}\r\n\r\n\r\nd AUTHENTICATE PLAIN AAAA\r\n"
)
PARTS = [
    [b"a NOOP\r\n"],
    [b"b LOGIN {3+}\r\n", b"x\r\n", b" {0+}\r\n", b"", b"\r\n"],
    [b"c LOGIN {4+}\r\n", b"{1+}", b" {2+}\r\n", b"\r\n", b"\r\n"],
    [b"d AUTHENTICATE PLAIN AAAA\r\n"],
]


class TestLiteral:
    @pytest.mark.parametrize(("text", "literal"), TEXTS)
    def test_is_announced_by_the_end_of_a_text(self, text: bytes, literal: Literal | None) -> None:
        assert literal_of(text) == literal

    @pytest.mark.parametrize("end", SENSELESS)
    def test_of_senseless_size_is_none(self, end: bytes) -> None:
        with pytest.raises(BadFrame):
            literal_of(b"a LOGIN " + end)


def reader() -> Reader:
    return Reader(command_limit, lambda text, _: literal_of(text))


def taken(chunks: list[bytes]) -> list[list[bytes]]:
    read = reader()
    found = []
    for chunk in chunks:
        read.feed(chunk)
        while (parts := read.take()) is not None:
            found.append(parts)
    assert read.is_empty
    return found


class TestReader:
    def test_takes_the_same_commands_however_they_are_cut(self) -> None:
        for chunks in ([COMMANDS], singly(COMMANDS), *splits(COMMANDS)):
            assert taken(chunks) == PARTS

    def test_stops_at_a_literal_that_waits(self) -> None:
        read = reader()
        read.feed(b"a LOGIN {3}\r\nabc x\r\n")
        assert read.take() is None
        assert read.asks
        assert read.take() == [b"a LOGIN {3}\r\n", b"abc", b" x\r\n"]

    @pytest.mark.parametrize(
        ("start", "limit"), [(b"a NOOP ", COMMAND), (b"a authenticate PLAIN ", AUTHENTICATE_LINE), (b"", COMMAND)]
    )
    def test_takes_lines_up_to_their_limit(self, start: bytes, limit: int) -> None:
        longest = start + b"x" * (limit - len(start)) + b"\r\n"
        assert taken([longest]) == taken(singly(longest)) == [[longest]]
        for too_long in (longest[:-2] + b"x\r\n", longest[:-2] + b"xxx"):
            read = reader()
            read.feed(too_long)
            with pytest.raises(BadFrame):
                read.take()

    def test_counts_literals_into_the_limit(self) -> None:
        read = reader()
        read.feed(b"a LOGIN {8000+}\r\n" + b"x" * 8000 + b" {200+}\r\n")
        with pytest.raises(BadFrame):
            read.take()

    def test_many_small_literals_end_at_the_limit(self) -> None:
        read = reader()
        read.feed(b"a LOGIN" + b" {1+}\r\nx" * 10000)
        with pytest.raises(BadFrame):
            read.take()


class Listener:
    """What a scanner tells: texts, and the literals that are wanted."""

    def __init__(self, wants: Callable[[int], bool] = lambda size: True) -> None:
        self.told: list[bytes] = []
        self.scanner = Scanner(self._read, lambda start: b"replace"[: len(start)] == start[:7])
        self._wants = wants

    def _read(self, text: bytes, is_cut: bool) -> bytes | None:
        self.told.append(b"..." + text if is_cut else text)
        literal = literal_of(text)
        if literal is not None:
            wanted = bytearray()
            self.told.append(wanted)  # type: ignore[arg-type]

            def take(octets: bytes) -> bool:
                wanted.extend(octets)
                return True

            self.scanner.expect(literal.size, take if self._wants(literal.size) else None)
        return b"replaced\r\n" if text == b"replace\r\n" else None


STREAM = (
    b"one\r\nreplace\r\ntwo {5}\r\nab\r\nc end\r\nreplacement\r\n\r\n {0}\r\n\r\nthree\nmore\r\n"
    b"{9}\r\nreplace\r\n\r\nreplace\r\nrepl"
)
GONE = STREAM.replace(b"\nreplace\r\n", b"\nreplaced\r\n").replace(b"{9}\r\nreplaced\r\n", b"{9}\r\nreplace\r\n")


def scanned(chunks: list[bytes]) -> tuple[bytes, list[bytes]]:
    listener = Listener()
    gone = b"".join(listener.scanner.feed(chunk) for chunk in chunks)
    return gone + listener.scanner.release(), [bytes(each) for each in listener.told]


class TestScanner:
    def test_tells_and_passes_the_same_however_it_is_cut(self) -> None:
        whole = scanned([STREAM])
        assert whole[0] == GONE
        assert whole[1][:5] == [b"one\r\n", b"replace\r\n", b"two {5}\r\n", b"ab\r\nc", b" end\r\n"]
        assert b"three\nmore\r\n" in whole[1]
        for chunks in (singly(STREAM), *splits(STREAM)):
            assert scanned(chunks) == whole

    @given(
        st.lists(
            st.one_of(
                st.sampled_from(
                    [b"\r\n", b"\n", b"\r", b"{3}\r\n", b"{0}\r\n", b"replace\r\n", b"repl", b"x {12}\r\n"]
                ),
                st.binary(max_size=6),
            ),
            max_size=30,
        ).map(b"".join),
        st.lists(st.integers(0, 1 << 16), max_size=12),
    )
    def test_tells_and_passes_any_octets_the_same_however_they_are_cut(self, octets: bytes, places: list[int]) -> None:
        try:
            whole = scanned([octets])
        except BadFrame:
            return
        assert scanned(cut(octets, places)) == whole
        assert whole[0].replace(b"replaced\r\n", b"replace\r\n") == octets.replace(b"replaced\r\n", b"replace\r\n")

    def test_looks_at_no_octet_of_a_literal_that_nobody_wants(self) -> None:
        listener = Listener(wants=lambda size: False)
        listener.scanner.feed(b"* 1 FETCH (BODY[] {1000000}\r\n")
        touched = [0]
        for _ in range(10):
            chunk = CountedOctets(b"x" * 100000, touched)
            assert listener.scanner.feed(chunk) is chunk
        assert touched == [0]

    def test_gives_back_a_chunk_in_which_nothing_is_replaced_as_it_is(self) -> None:
        chunk = b"* 1 FETCH (FLAGS ())\r\n" * 1000 + b"* 2 FE"
        assert Listener().scanner.feed(chunk) is chunk

    def test_a_text_that_is_too_long_to_keep_is_only_followed(self) -> None:
        octets = b"x" * 100000 + b" {5}\r\nabcde\r\nnext\r\n"
        told = scanned([octets])[1]
        assert told == scanned(cut(octets, [7, 30000, 65536, 65537, 99999, 100004, 100006]))[1]
        assert len(told[0]) < 50
        assert told[1:] == [b"abcde", b"\r\n", b"next\r\n"]
