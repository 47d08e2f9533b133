"""Originals that are attached: cut out octet for octet, whatever is around them."""

from __future__ import annotations

import base64
import quopri
import re
from email import message_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import originals
from store.originals import OriginalLimits, find_attached

ORIGINAL = (
    b"Received: from mail.cust.example by mx.acme.example;\r\n Mon, 3 Mar 2025 09:31:01 +0000\r\n"
    b"From: Kim Carter <kim@cust.example>\r\nTo: ann@acme.example\r\nSubject:   odd   spacing \r\n"
    b"Message-ID: <1@cust.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\nDear Ann,\r\n\r\n\xc3\xa4 \x00 lone\rreturn\r\n--not a boundary\r\n"
)
SECOND = b"From: lee@cust.example\r\nMessage-ID: <2@cust.example>\r\n\r\nHello\r\n"
TEXT = b"Content-Type: text/plain\r\n\r\nFor the log.\r\n"
HEAD = b"From: ann@acme.example\r\nTo: fwd-p1@cap.example\r\nMIME-Version: 1.0\r\n"


def attached_originals(octets: bytes, limits: OriginalLimits | None = None) -> list[bytes]:
    """What is found."""
    return find_attached(octets, limits).originals


def multipart(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"outer", end: bytes = b"--") -> bytes:
    """A multipart entity of `parts`, each with its own header section."""
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    head = b"Content-Type: multipart/" + kind + b'; boundary="' + boundary + b'"\r\n\r\n'
    return head + body + b"--" + boundary + end + b"\r\n"


def attached(content: bytes, *fields: bytes, kind: bytes = b"message/rfc822") -> bytes:
    """A part of that type."""
    return b"".join(field + b"\r\n" for field in (b"Content-Type: " + kind, *fields)) + b"\r\n" + content


def mail(*parts: bytes) -> bytes:
    """A message with these parts behind a text."""
    return HEAD + multipart(TEXT, *parts)


class TestExactness:
    def test_an_attached_message_is_cut_out_octet_for_octet(self) -> None:
        assert attached_originals(mail(attached(ORIGINAL))) == [ORIGINAL]

    def test_several_are_found_in_order(self) -> None:
        found = attached_originals(mail(attached(ORIGINAL), TEXT, attached(SECOND)))
        assert found == [ORIGINAL, SECOND]

    def test_lines_may_end_with_lf_only(self) -> None:
        octets = mail(attached(SECOND)).replace(b"\r\n", b"\n")
        assert attached_originals(octets) == [SECOND.replace(b"\r\n", b"\n")]

    def test_a_message_that_is_nothing_but_an_attached_one_is_found(self) -> None:
        assert attached_originals(HEAD + attached(ORIGINAL)) == [ORIGINAL]

    def test_a_message_in_transit_in_utf_8_counts_too(self) -> None:
        assert attached_originals(mail(attached(ORIGINAL, kind=b"message/global"))) == [ORIGINAL]

    def test_an_original_may_hold_a_multipart_of_its_own(self) -> None:
        inner = b"From: kim@cust.example\r\n" + multipart(TEXT, TEXT, boundary=b"inner")
        assert attached_originals(mail(attached(inner))) == [inner]

    def test_only_the_outermost_ones_count(self) -> None:
        inner = b"From: kim@cust.example\r\n" + multipart(attached(SECOND), boundary=b"inner")
        assert attached_originals(mail(attached(inner))) == [inner]

    def test_an_inner_boundary_that_begins_like_the_outer_one_is_not_taken_for_it(self) -> None:
        inner = b"From: kim@cust.example\r\n" + multipart(TEXT, boundary=b"outer-2")
        assert attached_originals(mail(attached(inner), attached(SECOND))) == [inner, SECOND]

    def test_multiparts_in_multiparts_are_looked_into(self) -> None:
        octets = HEAD + multipart(multipart(TEXT, attached(ORIGINAL), boundary=b"inner"), attached(SECOND))
        assert attached_originals(octets) == [ORIGINAL, SECOND]

    def test_a_part_that_names_the_boundary_it_is_in_opens_nothing(self) -> None:
        octets = HEAD + multipart(multipart(TEXT, attached(SECOND)), attached(ORIGINAL))
        assert attached_originals(octets) == [SECOND]
        assert attached_originals(octets.replace(b"--outer--\r\n\r\n", b"")) == [SECOND, ORIGINAL]

    def test_boundaries_that_repeat_inside_each_other_end_together(self) -> None:
        inner = multipart(multipart(TEXT, boundary=b"inner"), boundary=b"inner")
        assert attached_originals(HEAD + multipart(inner, attached(SECOND))) == [SECOND]

    def test_a_header_section_that_ends_at_a_boundary_is_no_part_of_the_next(self) -> None:
        octets = HEAD + multipart(b"Content-Type: message/rfc822", TEXT, attached(SECOND))
        assert attached_originals(octets) == [SECOND]

    def test_space_behind_a_boundary_does_not_count(self) -> None:
        octets = mail(attached(SECOND)).replace(b"--outer\r\n", b"--outer \t\r\n")
        assert attached_originals(octets) == [SECOND]

    def test_a_message_without_its_last_boundary_still_gives_the_original(self) -> None:
        octets = mail(attached(SECOND))
        assert attached_originals(octets[: octets.rindex(b"\r\n--outer--")]) == [SECOND]

    @pytest.mark.parametrize("boundary", [b"a b", b"=_x'()+_,-./:=?", b"x--", b"--", b"0" * 70])
    def test_any_boundary_of_the_standard_is_understood(self, boundary: bytes) -> None:
        assert attached_originals(HEAD + multipart(TEXT, attached(SECOND), boundary=boundary)) == [SECOND]

    def test_a_boundary_without_quotation_marks_is_understood(self) -> None:
        assert attached_originals(mail(attached(SECOND)).replace(b'"outer"', b"outer")) == [SECOND]

    def test_a_folded_content_type_is_understood(self) -> None:
        octets = mail(attached(SECOND)).replace(b"; boundary=", b";\r\n\tcharset=utf-8;\r\n\tBoundary = ")
        assert attached_originals(octets) == [SECOND]


