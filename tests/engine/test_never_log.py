"""Never Log: the forms of an entry, and what each covers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.never_log import compile_entries, normalise_entry

COVERED = {
    "kim@cust.example": ["kim@cust.example", "KIM@Cust.Example", '"kim"@cust.example'],
    "Kim@CUST.example": ["kim@cust.example"],
    "secret.example": ["v@secret.example", "V@SECRET.EXAMPLE", "v@secret.example."],
    "@secret.example": ["v@secret.example"],
    "*@secret.example": ["v@secret.example"],
    "*.secret.example": ["v@sub.secret.example", "v@deep.sub.secret.example"],
    "*@*.secret.example": ["v@sub.secret.example", "v@deep.sub.secret.example"],
    "kim.k@gmail.com": ["kimk@gmail.com", "k.i.m.k+x@googlemail.com"],
    "kimk@googlemail.com": ["kim.k@gmail.com"],
    "*@gmail.com": ["x@gmail.com", "x@googlemail.com"],
    "*@googlemail.com": ["x@gmail.com", "x@googlemail.com"],
    "bücher.example": ["kunde@bücher.example", "kunde@xn--bcher-kva.example"],
    "*@xn--bcher-kva.example": ["kunde@BÜCHER.example"],
    "*.bücher.example": ["kunde@shop.xn--bcher-kva.example"],
}
NOT_COVERED = {
    "kim@cust.example": ["kim@sub.cust.example", "lee@cust.example", "xkim@cust.example", "kim+news@cust.example"],
    "secret.example": ["v@sub.secret.example", "v@notsecret.example", "secret.example@x.example"],
    "*@secret.example": ["v@sub.secret.example", "v@secret.example.evil.example"],
    "*.secret.example": ["v@secret.example", "v@notsecret.example"],
    "*@*.secret.example": ["v@secret.example"],
}
MEANINGLESS = ["", " ", "@", "*", "*@", "*.", "*@*", "*@*.", "a*b@x.example", "kim@", "a b@x.example", "*.*.x", "x y"]
domains = st.one_of(
    st.sampled_from(["x", "a.x", "b.a.x", "gmail.com", "googlemail.com"]), st.from_regex(r"\A[a-z]{1,5}\.[a-z]{1,5}\Z")
)
addresses = st.builds("{}@{}".format, st.sampled_from(["a", "A", "a.b", "ab", "a+c", "+"]), domains)
entries = st.one_of(
    addresses, domains, *(st.builds(form.format, domains) for form in ("@{}", "*@{}", "*.{}", "*@*.{}"))
)


@pytest.mark.parametrize(("entry", "address"), [(entry, each) for entry, all_ in COVERED.items() for each in all_])
def test_an_entry_covers(entry: str, address: str) -> None:
    assert compile_entries((entry,)).covers(address)
    assert compile_entries((normalise_entry(entry),)).covers(address)


@pytest.mark.parametrize(("entry", "address"), [(entry, each) for entry, all_ in NOT_COVERED.items() for each in all_])
def test_an_entry_does_not_cover(entry: str, address: str) -> None:
    assert not compile_entries((entry,)).covers(address)


@pytest.mark.parametrize(
    ("entries", "spelling"),
    [
        (("Kim@Cust.Example", " kim@cust.example "), "kim@cust.example"),
        (("Secret.example", "@secret.example", "*@secret.example"), "*@secret.example"),
        (("*.secret.example", "*@*.secret.example"), "*@*.secret.example"),
        (("bücher.example", "*@xn--bcher-kva.example"), "*@xn--bcher-kva.example"),
    ],
)
def test_all_ways_to_write_an_entry_have_one_spelling(entries: tuple[str, ...], spelling: str) -> None:
    assert {normalise_entry(each) for each in entries} == {spelling}


@pytest.mark.parametrize("entry", MEANINGLESS)
def test_what_is_no_entry_is_refused_and_covers_nobody(entry: str) -> None:
    with pytest.raises(ValueError, match="write a@b"):
        normalise_entry(entry)
    assert not compile_entries((entry,)).covers("kim@cust.example")


def test_a_tag_counts_unless_the_domain_is_subaddressed() -> None:
    listed = compile_entries(("kim@cust.example",))
    assert not listed.covers("kim+news@cust.example")
    assert listed.covers("kim+news@cust.example", frozenset(("cust.example",)))


def test_an_entry_with_a_tag_covers_the_written_form_of_a_subaddressed_domain() -> None:
    listed = compile_entries(("kim+news@cust.example",))
    assert listed.covers("Kim+News@cust.example", frozenset(("cust.example",)))
    assert not listed.covers("kim@cust.example", frozenset(("cust.example",)))


def test_a_contact_is_named_by_an_entry_for_its_primary_address_only() -> None:
    listed = compile_entries(("*@secret.example", "kim@cust.example"))
    assert listed.covers_contact("kim@home.example", "Kim@cust.example")
    assert not listed.covers_contact("v@home.example", "v@secret.example")


def test_an_empty_list_covers_nobody() -> None:
    assert not compile_entries(()).covers("kim@cust.example")


@given(entries)
def test_the_spelling_of_a_spelling_is_itself(entry: str) -> None:
    assert normalise_entry(normalise_entry(entry)) == normalise_entry(entry)


@given(st.lists(entries, max_size=4), entries, addresses)
def test_adding_an_entry_uncovers_nobody(before: list[str], entry: str, address: str) -> None:
    if compile_entries(tuple(before)).covers(address):
        assert compile_entries((*before, entry)).covers(address)


@given(entries, addresses)
def test_the_spelling_covers_what_the_entry_covers(entry: str, address: str) -> None:
    assert compile_entries((entry,)).covers(address) == compile_entries((normalise_entry(entry),)).covers(address)
