"""Messages that a user asks to be logged out of the mailbox they lie in (rules.md 7.4)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import (
    ANN,
    BOB,
    CONTACTS,
    CY,
    DEE,
    EVE,
    KIM,
    LEE,
    MAX,
    USERS,
    answer,
    changed,
    mail,
    portal,
    seen,
    thread,
)

from engine import decide, explain, needs_proof, waits_for_parents
from engine.capture import Folder
from engine.decision import Attribution, Decision, Direction, Flag, Outcome, Reason, Source
from engine.directory import Answer, NeverLogScope, Portal, Rule, Switches, Thread, User
from engine.message import Message

FROM_KIM = mail("kim@cust.example", "ann@acme.example")
TO_KIM = mail("ann@acme.example", "kim@cust.example")
ANSWER = {"In_Reply_To": "<1@acme.example>"}


def asked(
    message: Message,
    said: Answer | None = None,
    *,
    by: User | str = ANN,
    folder: Folder | None = Folder.LOG,
    **more: object,
) -> Decision:
    """The decision on a message in the folder for the log of the user's mailbox."""
    mailbox = by if isinstance(by, str) else by.account
    return decide(seen(mailbox, folder=folder, **more), message, said or answer())


def contacts(decision: Decision) -> set[int]:
    return {each.id for each in decision.contacts}


