"""Kept decisions judged anew (rules.md 7.5): every reason has its answer, and none is a guess."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.decision import ContactRef, Decision, Direction, Outcome, Reason, Source, UserRef
from engine.directory import Contact, NeverLogScope, Portal, Rule, Switches, User
from engine.reevaluation import Kept, Verdict, reconsider

PORTAL = Portal(id=1, name="P1", rule=Rule.ALL)
KIM = Contact(id=1, primary="kim@cust.example", addresses=frozenset({"kim@cust.example", "kimk@gmail.com"}))
LEE = Contact(id=2, primary="lee@cust.example", addresses=frozenset({"lee@cust.example"}))
ANN = User(id=1, account="ann@acme.example", connected=frozenset({"ann@acme.example"}), personal_email_access=True)
LOGGED = (
    Reason.SENT_TO_CONTACT, Reason.RECEIVED_FROM_CONTACT, Reason.REPLY_TO_LOGGED, Reason.BCC_ADDRESS,
    Reason.FORWARDING_ADDRESS, Reason.MANUAL_LOG,
)  # fmt: skip
JUDGED_AGAIN = {
    Reason.MODE_REPLIES_ONLY, Reason.THREAD_UNPROVEN, Reason.PENDING_PARENT, Reason.ALL_CONTACTS_NEVER_LOG,
    Reason.NEVER_LOG_MESSAGE_SCOPE, Reason.PERSONAL_NEVER_LOG, Reason.USER_NO_PERMISSION, Reason.USER_INACTIVE,
    Reason.USER_NOT_CONNECTED, Reason.AUTO_SUBMITTED, Reason.CALENDAR, Reason.BULK,
}  # fmt: skip


def skipped(reason: Reason, *, direction: Direction = Direction.OUTGOING, **more: Any) -> Kept:
    decision = Decision(
        portal=1,
        source=Source.RELAY,
        outcome=Outcome.SKIP,
        reason=reason,
        direction=direction,
        contacts=(ContactRef(id=1, address="kim@cust.example"),),
        user=UserRef(id=1, address="ann@acme.example"),
    )
    return Kept(**{"decision": decision, "contacts": [KIM], "user": ANN} | more)


def verdict(kept: Kept, portal: Portal = PORTAL) -> Verdict:
    return reconsider(kept, portal)[0]


@pytest.mark.parametrize("reason", [each for each in Reason if each not in LOGGED])
def test_what_ended_at_a_step_that_today_lets_through_is_logged_and_nothing_else(reason: Reason) -> None:
    expected = Verdict.LOG if reason in JUDGED_AGAIN else Verdict.SKIP
    assert verdict(skipped(reason)) is expected


@pytest.mark.parametrize("reason", sorted(JUDGED_AGAIN))
def test_replies_only_logs_nothing_that_a_user_sent(reason: Reason) -> None:
    assert verdict(skipped(reason), replace(PORTAL, rule=Rule.REPLIES_ONLY)) is Verdict.SKIP


@pytest.mark.parametrize("answers", [True, False])
def test_replies_only_logs_what_answers_a_logged_message(answers: bool) -> None:
    kept = skipped(Reason.THREAD_UNPROVEN, direction=Direction.INCOMING, answers_logged=answers)
    expected = Verdict.LOG if answers else Verdict.SKIP
    assert verdict(kept, replace(PORTAL, rule=Rule.REPLIES_ONLY)) is expected


@pytest.mark.parametrize("entry", ["kim@cust.example", "cust.example", "kim.k@gmail.com", "gmail.com"])
def test_a_contact_that_is_never_logged_today_by_any_address_is_left_out(entry: str) -> None:
    kept = skipped(Reason.MODE_REPLIES_ONLY, contacts=[KIM, LEE])
    found = reconsider(kept, replace(PORTAL, never_log=(entry,)))
    expected = [LEE] if entry != "cust.example" else []
    assert found == (Verdict.LOG if expected else Verdict.SKIP, tuple(expected))
    personal = skipped(Reason.MODE_REPLIES_ONLY, user=replace(ANN, never_log=(entry,)))
    assert verdict(personal) is Verdict.SKIP


@pytest.mark.parametrize(
    "user",
    [
        replace(ANN, active=False),
        replace(ANN, personal_email_access=False),
        replace(ANN, connected=frozenset()),
    ],
)
def test_a_user_who_does_not_open_the_gate_today_bars_it(user: User) -> None:
    assert verdict(skipped(Reason.MODE_REPLIES_ONLY, user=user)) is Verdict.SKIP


@pytest.mark.parametrize(
    ("reason", "switch"),
    [
        (Reason.AUTO_SUBMITTED, "log_auto_submitted"),
        (Reason.CALENDAR, "log_calendar"),
        (Reason.BULK, "log_bulk"),
    ],
)
def test_a_switch_that_is_still_off_keeps_it_out(reason: Reason, switch: str) -> None:
    portal = replace(PORTAL, switches=replace(Switches(), **{switch: False}))
    assert verdict(skipped(reason), portal) is Verdict.SKIP


class TestUnknown:
    def test_whether_a_contact_made_since_wrote_it(self) -> None:
        kept = skipped(Reason.NO_EXISTING_CONTACT, direction=Direction.INCOMING, is_new=True)
        assert verdict(kept) is Verdict.UNKNOWN
        assert verdict(replace(kept, is_new=False)) is Verdict.SKIP

    def test_what_a_user_sent_to_a_contact_made_since_is_known(self) -> None:
        assert verdict(skipped(Reason.NO_EXISTING_CONTACT, is_new=True)) is Verdict.LOG

    def test_whom_else_a_barred_message_names(self) -> None:
        switches = replace(Switches(), never_log_scope=NeverLogScope.MESSAGE)
        portal = replace(PORTAL, switches=switches, never_log=("secret.example",))
        assert verdict(skipped(Reason.NEVER_LOG_MESSAGE_SCOPE), portal) is Verdict.UNKNOWN
        assert verdict(skipped(Reason.NEVER_LOG_MESSAGE_SCOPE), replace(portal, never_log=())) is Verdict.LOG

    def test_whose_it_was_when_the_user_is_not_kept(self) -> None:
        kept = skipped(Reason.ALL_CONTACTS_NEVER_LOG, direction=Direction.INCOMING, user=None)
        assert verdict(kept) is Verdict.UNKNOWN


@pytest.mark.parametrize("reason", LOGGED)
def test_what_was_logged_stays_by_all_and_by_replies_only_where_it_was_asked_for_or_answers(reason: Reason) -> None:
    decision = replace(skipped(reason).decision, outcome=Outcome.LOG)
    kept = replace(skipped(reason), decision=decision)
    assert verdict(kept) is Verdict.LOG
    by_rule = reason in (Reason.SENT_TO_CONTACT, Reason.RECEIVED_FROM_CONTACT)
    expected = Verdict.SKIP if by_rule else Verdict.LOG
    assert verdict(kept, replace(PORTAL, rule=Rule.REPLIES_ONLY)) is expected
