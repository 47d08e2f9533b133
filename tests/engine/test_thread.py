"""Answers to logged mail (rules.md section 4): who joins a thread by what, and what waits for its parents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import ANN, BOB, EVE, KIM, LEE, MAX, answer, changed, mail, passing, portal, seen, thread

from engine import decide, explain, waits_for_parents
from engine.decision import Attribution, Decision, Direction, Flag, Outcome, Reason
from engine.directory import Ancestor, Answer, NeverLogScope, Rule, Switches, Thread
from engine.message import Message
from engine.thread import join

REPLY = mail("kim@cust.example", "ann@acme.example", In_Reply_To="<1@acme.example>", Subject="Re: Offer")
STRANGER = mail("assistant@cust.example", "ann@acme.example", In_Reply_To="<1@acme.example>", Subject="Re: Offer")
REFERRING = mail("assistant@cust.example", "ann@acme.example", References="<1@acme.example>", Subject="Re: Offer")
IN_ANNS_MAILBOX = seen("ann@acme.example")
MISSING = ("hash of an id",)


def replies(known: Thread | None, **more: Any) -> Answer:
    """The portal's answer where only replies are logged."""
    return answer(portal(Rule.REPLIES_ONLY, **more.pop("portal", {})), thread=known, **more)


def decided(message: Message, said: Answer, **capture: Any) -> Decision:
    return decide(seen("ann@acme.example", **capture), message, said)


class TestJoining:
    """Rules.md 4.2, on the values alone."""

    def test_without_a_thread_nothing_is_joined(self) -> None:
        assert join(REPLY, None, [KIM], Switches()) is None
        assert join(REPLY, thread(), [KIM], Switches()) is None

    @pytest.mark.parametrize("is_direct", [True, False])
    def test_a_contact_of_the_thread_joins_through_any_ancestor(self, is_direct: bool) -> None:
        joined = join(REPLY, thread(ANN, is_direct=is_direct), [KIM], Switches())
        assert joined is not None
        assert joined.is_matched
        assert joined.parent == ANN

    @pytest.mark.parametrize("senders", [[], [LEE]], ids=["nobody known", "a contact of another thread"])
    def test_anybody_else_must_answer_directly(self, senders: list[Any]) -> None:
        joined = join(STRANGER, thread(ANN), senders, Switches())
        assert joined is not None
        assert not joined.is_matched
        assert joined.contacts == (KIM,)
        assert join(STRANGER, thread(ANN, is_direct=False), senders, Switches()) is None

    def test_one_of_several_authors_is_enough(self) -> None:
        joined = join(REPLY, thread(ANN, is_direct=False), [LEE, KIM], Switches())
        assert joined is not None
        assert joined.is_matched

    def test_the_parent_is_who_wrote_the_nearest_outgoing_ancestor(self) -> None:
        joined = join(REPLY, thread(None, BOB, ANN), [KIM], Switches())
        assert joined is not None
        assert joined.parent == BOB

    def test_a_thread_that_contacts_wrote_alone_has_no_parent(self) -> None:
        joined = join(REPLY, thread(None, None), [KIM], Switches())
        assert joined is not None
        assert joined.parent is None