class TestAsking:
    @pytest.mark.parametrize("rule", Rule)
    def test_it_logs_under_both_rules(self, rule: Rule) -> None:
        for message, direction, attribution in (
            (FROM_KIM, Direction.INCOMING, Attribution.SINGLE_RECIPIENT),
            (TO_KIM, Direction.OUTGOING, Attribution.AUTHOR),
        ):
            decision = asked(message, answer(portal(rule)))
            assert (decision.outcome, decision.reason, decision.source) == (
                Outcome.LOG,
                Reason.MANUAL_LOG,
                Source.MANUAL,
            )
            assert (decision.direction, decision.attribution) == (direction, attribution)
            assert decision.user is not None
            assert (contacts(decision), decision.user.id) == ({KIM.id}, ANN.id)

    def test_outgoing_mail_is_logged_to_each_recipient_who_is_a_contact(self) -> None:
        message = mail(
            "ann@acme.example", "kim@cust.example", "x@x.example", cc=["lee@cust.example", "bob@acme.example"]
        )
        assert contacts(asked(message)) == {KIM.id, LEE.id}

    def test_incoming_mail_is_logged_to_its_author_alone(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", cc=["lee@cust.example"])
        assert contacts(asked(message)) == {KIM.id}

    @pytest.mark.parametrize(
        "message",
        [mail("x@x.example", "ann@acme.example", cc=["kim@cust.example"]), mail("ann@acme.example", "x@x.example")],
    )
    def test_no_contact_is_made(self, message: Message) -> None:
        decision = asked(message)
        assert (decision.outcome, decision.reason, decision.creates) == (Outcome.SKIP, Reason.NO_EXISTING_CONTACT, ())
        assert decision.source is Source.MANUAL

    def test_an_address_that_was_erased_is_said_to_be(self) -> None:
        said = answer(contacts=[LEE], erased=["kim@cust.example"])
        assert asked(FROM_KIM, said).reason is Reason.ERASED_ADDRESS

    def test_a_contact_beside_one_that_was_erased_is_logged(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", "lee@cust.example")
        assert contacts(asked(message, answer(contacts=[LEE], erased=["kim@cust.example"]))) == {LEE.id}

    def test_the_sentence_names_nobody_as_who_asked(self) -> None:
        message = mail("bob@acme.example", "kim@cust.example", cc=["ann@acme.example"])
        assert explain(asked(message)) == (
            "Logged: a user asked for it to be logged; attributed to bob@acme.example, who wrote it."
        )


class TestWhoMayAsk:
    def test_nothing_need_be_connected(self) -> None:
        decision = asked(mail("kim@cust.example", "cy@acme.example"), by=CY)
        assert (decision.reason, decision.attribution) == (Reason.MANUAL_LOG, Attribution.SINGLE_RECIPIENT)

    @pytest.mark.parametrize(("user", "reason"), [(DEE, Reason.USER_NO_PERMISSION), (EVE, Reason.USER_INACTIVE)])
    def test_who_may_not_is_named(self, user: User, reason: Reason) -> None:
        decision = asked(mail("kim@cust.example", user.account), by=user)
        assert (decision.outcome, decision.reason) == (Outcome.SKIP, reason)
        assert decision.user is not None
        assert decision.user.id == user.id

    def test_a_mailbox_of_nobody_asks_nothing(self) -> None:
        decision = asked(
            mail("kim@cust.example", "bob@acme.example"), answer(portal(Rule.REPLIES_ONLY)), by="app@acme.example"
        )
        assert decision.reason is Reason.CAPTURE_SENDER_NOT_USER
        assert explain(decision) == "Not logged: whoever asked for it to be logged is no user of the portal."

    def test_of_several_who_hold_the_mailbox_one_who_may_is_enough(self) -> None:
        shared = [changed(each, aliases=frozenset(("team@acme.example",))) for each in (EVE, DEE, BOB)]
        decision = asked(mail("kim@cust.example", "x@x.example"), answer(users=shared), by="team@acme.example")
        assert decision.reason is Reason.MANUAL_LOG

    def test_who_may_not_ask_loses_nothing_that_the_rule_logs(self) -> None:
        decision = asked(mail("kim@cust.example", "dee@acme.example", "ann@acme.example"), by=DEE)
        assert (decision.reason, decision.source) == (Reason.RECEIVED_FROM_CONTACT, Source.OBSERVER)


class TestNoCorrespondence:
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"Content_Type": "multipart/report; report-type=delivery-status"}, Reason.BOUNCE),
            ({"Content_Type": "multipart/report; report-type=disposition-notification"}, Reason.RECEIPT),
        ],
    )
    def test_reports_and_receipts_are_not_logged(self, fields: dict[str, str], reason: Reason) -> None:
        assert asked(mail("kim@cust.example", "ann@acme.example", **fields)).reason is reason

    def test_list_mail_that_names_no_user_is_not_logged(self) -> None:
        listed = mail("kim@cust.example", "list@x.example", List_Id="<list.x.example>")
        assert asked(listed).reason is Reason.LIST_MAIL

    def test_mail_among_users_is_not_logged(self) -> None:
        message = mail("ann@acme.example", "bob@acme.example")
        assert asked(message).reason is Reason.INTERNAL_ONLY
        switched = portal(switches={"log_internal": True})
        assert asked(message, answer(switched)).outcome is Outcome.LOG

    def test_no_author_that_can_be_read(self) -> None:
        assert asked(mail("undisclosed", "ann@acme.example")).reason is Reason.UNPARSEABLE

    def test_a_special_kind_is_flagged_or_skipped(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", Precedence="bulk")
        assert asked(message).flags == {Flag.BULK}
        assert asked(message, answer(portal(switches={"log_bulk": False}))).reason is Reason.BULK

    def test_a_stopped_thread_does_not_stop_what_a_user_asks_for(self) -> None:
        home = portal(stopped_ids=frozenset(("1@acme.example",)))
        message = mail("kim@cust.example", "ann@acme.example", **ANSWER)
        assert asked(message, answer(home)).reason is Reason.MANUAL_LOG
        assert asked(message, answer(home), folder=None).reason is Reason.THREAD_STOPPED


class TestNeverLog:
    def test_a_barred_contact_is_left_out(self) -> None:
        home = portal(never_log=("kim@cust.example",))
        assert asked(FROM_KIM, answer(home)).reason is Reason.ALL_CONTACTS_NEVER_LOG
        message = mail("ann@acme.example", "kim@cust.example", "lee@cust.example")
        assert contacts(asked(message, answer(home))) == {LEE.id}

    def test_one_barred_address_bars_the_message_with_the_switch(self) -> None:
        home = portal(never_log=("x@x.example",), switches={"never_log_scope": NeverLogScope.MESSAGE})
        message = mail("ann@acme.example", "kim@cust.example", "x@x.example")
        assert asked(message, answer(home)).reason is Reason.NEVER_LOG_MESSAGE_SCOPE

    def test_the_own_list_binds_who_asks(self) -> None:
        said = answer(users=[changed(ANN, never_log=("kim@cust.example",))])
        assert asked(FROM_KIM, said).reason is Reason.PERSONAL_NEVER_LOG

    def test_nobody_puts_mail_on_a_colleague_who_barred_the_contact(self) -> None:
        said = answer(users=[changed(BOB, never_log=("kim@cust.example",))])
        message = mail("bob@acme.example", "kim@cust.example", cc=["ann@acme.example"])
        assert asked(message, said).reason is Reason.PERSONAL_NEVER_LOG
        received = asked(mail("kim@cust.example", "bob@acme.example"), said)
        assert received.user is not None
        assert (received.user.id, received.attribution) == (ANN.id, Attribution.CAPTURED_MAILBOX)


class TestWhose:
    def test_what_a_colleague_wrote_is_the_colleague_s(self) -> None:
        decision = asked(mail("bob@acme.example", "kim@cust.example", cc=["ann@acme.example"]))
        assert decision.user is not None
        assert (decision.user.id, decision.attribution) == (BOB.id, Attribution.AUTHOR)

    def test_of_several_recipients_it_is_the_owner_s(self) -> None:
        decision = asked(mail("lee@cust.example", "ann@acme.example", "cy@acme.example"))
        assert decision.user is not None
        assert (decision.user.id, decision.attribution) == (BOB.id, Attribution.CONTACT_OWNER)

    def test_what_names_no_user_is_whose_mailbox_it_lies_in(self) -> None:
        decision = asked(mail("kim@cust.example", "friends@cust.example"), by=CY)
        assert decision.user is not None
        assert (decision.user.id, decision.attribution) == (CY.id, Attribution.CAPTURED_MAILBOX)

    def test_an_answer_is_of_who_wrote_what_it_answers(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", **ANSWER)
        decision = asked(message, answer(thread=thread(BOB)))
        assert decision.user is not None
        assert (decision.user.id, decision.attribution) == (BOB.id, Attribution.PARENT)

    def test_an_author_of_whom_nothing_is_proven_is_flagged_and_logged_all_the_same(self) -> None:
        strict = answer(portal(switches={"require_authenticated_sender": True}))
        decision = asked(FROM_KIM, strict, proof=None)
        assert (decision.reason, decision.flags) == (Reason.MANUAL_LOG, {Flag.UNAUTHENTICATED})
        assert needs_proof(decision)
        assert asked(TO_KIM, strict, proof=None).flags == set()


class TestBesidesTheRule:
    def test_a_stranger_s_direct_answer_is_logged_as_it_would_be_anywhere(self) -> None:
        message = mail("x@x.example", "ann@acme.example", **ANSWER)
        decision = asked(message, answer(thread=thread(ANN)))
        assert (decision.reason, contacts(decision)) == (Reason.REPLY_TO_LOGGED, {KIM.id})

    def test_a_contact_s_answer_in_the_thread_of_another_is_logged_to_both(self) -> None:
        message = mail("max@other.example", "ann@acme.example", **ANSWER)
        decision = asked(message, answer(thread=thread(ANN)))
        assert (decision.reason, contacts(decision)) == (Reason.MANUAL_LOG, {MAX.id, KIM.id})
        assert decision.flags == {Flag.UNMATCHED_SENDER}

    def test_a_stranger_s_answer_to_what_may_still_be_logged_waits(self) -> None:
        message = mail("x@x.example", "ann@acme.example", **ANSWER)
        said = answer(thread=thread(missing=["hash"]))
        decision = asked(message, said)
        assert decision.reason is Reason.PENDING_PARENT
        assert waits_for_parents(decision, message, said)


class TestFolders:
    @pytest.mark.parametrize(
        ("folder", "reason"),
        [
            (Folder.DRAFTS, Reason.DRAFT),
            (Folder.JUNK, Reason.SPAM_FOLDER),
            (Folder.TRASH, Reason.SPAM_FOLDER),
            (None, Reason.MODE_REPLIES_ONLY),
        ],
    )
    def test_no_other_folder_asks_for_anything(self, folder: Folder | None, reason: Reason) -> None:
        assert asked(FROM_KIM, answer(portal(Rule.REPLIES_ONLY)), folder=folder).reason is reason


# -- always -----------------------------------------------------------------------------------------------------------

ADDRESSES = [user.account for user in USERS] + [each.primary for each in CONTACTS]
ADDRESSES += ["sales@acme.example", "kim.k@gmail.com", "x@x.example", "v@secret.example"]
addresses = st.lists(st.sampled_from(ADDRESSES), max_size=3)
messages = st.builds(
    lambda authors, to, cc, fields: mail(", ".join(authors), *to, cc=cc, **fields),
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2),
    addresses,
    addresses,
    st.sampled_from([{}, ANSWER, {"Precedence": "bulk"}, {"List_Id": "<x>"}]),
)
entries = st.sampled_from([*ADDRESSES, "*@cust.example", "*.example", "gmail.com", "*@acme.example", "*@x.example"])
portals = st.builds(
    lambda rule, never_log, switches: replace(portal(rule, never_log=tuple(never_log)), switches=switches),
    st.sampled_from(Rule),
    st.lists(entries, max_size=2),
    st.builds(
        Switches,
        never_log_scope=st.sampled_from(NeverLogScope),
        log_internal=st.booleans(),
        log_bulk=st.booleans(),
        require_authenticated_sender=st.booleans(),
    ),
)
threads = st.sampled_from([None, thread(ANN), thread(BOB, contacts=[LEE]), thread(None, is_direct=False)])


def logged_to(decision: Decision) -> set[int]:
    return contacts(decision) if decision.outcome is Outcome.LOG else set()


class TestAlways:
    @given(messages, portals, entries, st.sampled_from(USERS), threads)
    def test_a_never_log_entry_never_adds_a_record_nor_a_contact(
        self, message: Message, home: Portal, entry: str, by: User, known: Thread | None
    ) -> None:
        longer = replace(home, never_log=(*home.never_log, entry))
        before = logged_to(asked(message, answer(home, thread=known), by=by))
        assert logged_to(asked(message, answer(longer, thread=known), by=by)) <= before
        personal = [changed(by, never_log=(entry,))]
        assert logged_to(asked(message, answer(home, users=personal, thread=known), by=by)) <= before

    @given(messages, portals, st.sampled_from(USERS), threads)
    def test_asking_loses_nothing_that_the_rule_logs_and_makes_no_contact(
        self, message: Message, home: Portal, by: User, known: Thread | None
    ) -> None:
        said = answer(home, thread=known)
        ruled, decision = asked(message, said, by=by, folder=None), asked(message, said, by=by)
        assert logged_to(ruled) <= logged_to(decision)
        assert decision.creates == ()

    @given(messages, portals, st.sampled_from([DEE, EVE]), threads)
    def test_who_may_not_ask_gets_what_the_rule_says(
        self, message: Message, home: Portal, by: User, known: Thread | None
    ) -> None:
        said = answer(home, thread=known)
        ruled, decision = asked(message, said, by=by, folder=None), asked(message, said, by=by)
        assert logged_to(decision) == logged_to(ruled)
        assert decision.reason is not Reason.MANUAL_LOG

    @given(messages, portals, st.sampled_from(USERS), threads)
    def test_both_rules_log_the_same_that_is_asked_for(
        self, message: Message, home: Portal, by: User, known: Thread | None
    ) -> None:
        decisions = [asked(message, answer(replace(home, rule=rule), thread=known), by=by) for rule in Rule]
        by_hand = [each for each in decisions if each.reason is Reason.MANUAL_LOG]
        assert len(by_hand) in (0, 2)
        assert len({(each.user, each.attribution, each.direction) for each in by_hand}) <= 1
