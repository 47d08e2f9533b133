"""What is not correspondence, and what is correspondence of a special kind (rules.md 3.7)."""

from __future__ import annotations

import pytest

from engine import read
from engine.correspondence import is_list_mail, kinds, why_no_correspondence
from engine.decision import Flag, Reason
from engine.directory import Switches


def header(*lines: str) -> bytes:
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n"


@pytest.mark.parametrize(
    ("content_type", "reason"),
    [
        ("multipart/report; report-type=delivery-status; boundary=x", Reason.BOUNCE),
        ('Multipart/Report; boundary="x";\r\n\tReport-Type="Delivery-Status"', Reason.BOUNCE),
        ("multipart/report; boundary=x", Reason.BOUNCE),
        ("multipart/report; report-type=disposition-notification; boundary=x", Reason.RECEIPT),
        ('multipart/report;\r\n report-type="disposition-notification"', Reason.RECEIPT),
        ("multipart/report; report-type=feedback-report; boundary=x", None),
        ("multipart/mixed; boundary=delivery-status", None),
        ("text/plain; report-type=delivery-status", None),
        ("", None),
    ],
)
def test_delivery_reports_and_receipts_are_no_correspondence(content_type: str, reason: Reason | None) -> None:
    assert why_no_correspondence(read(header(f"Content-Type: {content_type}"))) is reason


def test_a_message_without_content_type_is_correspondence() -> None:
    assert why_no_correspondence(read(header("From: kim@cust.example"))) is None


@pytest.mark.parametrize("field", ["List-Id: <team.x.example>", "list-post: <mailto:team@x.example>"])
def test_a_list_names_itself(field: str) -> None:
    assert is_list_mail(read(header(field)))


@pytest.mark.parametrize("field", ["List-Unsubscribe: <mailto:x@x.example>", "Precedence: list", "Subject: List-Id"])
def test_other_fields_make_no_list(field: str) -> None:
    assert not is_list_mail(read(header(field)))


@pytest.mark.parametrize(
    ("field", "flags"),
    [
        ("Auto-Submitted: auto-replied", {Flag.AUTO_SUBMITTED}),
        ("Auto-Submitted: Auto-Generated; owner-email=x@x.example", {Flag.AUTO_SUBMITTED}),
        ("Auto-Submitted: notified", {Flag.AUTO_SUBMITTED}),
        ("Auto-Submitted: no", set()),
        ("Auto-Submitted: No (sent by hand)", set()),
        ("X-Autoreply: yes", {Flag.AUTO_SUBMITTED}),
        ("X-Autorespond: away", {Flag.AUTO_SUBMITTED}),
        ("Content-Type: text/calendar; method=REQUEST", {Flag.CALENDAR}),
        ("Content-Class: urn:content-classes:calendarmessage", {Flag.CALENDAR}),
        ("Content-Class: urn:content-classes:message", set()),
        ("X-Microsoft-CDO-Busystatus: BUSY", {Flag.CALENDAR}),
        ("Precedence: bulk", {Flag.BULK}),
        ("Precedence: Junk", {Flag.BULK}),
        ("Precedence: list", {Flag.BULK}),
        ("Precedence: first-class", set()),
        ("List-Unsubscribe: <mailto:x@x.example>", {Flag.BULK}),
        ("Subject: bulk", set()),
    ],
)
def test_special_mail_is_flagged(field: str, flags: set[Flag]) -> None:
    assert kinds(read(header(field)), Switches()) == (flags, None)


@pytest.mark.parametrize(
    ("field", "switch", "reason"),
    [
        ("Auto-Submitted: auto-replied", "log_auto_submitted", Reason.AUTO_SUBMITTED),
        ("Content-Type: text/calendar", "log_calendar", Reason.CALENDAR),
        ("Precedence: bulk", "log_bulk", Reason.BULK),
    ],
)
def test_each_kind_has_a_switch_of_its_own(field: str, switch: str, reason: Reason) -> None:
    for each in ("log_auto_submitted", "log_calendar", "log_bulk"):
        _, skip = kinds(read(header(field)), Switches(**{each: False}))
        assert skip is (reason if each == switch else None)


def test_one_message_may_be_of_several_kinds() -> None:
    message = read(header("Auto-Submitted: auto-generated", "Precedence: bulk", "Content-Type: text/calendar"))
    assert kinds(message, Switches())[0] == {Flag.AUTO_SUBMITTED, Flag.BULK, Flag.CALENDAR}