class TestSameSubject:
    """The switch `require_same_subject`."""

    ON = Switches(require_same_subject=True)

    @pytest.mark.parametrize("subject", ["Offer", "Re: Offer", "AW: WG: offer", "RE[2]:  OFFER"])
    def test_marks_do_not_count(self, subject: str) -> None:
        message = mail("kim@cust.example", "ann@acme.example", In_Reply_To="<1@x>", Subject=subject)
        assert join(message, thread(ANN, subject="Re: Offer"), [KIM], self.ON) is not None

    @pytest.mark.parametrize("senders", [[KIM], []])
    def test_another_subject_joins_only_while_it_is_off(self, senders: list[Any]) -> None:
        message = mail("kim@cust.example", "ann@acme.example", In_Reply_To="<1@x>", Subject="Another matter")
        assert join(message, thread(ANN), senders, Switches()) is not None
        assert join(message, thread(ANN), senders, self.ON) is None

    def test_one_ancestor_with_the_subject_is_enough_for_a_contact_and_must_be_the_direct_one_for_others(self) -> None:
        ancestors = (
            Ancestor(email=2, is_direct=True, author=None, subject="Another"),
            Ancestor(email=1, is_direct=False, author=ANN, subject="Offer"),
        )
        known = Thread(ancestors=ancestors, contacts=(KIM,))
        assert join(REPLY, known, [KIM], self.ON) is not None
        assert join(REPLY, known, [], self.ON) is None

    def test_the_decision_follows_it(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", In_Reply_To="<1@x>", Subject="Another matter")
        switched = {"switches": {"require_same_subject": True}}
        assert decided(message, replies(thread(ANN))).reason is Reason.REPLY_TO_LOGGED
        assert decided(message, replies(thread(ANN), portal=switched)).reason is Reason.THREAD_UNPROVEN


class TestDecision:
    @pytest.mark.parametrize("rule", Rule)
    def test_an_answer_to_logged_mail_belongs_to_who_wrote_that(self, rule: Rule) -> None:
        message = mail("kim@cust.example", "ann@acme.example", "bob@acme.example", In_Reply_To="<1@x>")
        decision = decided(message, answer(portal(rule), thread=thread(BOB)))
        assert (decision.outcome, decision.reason) == (Outcome.LOG, Reason.REPLY_TO_LOGGED)
        assert decision.attribution is Attribution.PARENT
        assert decision.user is not None
        assert decision.user.id == BOB.id

    @pytest.mark.parametrize(
        "parent",
        [EVE, changed(BOB, never_log=("kim@cust.example",))],
        ids=["inactive", "has barred the sender"],
    )
    def test_else_the_other_rules_decide(self, parent: Any) -> None:
        decision = decided(REPLY, replies(thread(parent), users=[parent]))
        assert decision.attribution is Attribution.SINGLE_RECIPIENT
        assert decision.user is not None
        assert decision.user.id == ANN.id

    @pytest.mark.parametrize("rule", Rule)
    def test_a_stranger_who_answers_directly_logs_to_the_contacts_of_the_thread(self, rule: Rule) -> None:
        decision = decided(STRANGER, answer(portal(rule), thread=thread(ANN, contacts=[KIM, MAX])))
        assert decision.reason is Reason.REPLY_TO_LOGGED
        assert [each.id for each in decision.contacts] == [KIM.id, MAX.id]
        assert decision.flags == {Flag.UNMATCHED_SENDER}
        assert decision.creates == ()
        assert "from another address" in explain(decision)

    @pytest.mark.parametrize("rule", Rule)
    def test_a_stranger_who_only_refers_to_it_has_proven_nothing(self, rule: Rule) -> None:
        decision = decided(REFERRING, answer(portal(rule), thread=thread(ANN, is_direct=False)))
        assert (decision.outcome, decision.reason) == (Outcome.SKIP, Reason.THREAD_UNPROVEN)
        assert "answers none of it directly" in explain(decision)

    def test_a_contact_of_the_portal_who_only_refers_to_a_thread_of_others_has_proven_nothing(self) -> None:
        message = mail("lee@cust.example", "ann@acme.example", References="<1@x>")
        said = replies(thread(ANN, is_direct=False))
        assert decided(message, said, waited=True).reason is Reason.THREAD_UNPROVEN

    def test_a_contact_who_answers_a_thread_of_others_logs_to_both(self) -> None:
        message = mail("lee@cust.example", "ann@acme.example", In_Reply_To="<1@x>")
        decision = decided(message, replies(thread(ANN)))
        assert [each.id for each in decision.contacts] == [LEE.id, KIM.id]
        assert decision.flags == {Flag.UNMATCHED_SENDER}

    def test_a_thread_without_contacts_gives_a_stranger_nobody_to_log_to(self) -> None:
        assert decided(STRANGER, answer(thread=thread(ANN, contacts=[]))).reason is Reason.NO_EXISTING_CONTACT

    def test_the_gate_is_asked_when_the_answer_arrives(self) -> None:
        shut = changed(ANN, personal_email_access=False)
        assert decided(REPLY, replies(thread(shut), users=[shut])).reason is Reason.USER_NO_PERMISSION

    def test_an_answer_to_a_user_who_disconnected_the_mailbox_says_so(self) -> None:
        alone = changed(ANN, connected=frozenset())
        decision = decide(passing("ann@acme.example"), REPLY, replies(thread(alone), users=[alone]))
        assert decision.reason is Reason.USER_NOT_CONNECTED
        unknown = decide(passing("ann@acme.example"), REPLY, replies(None, users=[alone]))
        assert unknown.reason is Reason.NO_ELIGIBLE_USER

    def test_a_blind_switch_still_counts(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", In_Reply_To="<1@x>", Auto_Submitted="auto-replied")
        assert decided(message, replies(thread(ANN))).flags == {Flag.AUTO_SUBMITTED}
        off = {"switches": {"log_auto_submitted": False}}
        assert decided(message, replies(thread(ANN), portal=off)).reason is Reason.AUTO_SUBMITTED


class TestNeverLogInThreads:
    def test_a_contact_of_the_thread_who_is_barred_is_left_out(self) -> None:
        known = thread(ANN, contacts=[KIM, MAX])
        decision = decided(STRANGER, replies(known, portal={"never_log": ("max@other.example",)}))
        assert [each.id for each in decision.contacts] == [KIM.id]

    def test_when_all_are_barred_nothing_is_logged(self) -> None:
        decision = decided(STRANGER, replies(thread(ANN), portal={"never_log": ("kim@cust.example",)}))
        assert decision.reason is Reason.ALL_CONTACTS_NEVER_LOG

    @pytest.mark.parametrize("author", ["assistant@cust.example", "lee@cust.example"])
    def test_an_author_who_is_barred_does_not_log_to_the_others(self, author: str) -> None:
        message = mail(author, "ann@acme.example", In_Reply_To="<1@x>")
        assert decided(message, replies(thread(ANN))).outcome is Outcome.LOG
        decision = decided(message, replies(thread(ANN), portal={"never_log": (author,)}))
        assert decision.reason is Reason.ALL_CONTACTS_NEVER_LOG

    def test_one_barred_address_bars_the_message_with_the_switch(self) -> None:
        whole = {"never_log": ("x@x.example",), "switches": {"never_log_scope": NeverLogScope.MESSAGE}}
        message = mail("kim@cust.example", "ann@acme.example", "x@x.example", In_Reply_To="<1@x>")
        assert decided(message, replies(thread(ANN), portal=whole)).reason is Reason.NEVER_LOG_MESSAGE_SCOPE

    def test_a_personal_entry_for_the_author_takes_its_user_out(self) -> None:
        ann = changed(ANN, never_log=("assistant@cust.example",))
        assert decided(STRANGER, replies(thread(ann), users=[ann])).reason is Reason.PERSONAL_NEVER_LOG
        message = mail("assistant@cust.example", "ann@acme.example", "bob@acme.example", In_Reply_To="<1@x>")
        decision = decided(message, replies(thread(ann), users=[ann]))
        assert decision.user is not None
        assert decision.user.id == BOB.id


class TestWaiting:
    """Rules.md 4.5."""

    def test_an_answer_to_what_may_still_be_logged_waits(self) -> None:
        said = replies(thread(missing=MISSING))
        decision = decided(REPLY, said)
        assert (decision.reason, decision.direction) == (Reason.PENDING_PARENT, Direction.INCOMING)
        assert waits_for_parents(decision, REPLY, said)

    def test_after_the_window_it_is_unproven(self) -> None:
        said = replies(thread(missing=MISSING))
        decision = decided(REPLY, said, waited=True)
        assert decision.reason is Reason.THREAD_UNPROVEN
        assert not waits_for_parents(decision, REPLY, said)

    def test_a_contact_who_may_still_become_one_of_the_thread_waits(self) -> None:
        said = replies(thread(ANN, is_direct=False, contacts=[LEE]))
        decision = decided(REPLY, said)
        assert decision.reason is Reason.PENDING_PARENT
        assert waits_for_parents(decision, REPLY, said)
        assert decided(REPLY, said, waited=True).reason is Reason.THREAD_UNPROVEN

    def test_where_nothing_can_come_any_more_nothing_waits(self) -> None:
        said = replies(thread(ANN, subject="Another"), portal={"switches": {"require_same_subject": True}})
        decision = decided(REPLY, said)
        assert decision.reason is Reason.THREAD_UNPROVEN
        assert not waits_for_parents(decision, REPLY, said)

    @pytest.mark.parametrize("rule", Rule)
    def test_a_stranger_waits_for_what_it_answers_directly(self, rule: Rule) -> None:
        said = answer(portal(rule), thread=thread(missing=MISSING))
        decision = decided(STRANGER, said)
        assert decision.reason is Reason.PENDING_PARENT
        assert waits_for_parents(decision, STRANGER, said)
        assert decided(STRANGER, said, waited=True).reason is Reason.NO_EXISTING_CONTACT

    def test_a_stranger_does_not_wait_for_a_reference(self) -> None:
        assert decided(REFERRING, replies(thread(missing=MISSING))).reason is Reason.NO_EXISTING_CONTACT

    def test_whom_never_log_bars_does_not_wait(self) -> None:
        for message in (REPLY, STRANGER):
            barred = {"never_log": ("*@cust.example",)}
            said = replies(thread(missing=MISSING), portal=barred)
            assert decided(message, said).reason is Reason.ALL_CONTACTS_NEVER_LOG

    def test_where_the_gate_is_shut_nothing_waits(self) -> None:
        shut = changed(ANN, personal_email_access=False)
        assert decided(REPLY, replies(thread(missing=MISSING), users=[shut])).reason is Reason.USER_NO_PERMISSION

    def test_a_log_waits_too_because_its_parent_may_say_whose_it_is(self) -> None:
        said = answer(thread=thread(missing=MISSING))
        decision = decided(REPLY, said)
        assert decision.reason is Reason.RECEIVED_FROM_CONTACT
        assert waits_for_parents(decision, REPLY, said)

    def test_what_answers_nothing_does_not_wait(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example")
        said = replies(None)
        assert not waits_for_parents(decided(message, said), message, said)

    def test_what_a_user_sends_does_not_wait(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", In_Reply_To="<1@x>")
        said = replies(thread(missing=MISSING))
        decision = decided(message, said)
        assert decision.reason is Reason.MODE_REPLIES_ONLY
        assert not waits_for_parents(decision, message, said)

    @given(st.booleans(), st.booleans(), st.sampled_from([REPLY, STRANGER, REFERRING]), st.sampled_from(Rule))
    def test_nothing_is_pending_for_ever(self, is_direct: bool, is_missing: bool, message: Message, rule: Rule) -> None:
        known = thread(ANN, is_direct=is_direct, contacts=[LEE], missing=MISSING if is_missing else ())
        said = answer(portal(rule), thread=known)
        now, later = decided(message, said), decided(message, said, waited=True)
        assert later.reason is not Reason.PENDING_PARENT
        assert now.reason is not Reason.PENDING_PARENT or waits_for_parents(now, message, said)


class TestStopped:
    """Somebody asked that nothing more of the thread be logged."""

    @pytest.mark.parametrize("rule", Rule)
    def test_an_answer_in_a_stopped_thread_is_skipped(self, rule: Rule) -> None:
        stopped = portal(rule, stopped_ids=frozenset(("1@acme.example",)))
        decision = decided(REPLY, answer(stopped, thread=thread(ANN)))
        assert (decision.outcome, decision.reason) == (Outcome.SKIP, Reason.THREAD_STOPPED)

    def test_what_a_user_sends_in_it_is_skipped(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", References="<0@x> <1@acme.example>")
        stopped = portal(stopped_ids=frozenset(("1@acme.example",)))
        assert decide(IN_ANNS_MAILBOX, message, answer(stopped)).reason is Reason.THREAD_STOPPED

    def test_other_threads_go_on(self) -> None:
        stopped = portal(stopped_ids=frozenset(("2@acme.example",)))
        assert decided(REPLY, answer(stopped, thread=thread(ANN))).reason is Reason.REPLY_TO_LOGGED
