"""`onrecord emails`, `show`, `decisions` and `explain` on a log that the real engine, parser and store have written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from log_writer import LogWriter, message

from engine.decision import Source
from store.entry import EntryKind

EMAIL_FIELDS = [
    "id",
    "portal",
    "message_id",
    "direction",
    "subject",
    "date",
    "from",
    "to",
    "cc",
    "contacts",
    "user",
    "attribution",
    "reason",
    "flags",
    "captures",
    "thread",
    "attachments",
    "size",
]
DECISION_FIELDS = [
    "at",
    "portal",
    "source",
    "decision",
    "reason",
    "direction",
    "contacts",
    "user",
    "attribution",
    "flags",
    "explanation",
]
AT = 1_795_516_200.25  # 2026-11-24T10:30:00.250Z

MULTIPART = (
    b"From: Ann <ann@acme.example>\r\nTo: Kim <Kim@cust.example>, x@stranger.example\r\nCc: lee@cust.example\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Tue, 24 Nov 2026 11:00:00 +0100\r\nMessage-ID: <m@acme.example>\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\x1b[2J Kim\r\n"
    b'--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename="offer.pdf"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n--b--\r\n"
)


def log(installation: Any, what: Callable[[LogWriter], Awaitable[Any]]) -> Any:
    return installation.work(lambda _, writer: what(writer))


class TestEmails:
    def test_an_email_has_exactly_the_documented_fields(self, sample: Any) -> None:
        recipients = ["kim@cust.example", "x@stranger.example", "lee@cust.example"]
        log(sample, lambda writer: writer.passes(MULTIPART, recipients=recipients, at=AT))
        (email,) = sample.done("emails", "--json").json
        assert list(email) == EMAIL_FIELDS
        assert email == {
            "id": email["id"],
            "portal": "P1",
            "message_id": "m@acme.example",
            "direction": "outgoing",
            "subject": "Grüße",
            "date": "2026-11-24T10:00:00Z",
            "from": ["ann@acme.example"],
            "to": ["Kim@cust.example", "x@stranger.example"],
            "cc": ["lee@cust.example"],
            "contacts": ["kim@cust.example", "lee@cust.example"],
            "user": "ann@acme.example",
            "attribution": "author",
            "reason": "sent_to_contact",
            "flags": [],
            "captures": [{"source": "relay", "at": "2026-11-24T10:30:00.250Z"}],
            "thread": email["thread"],
            "attachments": [{"name": "offer.pdf", "type": "application/pdf", "size": 5}],
            "size": len(MULTIPART),
        }
        assert sample.done("show", str(email["id"]), "--json").json == email

    def test_who_was_only_in_the_envelope_is_a_contact_of_it_but_in_neither_to_nor_cc(self, sample: Any) -> None:
        content = message(to="x@stranger.example")
        log(sample, lambda writer: writer.passes(content, recipients=["x@stranger.example", "kim@cust.example"]))
        (email,) = sample.done("emails", "--json").json
        assert email["contacts"] == ["kim@cust.example"]
        assert email["to"] == ["x@stranger.example"]
        assert email["cc"] == []
        assert "bcc" not in email

    def test_the_newest_capture_comes_first_and_a_limit_takes_the_newest(self, sample: Any) -> None:
        async def three(writer: LogWriter) -> None:
            for number, at in enumerate((AT + 2, AT, AT + 1)):
                await writer.passes(message(message_id=f"<{number}@acme.example>", subject=f"{number}"), at=at)

        log(sample, three)
        ids = [each["message_id"] for each in sample.done("emails", "--json").json]
        assert ids == ["0@acme.example", "2@acme.example", "1@acme.example"]
        assert [each["message_id"] for each in sample.done("emails", "--limit", "2", "--json").json] == ids[:2]

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--contact", "kim.k@gmail.com"], ["kim"]),
            (["--contact", "lee@cust.example"], ["lee"]),
            (["--contact", "max@other.example"], []),
            (["--user", "sales@acme.example"], ["kim"]),
            (["--user", "bob@acme.example"], ["lee"]),
            (["--direction", "outgoing"], ["lee", "kim"]),
            (["--direction", "incoming"], []),
            (["--since", "2026-11-24T10:30:01"], ["lee"]),
            (["--since", "2026-11-24T11:30:01+01:00"], ["lee"]),
            (["--since", "2026-11-24"], ["lee", "kim"]),
            (["--since", "2026-11-25"], []),
            (["--user", "ann@acme.example", "--contact", "lee@cust.example"], []),
        ],
    )
    def test_filters_narrow_the_list(self, sample: Any, words: list[str], expected: list[str]) -> None:
        async def two(writer: LogWriter) -> None:
            await writer.passes(message(message_id="<kim>"), at=AT)
            content = message("bob@acme.example", "lee@cust.example", message_id="<lee>")
            await writer.passes(content, login="bob@acme.example", at=AT + 1)

        log(sample, two)
        assert [each["message_id"] for each in sample.done("emails", *words, "--json").json] == expected

    def test_since_takes_a_span_of_time(self, sample: Any) -> None:
        async def two(writer: LogWriter) -> None:
            await writer.passes(message(message_id="<old>"), at=time.time() - 3 * 86400)
            await writer.passes(message(message_id="<new>", subject="new"))

        log(sample, two)
        for span, expected in (("2d", ["new"]), ("4d", ["new", "old"]), ("12h", ["new"]), ("90m", ["new"])):
            found = sample.done("emails", "--since", span, "--json").json
            assert [each["message_id"] for each in found] == expected

    @pytest.mark.parametrize(
        ("words", "status", "complaint"),
        [
            (["--since", "yesterday"], 2, "'yesterday' is no time; write 2026-11-24"),
            (["--direction", "sideways"], 2, "'sideways' is not one of 'outgoing', 'incoming'"),
            (["--limit", "0"], 2, "'--limit': Input should be greater than or equal to 1"),
            (["--contact", "x@y.example"], 1, "'x@y.example' is on no contact of P1; see: onrecord contact list"),
            (["--user", "x@y.example"], 1, "'x@y.example' is no user of P1; see: onrecord user list"),
        ],
    )
    def test_a_wrong_filter_is_refused(self, sample: Any, words: list[str], status: int, complaint: str) -> None:
        assert complaint in sample.refused("emails", *words, status=status)

    def test_people_get_a_table_that_cannot_steer_their_terminal(self, sample: Any) -> None:
        content = message(subject="Offer \x1b]0;owned\x07 [b]bold[/b]")
        log(sample, lambda writer: writer.passes(content))
        text = sample.done("emails").text
        assert "[b]bold[/b]" in text
        assert "\x1b" not in text
        assert "\x07" not in text

    def test_an_empty_log_points_to_the_decisions(self, sample: Any) -> None:
        assert sample.done("emails", "--json").json == []
        assert "onrecord decisions" in sample.done("emails").error

    def test_a_duplicate_is_one_email_with_two_captures(self, sample: Any) -> None:
        async def twice(writer: LogWriter) -> None:
            await writer.passes(message(), key="a", at=AT)
            await writer.passes(message(), key="b", source=Source.OBSERVER, at=AT + 5)

        log(sample, twice)
        (email,) = sample.done("emails", "--json").json
        assert [each["source"] for each in email["captures"]] == ["relay", "observer"]


class TestShow:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(MULTIPART, id="multipart"),
            pytest.param(message(body=".\r\n..\r\n\x00"), id="dots"),
            pytest.param(message().replace(b"Hello", bytes(range(128, 256))), id="octets that are no text"),
            pytest.param(message(body="x" * 3_500_000 + "\r\n"), id="several parts"),
            pytest.param(message(body=""), id="no body"),
        ],
    )
    def test_raw_gives_the_very_octets(self, sample: Any, content: bytes) -> None:
        log(sample, lambda writer: writer.passes(content, recipients=["kim@cust.example"]))
        (email,) = sample.done("emails", "--json").json
        assert sample.done("show", str(email["id"]), "--raw").raw == content

    def test_the_program_itself_gives_the_very_octets(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(MULTIPART, recipients=["kim@cust.example"]))
        done = sample.program("-c", str(sample.config), "show", "1", "--raw")
        assert done.returncode == 0
        assert done.stdout == MULTIPART
        assert done.stderr == b""

    def test_people_get_fields_and_text_that_cannot_steer_their_terminal(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(MULTIPART, recipients=["kim@cust.example"]))
        text = sample.done("show", "1").text
        for expected in ("Grüße", "offer.pdf (application/pdf, 5)", "sent_to_contact", "Hello\ufffd[2J Kim"):
            assert expected in text
        assert "\x1b" not in text

    def test_an_unknown_id_is_named(self, sample: Any) -> None:
        assert "there is no logged email with the id 7; see: onrecord emails" in sample.refused("show", "7")
        assert "with the id 7" in sample.refused("show", "7", "--raw")
        assert "with the id 7 in portal P1" in sample.refused("show", "7", "--portal", "P1", "--json")
        assert "'ID': Input should be a valid integer" in sample.refused("show", "seven", status=2)

    def test_an_email_of_another_portal_is_not_shown_under_this_one(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(message()))
        sample.done("portal", "add", "P2")
        assert sample.done("show", "1", "--json").json["portal"] == "P1"
        assert "in portal P2" in sample.refused("show", "1", "--portal", "P2")

    def test_content_that_was_damaged_is_said_to_be(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(message(body="x" * 1_500_000)))
        database = sqlite3.connect(sample.folder / "onrecord.sqlite")
        database.execute("delete from content_part where number = 1")
        database.commit()
        database.close()
        outcome = sample.run("show", "1", "--raw")
        assert outcome.status == 1
        assert "the content of email 1 is damaged or missing" in outcome.error


class TestDecisions:
    def test_a_decision_has_exactly_the_documented_fields(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(message(), at=AT))
        (decision,) = sample.done("decisions", "--json").json
        assert list(decision) == DECISION_FIELDS
        assert decision == {
            "at": "2026-11-24T10:30:00.250Z",
            "portal": "P1",
            "source": "relay",
            "decision": "log",
            "reason": "sent_to_contact",
            "direction": "outgoing",
            "contacts": ["kim@cust.example"],
            "user": "ann@acme.example",
            "attribution": "author",
            "flags": [],
            "explanation": decision["explanation"],
        }
        assert decision["explanation"].startswith("Logged: ann@acme.example sent it to kim@cust.example")

    def test_a_skip_keeps_no_subject_and_is_found_by_its_message_id(self, sample: Any) -> None:
        async def two(writer: LogWriter) -> None:
            await writer.passes(message(to="x@stranger.example", subject="Secret plan", message_id="<skipped@a>"))
            await writer.passes(message(message_id="<logged@a>"))

        log(sample, two)
        assert len(sample.done("decisions", "--json").json) == 2
        for spelling in ("skipped@a", "<skipped@a>", " <skipped@a> "):
            (decision,) = sample.done("decisions", "--message-id", spelling, "--json").json
            assert decision["reason"] == "no_existing_contact"
            assert decision["decision"] == "skip"
        (logged,) = sample.done("decisions", "--message-id", "logged@a", "--json").json
        assert logged["decision"] == "log"
        assert b"Secret plan" not in (sample.folder / "onrecord.sqlite").read_bytes()

    def test_a_skip_is_found_by_an_outside_address(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(message(to="x@stranger.example")))
        assert len(sample.done("decisions", "--address", "X@Stranger.example", "--json").json) == 1
        assert sample.done("decisions", "--address", "y@stranger.example", "--json").json == []

    def test_an_unknown_message_id_is_an_empty_list_and_says_what_it_may_mean(self, sample: Any) -> None:
        assert sample.done("decisions", "--message-id", "nobody@a", "--json").json == []
        error = sample.done("decisions", "--message-id", "nobody@a").error
        assert "<nobody@a>" in error
        assert "recorder.keep_skipped_days" in error

    def test_the_newest_comes_first_and_a_limit_takes_the_newest(self, sample: Any) -> None:
        async def three(writer: LogWriter) -> None:
            for number in range(3):
                await writer.passes(message(message_id=f"<{number}@a>"), at=AT + number)

        log(sample, three)
        found = sample.done("decisions", "--limit", "2", "--json").json
        assert [each["at"][17:19] for each in found] == ["02", "01"]
        assert "sent_to_contact" in sample.done("decisions").text


class TestExplain:
    def test_a_logged_message_explains_itself(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(message()))
        found = sample.done("explain", "<1@acme.example>", "--json").json
        assert list(found) == ["message_id", "decisions", "email", "explanation"]
        assert found["message_id"] == "1@acme.example"
        assert found["decisions"] == sample.done("decisions", "--json").json
        assert found["email"] == sample.done("show", "1", "--json").json
        assert found["explanation"] == found["decisions"][0]["explanation"]
        assert sample.done("explain", "1@acme.example", "--json").json == found
        text = sample.done("explain", "1@acme.example").text
        assert found["explanation"] in text
        assert "onrecord show 1" in text

    def test_a_skipped_message_explains_itself(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(message(to="x@stranger.example")))
        found = sample.done("explain", "1@acme.example", "--json").json
        assert found["email"] is None
        assert [each["reason"] for each in found["decisions"]] == ["no_existing_contact"]
        assert found["explanation"].startswith("Not logged: ")

    def test_an_unknown_id_says_what_was_looked_for_and_why_it_may_be_missing(self, sample: Any) -> None:
        complaint = sample.refused("explain", "<nobody@a>")
        for expected in ("<nobody@a>", "no relay of this installation", "no user of this portal", "older than"):
            assert expected in complaint
        outcome = sample.run("explain", "<nobody@a>", "--json")
        assert outcome.status == 1
        assert outcome.json | {"explanation": ""} == {
            "message_id": "nobody@a",
            "decisions": [],
            "email": None,
            "explanation": "",
        }
        assert outcome.json["explanation"] in complaint

    @pytest.mark.parametrize(
        ("gap", "told"),
        [("capture_failed", "it could not be kept (OSError)"), ("outcome_unknown", "may have been sent or not")],
    )
    def test_an_open_gap_is_told_and_a_closed_one_is_not(self, sample: Any, gap: str, told: str) -> None:
        log(sample, lambda writer: writer.passes(message(), kind=EntryKind.GAP, gap=gap, key="g", at=AT))
        found = sample.done("explain", "1@acme.example", "--json").json
        assert found["decisions"] == []
        assert found["email"] is None
        assert "Missing from the log" in found["explanation"]
        assert "2026-11-24T10:30:00Z" in found["explanation"]
        assert told in found["explanation"]
        assert "ann@acme.example sent it to kim@cust.example" in found["explanation"]
        assert "Missing from the log" in sample.done("explain", "1@acme.example").text
        log(sample, lambda writer: writer.passes(message(), key="resent", at=AT + 60))
        found = sample.done("explain", "1@acme.example", "--json").json
        assert "Missing" not in found["explanation"]
        assert found["email"] is not None

    def test_the_decision_that_made_the_record_is_told_though_a_later_one_skipped(self, sample: Any) -> None:
        async def twice(writer: LogWriter) -> None:
            await writer.passes(message(), key="first", at=AT)
            await writer.passes(message(), key="again", recipients=["x@stranger.example"], at=AT + 1)

        log(sample, twice)
        found = sample.done("explain", "1@acme.example", "--json").json
        assert [each["decision"] for each in found["decisions"]] == ["skip", "log"]
        assert found["explanation"].startswith("Logged: ")

    def test_an_id_that_several_messages_carry_names_them_all(self, sample: Any) -> None:
        async def twice(writer: LogWriter) -> None:
            await writer.passes(message(), key="first")
            await writer.passes(message(subject="Another"), key="second")

        log(sample, twice)
        found = sample.done("explain", "1@acme.example", "--json").json
        assert found["email"]["id"] == 1
        assert "emails 1, 2" in found["explanation"]

    def test_another_portal_does_not_know_the_id(self, sample: Any) -> None:
        log(sample, lambda writer: writer.passes(message()))
        sample.done("portal", "add", "P2")
        assert "Nothing is known" in sample.refused("explain", "1@acme.example", "--portal", "P2")
        assert sample.done("explain", "1@acme.example", "--portal", "P1", "--json").json["email"]["portal"] == "P1"
