"""The header section: fields as they lie on the wire, and unstructured text for people."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.header import MAX_TEXT, Header, decode_text

SECTION = (
    b"Received: from a\r\n\tby b\r\n"
    b"From: Ann <ann@acme.example>\r\n"
    b"SUBJECT : one\r\n two\r\n"
    b"To: kim@cust.example\r\n"
    b"to: lee@cust.example\r\n"
    b"not a field\r\n"
    b"X-Eight: caf\xe9\r\n"
    b"\r\n"
)


class TestFields:
    def test_names_are_found_in_any_case_and_with_space_before_the_colon(self) -> None:
        assert Header.read(SECTION).first(b"subject") == b"one two"

    def test_folded_lines_are_one_value(self) -> None:
        assert Header.read(SECTION).first(b"received") == b"from a by b"

    def test_a_field_named_twice_keeps_both_values_in_order(self) -> None:
        header = Header.read(SECTION)
        assert header.all(b"to") == [b"kim@cust.example", b"lee@cust.example"]
        assert header.first(b"to") == b"kim@cust.example"

    def test_octets_above_ascii_stay_as_they_are(self) -> None:
        assert Header.read(SECTION).first(b"x-eight") == b"caf\xe9"

    def test_a_missing_field_is_nothing(self) -> None:
        header = Header.read(SECTION)
        assert header.first(b"cc") is None
        assert header.all(b"cc") == []
        assert not header.has((b"cc", b"bcc"))
        assert header.has((b"cc", b"from"))

    @pytest.mark.parametrize("end", [b"", b"\r\n"])
    def test_lines_may_end_in_lf_and_the_section_without_an_empty_line(self, end: bytes) -> None:
        section = SECTION.removesuffix(b"\r\n") + end
        wanted = Header.read(SECTION).first(b"subject")
        assert Header.read(section).first(b"subject") == wanted
        assert Header.read(section.replace(b"\r\n", b"\n")).first(b"subject") == wanted

    @given(st.binary(max_size=300))
    def test_any_octets_are_read_without_an_error(self, section: bytes) -> None:
        header = Header.read(section)
        assert header.first(b"from") is None or header.all(b"from")

    @given(st.dictionaries(st.from_regex(rb"\A[a-z-]{1,20}\Z"), st.from_regex(rb"\A[!-~][ -~]{0,60}\Z"), max_size=10))
    def test_what_is_written_is_read(self, fields: dict[bytes, bytes]) -> None:
        header = Header.read(b"".join(name + b": " + value + b"\r\n" for name, value in fields.items()))
        assert {name: header.first(name) for name in fields} == {name: value.strip() for name, value in fields.items()}


class TestText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (b"Offer", "Offer"),
            (b"=?utf-8?q?Angebot_f=C3=BCr_Kim?=", "Angebot für Kim"),
            (b"=?UTF-8?B?QW5nZWJvdCBmw7xy?= Kim", "Angebot für Kim"),
            (b"=?utf-8?q?one?= =?utf-8?q?two?=", "onetwo"),
            (b"=?iso-8859-1?q?caf=E9?=", "café"),
            (b"=?iso-8859-1*en?q?caf=E9?=", "café"),
            ("für".encode(), "für"),
            ("für".encode("latin-1"), "für"),
            (b"=?utf-8?b?YWJj", "=?utf-8?b?YWJj"),
            (b"=?nonsense?q?abc?=", "=?nonsense?q?abc?="),
            (b"=?../../x?q?abc?=", "=?../../x?q?abc?="),
        ],
    )
    def test_encoded_words_are_decoded_and_the_rest_is_left(self, value: bytes, text: str) -> None:
        assert decode_text(value) == text

    @pytest.mark.parametrize("charset", [b"idna", b"punycode", b"unicode_escape", b"Unicode+Escape", b"unicode:escape"])
    def test_a_slow_or_unsafe_codec_is_not_used_under_any_spelling(self, charset: bytes) -> None:
        word = b"=?" + charset + b"?q?a=5Cn?="
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert decode_text(word) == word.decode()

    def test_text_is_cut(self) -> None:
        assert len(decode_text(b"a" * (MAX_TEXT + 1))) == MAX_TEXT

    @given(st.binary(max_size=200))
    def test_any_octets_become_text(self, value: bytes) -> None:
        assert isinstance(decode_text(value), str)
