"""Addresses: sameness, and reading them from header fields."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import address
from engine.address import MAX_ADDRESS, MAX_ADDRESSES, canonical, canonical_domain, read_addresses

SUBADDRESSED = frozenset(("cust.example",))
texts = st.text(max_size=40)
localish = st.text(alphabet='ann.+kim"\\ @İßéſ\u212a\u037e', max_size=12)
domainish = st.text(alphabet="aB.xn-bücher。ß \u212a@", max_size=20)


class TestSameness:
    @pytest.mark.parametrize(
        ("written", "form"),
        [
            ("Ann@Acme.Example", "ann@acme.example"),
            ("  ann@acme.example ", "ann@acme.example"),
            ("ann@acme.example.", "ann@acme.example"),
            ("kunde@bücher.example", "kunde@xn--bcher-kva.example"),
            ("kunde@BÜCHER.example", "kunde@xn--bcher-kva.example"),
            ("kunde@XN--BCHER-KVA.example", "kunde@xn--bcher-kva.example"),
            ("kunde@bücher。example", "kunde@xn--bcher-kva.example"),
            ("JOSÉ@x.example", "josé@x.example"),
            ("jose\u0301@x.example", "josé@x.example"),
            ("STRASSE@x.example", "strasse@x.example"),
            ("straße@x.example", "strasse@x.example"),
            ("kim.k@gmail.com", "kimk@gmail.com"),
            ("K.I.M.K+news@GoogleMail.com", "kimk@gmail.com"),
            ("+news@gmail.com", "+news@gmail.com"),
            ("kim+news@cust2.example", "kim+news@cust2.example"),
            ("kim.k@cust2.example", "kim.k@cust2.example"),
            ('"ann"@acme.example', "ann@acme.example"),
            (r'"a\nn"@acme.example', "ann@acme.example"),
            ('"ann lee"@acme.example', '"ann lee"@acme.example'),
            (r'"\"ann\""@acme.example', r'"\"ann\""@acme.example'),
            ('"a@b"@acme.example', '"a@b"@acme.example'),
            ('"a +b"@gmail.com', '"a +b"@gmail.com'),
            ("Postmaster", "postmaster"),
            ("x@[127.0.0.1]", "x@[127.0.0.1]"),
        ],
    )
    def test_an_address_has_one_canonical_form(self, written: str, form: str) -> None:
        assert canonical(written) == form

    def test_a_tag_is_ignored_where_the_portal_lists_the_domain(self) -> None:
        assert canonical("Kim+News@CUST.example", SUBADDRESSED) == "kim@cust.example"
        assert canonical("kim+news@other.example", SUBADDRESSED) == "kim+news@other.example"
        assert canonical("+news@cust.example", SUBADDRESSED) == "+news@cust.example"

    def test_a_quoted_local_part_is_not_the_person_whose_name_it_quotes(self) -> None:
        assert canonical(r'"\"ann\""@acme.example') != canonical("ann@acme.example")

    @given(st.one_of(texts, st.builds("{}@{}".format, localish, domainish), st.emails()))
    @example('"\\"ann\\""@x')
    @example("x@b. .")
    @example("x@bücher。")
    @example('"\\"@x')
    def test_the_canonical_form_of_a_canonical_form_is_itself(self, written: str) -> None:
        form = canonical(written)
        assert canonical(form) == form
        assert canonical(canonical(written, SUBADDRESSED), SUBADDRESSED) == canonical(written, SUBADDRESSED)

    @given(st.emails())
    def test_case_makes_no_difference(self, written: str) -> None:
        assert canonical(written.upper()) == canonical(written.lower()) == canonical(written)

    @given(texts)
    def test_a_domain_never_raises_and_is_stable(self, text: str) -> None:
        form = canonical_domain(text)
        assert canonical_domain(form) == form

    def test_an_endless_domain_is_not_given_to_idna(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        monkeypatch.setattr(address.idna, "encode", lambda text, **_: asked.append(text) or b"x")
        canonical("x@" + "ü" * 60_000)
        assert asked == []


class TestReading:
    @pytest.mark.parametrize(
        ("field", "found"),
        [
            (b"ann@acme.example", ["ann@acme.example"]),
            (b"Ann <ann@acme.example>", ["ann@acme.example"]),
            (b'"Lee, Ann" <ann@acme.example>, bob@acme.example', ["ann@acme.example", "bob@acme.example"]),
            (b"Ann Lee (sales, mostly) <ann@acme.example>", ["ann@acme.example"]),
            (b"ann@acme.example (Ann (the (one)) \\) Lee)", ["ann@acme.example"]),
            (b"Team: ann@acme.example, Bob <bob@acme.example>;", ["ann@acme.example", "bob@acme.example"]),
            (b"undisclosed-recipients:;", []),
            (b"undisclosed-recipients:;, kim@cust.example", ["kim@cust.example"]),
            (b"<@relay.example,@other.example:kim@cust.example>", ["kim@cust.example"]),
            (b"=?utf-8?q?Kim=2C_Cust?= <kim@cust.example>", ["kim@cust.example"]),
            ("Jürgen <jürgen@bücher.example>".encode(), ["jürgen@bücher.example"]),
            (b'"ann lee"@acme.example', ['"ann lee"@acme.example']),
            (b"ann@acme.example;bob@acme.example", ["ann@acme.example", "bob@acme.example"]),
            (b",, ann@acme.example ,,", ["ann@acme.example"]),
            (b"ann@[127.0.0.1]", ["ann@[127.0.0.1]"]),
            (b"<ann@[IPv6:::1]>", ["ann@[IPv6:::1]"]),
            (b"", []),
            (b"Ann Lee", []),
            (b"<>", []),
        ],
    )
    def test_real_lists_are_read(self, field: bytes, found: list[str]) -> None:
        assert list(read_addresses(field)) == found

    @pytest.mark.parametrize(
        "field",
        [
            b'"kim@cust.example" <x@evil.example>',
            b"kim@cust.example <x@evil.example>",
            b"<x@evil.example> kim@cust.example",
            b"(kim@cust.example) x@evil.example",
            b"=?utf-8?q?kim=40cust.example?= <x@evil.example>",
            "kim@cust.example\u200b <x@evil.example>".encode(),
        ],
    )
    def test_a_display_name_is_nobody(self, field: bytes) -> None:
        assert list(read_addresses(field)) == ["x@evil.example"]

    @pytest.mark.parametrize(
        "field",
        [
            b"<kim@cust.example> <x@evil.example>",
            b"kim@cust.example@evil.example",
            b"a@b]c@d",
            b"kim@cust.example x@evil.example",
            b"kim@cust.exam\x00ple",
            b'"kim@cust.example',
            b"<kim cust@example>",
            b"(kim@cust.example",
        ],
    )
    def test_what_is_not_certain_is_no_address(self, field: bytes) -> None:
        assert read_addresses(field) == ()

    def test_one_bad_entry_costs_only_itself(self) -> None:
        assert read_addresses(b"broken@, kim@cust.example, @x, lee@cust.example") == (
            "kim@cust.example",
            "lee@cust.example",
        )

    def test_an_address_longer_than_any_path_is_left_out(self) -> None:
        long = b"a" * MAX_ADDRESS + b"@x.example"
        assert read_addresses(long + b", kim@cust.example") == ("kim@cust.example",)

    def test_the_number_of_addresses_is_bounded(self) -> None:
        assert len(read_addresses(b"a@b," * 100_000)) == MAX_ADDRESSES

    @given(st.binary(max_size=200))
    def test_any_octets_are_read_without_an_error(self, field: bytes) -> None:
        for found in read_addresses(field):
            assert found.rpartition("@")[0]
            assert not re.search(r"[\r\n,<>]", found.rpartition("@")[2])

    @given(st.lists(st.emails(), max_size=8))
    def test_a_plain_list_reads_as_it_was_written(self, addresses: list[str]) -> None:
        plain = [each for each in addresses if not re.search(r"[\[\]]", each)]
        assert list(read_addresses(", ".join(plain).encode())) == plain


@given(st.text(alphabet="ab@.,<> \t\xe9]", max_size=60))
@settings(max_examples=1000)
@example("x <a@b> y, <a@b> <c@d>, <a<b@c>>, a@b>, <a@b")
@example("<,.@.")
@example("<a@b,c@d>, e@f")
def test_simple_lists_read_the_same_token_by_token(text: str) -> None:
    assert address._read_simple(text) == address._read_tokens(text)


HOSTILE = {
    "quotes": b'"',
    "escaped quotes": b'\\"',
    "open comments": b"(",
    "nested comments": b"(a)",
    "open angles": b"<",
    "empty angles": b"<>",
    "at signs": b"@",
    "commas": b",",
    "words": b"a ",
    "letters": b"a",
    "routes": b"<@a,",
    "quoted pairs": b"\\",
    "groups": b"a:",
    "unclosed strings": b'"a',
    "addresses in angles": b"<a@b ",
}


class TestTime:
    """Steps are counted, not seconds: lines run by the interpreter, and characters handed to the patterns."""

    @pytest.mark.parametrize("octets", HOSTILE.values(), ids=HOSTILE.keys())
    def test_hostile_lists_take_time_in_proportion_to_their_length(
        self, octets: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        short, long = (_steps(lambda n=n: read_addresses(octets * n), monkeypatch) for n in (500, 1000))
        assert long <= 2.2 * short + 200

    def test_every_character_begins_a_token(self) -> None:
        text = "".join(each.decode() for each in HOSTILE.values()) * 50
        position = 0
        while position < len(text):
            match = address.TOKEN.match(text, position)
            assert match is not None
            assert match.end() > position
            position = match.end()


class _Counting:
    """A pattern that counts the characters it consumes."""

    def __init__(self, pattern: re.Pattern[str], count: list[int]) -> None:
        self._pattern = pattern
        self._count = count

    def match(self, text: str, position: int) -> re.Match[str] | None:
        found = self._pattern.match(text, position)
        self._count[0] += len(found[0]) if found else 0
        return found

    def fullmatch(self, text: str) -> re.Match[str] | None:
        self._count[0] += len(text)
        return self._pattern.fullmatch(text)

    def finditer(self, text: str, position: int) -> Any:
        for found in self._pattern.finditer(text, position):
            self._count[0] += len(found[0])
            yield found


def _steps(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    count = [0]
    with monkeypatch.context() as patch:
        for name in ("TOKEN", "ADDR_SPEC", "COMMENT_MARK"):
            patch.setattr(address, name, _Counting(getattr(address, name), count))

        def trace(frame: Any, event: str, argument: Any) -> Any:
            if frame.f_code.co_filename == address.__file__ and event == "line":
                count[0] += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(before)
    return count[0]