class TestDigests:
    def test_parts_of_a_digest_are_messages_unless_they_say_otherwise(self) -> None:
        octets = HEAD + multipart(b"\r\n" + SECOND, TEXT, b"\r\n" + ORIGINAL, kind=b"digest")
        assert attached_originals(octets) == [SECOND, ORIGINAL]

    def test_a_digest_inside_a_multipart_ends_with_it(self) -> None:
        digest = multipart(b"\r\n" + SECOND, kind=b"digest", boundary=b"inner")
        assert attached_originals(HEAD + multipart(TEXT, digest, b"\r\n" + ORIGINAL)) == [SECOND]


class TestEncodings:
    def test_base64_is_undone(self) -> None:
        part = attached(base64.encodebytes(ORIGINAL), b"Content-Transfer-Encoding: base64")
        assert attached_originals(mail(part)) == [ORIGINAL]

    def test_base64_without_its_padding_is_undone(self) -> None:
        encoded = base64.b64encode(SECOND + b"x").rstrip(b"=")
        assert attached_originals(mail(attached(encoded, b"Content-Transfer-Encoding: BASE64"))) == [SECOND + b"x"]

    def test_quoted_printable_is_undone(self) -> None:
        encoded = quopri.encodestring(SECOND.replace(b"Hello", b"H=llo \xe4")).replace(b"\n", b"\r\n")
        encoded = encoded.replace(b"\r\r\n", b"\r\n").replace(b"=0D\r\n", b"\r\n")
        part = attached(encoded, b"Content-Transfer-Encoding: quoted-printable")
        assert attached_originals(mail(part)) == [SECOND.replace(b"Hello", b"H=llo \xe4")]

    @pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable"])
    def test_an_encoding_that_was_named_and_not_applied_is_ignored(self, encoding: bytes) -> None:
        content = SECOND.replace(b"Hello", b"a=b")
        assert attached_originals(mail(attached(content, b"Content-Transfer-Encoding: " + encoding))) == [content]

    def test_base64_that_cannot_be_undone_is_left_out(self) -> None:
        assert attached_originals(mail(attached(b"A", b"Content-Transfer-Encoding: base64"))) == []


