"""A message as the rule sees it: authors, recipients, ids and parents."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import read
from engine.message import MAX_IDS_FIELD, MAX_PARENTS, MSG_ID, Message


def message(*lines: str) -> Message:
    """A message of these header lines."""
    return read("".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape") + b"\r\n")


class TestParties:
    def test_authors_and_recipients_are_read_as_written(self) -> None:
        found = message(
            "From: Ann <Ann@acme.example>", "To: kim@cust.example", "Cc: lee@cust.example", "Bcc: m@x.example"
        )
        assert found.authors == ("Ann@acme.example",)
        assert (found.to, found.cc, found.bcc) == (("kim@cust.example",), ("lee@cust.example",), ("m@x.example",))

    def test_a_field_written_twice_counts_twice(self) -> None:
        assert message("To: kim@cust.example", "To: lee@cust.example").to == ("kim@cust.example", "lee@cust.example")

    def test_sender_and_reply_to_are_no_authors(self) -> None:
        found = message("From: list@x.example", "Sender: kim@cust.example", "Reply-To: kim@cust.example")
        assert found.authors == ("list@x.example",)

    def test_an_empty_header_section_is_a_message_of_nobody(self) -> None:
        found = read(b"")
        assert found.authors == found.to == found.parents == ()
        assert found.message_id is None
        assert found.subject == ""


class TestMessageId:
    @pytest.mark.parametrize(
        ("value", "msg_id"),
        [
            ("<a@b>", "a@b"),
            ("< a@b >", "a@b"),
            ("a@b", "a@b"),
            ("<a@b", "a@b"),
            ("a@b>", "a@b"),
            ("<abc123>", "abc123"),
            ("abc123", "abc123"),
            ("<a,b@c>", "a,b@c"),
            ("<a@b> (added by relay@x)", "a@b"),
            ("", None),
            ("<>", None),
            ("< >", None),
        ],
    )
    def test_an_id_is_read_with_or_without_its_brackets(self, value: str, msg_id: str | None) -> None:
        assert message(f"Message-ID: {value}").message_id == msg_id

    def test_the_first_of_several_fields_counts(self) -> None:
        assert message("Message-ID: <a@b>", "Message-ID: <c@d>").message_id == "a@b"


class TestParents:
    def test_the_nearest_parent_comes_first_and_each_once(self) -> None:
        found = message("In-Reply-To: <3@x>", "References: <1@x> <2@x> <3@x>")
        assert found.parents == ("3@x", "2@x", "1@x")

    @pytest.mark.parametrize(
        "value",
        [
            "<1@x> <2@x>",
            "<1@x>\r\n <2@x>",
            "<1@x>\r\n\t<2@x>",
            "<1@x>,<2@x>",
            "<1@x>, <2@x>",
            "<1@x><2@x>",
            "1@x 2@x",
            "1@x, 2@x",
            "<1@x <2@x>",
            "1@x> <2@x>",
            "1@x <2@x>",
            "<1@x> 2@x",
            '"1@x"; 2@x',
        ],
    )
    def test_folding_commas_and_missing_brackets_are_tolerated(self, value: str) -> None:
        assert message(f"References: {value}").references == ("1@x", "2@x")

    def test_words_about_the_parent_are_no_ids(self) -> None:
        found = message('In-Reply-To: Your message of "Tue, 24 Nov 2026" <1@x>')
        assert found.in_reply_to == ("1@x",)

    def test_a_message_is_not_its_own_parent(self) -> None:
        assert message("Message-ID: <1@x>", "References: <1@x> <2@x>").parents == ("2@x",)

    def test_the_number_of_parents_is_bounded_and_the_nearest_are_kept(self) -> None:
        found = message("References: " + " ".join(f"<{number}@x>" for number in range(1000)))
        assert len(found.parents) == MAX_PARENTS
        assert found.parents[0] == "999@x"

    def test_an_endless_field_is_read_from_its_end(self) -> None:
        found = message("References: " + "<1@x> " * MAX_IDS_FIELD + "<2@x>")
        assert found.parents[:2] == ("2@x", "1@x")

    @pytest.mark.parametrize("unit", ["a", "<", "< ", "a ", "<a", "@", "a@", '"', "<a "])
    def test_no_character_that_could_be_of_an_id_is_looked_at_twice(self, unit: str) -> None:
        # A search that passes over a letter will try the letters behind it again, once for each it passed over.
        text = unit * 1000
        assert not re.search(r"[^<>\s,;\"]", MSG_ID.sub("", text))


class TestReplies:
    def test_in_reply_to_or_references_make_a_reply(self) -> None:
        assert message("In-Reply-To: <1@x>").is_reply
        assert message("References: <1@x>").is_reply
        assert not message("Subject: Offer").is_reply


@given(st.binary(max_size=300))
def test_any_octets_are_a_message(section: bytes) -> None:
    found = read(section)
    assert found.message_id is None or found.message_id
    assert found.message_id not in found.parents
    assert isinstance(found.subject, str)
    assert found.content_type == found.content_type.lower()
