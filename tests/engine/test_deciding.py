"""The decision: which reason comes first, what opens the gate, what must hold of any message (rules.md section 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import (
    ANN,
    BCC,
    BO,
    BOB,
    CONTACTS,
    CY,
    DEE,
    FORWARD,
    KIM,
    USERS,
    answer,
    changed,
    mail,
    passing,
    portal,
    relayed,
    seen,
    thread,
)

from engine import decide, decide_each, explain, needs_proof, question, read
from engine.authentication import Proof
from engine.capture import Capture, Folder
from engine.case import Case
from engine.decision import Decision, Direction, Flag, Outcome, Reason, Source
from engine.directory import Answer, Contact, NeverLogScope, Portal, Rule, User
from engine.fingerprint import header_print
from engine.message import Message

SENT = mail("ann@acme.example", "kim@cust.example")
ANN_SENDS = relayed("ann@acme.example", "kim@cust.example")
RECEIVED = mail("kim@cust.example", "ann@acme.example")
IN_ANNS_MAILBOX = seen("ann@acme.example")


def contacts(decision: Decision) -> list[str]:
    return [each.address for each in decision.contacts]


class TestQuestion:
    def test_everybody_on_the_message_is_asked_for(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", cc=["lee@cust.example"])
        asked = question(relayed("bob@acme.example", "max@other.example"), message)
        assert asked.login == "bob@acme.example"
        assert asked.addresses == {
            "ann@acme.example",
            "kim@cust.example",
            "lee@cust.example",
            "max@other.example",
            "bob@acme.example",
        }

    def test_without_a_login_the_mailbox_chooses_the_portal(self) -> None:
        assert question(IN_ANNS_MAILBOX, RECEIVED).login == "ann@acme.example"
        assert question(IN_ANNS_MAILBOX, RECEIVED).concerned == frozenset()

    def test_where_mail_passes_its_recipients_choose_the_portals(self) -> None:
        asked = question(passing("ann@acme.example", "pat@beta.example"), RECEIVED)
        assert asked.login is None
        assert asked.concerned == {"ann@acme.example", "pat@beta.example"}

    def test_what_it_answers_is_asked_for(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", In_Reply_To="<2@x>", References="<1@x> <2@x>")
        asked = question(IN_ANNS_MAILBOX, message)
        assert asked.parents == ("2@x", "1@x")
        assert asked.direct == {"2@x"}

    def test_what_it_is_itself_is_told_with_that(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", In_Reply_To="<2@x>", Message_ID="<3@x>")
        assert question(IN_ANNS_MAILBOX, message).own == {"3@x", header_print(message)}
        assert question(IN_ANNS_MAILBOX, RECEIVED).own == frozenset()

    def test_what_a_submission_answers_is_not(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", In_Reply_To="<2@x>")
        asked = question(ANN_SENDS, message)
        assert (asked.parents, asked.direct) == ((), frozenset())

    def test_capture_addresses_choose_their_portals(self) -> None:
        asked = question(relayed("ann@acme.example", captures=[BCC]), SENT)
        assert asked.capture_addresses == {BCC}


class TestConcern:
    """Rules.md 3.9."""

    def test_a_message_without_a_user_is_decided_by_nobody(self) -> None:
        said = answer(portal(service_logins=frozenset(("mailer@acme.example",))))
        nobody = Answer(portal=said.portal, users={}, contacts=said.contacts, owners={})
        message = mail("news@acme.example", "kim@cust.example")
        assert decide_each(relayed("mailer@acme.example", "kim@cust.example"), message, [nobody]) == ()

    def test_each_portal_concerned_decides_for_itself(self) -> None:
        decisions = decide_each(ANN_SENDS, SENT, [answer(), answer(portal(Rule.REPLIES_ONLY))])
        assert [each.outcome for each in decisions] == [Outcome.LOG, Outcome.SKIP]


class TestOrderOfReasons:
    """Which reason is given when several would do."""

    @pytest.mark.parametrize(
        ("section", "capture", "reason"),
        [
            (b"From: <>\r\nContent-Type: multipart/report; report-type=delivery-status\r\n", ANN_SENDS, Reason.BOUNCE),
            (b"From: <>\r\n", relayed("ann@acme.example"), Reason.NOT_DELIVERED),
            (b"From: <>\r\n", ANN_SENDS, Reason.UNPARSEABLE),
            (b"", ANN_SENDS, Reason.UNPARSEABLE),
            (b"From: ann@acme.example\r\nTo: bob@acme.example\r\n", relayed("ann@acme.example"), Reason.NOT_DELIVERED),
        ],
    )
    def test_what_it_is_comes_before_whose_it_is(self, section: bytes, capture: Capture, reason: Reason) -> None:
        decision = decide(capture, read(section), answer())
        assert (decision.outcome, decision.reason) == (Outcome.SKIP, reason)

    def test_never_log_comes_before_permission(self) -> None:
        decision = decide(
            relayed("dee@acme.example", "kim@cust.example"),
            mail("dee@acme.example", "kim@cust.example"),
            answer(portal(never_log=("kim@cust.example",))),
        )
        assert decision.reason is Reason.ALL_CONTACTS_NEVER_LOG

    def test_permission_comes_before_the_rule(self) -> None:
        message = mail("dee@acme.example", "kim@cust.example")
        decision = decide(relayed("dee@acme.example", "kim@cust.example"), message, answer(portal(Rule.REPLIES_ONLY)))
        assert decision.reason is Reason.USER_NO_PERMISSION


class TestGate:
    def test_any_user_whose_connected_mail_it_is_opens_it(self) -> None:
        message = mail("dee@acme.example", "kim@cust.example", cc=["ann@acme.example"])
        decision = decide(relayed("dee@acme.example", "kim@cust.example", "ann@acme.example"), message, answer())
        assert decision.outcome is Outcome.LOG
        assert decision.user is not None
        assert decision.user.id == DEE.id

    def test_a_name_borrowed_in_from_does_not_open_it(self) -> None:
        decision = decide(
            relayed("dee@acme.example", "kim@cust.example"), mail("ann@acme.example", "kim@cust.example"), answer()
        )
        assert decision.reason is Reason.USER_NO_PERMISSION

    def test_a_refused_user_does_not_open_it(self) -> None:
        message = mail("cy@acme.example", "kim@cust.example", cc=["ann@acme.example"])
        accepted = relayed("cy@acme.example", "kim@cust.example", refused=["ann@acme.example"])
        assert decide(accepted, message, answer()).reason is Reason.USER_NOT_CONNECTED
        assert decide(relayed("cy@acme.example", "kim@cust.example"), message, answer()).outcome is Outcome.LOG

    def test_a_refused_contact_is_not_logged(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", "lee@cust.example")
        capture = relayed("ann@acme.example", "lee@cust.example", refused=["kim@cust.example"])
        assert contacts(decide(capture, message, answer())) == ["lee@cust.example"]

    def test_a_header_recipient_outside_the_envelope_is_not_logged(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", "lee@cust.example")
        assert contacts(decide(relayed("ann@acme.example", "lee@cust.example"), message, answer())) == [
            "lee@cust.example"
        ]

    def test_a_login_that_is_nobody_opens_nothing(self) -> None:
        assert decide(relayed("x@x.example", "kim@cust.example"), SENT, answer()).reason is Reason.NO_ELIGIBLE_USER

    def test_a_login_that_writes_as_a_contact_is_refused(self) -> None:
        decision = decide(
            relayed("ann@acme.example", "bob@acme.example"), mail("kim@cust.example", "bob@acme.example"), answer()
        )
        assert (decision.reason, decision.direction) == (Reason.UNAUTHENTICATED_SENDER, Direction.INCOMING)

    @pytest.mark.parametrize(
        ("mailbox", "to", "reason"),
        [
            ("dee@acme.example", "dee@acme.example", Reason.USER_NO_PERMISSION),
            ("eve@acme.example", "eve@acme.example", Reason.USER_INACTIVE),
            ("cy@acme.example", "cy@acme.example", Reason.NO_ELIGIBLE_USER),
        ],
    )
    def test_the_skip_says_which_user_kept_it_shut(self, mailbox: str, to: str, reason: Reason) -> None:
        decision = decide(seen(mailbox), mail("kim@cust.example", to), answer())
        assert decision.reason is reason
        assert decision.user is not None
        assert decision.user.address == mailbox
        assert decision.attribution is None

    def test_an_active_user_says_it_before_one_who_is_not(self) -> None:
        message = mail("kim@cust.example", "eve@acme.example", "dee@acme.example")
        assert decide(seen("eve@acme.example"), message, answer()).reason is Reason.USER_NO_PERMISSION

    def test_an_answer_to_a_disconnected_user_says_so(self) -> None:
        decision = decide(
            seen("cy@acme.example"), mail("kim@cust.example", "cy@acme.example"), answer(thread=thread(CY))
        )
        assert decision.reason is Reason.USER_NOT_CONNECTED


class TestFolders:
    @pytest.mark.parametrize(
        ("folder", "reason"),
        [(Folder.DRAFTS, Reason.DRAFT), (Folder.JUNK, Reason.SPAM_FOLDER), (Folder.TRASH, Reason.SPAM_FOLDER)],
    )
    @pytest.mark.parametrize("message", [SENT, RECEIVED])
    def test_what_lies_there_is_no_correspondence(self, folder: Folder, reason: Reason, message: Message) -> None:
        assert decide(seen("ann@acme.example", folder=folder), message, answer()).reason is reason
        assert decide(seen("ann@acme.example"), message, answer()).outcome is Outcome.LOG


class TestProof:
    """Who wrote it, where there was no login: the flag `unauthenticated` and `require_authenticated_sender`."""

    STRICT = portal(switches={"require_authenticated_sender": True})
    PROVEN = Proof(method="dkim", domain="cust.example")

    def test_mail_of_a_contact_without_a_proof_is_flagged(self) -> None:
        decision = decide(passing("ann@acme.example"), RECEIVED, answer())
        assert (decision.outcome, decision.flags) == (Outcome.LOG, {Flag.UNAUTHENTICATED})
        assert needs_proof(decision)

    def test_with_the_switch_it_is_skipped(self) -> None:
        decision = decide(passing("ann@acme.example"), RECEIVED, answer(self.STRICT))
        assert (decision.outcome, decision.reason) == (Outcome.SKIP, Reason.UNAUTHENTICATED_SENDER)
        assert contacts(decision) == ["kim@cust.example"]
        assert needs_proof(decision)

    @pytest.mark.parametrize("home", [portal(), STRICT])
    def test_with_a_proof_it_is_logged(self, home: Portal) -> None:
        decision = decide(passing("ann@acme.example", proof=self.PROVEN), RECEIVED, answer(home))
        assert (decision.outcome, decision.flags) == (Outcome.LOG, frozenset())
        assert not needs_proof(decision)

    def test_a_login_is_a_proof(self) -> None:
        assert decide(ANN_SENDS, SENT, answer(self.STRICT)).flags == frozenset()

    def test_the_authors_own_mailbox_is_a_proof_and_a_colleagues_is_none(self) -> None:
        message = mail("ann@acme.example", "bob@acme.example", "kim@cust.example")
        assert decide(seen("sales@acme.example", proof=None), message, answer(self.STRICT)).flags == frozenset()
        assert decide(seen("bob@acme.example", proof=None), message, answer()).flags == {Flag.UNAUTHENTICATED}
        refused = decide(seen("bob@acme.example", proof=None), message, answer(self.STRICT))
        assert refused.reason is Reason.UNAUTHENTICATED_SENDER

    def test_an_answer_needs_a_proof_too(self) -> None:
        said = answer(self.STRICT, thread=thread(ANN))
        assert decide(passing("ann@acme.example"), RECEIVED, said).reason is Reason.UNAUTHENTICATED_SENDER


class TestRules:
    def test_replies_only_skips_what_a_user_sends(self) -> None:
        assert decide(ANN_SENDS, SENT, answer(portal(Rule.REPLIES_ONLY))).reason is Reason.MODE_REPLIES_ONLY

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({}, Reason.MODE_REPLIES_ONLY),
            ({"Subject": "Offer"}, Reason.MODE_REPLIES_ONLY),
            ({"Subject": "Fwd: Offer"}, Reason.MODE_REPLIES_ONLY),
            ({"Subject": "Re: Offer"}, Reason.THREAD_UNPROVEN),
            ({"Subject": "AW: Angebot"}, Reason.THREAD_UNPROVEN),
            ({"In_Reply_To": "<1@x>"}, Reason.THREAD_UNPROVEN),
            ({"References": "<1@x>"}, Reason.THREAD_UNPROVEN),
        ],
    )
    def test_replies_only_skips_what_answers_nothing_logged(self, fields: dict[str, str], reason: Reason) -> None:
        message = mail("kim@cust.example", "ann@acme.example", **fields)
        assert decide(IN_ANNS_MAILBOX, message, answer(portal(Rule.REPLIES_ONLY))).reason is reason

    @pytest.mark.parametrize("rule", Rule)
    def test_an_answer_to_logged_mail_logs_under_both_rules(self, rule: Rule) -> None:
        decision = decide(IN_ANNS_MAILBOX, RECEIVED, answer(portal(rule), thread=thread(ANN)))
        assert (decision.outcome, decision.reason) == (Outcome.LOG, Reason.REPLY_TO_LOGGED)


class TestNeverLog:
    def test_the_primary_address_names_the_contact_whichever_address_is_in_use(self) -> None:
        home = portal(never_log=("kim@cust.example",))
        decision = decide(IN_ANNS_MAILBOX, mail("kim.k@gmail.com", "ann@acme.example"), answer(home))
        assert decision.reason is Reason.ALL_CONTACTS_NEVER_LOG

    def test_the_primary_address_counts_however_it_is_written(self) -> None:
        kim = Contact(id=1, primary="Kim@cust.example", addresses=KIM.addresses)
        said = answer(portal(never_log=("kim@cust.example",)), contacts=[kim])
        decision = decide(IN_ANNS_MAILBOX, mail("kim.k@gmail.com", "ann@acme.example"), said)
        assert decision.reason is Reason.ALL_CONTACTS_NEVER_LOG

    def test_another_address_of_the_contact_bars_only_itself(self) -> None:
        home = portal(never_log=("kim.k@gmail.com",))
        assert decide(IN_ANNS_MAILBOX, RECEIVED, answer(home)).outcome is Outcome.LOG
        assert (
            decide(IN_ANNS_MAILBOX, mail("kim.k@gmail.com", "ann@acme.example"), answer(home)).outcome is Outcome.SKIP
        )

    @pytest.mark.parametrize(
        ("message", "capture"),
        [
            (mail("ann@acme.example", "kim@cust.example", "v@secret.example"), ANN_SENDS),
            (SENT, relayed("ann@acme.example", "kim@cust.example", "v@secret.example")),
            (mail("kim@cust.example", "ann@acme.example", cc=["v@secret.example"]), IN_ANNS_MAILBOX),
            (mail("kim@cust.example, v@secret.example", "ann@acme.example"), IN_ANNS_MAILBOX),
        ],
    )
    def test_scope_message_bars_it_for_any_barred_address_contact_or_not(
        self, message: Message, capture: Capture
    ) -> None:
        entries = ("*@secret.example",)
        assert decide(capture, message, answer(portal(never_log=entries))).outcome is Outcome.LOG
        whole = portal(never_log=entries, switches={"never_log_scope": NeverLogScope.MESSAGE})
        assert decide(capture, message, answer(whole)).reason is Reason.NEVER_LOG_MESSAGE_SCOPE

    def test_scope_message_does_not_count_users(self) -> None:
        whole = portal(never_log=("*@acme.example",), switches={"never_log_scope": NeverLogScope.MESSAGE})
        assert decide(ANN_SENDS, SENT, answer(whole)).outcome is Outcome.LOG

    def test_of_two_authors_the_one_who_is_not_barred_still_logs(self) -> None:
        message = mail("lee@cust.example, kim@cust.example", "ann@acme.example")
        assert contacts(decide(IN_ANNS_MAILBOX, message, answer())) == ["lee@cust.example", "kim@cust.example"]
        decision = decide(IN_ANNS_MAILBOX, message, answer(portal(never_log=("lee@cust.example",))))
        assert contacts(decision) == ["kim@cust.example"]

    def test_a_personal_entry_takes_its_user_out_of_the_gate(self) -> None:
        ann = changed(ANN, never_log=("kim@cust.example",))
        message = mail("cy@acme.example", "kim@cust.example", cc=["ann@acme.example"])
        capture = relayed("cy@acme.example", "kim@cust.example", "ann@acme.example")
        assert decide(capture, message, answer()).outcome is Outcome.LOG
        assert decide(capture, message, answer(users=[ann])).reason is Reason.PERSONAL_NEVER_LOG

    def test_a_personal_entry_leaves_other_users_alone(self) -> None:
        ann = changed(ANN, never_log=("kim@cust.example",))
        message = mail("kim@cust.example", "ann@acme.example", "bob@acme.example")
        decision = decide(IN_ANNS_MAILBOX, message, answer(users=[ann]))
        assert decision.outcome is Outcome.LOG
        assert decision.user is not None
        assert decision.user.id == BOB.id

    def test_a_personal_entry_leaves_other_contacts_alone(self) -> None:
        ann = changed(ANN, never_log=("kim@cust.example",))
        message = mail("ann@acme.example", "kim@cust.example", "lee@cust.example")
        capture = relayed("ann@acme.example", "kim@cust.example", "lee@cust.example")
        assert contacts(decide(capture, message, answer(users=[ann]))) == ["lee@cust.example"]

    def test_an_owner_with_a_personal_entry_gets_nothing_although_not_addressed(self) -> None:
        ann = changed(ANN, never_log=("kim@cust.example",))
        message = mail("kim@cust.example", "bob@acme.example", "cy@acme.example")
        decision = decide(seen("bob@acme.example"), message, answer(users=[ann]))
        assert decision.user is not None
        assert decision.user.id == BOB.id


class TestInternal:
    MESSAGE = mail("ann@acme.example", "bob@acme.example")
    CAPTURE = relayed("ann@acme.example", "bob@acme.example")

    def test_mail_among_users_is_not_logged(self) -> None:
        assert decide(self.CAPTURE, self.MESSAGE, answer()).reason is Reason.INTERNAL_ONLY

    def test_the_switch_logs_it_to_the_contact_record_of_a_user(self) -> None:
        decision = decide(self.CAPTURE, self.MESSAGE, answer(portal(switches={"log_internal": True})))
        assert decision.outcome is Outcome.LOG
        assert [each.id for each in decision.contacts] == [BO.id]

    def test_the_switch_makes_no_contact_of_a_user_on_other_mail(self) -> None:
        message = mail("ann@acme.example", "bob@acme.example", "kim@cust.example")
        capture = relayed("ann@acme.example", "bob@acme.example", "kim@cust.example")
        decision = decide(capture, message, answer(portal(switches={"log_internal": True})))
        assert contacts(decision) == ["kim@cust.example"]


class TestContacts:
    def test_each_contact_is_named_once(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", "kim.k@gmail.com")
        decision = decide(relayed("ann@acme.example", "kim@cust.example", "kim.k@gmail.com"), message, answer())
        assert contacts(decision) == ["kim@cust.example"]

    def test_who_is_only_in_the_envelope_is_marked(self) -> None:
        decision = decide(relayed("ann@acme.example", "kim@cust.example", "lee@cust.example"), SENT, answer())
        assert [(each.address, each.bcc) for each in decision.contacts] == [
            ("kim@cust.example", False),
            ("lee@cust.example", True),
        ]

    @pytest.mark.parametrize("order", [1, -1])
    def test_who_is_named_by_one_address_and_blind_by_another_is_not_blind(self, order: int) -> None:
        envelope = ["kim@cust.example", "kim.k@gmail.com"][::order]
        assert not decide(relayed("ann@acme.example", *envelope), SENT, answer()).contacts[0].bcc

    def test_an_address_on_two_contacts_is_the_oldest_contact_and_flagged(self) -> None:
        twin = Contact(id=9, primary="twin@cust.example", addresses=frozenset(("kim@cust.example",)))
        decision = decide(IN_ANNS_MAILBOX, RECEIVED, answer(contacts=[twin, *CONTACTS]))
        assert contacts(decision) == ["kim@cust.example"]
        assert decision.flags == {Flag.AMBIGUOUS_CONTACT}


ADDRESSES = [user.account for user in USERS] + [each.primary for each in CONTACTS]
ADDRESSES += ["sales@acme.example", "kim.k@gmail.com", "x@x.example", "log-p1@cap.example", "v@secret.example"]
addresses = st.lists(st.sampled_from(ADDRESSES), max_size=3)
messages = st.builds(
    lambda authors, to, cc, reply: mail(", ".join(authors), *to, cc=cc, **({"In_Reply_To": "<1@x>"} if reply else {})),
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2),
    addresses,
    addresses,
    st.booleans(),
)
proofs = st.sampled_from([None, Proof(method="dkim", domain="acme.example")])
sent_to = st.sampled_from(
    [(), (BCC,), (FORWARD,), (BCC, FORWARD), ("log-p2@cap.example",), (BCC, "log-p2@cap.example")]
)
captures = st.one_of(
    st.builds(
        lambda login, envelope, captures: relayed(login, *envelope, captures=captures),
        st.sampled_from(ADDRESSES),
        addresses,
        sent_to,
    ),
    st.builds(seen, st.sampled_from(ADDRESSES), envelope=st.one_of(st.none(), addresses.filter(bool)), proof=proofs),
    st.builds(
        lambda envelope, proof, captures: passing(*envelope, proof=proof, capture_addresses=frozenset(captures)),
        addresses,
        proofs,
        sent_to,
    ),
    st.builds(
        lambda proof, captures: Capture(source=Source.BCC, proof=proof, capture_addresses=frozenset(captures)),
        proofs,
        sent_to.filter(bool),
    ),
)
entries = st.sampled_from(
    [*ADDRESSES, "*@cust.example", "*.example", "gmail.com", "*@acme.example", "*@*.other.example"]
)
portals = st.builds(
    lambda rule, never_log, **switches: portal(rule, never_log=tuple(never_log), switches=switches),
    st.sampled_from(Rule),
    st.lists(entries, max_size=2),
    never_log_scope=st.sampled_from(NeverLogScope),
    log_internal=st.booleans(),
    require_same_subject=st.booleans(),
    require_authenticated_sender=st.booleans(),
)
threads = st.fixed_dictionaries(
    {
        "thread": st.one_of(
            st.none(),
            st.builds(
                lambda authors, contacts, is_direct, missing: thread(
                    *authors, contacts=contacts, is_direct=is_direct, missing=missing
                ),
                st.lists(st.sampled_from([None, *USERS]), max_size=2),
                st.lists(st.sampled_from(CONTACTS), max_size=2),
                st.booleans(),
                st.sampled_from([(), ("a hash",)]),
            ),
        ),
        "erased": st.sampled_from([(), ("x@x.example",), ("v@secret.example", "x@x.example")]),
    }
)


OWN = {user.id: {user.account, *user.aliases} for user in USERS}


def _logged(decision: Decision) -> set[int]:
    return {each.id for each in decision.contacts} if decision.outcome is Outcome.LOG else set()


def _created(decision: Decision) -> set[str]:
    return set(decision.creates)


class TestAlways:
    @given(captures, messages, portals, threads, entries)
    def test_a_never_log_entry_never_adds_a_record(
        self, capture: Capture, message: Message, home: Portal, known: dict[str, Any], entry: str
    ) -> None:
        before = decide(capture, message, answer(home, **known))
        longer = replace(home, never_log=(*home.never_log, entry))
        after = decide(capture, message, answer(longer, **known))
        assert _logged(after) <= _logged(before)
        assert _created(after) <= _created(before)

    @given(captures, messages, portals, threads, entries, st.sampled_from(USERS))
    def test_a_personal_entry_never_adds_a_record(
        self, capture: Capture, message: Message, home: Portal, known: dict[str, Any], entry: str, user: User
    ) -> None:
        before = decide(capture, message, answer(home, **known))
        after = decide(capture, message, answer(home, users=[changed(user, never_log=(entry,))], **known))
        assert _logged(after) <= _logged(before)
        assert _created(after) <= _created(before)

    @given(captures, messages, portals, threads)
    def test_rule_all_logs_whatever_replies_only_logs(
        self, capture: Capture, message: Message, home: Portal, known: dict[str, Any]
    ) -> None:
        replies, everything = (answer(replace(home, rule=rule), **known) for rule in (Rule.REPLIES_ONLY, Rule.ALL))
        one, other = decide(capture, message, replies), decide(capture, message, everything)
        assert _logged(one) <= _logged(other)

    @given(captures, messages, portals, threads)
    def test_a_log_has_a_direction_a_contact_a_user_and_an_attribution(
        self, capture: Capture, message: Message, home: Portal, known: dict[str, Any]
    ) -> None:
        decision = decide(capture, message, answer(home, **known))
        if decision.outcome is Outcome.LOG:
            assert decision.direction is not None
            assert decision.contacts or decision.creates
            assert decision.user is not None
            assert decision.attribution is not None
        else:
            assert decision.attribution is None
            assert decision.flags == frozenset()
            assert decision.creates == ()

    @given(captures, messages, portals, threads)
    def test_without_a_permission_nothing_is_logged(
        self, capture: Capture, message: Message, home: Portal, known: dict[str, Any]
    ) -> None:
        shut = [changed(user, personal_email_access=False) for user in USERS]
        assert decide(capture, message, answer(home, users=shut, **known)).outcome is Outcome.SKIP

    @given(captures, messages, portals, threads)
    def test_who_is_not_proven_is_flagged_or_the_owner_of_the_mailbox(
        self, capture: Capture, message: Message, home: Portal, known: dict[str, Any]
    ) -> None:
        decision = decide(capture, message, answer(home, **known))
        if decision.user is not None and decision.outcome is Outcome.LOG and not (capture.login or capture.proof):
            case = Case.of(capture, message, answer(home, **known))
            assert Flag.UNAUTHENTICATED in decision.flags or case.parties.mailbox in OWN[decision.user.id]
            assert decision.reason is not Reason.BCC_ADDRESS

    @given(captures, messages, portals, threads)
    def test_every_decision_explains_itself_in_one_sentence(
        self, capture: Capture, message: Message, home: Portal, known: dict[str, Any]
    ) -> None:
        text = explain(decide(capture, message, answer(home, **known)))
        assert text.startswith(("Logged: ", "Not logged: "))
        assert text.endswith(".")
        assert not any(each in text for each in ("None", "_", "{", "  ", ". "))

    @given(st.binary(max_size=300), captures, portals)
    def test_any_octets_are_decided_without_an_error(self, section: bytes, capture: Capture, home: Portal) -> None:
        assert decide(capture, read(section), answer(home)).portal == home.id