class TestFiles:
    @pytest.mark.parametrize(
        "field",
        [
            b'Content-Disposition: attachment; filename="Quote 4711.eml"',
            b"Content-Disposition: attachment; filename=quote.EML",
            b"Content-Disposition: attachment; filename*=utf-8''Angebot%20M%C3%A4rz.eml",
            b'Content-Disposition: attachment;\r\n filename*0="a long name that goes";\r\n filename*1=" on.eml"',
            b'Content-Disposition: attachment; filename="=?utf-8?Q?M=C3=A4rz.eml?="',
        ],
    )
    def test_a_file_whose_name_says_that_it_is_a_message_counts(self, field: bytes) -> None:
        part = attached(
            base64.encodebytes(ORIGINAL), field, b"Content-Transfer-Encoding: base64", kind=b"application/octet-stream"
        )
        assert attached_originals(mail(part)) == [ORIGINAL]

    def test_the_name_may_stand_with_the_type(self) -> None:
        part = attached(SECOND, kind=b'application/octet-stream; name="quote.eml"')
        assert attached_originals(mail(part)) == [SECOND]

    def test_a_file_that_only_calls_itself_so_does_not(self) -> None:
        part = attached(b"\x89PNG\r\n\x1a\n", kind=b'application/octet-stream; name="quote.eml"')
        assert attached_originals(mail(part)) == []

    def test_other_files_do_not(self) -> None:
        part = attached(SECOND, kind=b'application/octet-stream; name="quote.eml.txt"')
        assert attached_originals(mail(part)) == []

    @pytest.mark.parametrize("kind", [b"message/partial", b"message/external-body", b"message/delivery-status"])
    def test_other_kinds_of_messages_do_not(self, kind: bytes) -> None:
        assert attached_originals(mail(attached(SECOND, kind=kind + b'; name="x.eml"'))) == []


