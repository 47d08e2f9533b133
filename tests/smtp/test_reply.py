"""Replies are read as strictly as a client must be able to rely on, and written so that they read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from octets import CountedOctets, chunkings, singly, splits

from proxy.smtp.reply import ProviderViolation, Reply, ReplyReader, reply

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
GOOD = [
    (b"250 Ok\r\n", 250, [b"Ok"]),
    (b"250\r\n", 250, [b""]),
    (b"250 \r\n", 250, [b""]),
    (b"334 \r\n", 334, [b""]),
    (b"250-a\r\n250-b\r\n250 c\r\n", 250, [b"a", b"b", b"c"]),
    (b"250-\r\n250 \r\n", 250, [b"", b""]),
    (b"250-a\r\n250\r\n", 250, [b"a", b""]),
    (b"550 5.1.1 zo\xc3\xab\t?\r\n", 550, ["5.1.1 zoë\t?".encode()]),
]
BAD = [
    b"\r\n", b"\n", b"Ok\r\n", b"25 Ok\r\n", b"2500 Ok\r\n", b"150 Ok\r\n", b"650 Ok\r\n", b"260 Ok\r\n", b"250Ok\r\n",
    b" 250 Ok\r\n", b"250 Ok\n", b"250 O\rk\r\n", b"250 O\0k\r\n", b"250 \x1b[2J\r\n", b"250 \x7f\r\n", b"250_Ok\r\n",
    b"250-a\r\n550 b\r\n", b"250-a\r\n250-b\r\n251 c\r\n", b"250-a\r\nb\r\n", b"HTTP/1.1 200 OK\r\n", b"\x16\x03\x01\n",
]  # fmt: skip


def reader() -> ReplyReader:
    return ReplyReader(max_line=100, max_lines=10)


class TestReader:
    @pytest.mark.parametrize(("octets", "code", "texts"), GOOD)
    def test_reads_a_reply_however_it_is_cut(self, octets: bytes, code: int, texts: list[bytes]) -> None:
        for chunks in ([octets], singly(octets), *splits(octets)):
            read = reader()
            (found,) = [each for chunk in chunks for each in read.feed(chunk)]
            assert found == Reply(code, octets)
            assert found.texts() == texts
            assert read.is_empty

    @pytest.mark.parametrize("octets", BAD)
    def test_refuses_what_is_no_reply_however_it_is_cut(self, octets: bytes) -> None:
        for chunks in ([octets], singly(octets), *splits(octets)):
            with pytest.raises(ProviderViolation):
                feed_all(reader(), chunks)

    def test_knows_whether_something_unfinished_is_held(self) -> None:
        for unfinished in (b"2", b"250 Ok\r", b"250-a\r\n"):
            read = reader()
            assert read.feed(b"250 Ok\r\n" + unfinished) == [Reply(250, b"250 Ok\r\n")]
            assert not read.is_empty

    @pytest.mark.parametrize("octets", [b"x" * 101, b"250 " + b"x" * 97, b"250 " + b"x" * 95 + b"\r\n"])
    def test_refuses_a_line_that_is_too_long_before_it_is_whole(self, octets: bytes) -> None:
        for chunks in ([octets], singly(octets)):
            with pytest.raises(ProviderViolation):
                feed_all(reader(), chunks)

    def test_refuses_a_reply_of_too_many_lines(self) -> None:
        assert feed_all(reader(), [b"250-x\r\n" * 9 + b"250 x\r\n"])
        with pytest.raises(ProviderViolation):
            feed_all(reader(), [b"250-x\r\n" * 10])

    def test_tells_the_replies_before_a_violation(self) -> None:
        for chunks in (
            [b"250 Queued\r\n221 Bye\r\njunk\r\n250 No\r\n"],
            singly(b"250 Queued\r\n221 Bye\r\njunk\r\n250 No\r\n"),
        ):
            read = reader()
            replies = []
            with pytest.raises(ProviderViolation) as raised:
                for chunk in chunks:
                    replies += read.feed(chunk)
            replies += raised.value.replies
            assert [each.code for each in replies] == [250, 221]

    @given(chunkings(st.lists(st.sampled_from([octets for octets, _, _ in GOOD])).map(b"".join)))
    def test_reads_many_replies_however_they_are_cut(self, case: tuple[bytes, list[bytes]]) -> None:
        octets, chunks = case
        assert b"".join(each.octets for each in feed_all(reader(), chunks)) == octets

    @given(st.lists(st.binary(max_size=50)))
    def test_raises_nothing_but_a_violation(self, chunks: list[bytes]) -> None:
        try:
            replies = feed_all(reader(), chunks)
        except ProviderViolation:
            return
        assert b"".join(chunks).startswith(b"".join(each.octets for each in replies))

    @pytest.mark.parametrize("size", [1, 7, 8192])
    def test_touches_each_octet_a_few_times(self, size: int) -> None:
        octets = b"250 " + b"x" * 80 + b"\r\n"
        octets *= 200
        touched = [0]
        read = reader()
        for start in range(0, len(octets), size):
            read.feed(CountedOctets(octets[start : start + size], touched))
        assert touched[0] < 200 * len(octets)  # a line is at most 100 octets, and may come octet by octet


class TestReply:
    @given(st.integers(2, 5), st.integers(0, 5), st.integers(0, 9), st.lists(TEXT, min_size=1, max_size=10))
    def test_that_is_written_reads_back(self, first: int, second: int, third: int, texts: list[str]) -> None:
        code = 100 * first + 10 * second + third
        octets = reply(code, *texts)
        (found,) = ReplyReader(max_line=100, max_lines=11).feed(octets)
        assert found == Reply(code, octets)
        assert found.texts() == [text.encode() for text in texts]
        assert found.is_positive == (first == 2)

    def test_is_told_on_one_line(self) -> None:
        assert Reply(250, b"250-a\r\n250 2.0.0 Queued as 1\r\n").line() == "250 2.0.0 Queued as 1"
        assert Reply(250, b"250\r\n").line() == "250"
        assert Reply(550, b"550 \xff\r\n").line() == "550 \ufffd"


def feed_all(read: ReplyReader, chunks: list[bytes]) -> list[Reply]:
    return [each for chunk in chunks for each in read.feed(chunk)]
