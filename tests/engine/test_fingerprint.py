"""What makes two captures the same message (rules.md 6.1, 6.2)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import mail

from engine import read
from engine.fingerprint import date_of, header_print, keys, normalised_subject
from engine.message import Message

DATE = "Tue, 24 Nov 2026 16:00:00 +0000"
BODY = "0" * 64


def print_of(
    author: str = "ann@acme.example", *to: str, cc: tuple[str, ...] = (), body: str = BODY, **fields: str
) -> str:
    fields.setdefault("Date", DATE)
    fields.setdefault("Subject", "Offer")
    (found,) = keys(mail(author, *(to or ("kim@cust.example",)), cc=cc, **fields), body)
    return found


def identity(message: Message, body: str = BODY) -> str:
    """The key that an id makes."""
    return keys(message, body)[-1]


class TestIdentity:
    def test_it_is_the_id_and_the_author(self) -> None:
        one = identity(mail("Ann <Ann@acme.example>", Message_ID="<1@x>"))
        assert one == identity(mail("ann@ACME.example", Message_ID="1@x"))
        assert one != identity(mail("bob@acme.example", Message_ID="<1@x>"))
        assert one != identity(mail("ann@acme.example", Message_ID="<2@x>"))

    def test_without_an_id_or_an_author_there_is_none(self) -> None:
        for message in (
            mail("ann@acme.example"),
            mail("ann@acme.example", Message_ID="<>"),
            read(b"Message-ID: <1@x>\r\n"),
        ):
            (only,) = keys(message, BODY)
            assert [only] != keys(message, "1" * 64)  # it is made of the body, too

    def test_another_subject_or_date_is_another_message_under_the_same_id(self) -> None:
        one = identity(mail("ann@acme.example", Message_ID="<1@x>", Subject="Offer", Date=DATE))
        assert one == identity(mail("ann@acme.example", Message_ID="<1@x>", Subject="Re: Offer", Date=DATE))
        assert one != identity(mail("ann@acme.example", Message_ID="<1@x>", Subject="Another", Date=DATE))
        later = "Tue, 24 Nov 2026 16:00:01 +0000"
        assert one != identity(mail("ann@acme.example", Message_ID="<1@x>", Subject="Offer", Date=later))

    def test_a_body_that_a_server_changed_makes_no_difference_to_it(self) -> None:
        message = mail("ann@acme.example", Message_ID="<1@x>", Subject="Offer", Date=DATE)
        assert identity(message) == identity(message, "1" * 64)
        assert keys(message, BODY)[0] != keys(message, "1" * 64)[0]

    def test_without_a_date_two_ids_are_two_messages(self) -> None:
        one, other = (keys(mail("ann@acme.example", Message_ID=each), BODY) for each in ("<1@x>", "<2@x>"))
        assert not set(one) & set(other)
        dated = (keys(mail("ann@acme.example", Message_ID=each, Date=DATE), BODY) for each in ("<1@x>", "<2@x>"))
        assert set.intersection(*map(set, dated))

    def test_an_id_and_a_fingerprint_are_never_equal_keys(self) -> None:
        message = mail("ann@acme.example", Message_ID="<1@x>", Subject="Offer", Date=DATE)
        assert len(set(keys(message, BODY))) == 2


class TestFingerprint:
    def test_the_same_message_seen_twice_has_one(self) -> None:
        assert print_of() == print_of()

    def test_what_carriers_change_makes_no_difference(self) -> None:
        plain = print_of("ann@acme.example", "kim@cust.example", "lee@cust.example")
        assert plain == print_of("Ann <ANN@acme.example>", "lee@cust.example", "Kim <kim@cust.example>")
        assert plain == print_of("ann@acme.example", "kim@cust.example", cc=("lee@cust.example",))
        assert plain == print_of("ann@acme.example", "kim@cust.example", "lee@cust.example", Received="from a by b")
        assert plain == print_of(
            "ann@acme.example", "kim@cust.example", "lee@cust.example", Date="Tue, 24 Nov 2026 17:00:00 +0100"
        )
        assert plain == print_of("ann@acme.example", "kim@cust.example", "lee@cust.example", Subject="RE:  OFFER")

    def test_it_is_the_same_in_every_process_and_version(self) -> None:
        # It stands in the log, so a message seen again years later must find it.
        many = print_of("ann@acme.example", *(f"{name}@cust.example" for name in ["kim", "lee", "max", "nia", "bo"]))
        assert many == "74fdbd1c65f07de86da11f1613356833e99337e5384ff591628ac784e99dd473"

    @pytest.mark.parametrize(
        "other",
        [
            print_of("bob@acme.example"),
            print_of("ann@acme.example", "lee@cust.example"),
            print_of(Subject="Another offer"),
            print_of(Date="Tue, 24 Nov 2026 16:00:01 +0000"),
            print_of(body="1" * 64),
        ],
        ids=["author", "recipients", "subject", "date", "body"],
    )
    def test_what_the_author_wrote_makes_a_difference(self, other: str) -> None:
        assert print_of() != other

    @given(st.binary(max_size=200))
    def test_any_octets_have_one(self, section: bytes) -> None:
        assert {len(each) for each in keys(read(section), BODY)} == {64}


class TestHeaderPrint:
    """What copies of a message share although a server gave one of them another id or altered the body."""

    def test_it_knows_a_message_by_author_recipients_subject_and_date(self) -> None:
        one = header_print(mail("ann@acme.example", "kim@cust.example", Subject="Offer", Date=DATE))
        copy = mail("Ann@acme.example", "Kim@cust.example", Subject="offer", Date=DATE, Message_ID="<other@x>")
        assert header_print(copy) == one
        for other in (
            mail("bob@acme.example", "kim@cust.example", Subject="Offer", Date=DATE),
            mail("ann@acme.example", "lee@cust.example", Subject="Offer", Date=DATE),
            mail("ann@acme.example", "kim@cust.example", Subject="Order", Date=DATE),
            mail("ann@acme.example", "kim@cust.example", Subject="Offer", Date="Tue, 24 Nov 2026 16:00:01 +0000"),
        ):
            assert header_print(other) != one

    @given(st.binary(max_size=200))
    def test_any_octets_have_one(self, section: bytes) -> None:
        assert len(header_print(read(section))) == 64


class TestSubject:
    @pytest.mark.parametrize(
        "subject",
        [
            "Offer",
            "offer",
            " Offer ",
            "Re: Offer",
            "RE: re: Offer",
            "Re[2]: Offer",
            "AW: WG: Offer",
            "Fwd: FW: Offer",
            "R: I: Offer",
            "SV :Offer",
        ],
    )
    def test_marks_space_and_case_do_not_count(self, subject: str) -> None:
        assert normalised_subject(subject) == "offer"

    @pytest.mark.parametrize("subject", ["Reoffer", "Rest: Offer", "Offer re: x", ""])
    def test_words_that_begin_like_a_mark_stay(self, subject: str) -> None:
        assert normalised_subject(subject) == subject.casefold()

    @given(st.text(max_size=60))
    def test_a_subject_without_marks_has_none_to_lose(self, subject: str) -> None:
        once = normalised_subject(subject)
        assert normalised_subject("Re: " + subject) == once


class TestDate:
    def test_zones_are_reckoned(self) -> None:
        expected = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
        assert date_of(mail("a@x", Date=DATE)) == expected
        assert date_of(mail("a@x", Date="Tue, 24 Nov 2026 11:00:00 -0500 (EST)")) == expected
        assert date_of(mail("a@x", Date="24 Nov 2026 16:00:00 -0000")) == expected

    @pytest.mark.parametrize(
        "value", ["", "soon", "Tue, 24 Nov 99999999999 16:00:00 +0000", "Tue, 99 Nov 2026 16:00:00 +0000", "0" * 10_000]
    )
    def test_a_senseless_date_is_none(self, value: str) -> None:
        assert date_of(mail("a@x", Date=value)) is None

    def test_a_missing_date_is_none(self) -> None:
        assert date_of(mail("a@x")) is None

    @given(st.text(max_size=150))
    def test_any_text_is_read_without_an_error(self, value: str) -> None:
        date = date_of(read(b"Date: " + value.encode() + b"\r\n"))
        assert date is None or date.tzinfo is UTC
