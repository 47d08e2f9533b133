"""Where the header section of a message ends, and the two fields a submission gets when it lacks them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from octets import CountedBuffer, CountedOctets, chunkings, singly, splits

from proxy.smtp.header_section import HeaderCollector, added_fields, lacks_fields

LIMIT = 100
# (content, its header section)
SECTIONS = [
    (b"Subject: x\r\n\r\nbody\r\n", b"Subject: x\r\n"),
    (b"Subject: x\r\n\r\n", b"Subject: x\r\n"),
    (b"Subject : x\r\n\r\n", b"Subject : x\r\n"),  # RFC 5322 §4.5.8: obsolete, and seen
    (b"Subject: x\r\n folded\r\nTo: y\r\n\r\nbody\r\n\r\nmore\r\n", b"Subject: x\r\n folded\r\nTo: y\r\n"),
    (b"Subject: x\r\nno field\r\n\r\nbody", b"Subject: x\r\nno field\r\n"),
    (b"From ann Tue Feb  3 10:00:00 2026\r\nTo: y\r\n\r\n", b"From ann Tue Feb  3 10:00:00 2026\r\nTo: y\r\n"),
    (b">From ann\r\nTo: y\r\n\r\n", b">From ann\r\nTo: y\r\n"),
    (b"\r\nbody\r\n\r\n", b""),
    (b"Hello Kim,\r\n\r\nhow are you: fine\r\n\r\n", b""),
    (b" folded: first\r\n\r\n", b""),
    (b": no name\r\n\r\n", b""),
    (b"\xc3\xa9: x\r\n\r\n", b""),
]
# Content that ends before its section does.
UNFINISHED = [
    (b"", b""),
    (b"Subject: x\r\n", b"Subject: x\r\n"),
    (b"Subject: x", b"Subject: x"),
    (b"Subject: x\r", b"Subject: x\r"),
    (b"no field", b""),
    (b"\r", b""),
]


def collect(chunks: list[bytes], limit: int = LIMIT) -> tuple[HeaderCollector, int]:
    """A collector, and how many octets it had seen when it knew."""
    collector = HeaderCollector(limit)
    seen = 0
    for chunk in chunks:
        seen += len(chunk)
        if collector.feed(chunk):
            break
    return collector, seen


@pytest.mark.parametrize(("content", "section"), SECTIONS)
def test_section_is_found_however_the_content_is_cut(content: bytes, section: bytes) -> None:
    for chunks in ([content], singly(content), *splits(content)):
        collector, _ = collect(chunks)
        assert collector.section == section == collector.finish()
        assert not collector.is_cut


@pytest.mark.parametrize(("content", "section"), SECTIONS)
def test_section_is_known_as_soon_as_its_end_was_seen(content: bytes, section: bytes) -> None:
    needed = len(section) + 2 if section or content[:2] == b"\r\n" else content.index(b"\r\n") + 2
    assert collect(singly(content))[1] == needed


@pytest.mark.parametrize(("content", "section"), UNFINISHED)
def test_section_of_content_that_ends_early_is_all_of_it_or_nothing(content: bytes, section: bytes) -> None:
    for chunks in ([content], singly(content)):
        collector, _ = collect(chunks)
        assert collector.section is None
        assert collector.finish() == section == collector.section


@pytest.mark.parametrize("content", [b"Subject: " + b"x" * 200, b"x" * 200, b"A: b\r\n" * 40])
def test_section_beyond_the_limit_is_cut_for_good(content: bytes) -> None:
    for chunks in ([content], singly(content)):
        collector, seen = collect(chunks)
        assert collector.is_cut
        assert collector.section == content[:LIMIT]
        assert seen in (LIMIT + 1, len(content))


@given(chunkings(st.lists(st.sampled_from([b"A: b", b"\r\n", b"\r", b"\n", b" ", b"x", b"From ", b":"])).map(b"".join)))
def test_section_does_not_depend_on_the_cuts(case: tuple[bytes, list[bytes]]) -> None:
    octets, chunks = case
    for limit in (5, 6, 7, 8, 10000):
        assert collect(chunks, limit)[0].finish() == collect([octets], limit)[0].finish()


@pytest.mark.parametrize("pattern", [b"x", b"A: b\r\n", b"A:\r", b"A:\n", b"A: b\r\n\r"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_octets_are_touched_a_few_times_however_small_the_pieces(pattern: bytes, size: int) -> None:
    octets = pattern * (6000 // len(pattern))
    touched = [0]
    collector = HeaderCollector(len(octets))
    collector._seen = CountedBuffer(touched)  # the one place where octets are kept and searched
    for start in range(0, len(octets), size):
        collector.feed(CountedOctets(octets[start : start + size], touched))
    assert touched[0] < 20 * len(octets)


class TestAddedFields:
    DATE = b"Tue, 03 Feb 2026 10:00:00 +0000"
    MESSAGE_ID = b"<1@relay.example>"

    def add(self, section: bytes) -> bytes:
        return added_fields(section, date=self.DATE, message_id=self.MESSAGE_ID)

    def test_are_both_when_both_are_missing(self) -> None:
        assert self.add(b"Subject: x\r\n") == b"Date: %s\r\nMessage-ID: %s\r\n" % (self.DATE, self.MESSAGE_ID)
        assert lacks_fields(b"Subject: x\r\n")
        assert lacks_fields(b"")

    def test_are_only_the_missing_one(self) -> None:
        assert self.add(b"date: today\r\n") == b"Message-ID: %s\r\n" % self.MESSAGE_ID
        assert self.add(b"To: x\r\nMESSAGE-ID : <x@y>\r\n") == b"Date: %s\r\n" % self.DATE

    @pytest.mark.parametrize("section", [b"Date: x\r\nMessage-Id: y\r\n", b"message-id:\r\ndate:\r\n"])
    def test_are_none_when_both_are_there_even_empty(self, section: bytes) -> None:
        assert self.add(section) == b""
        assert not lacks_fields(section)

    @pytest.mark.parametrize("section", [b"Subject: Date: x\r\n", b"X-Date: x\r\n", b"Subject: x\r\n Date: y\r\n"])
    def test_are_not_mistaken_for_text_of_other_fields(self, section: bytes) -> None:
        assert self.add(section).startswith(b"Date: ")
