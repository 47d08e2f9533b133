"""What makes two captures the same message (rules.md 6.1, 6.2)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import mail

from engine import read
from engine.fingerprint import date_of, fingerprint, identity, normalised_subject

DATE = "Tue, 24 Nov 2026 16:00:00 +0000"
BODY = "0" * 64


def print_of(
    author: str = "ann@acme.example", *to: str, cc: tuple[str, ...] = (), body: str = BODY, **fields: str
) -> str:
    fields.setdefault("Date", DATE)
    fields.setdefault("Subject", "Offer")
    return fingerprint(mail(author, *(to or ("kim@cust.example",)), cc=cc, **fields), body)


class TestIdentity:
    def test_it_is_the_id_and_the_author(self) -> None:
        one = identity(mail("Ann <Ann@acme.example>", Message_ID="<1@x>"))
        assert one == identity(mail("ann@ACME.example", Message_ID="1@x"))
        assert one != identity(mail("bob@acme.example", Message_ID="<1@x>"))
        assert one != identity(mail("ann@acme.example", Message_ID="<2@x>"))

    def test_without_an_id_or_an_author_there_is_none(self) -> None:
        assert identity(mail("ann@acme.example")) is None
        assert identity(mail("ann@acme.example", Message_ID="<>")) is None
        assert identity(read(b"Message-ID: <1@x>\r\n")) is None


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
        assert many == "badace2047d812f611a0dd9f95c81e09a3e2c08dd49a8ae44f4b7ac98a1ccf51"

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
        assert len(fingerprint(read(section), BODY)) == 64


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
