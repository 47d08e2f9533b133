"""Addresses in the shapes in which header blocks show them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.forwarded.addresses import MAX_ADDRESSES, author_of, read

KIM, LEE = "kim@cust.example", "lee@cust.example"


@pytest.mark.parametrize(
    "value",
    [
        "kim@cust.example",
        "<kim@cust.example>",
        "Kim Carter <kim@cust.example>",
        '"Carter, Kim" <kim@cust.example>',
        "Carter, Kim <kim@cust.example>",
        "'kim@cust.example' <kim@cust.example>",
        "'kim@cust.example'",
        "Kim Carter [mailto:kim@cust.example]",
        "Kim Carter [kim@cust.example]",
        "[kim@cust.example](mailto:kim@cust.example)",
        "Kim Carter <[kim@cust.example](mailto:kim@cust.example)>",
        "Kim Carter (kim@cust.example)",
        "kim@cust.example (Kim Carter)",
        "Kim Carter <mailto:kim@cust.example>",
        "Kim Carter <kim@cust.example<mailto:kim@cust.example>>",
        "kim@cust.example<mailto:kim@cust.example>",
        "kim@old.example <kim@cust.example>",
        "*Kim Carter* <kim@cust.example>",
        "Kim Carter [formerly <kim@old.example>] <kim@cust.example>",
        "Kim Carter ＜kim@cust.example＞",
        "Kim @ Cust <kim@cust.example>",
        'Kim "K" Carter <kim@cust.example>;',
        "Kim Carter\n<kim@cust.example>",
    ],
)
def test_one_mailbox_gives_one_address(value: str) -> None:
    assert read(value) == (KIM,)


@pytest.mark.parametrize(
    "value",
    [
        "kim@cust.example, lee@cust.example",
        "kim@cust.example; lee@cust.example",
        "Kim <kim@cust.example>; Lee <lee@cust.example>",
        "Carter, Kim <kim@cust.example>; Long, Lee <lee@cust.example>",
        "Kim <kim@cust.example>,\nLee <lee@cust.example>",
        "Kim <kim@cust.example>、Lee <lee@cust.example>",
        "Kim [mailto:kim@cust.example], Lee [mailto:lee@cust.example]",
        "kim@cust.example lee@cust.example",
        "Kim <kim@cust.example>, Lee <lee@cust.example>, Kim Carter <kim@cust.example>",
        "Ann Alder; Kim <kim@cust.example>; Lee <lee@cust.example>",
    ],
)
def test_several_mailboxes_give_their_addresses_in_order(value: str) -> None:
    assert read(value) == (KIM, LEE)


@pytest.mark.parametrize(
    "value",
    [
        "", "Kim Carter", "@", "kim@", "@cust.example", "kim@cust", "kim@@cust.example", "kim@cust..example",
        "https://kim@cust.example/path", "kim@.example", "a@b@c.example", "kim@cust.example" + "x" * 600,
    ],
)  # fmt: skip
def test_what_is_no_address_gives_none(value: str) -> None:
    assert read(value) == ()


def test_who_a_mail_was_sent_for_is_its_author() -> None:
    assert author_of("mailer@bulk.example <mailer@bulk.example> on behalf of Kim <kim@cust.example>") == KIM
    assert author_of("mailer@bulk.example im Auftrag von Kim [mailto:kim@cust.example]") == KIM


def test_a_sender_is_no_author_when_the_author_has_no_address() -> None:
    assert author_of("mailer@bulk.example [mailto:mailer@bulk.example] On Behalf Of Kim Carter") is None


def test_a_list_is_bounded() -> None:
    assert len(read(", ".join(f"n{number}@cust.example" for number in range(MAX_ADDRESSES + 500)))) == MAX_ADDRESSES


@settings(deadline=None)
@given(st.text(alphabet="ab@.<>[]()\",;: \n'*\\"))
def test_nothing_raises_and_what_is_found_is_an_address(value: str) -> None:
    for address in read(value):
        local, at, domain = address.partition("@")
        assert local
        assert at
        assert "." in domain
        assert not set(address) & set(' \n<>[]();,"')
    author_of(value)