class TestLimits:
    def test_a_number_of_originals_is_enough(self) -> None:
        octets = mail(*[attached(SECOND)] * 101)
        assert find_attached(octets) == ([SECOND] * 100, False)
        assert find_attached(octets, OriginalLimits(count=101)) == ([SECOND] * 101, True)

    def test_one_that_is_too_large_is_left_out_and_the_others_stay(self) -> None:
        octets = mail(attached(ORIGINAL), attached(SECOND))
        assert find_attached(octets, OriginalLimits(size=len(SECOND))) == ([SECOND], False)

    def test_the_limit_is_of_what_was_encoded_too(self) -> None:
        part = attached(base64.encodebytes(ORIGINAL), b"Content-Transfer-Encoding: base64")
        assert find_attached(mail(part), OriginalLimits(size=len(ORIGINAL) - 1)) == ([], False)
        assert find_attached(mail(part), OriginalLimits(size=len(ORIGINAL) // 3)) == ([], False)
        assert find_attached(mail(part), OriginalLimits(size=len(ORIGINAL))) == ([ORIGINAL], True)

    def test_deep_nesting_is_not_followed(self) -> None:
        nested = multipart(attached(ORIGINAL), boundary=b"deepest")
        for level in range(1000):
            nested = multipart(nested, boundary=b"level%d" % level)
        assert find_attached(HEAD + multipart(nested, attached(SECOND))) == ([SECOND], False)

    def test_too_many_lines_that_could_be_boundaries_end_the_search(self) -> None:
        octets = mail(attached(SECOND), attached(SECOND + b"--x\r\n" * 100), attached(SECOND))
        assert find_attached(octets, OriginalLimits(delimiters=50)) == ([SECOND], False)

    def test_a_header_section_that_is_too_long_is_not_read(self) -> None:
        octets = mail(attached(SECOND, b"X: " + b"x" * 70_000), attached(ORIGINAL))
        assert find_attached(octets, OriginalLimits(header=65_536)) == ([ORIGINAL], False)
        assert find_attached(octets) == ([SECOND, ORIGINAL], True)

    def test_a_forward_to_thousands_is_looked_into(self) -> None:
        to = b"Cc: " + b", ".join(b"recipient%d@x.example" % number for number in range(5000)) + b"\r\n"
        assert find_attached(to + mail(attached(SECOND))) == ([SECOND], True)


class Counted(bytes):
    """Octets that count how many of them searches went over."""

    looked_at = 0

    def find(self, *arguments: object) -> int:  # type: ignore[override]
        place = super().find(*arguments)  # type: ignore[arg-type]
        end = len(self) if len(arguments) < 3 else int(str(arguments[2]))
        Counted.looked_at += max(0, (place if place >= 0 else end) - int(str(arguments[1]))) + 1
        return place


class CountedPattern:
    """A pattern that counts in the same way."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def search(self, octets: bytes, start: int) -> re.Match[bytes] | None:
        match = self._pattern.search(octets, start)
        Counted.looked_at += (match.end() if match else len(octets)) - start
        return match


HOSTILE = {
    "boundaries": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 40_000,
    "boundaries and headers": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nX: y\r\n" * 20_000,
    "other lines with dashes": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--c\r\n" * 40_000,
    "ever new multiparts": HEAD
    + b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n"
    + b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1) for n in range(4000)),
    "boundaries that begin with each other": HEAD
    + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"".join(
        b"--" + b"b" * n + b"\r\nContent-Type: multipart/mixed; boundary=" + b"b" * (n + 1) + b"\r\n\r\n"
        for n in range(1, 190)
    )
    + b"--bbb\r\n" * 20_000,
    "closed again and again": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b--\r\n" * 30_000,
    "one long line": HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + b"x" * 300_000,
    "no empty line": b"From: x\r\n" * 30_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_searching_takes_time_in_proportion_to_the_message(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "EMPTY_LINE", CountedPattern(originals.EMPTY_LINE))
    octets = Counted(HOSTILE[kind])
    Counted.looked_at = 0
    attached_originals(octets)
    assert Counted.looked_at <= 5 * len(octets) + 1000


@settings(deadline=None)
@given(st.binary())
def test_no_octets_raise(octets: bytes) -> None:
    attached_originals(octets)
    attached_originals(HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + octets)


PIECES = [
    b"--b\r\n", b"--b--\r\n", b"--c\r\n", b"\r\n", b"\n", b"Content-Type: ", b"message/rfc822", b"multipart/digest",
    b"multipart/mixed; boundary=b\r\n", b"; boundary=c\r\n", b"Content-Transfer-Encoding: base64\r\n", b"A=", b"x",
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n", b"Content-Type: multipart/mixed; boundary=c\r\n\r\n",
    b"Content-Type: message/rfc822\r\n\r\n",
]  # fmt: skip
CONTENT = [b"a", b"-", b"--", b"\r\n", b" ", b"--outer2", b"\xff", b"\0", b":"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join))
def test_no_malformed_mail_raises(body: bytes) -> None:
    for original in attached_originals(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + body):
        assert original


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(CONTENT), max_size=20).map(b"".join), max_size=5))
def test_what_is_attached_comes_out_unchanged(bodies: list[bytes]) -> None:
    messages = [b"From: kim@cust.example\r\n\r\n" + body for body in bodies]
    assert attached_originals(mail(*map(attached, messages))) == messages


@settings(deadline=None)
@given(st.lists(st.sampled_from([ORIGINAL, SECOND]), max_size=4), st.integers(min_value=0, max_value=3))
def test_the_standard_library_finds_the_same_messages(messages: list[bytes], depth: int) -> None:
    entity = multipart(TEXT, *map(attached, messages))
    for level in range(depth):
        entity = multipart(TEXT, entity, boundary=b"level%d" % level)
    octets = HEAD + entity
    theirs = [
        part.get_payload(0)["Message-ID"]
        for part in message_from_bytes(octets).walk()
        if part.get_content_type() == "message/rfc822"
    ]
    ours = [re.search(rb"Message-ID: (\S+)", each) for each in attached_originals(octets)]
    assert [match[1].decode() for match in ours if match] == theirs
