"""Only CRLF "." CRLF ends mail data, however the octets are cut; nothing that another server may take for it passes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from octets import CountedOctets, chunkings, singly, splits

from proxy.smtp.mail_data import DataReader, MendingReader

Reader = DataReader | MendingReader
END = b"\r\n.\r\n"
SMUGGLED = b"MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nSubject: smuggled\r\n\r\nhi"
# What some server or other takes for an end of data (CVE-2023-51764, -51765, -51766 and their kin), and twins of it.
FALSE_ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\r.\r\n", b"\r\n.\r", b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n", b"\r\n\r.\r\n", b"\r\n..\n", b"\n..\r\n", b"\r\n..\r", b"\r.\r\n\n", b"\n\n.\n\n", b"\r\n\n.\r\n",
]  # fmt: skip
WITH_NUL = [b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\n.\r\x00\n", b"\x00"]
# Near misses that are content, and no danger.
CONTENT = [b"\r\n..\r\n", b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n.\t\r\n", b".\r\n", b"\r\n.x\r\n", b"\r\n\x85.\r\n"]
CLEAN = [
    b"",
    b"a\r\n",
    b"\r\n",
    b"\r\n\r\n\r\n",
    b"..\r\n",
    b"...\r\n..a\r\n",
    b"Subject: x\r\n\r\nbody\r\n",
    b"\xff\xfe" * 700 + b"\r\n",
    b"x" * 5000 + b"\r\n..\r\n" + b"y" * 1024 + b".\r\n",
    b"x." * 600 + b"\r\n",
]
# Much of what matters, so that random octets meet it often.
PIECES = st.sampled_from([b"\r", b"\n", b".", b"\r\n", b".\r\n", b"\r\n.", b"a", b"\x00", b"x" * 1025, b"\xff"])
OCTETS = st.lists(PIECES, max_size=24).map(b"".join)
CLEAN_LINES = st.lists(st.sampled_from([b"\r\n", b"..\r\n", b"a\r\n", b".a\r\n", b"x" * 1100 + b".\r\n", b"a.\r\n"]))


def read(reader: Reader, chunks: list[bytes]) -> tuple[bytes, bytes | None]:
    """What was forwarded, and, once the end was seen, all that came after it."""
    forwarded = b""
    for n, chunk in enumerate(chunks):
        content, rest = reader.feed(chunk)
        forwarded += content
        if rest is not None:
            return forwarded, rest + b"".join(chunks[n + 1 :])
    return forwarded, None


def true_end(octets: bytes) -> int | None:
    """Where the end mark starts, by the definition: a "." CRLF at the start, or behind a CRLF."""
    match = re.search(rb"(?:\A|(?<=\r\n))\.\r\n", octets)
    return match.start() if match else None


class TestDataReader:
    @pytest.mark.parametrize("body", CLEAN)
    def test_forwards_clean_content_as_it_came_however_it_is_cut(self, body: bytes) -> None:
        octets = body + b".\r\nQUIT\r\n"
        small = octets[-60:] if len(octets) > 3000 else octets
        for chunks in ([octets], singly(octets)):
            reader = DataReader()
            assert read(reader, chunks) == (body, b"QUIT\r\n")
            assert reader.violation is None
            assert reader.size == len(body)
        for chunks in splits(octets if small is octets else octets[:0]):
            assert read(DataReader(), chunks) == ((body, b"QUIT\r\n") if chunks != [b"", b""] else (b"", None))

    @pytest.mark.parametrize("false_end", FALSE_ENDS + WITH_NUL)
    def test_refuses_what_others_take_for_an_end_and_reads_on_to_the_true_one(self, false_end: bytes) -> None:
        octets = b"body" + false_end + SMUGGLED + END + b"NOOP\r\n"
        for chunks in ([octets], singly(octets), *splits(octets)):
            reader = DataReader()
            assert read(reader, chunks) == (octets[: octets.index(END) + 2], b"NOOP\r\n")
            assert reader.violation is not None

    @pytest.mark.parametrize("false_end", FALSE_ENDS + WITH_NUL)
    def test_refuses_it_at_the_very_start_too(self, false_end: bytes) -> None:
        octets = false_end + SMUGGLED + END
        for chunks in ([octets], singly(octets), *splits(octets)):
            reader = DataReader()
            assert read(reader, chunks) == (octets[:-3], b"")
            assert reader.violation is not None

    @pytest.mark.parametrize("content", CONTENT)
    def test_passes_near_misses_that_are_content(self, content: bytes) -> None:
        octets = b"body" + content + b"more" + END
        for chunks in ([octets], singly(octets), *splits(octets)):
            reader = DataReader()
            assert read(reader, chunks) == (octets[:-3], b"")
            assert reader.violation is None

    def test_passes_nul_only_where_it_may(self) -> None:
        reader = DataReader(nul_passes=True)
        assert read(reader, [b"a\0b" + END]) == (b"a\0b\r\n", b"")
        assert reader.violation is None

    def test_takes_an_end_mark_as_the_very_first_octets(self) -> None:
        for chunks in ([b".\r\n"], singly(b".\r\n"), *splits(b".\r\n")):
            assert read(DataReader(), chunks) == (b"", b"")

    @given(chunkings(OCTETS))
    @example((b"\n.\r\n", singly(b"\n.\r\n")))
    @example((b"a\r\r\n.\r\n", singly(b"a\r\r\n.\r\n")))
    def test_finds_the_true_end_and_every_bare_line_end(self, case: tuple[bytes, list[bytes]]) -> None:
        octets, chunks = case
        reader = DataReader(nul_passes=True)
        forwarded, rest = read(reader, chunks)
        end = true_end(octets)
        if end is None:
            assert rest is None
            assert octets.startswith(forwarded)
            assert octets[len(forwarded) :] in (b"", b".", b".\r")
        else:
            assert (forwarded, rest) == (octets[:end], octets[end + 3 :])
            bare = re.search(rb"\r(?!\n)|(?<!\r)\n", forwarded)
            assert (reader.violation is not None) == (bare is not None)
        assert reader.size == len(forwarded)

    @given(chunkings(OCTETS))
    def test_forwards_nothing_that_may_become_the_end(self, case: tuple[bytes, list[bytes]]) -> None:
        reader = DataReader()
        forwarded = b""
        for chunk in case[1]:
            content, rest = reader.feed(chunk)
            forwarded += content
            assert true_end(forwarded) is None
            if rest is not None:
                break

    @pytest.mark.parametrize("pattern", [b"a", b".", b"\r\n", b"\r", b"\n", b".\r", b"\r\n.", b"\r\n..\r\n", b"\0"])
    @pytest.mark.parametrize("size", [1, 2, 3, 100, 65536])
    def test_touches_each_octet_a_few_times_however_hostile(self, pattern: bytes, size: int) -> None:
        octets = pattern * (6000 // len(pattern))
        assert touched_by(DataReader, octets, size) < 20 * len(octets)


class TestMendingReader:
    @pytest.mark.parametrize("body", CLEAN)
    def test_forwards_clean_content_as_it_came_however_it_is_cut(self, body: bytes) -> None:
        octets = body + b".\r\nQUIT\r\n"
        for chunks in ([octets], singly(octets), *(splits(octets) if len(octets) < 3000 else ())):
            reader = MendingReader()
            assert read(reader, chunks) == (body, b"QUIT\r\n")
            assert reader.size == len(body)
            assert reader.violation is None

    @pytest.mark.parametrize("false_end", FALSE_ENDS)
    def test_makes_what_others_take_for_an_end_part_of_the_one_message(self, false_end: bytes) -> None:
        octets = b"body" + false_end + SMUGGLED + END + b"NOOP\r\n"
        whole = read(MendingReader(), [octets])
        assert whole[1] == b"NOOP\r\n"
        assert_safe(whole[0])
        assert SMUGGLED in whole[0]
        for chunks in (singly(octets), *splits(octets)):
            assert read(MendingReader(), chunks) == whole

    @pytest.mark.parametrize("with_nul", WITH_NUL)
    def test_refuses_nul(self, with_nul: bytes) -> None:
        for chunks in ([b"a" + with_nul + END], singly(b"a" + with_nul + END)):
            reader = MendingReader()
            assert read(reader, chunks)[1] == b""
            assert reader.violation == "NUL"

    def test_does_not_look_for_nul_behind_the_end(self) -> None:
        reader = MendingReader()
        assert read(reader, [b"a" + END + b"\0"]) == (b"a\r\n", b"\0")
        assert reader.violation is None

    def test_mends_the_line_ends_of_old_devices(self) -> None:
        assert read(MendingReader(), [b"a\nb\rc\r\nd\n\r\n.\r\n"]) == (b"a\r\nb\r\nc\r\nd\r\n\r\n", b"")

    def test_stuffs_a_lone_dot_behind_a_mended_line_end(self) -> None:
        assert read(MendingReader(), [b"a\n.\r\nb" + END]) == (b"a\r\n..\r\nb\r\n", b"")

    def test_does_not_take_the_tail_of_a_long_line_for_a_lone_dot(self) -> None:
        assert read(MendingReader(), [b"x" * 2000, b".", b"\r\n.\r\n"]) == (b"x" * 2000 + b".\r\n", b"")

    @given(chunkings(OCTETS))
    def test_gives_the_same_content_however_it_is_cut(self, case: tuple[bytes, list[bytes]]) -> None:
        octets, chunks = case
        octets, chunks = octets + END, [*chunks, END]
        assert read(MendingReader(), chunks) == read(MendingReader(), [octets])

    @given(chunkings(OCTETS))
    def test_never_forwards_a_bare_line_end_or_an_end_of_data(self, case: tuple[bytes, list[bytes]]) -> None:
        forwarded, _ = read(MendingReader(), [*case[1], END])
        assert_safe(forwarded)

    @pytest.mark.parametrize(
        "pattern", [b"a", b".", b"\r\n", b"\r", b"\n", b"a\n", b".\n", b"\r\n.", b"x" * 1023 + b"\n"]
    )
    @pytest.mark.parametrize("size", [1, 3, 100, 65536])
    def test_touches_each_octet_a_few_times_however_hostile(self, pattern: bytes, size: int) -> None:
        octets = pattern * (6000 // len(pattern))
        assert touched_by(MendingReader, octets, size) < 20 * len(octets)


@given(CLEAN_LINES.map(b"".join), st.binary(max_size=8))
def test_both_readers_agree_on_clean_content(body: bytes, rest: bytes) -> None:
    strict, mending = DataReader(nul_passes=True), MendingReader()
    assert read(strict, [body + b".\r\n" + rest]) == read(mending, [body + b".\r\n" + rest]) == (body, rest)
    assert strict.size == mending.size
    assert strict.violation is mending.violation is None


def assert_safe(forwarded: bytes) -> None:
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", forwarded)
    assert true_end(forwarded) is None


def touched_by(make: Callable[[], Reader], octets: bytes, size: int) -> int:
    touched = [0]
    reader = make()
    for start in range(0, len(octets), size):
        reader.feed(CountedOctets(octets[start : start + size], touched))
    return touched[0]
