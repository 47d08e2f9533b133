"""What a user asks to be logged: copies to the BCC address and forwarded originals (rules.md 7.1 to 7.3)."""

from __future__ import annotations

from collections.abc import Iterable
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
    EVE,
    FORWARD,
    KIM,
    LEE,
    MAX,
    USERS,
    answer,
    changed,
    mail,
    passing,
    portal,
    relayed,
    thread,
)

from engine import decide, explain, needs_proof
from engine.authentication import Proof
from engine.capture import Capture
from engine.case import Case
from engine.decision import Attribution, Decision, Direction, Flag, Outcome, Reason, Source
from engine.directory import Answer, NeverLogScope, Portal, Rule, User
from engine.explicit import Refusal, decide_original, prove_sender
from engine.message import Message

PROVEN = Proof(method="dkim", domain="acme.example")


def copied(login: str, *recipients: str, **more: Any) -> Capture:
    """Sent through the relay with the BCC address among the recipients."""
    return relayed(login, *recipients, captures=[BCC], **more)


def received(**more: Any) -> Capture:
    """Taken at the door of the capture domain."""
    return Capture(source=Source.BCC, capture_addresses=frozenset((BCC,)), **more)


def copy_of(message: Message, said: Answer | None = None, *, login: str = "ann@acme.example") -> Decision:
    """The decision on a copy whose recipients all stand in its header section."""
    return decide(copied(login, *message.to, *message.cc), message, said or answer())


def to(*recipients: str, cc: Iterable[str] = (), **fields: str) -> Message:
    """A message from Ann."""
    return mail("ann@acme.example", *recipients, cc=cc, **fields)


def contacts(decision: Decision) -> list[int]:
    return [each.id for each in decision.contacts]


# -- copies -----------------------------------------------------------------------------------------------------------


class TestCopies:
    @pytest.mark.parametrize("rule", Rule)
    def test_a_copy_logs_under_both_rules(self, rule: Rule) -> None:
        decision = copy_of(to("kim@cust.example", cc=["lee@cust.example"]), answer(portal(rule)))
        assert (decision.outcome, decision.reason) == (Outcome.LOG, Reason.BCC_ADDRESS)
        assert (decision.source, decision.direction) == (Source.BCC, Direction.OUTGOING)
        assert contacts(decision) == [KIM.id, LEE.id]
        assert decision.creates == ()
        assert (decision.user.id if decision.user else None, decision.attribution) == (ANN.id, Attribution.AUTHOR)

    def test_the_address_alone_in_the_envelope_is_enough(self) -> None:
        assert contacts(decide(copied("ann@acme.example"), to("kim@cust.example"), answer())) == [KIM.id]
        assert contacts(decide(received(proof=PROVEN), to("kim@cust.example"), answer())) == [KIM.id]

    def test_contacts_are_made_of_who_is_none(self) -> None:
        decision = copy_of(to("New@x.example", "kim@cust.example", cc=["z@x.example"]))
        assert contacts(decision) == [KIM.id]
        assert decision.creates == ("New@x.example", "z@x.example")

    def test_a_contact_may_be_made_where_there_was_none_at_all(self) -> None:
        decision = copy_of(to("new@x.example"))
        assert decision.outcome is Outcome.LOG
        assert decision.creates == ("new@x.example",)

    def test_each_address_is_made_one_contact_only(self) -> None:
        assert copy_of(to("new@x.example", "NEW@x.example", cc=["new@X.example"])).creates == ("new@x.example",)

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("bob@acme.example", Reason.INTERNAL_ONLY),
            ("cy@acme.example", Reason.INTERNAL_ONLY),
            ("eve@acme.example", Reason.INTERNAL_ONLY),
            ("sales@acme.example", Reason.INTERNAL_ONLY),
            ("v@secret.example", Reason.ALL_CONTACTS_NEVER_LOG),
            ("p@private.example", Reason.PERSONAL_NEVER_LOG),
            ("gone@x.example", Reason.ERASED_ADDRESS),
            ("no-reply@x.example", Reason.NO_EXISTING_CONTACT),
            (FORWARD, Reason.NO_EXISTING_CONTACT),
            (BCC, Reason.NO_EXISTING_CONTACT),
        ],
    )
    def test_no_contact_is_made_of(self, address: str, reason: Reason) -> None:
        ann = changed(ANN, never_log=("*@private.example",))
        said = answer(portal(never_log=("*@secret.example",)), users=[ann], erased=["gone@x.example"])
        alone = copy_of(to(address), said)
        assert (alone.outcome, alone.reason, alone.creates) == (Outcome.SKIP, reason, ())
        assert copy_of(to(address, "new@x.example"), said).creates == ("new@x.example",)

    @pytest.mark.parametrize(
        "local",
        ["noreply", "No-Reply", "no_reply", "donotreply", "do-not-reply", "mailer-daemon", "noreply+tag", "bounce-17"],
    )
    def test_no_contact_is_made_of_an_address_that_nobody_reads(self, local: str) -> None:
        assert copy_of(to(f"{local}@x.example")).reason is Reason.NO_EXISTING_CONTACT

    @pytest.mark.parametrize("local", ["reply", "noreplying", "bouncer", "ivo.noreply"])
    def test_names_that_only_look_so_are_people(self, local: str) -> None:
        assert copy_of(to(f"{local}@x.example")).creates == (f"{local}@x.example",)

    def test_a_contact_whose_address_is_a_no_reply_one_is_still_logged(self) -> None:
        robot = replace(MAX, primary="noreply@x.example", addresses=frozenset(("noreply@x.example",)))
        assert contacts(copy_of(to("noreply@x.example"), answer(contacts=[robot]))) == [robot.id]

    def test_no_contact_is_made_of_the_capture_address_of_another_portal(self) -> None:
        message = to("kim@cust.example", "log-p2@cap.example")
        capture = relayed("ann@acme.example", "kim@cust.example", captures=[BCC, "log-p2@cap.example"])
        assert decide(capture, message, answer()).creates == ()

    def test_no_contact_is_made_of_who_is_only_in_the_envelope(self) -> None:
        capture = copied("ann@acme.example", "kim@cust.example", "hidden@x.example")
        decision = decide(capture, to("kim@cust.example"), answer())
        assert decision.creates == ()
        assert contacts(decision) == [KIM.id]

    def test_a_contact_who_is_only_in_the_envelope_is_marked(self) -> None:
        decision = decide(copied("ann@acme.example", "lee@cust.example"), to("kim@cust.example"), answer())
        assert [(each.id, each.bcc) for each in decision.contacts] == [(KIM.id, False), (LEE.id, True)]

    def test_no_contact_is_made_of_whom_the_provider_refused(self) -> None:
        capture = copied("ann@acme.example", "kim@cust.example", refused=["new@x.example"])
        assert decide(capture, to("kim@cust.example", "new@x.example"), answer()).creates == ()

    def test_what_reached_nobody_is_not_logged(self) -> None:
        capture = copied("ann@acme.example", refused=["kim@cust.example"])
        assert decide(capture, to("kim@cust.example"), answer()).reason is Reason.NOT_DELIVERED

    @pytest.mark.parametrize("fields", [{"to": [BCC]}, {"cc": [BCC]}])
    def test_the_address_for_all_to_see_is_flagged(self, fields: dict[str, list[str]]) -> None:
        message = to("kim@cust.example", *fields.get("to", ()), cc=fields.get("cc", ()))
        decision = decide(copied("ann@acme.example", "kim@cust.example"), message, answer())
        assert decision.flags == {Flag.CAPTURE_ADDRESS_EXPOSED}
        assert contacts(decision) == [KIM.id]
        assert decision.creates == ()

    def test_nobody_to_log_to(self) -> None:
        assert decide(copied("ann@acme.example"), to(BCC), answer()).reason is Reason.NO_EXISTING_CONTACT

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"Content_Type": "multipart/report; report-type=delivery-status"}, Reason.BOUNCE),
            ({"Content_Type": "multipart/report; report-type=disposition-notification"}, Reason.RECEIPT),
        ],
    )
    def test_what_is_no_correspondence_is_not_logged_either(self, fields: dict[str, str], reason: Reason) -> None:
        assert copy_of(to("kim@cust.example", **fields)).reason is reason

    @pytest.mark.parametrize(
        ("fields", "flag", "reason"),
        [
            ({"Auto_Submitted": "auto-replied"}, Flag.AUTO_SUBMITTED, Reason.AUTO_SUBMITTED),
            ({"Content_Type": "text/calendar"}, Flag.CALENDAR, Reason.CALENDAR),
            ({"Precedence": "bulk"}, Flag.BULK, Reason.BULK),
        ],
    )
    def test_special_kinds_are_flagged_or_skipped(self, fields: dict[str, str], flag: Flag, reason: Reason) -> None:
        message = to("kim@cust.example", **fields)
        assert copy_of(message).flags == {flag}
        off = copy_of(message, answer(portal(switches={f"log_{flag}": False})))
        assert (off.reason, contacts(off)) == (reason, [KIM.id])

    def test_no_author_that_can_be_read(self) -> None:
        assert decide(copied("ann@acme.example"), mail("<>", "kim@cust.example"), answer()).reason is Reason.UNPARSEABLE

    def test_a_stopped_thread_does_not_stop_what_a_user_asks_for(self) -> None:
        stopped = portal(stopped_ids=frozenset(("1@x",)))
        assert copy_of(to("kim@cust.example", In_Reply_To="<1@x>"), answer(stopped)).outcome is Outcome.LOG


class TestCopiesAndNeverLog:
    def test_each_contact_is_judged_alone(self) -> None:
        said = answer(portal(never_log=("lee@cust.example",)))
        assert contacts(copy_of(to("kim@cust.example", "lee@cust.example"), said)) == [KIM.id]
        alone = copy_of(to("lee@cust.example"), said)
        assert (alone.reason, contacts(alone)) == (Reason.ALL_CONTACTS_NEVER_LOG, [LEE.id])

    def test_a_contact_named_by_the_primary_address_is_barred_under_the_other(self) -> None:
        said = answer(portal(never_log=("kim@cust.example",)))
        assert copy_of(to("kim.k@gmail.com"), said).reason is Reason.ALL_CONTACTS_NEVER_LOG

    @pytest.mark.parametrize("recipients", [["kim@cust.example"], ["new@x.example"]])
    def test_one_barred_address_bars_the_message_with_the_switch(self, recipients: list[str]) -> None:
        never_log = ("v@secret.example",)
        message = to(*recipients, "v@secret.example")
        assert copy_of(message, answer(portal(never_log=never_log))).outcome is Outcome.LOG
        whole = portal(never_log=never_log, switches={"never_log_scope": NeverLogScope.MESSAGE})
        decision = copy_of(message, answer(whole))
        assert (decision.reason, decision.creates) == (Reason.NEVER_LOG_MESSAGE_SCOPE, ())

    def test_a_personal_list_binds_its_own_user(self) -> None:
        ann = changed(ANN, never_log=("kim@cust.example",))
        assert copy_of(to("kim@cust.example"), answer(users=[ann])).reason is Reason.PERSONAL_NEVER_LOG
        bob = mail("bob@acme.example", "kim@cust.example")
        assert copy_of(bob, answer(users=[ann]), login="bob@acme.example").outcome is Outcome.LOG


class TestInternalCopies:
    def test_a_copy_among_users_is_not_logged(self) -> None:
        assert copy_of(to("bob@acme.example", cc=["cy@acme.example"])).reason is Reason.INTERNAL_ONLY

    @pytest.mark.parametrize("rule", Rule)
    def test_the_switch_logs_it_to_the_record_of_a_user_and_makes_none(self, rule: Rule) -> None:
        said = answer(portal(rule, switches={"log_internal": True}))
        decision = copy_of(to("bob@acme.example", "cy@acme.example"), said)
        assert (decision.outcome, contacts(decision), decision.creates) == (Outcome.LOG, [BO.id], ())

    def test_on_other_mail_the_switch_makes_no_contact_of_a_user(self) -> None:
        said = answer(portal(switches={"log_internal": True}))
        assert contacts(copy_of(to("bob@acme.example", "kim@cust.example"), said)) == [KIM.id]


class TestSenders:
    """Rules.md 7.2."""

    @pytest.mark.parametrize(
        ("login", "user", "attribution", "flags"),
        [
            ("ann@acme.example", ANN, Attribution.AUTHOR, set()),
            ("bob@acme.example", BOB, Attribution.LOGIN, {Flag.FROM_MISMATCH}),
        ],
    )
    def test_a_login_proves_its_user(self, login: str, user: User, attribution: Attribution, flags: set[Flag]) -> None:
        decision = copy_of(to("kim@cust.example"), login=login)
        assert decision.user is not None
        assert (decision.user.id, decision.attribution, decision.flags) == (user.id, attribution, flags)

    def test_a_service_login_speaks_for_the_author(self) -> None:
        said = answer(portal(service_logins=frozenset(("mailer@acme.example",))))
        decision = copy_of(to("kim@cust.example"), said, login="mailer@acme.example")
        assert decision.user is not None
        assert (decision.user.id, decision.flags) == (ANN.id, {Flag.GATEWAY_IDENTITY})

    def test_a_user_whose_account_is_not_connected_may_ask(self) -> None:
        message = mail("cy@acme.example", "kim@cust.example")
        decision = copy_of(message, login="cy@acme.example")
        assert (decision.outcome, decision.user and decision.user.id) == (Outcome.LOG, CY.id)

    @pytest.mark.parametrize(("name", "reason"), [("dee", Reason.USER_NO_PERMISSION), ("eve", Reason.USER_INACTIVE)])
    def test_who_may_not_is_named(self, name: str, reason: Reason) -> None:
        address = f"{name}@acme.example"
        decision = copy_of(mail(address, "kim@cust.example"), login=address)
        assert (decision.reason, decision.user and decision.user.address) == (reason, address)

    @pytest.mark.parametrize("proof", [None, PROVEN])
    def test_who_is_no_user_may_not(self, proof: Proof | None) -> None:
        message = mail("x@evil.example", "kim@cust.example")
        assert decide(received(proof=proof), message, answer()).reason is Reason.CAPTURE_SENDER_NOT_USER

    def test_a_contact_who_learned_the_address_may_not(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", BCC)
        assert decide(received(proof=PROVEN), message, answer()).reason is Reason.CAPTURE_SENDER_NOT_USER

    def test_a_login_of_nobody_proves_nobody(self) -> None:
        decision = copy_of(to("kim@cust.example"), login="x@x.example")
        assert decision.reason is Reason.CAPTURE_SENDER_NOT_USER

    def test_a_login_that_writes_as_a_contact_is_refused(self) -> None:
        decision = copy_of(mail("kim@cust.example", "lee@cust.example"))
        assert decision.reason is Reason.UNAUTHENTICATED_SENDER

    def test_without_a_proof_a_name_is_a_claim(self) -> None:
        decision = decide(received(), to("kim@cust.example"), answer())
        assert (decision.reason, decision.user) == (Reason.CAPTURE_SENDER_UNVERIFIED, None)
        assert needs_proof(decision)
        proven = decide(received(proof=PROVEN), to("kim@cust.example"), answer())
        assert (proven.reason, needs_proof(proven)) == (Reason.BCC_ADDRESS, False)

    @pytest.mark.parametrize("said", [answer(), answer(portal(Rule.REPLIES_ONLY))])
    def test_a_refusal_is_given_to_who_decides_of_forwards_too(self, said: Answer) -> None:
        case = Case.of(received(), to("kim@cust.example"), said)
        assert prove_sender(case) == Refusal(reason=Reason.CAPTURE_SENDER_UNVERIFIED)


class TestCopiesThatAreRefused:
    """Asking for a log loses none: what the rule would log is logged all the same."""

    def test_mail_of_a_contact_who_put_the_address_in_cc_is_logged_as_received(self) -> None:
        capture = passing("ann@acme.example", capture_addresses=frozenset((BCC,)), proof=PROVEN)
        decision = decide(capture, mail("kim@cust.example", "ann@acme.example", cc=[BCC]), answer())
        assert (decision.reason, decision.source) == (Reason.RECEIVED_FROM_CONTACT, Source.GATEWAY)
        assert decision.flags == frozenset()

    def test_a_user_without_access_is_logged_where_a_colleague_opens_the_gate(self) -> None:
        message = mail("dee@acme.example", "kim@cust.example", cc=["ann@acme.example"])
        decision = copy_of(message, login="dee@acme.example")
        assert (decision.reason, decision.source) == (Reason.SENT_TO_CONTACT, Source.RELAY)

    def test_where_the_rule_logs_nothing_the_copy_gives_the_reason(self) -> None:
        message = mail("dee@acme.example", "kim@cust.example")
        decision = copy_of(message, answer(portal(Rule.REPLIES_ONLY)), login="dee@acme.example")
        assert (decision.reason, decision.source) == (Reason.USER_NO_PERMISSION, Source.BCC)

    def test_a_claim_is_not_logged_by_the_back_door(self) -> None:
        capture = passing("kim@cust.example", capture_addresses=frozenset((BCC,)))
        decision = decide(capture, to("kim@cust.example"), answer())
        assert decision.reason is Reason.CAPTURE_SENDER_UNVERIFIED

    def test_the_address_of_another_portal_changes_nothing_here(self) -> None:
        capture = relayed("ann@acme.example", "kim@cust.example", captures=["log-p2@cap.example"])
        decision = decide(capture, to("kim@cust.example"), answer())
        assert (decision.reason, decision.source) == (Reason.SENT_TO_CONTACT, Source.RELAY)


# -- forwarded originals ----------------------------------------------------------------------------------------------

FORWARDED = Capture(source=Source.FORWARD, capture_addresses=frozenset((FORWARD,)))


def original(
    message: Message, said: Answer | None = None, *, forwarder: User = ANN, is_attached: bool = True
) -> Decision:
    """The decision on an original that somebody forwarded."""
    return decide_original(Case.of(FORWARDED, message, said or answer()), forwarder, is_attached=is_attached)


RECEIVED = mail("kim@cust.example", "ann@acme.example")
kinds_of_forward = pytest.mark.parametrize("is_attached", [True, False], ids=["attached", "inline"])


def flags(is_attached: bool) -> set[Flag]:
    return set() if is_attached else {Flag.UNVERIFIED_FORWARD}


class TestOriginals:
    @kinds_of_forward
    @pytest.mark.parametrize("rule", Rule)
    def test_what_a_contact_wrote_is_incoming(self, rule: Rule, is_attached: bool) -> None:
        decision = original(RECEIVED, answer(portal(rule)), is_attached=is_attached)
        assert (decision.outcome, decision.reason) == (Outcome.LOG, Reason.FORWARDING_ADDRESS)
        assert (decision.direction, decision.source) == (Direction.INCOMING, Source.FORWARD)
        assert contacts(decision) == [KIM.id]
        assert (decision.user and decision.user.id, decision.attribution) == (ANN.id, Attribution.SINGLE_RECIPIENT)
        assert decision.flags == flags(is_attached)

    @kinds_of_forward
    def test_what_a_user_wrote_is_outgoing(self, is_attached: bool) -> None:
        message = to("kim@cust.example", "new@x.example", cc=["lee@cust.example"])
        decision = original(message, is_attached=is_attached)
        assert decision.direction is Direction.OUTGOING
        assert contacts(decision) == [KIM.id, LEE.id]
        assert decision.creates == ("new@x.example",)
        assert (decision.user and decision.user.id, decision.attribution) == (ANN.id, Attribution.AUTHOR)
        assert decision.flags == flags(is_attached)

    @kinds_of_forward
    def test_a_contact_is_made_of_the_author_only(self, is_attached: bool) -> None:
        message = mail("p@x.example", "ann@acme.example", "q@x.example")
        decision = original(message, is_attached=is_attached)
        assert (decision.contacts, decision.creates) == ((), ("p@x.example",))

    @kinds_of_forward
    @pytest.mark.parametrize(
        "message", [mail("p@x.example", "ann@acme.example"), to("p@x.example")], ids=["incoming", "outgoing"]
    )
    def test_no_contact_is_made_with_the_switch_off(self, message: Message, is_attached: bool) -> None:
        said = answer(portal(switches={"forward_creates_contacts": False}))
        decision = original(message, said, is_attached=is_attached)
        assert (decision.outcome, decision.reason) == (Outcome.SKIP, Reason.NO_EXISTING_CONTACT)
        assert original(RECEIVED, said).outcome is Outcome.LOG

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("v@secret.example", Reason.ALL_CONTACTS_NEVER_LOG),
            ("p@private.example", Reason.PERSONAL_NEVER_LOG),
            ("gone@x.example", Reason.ERASED_ADDRESS),
            ("no-reply@x.example", Reason.NO_EXISTING_CONTACT),
        ],
    )
    def test_no_contact_is_made_of(self, address: str, reason: Reason) -> None:
        ann = changed(ANN, never_log=("*@private.example",))
        said = answer(portal(never_log=("*@secret.example",)), users=[ann], erased=["gone@x.example"])
        assert original(mail(address, "ann@acme.example"), said, forwarder=ann).reason is reason
        assert original(to(address), said, forwarder=ann).reason is reason

    def test_mail_among_users(self) -> None:
        message = mail("bob@acme.example", "ann@acme.example")
        assert original(message).reason is Reason.INTERNAL_ONLY
        assert original(to("bob@acme.example")).reason is Reason.INTERNAL_ONLY
        logged = original(to("bob@acme.example"), answer(portal(switches={"log_internal": True})))
        assert contacts(logged) == [BO.id]

    def test_a_barred_contact_and_the_scope_of_a_message(self) -> None:
        barred = answer(portal(never_log=("kim@cust.example",)))
        decision = original(RECEIVED, barred)
        assert (decision.reason, contacts(decision)) == (Reason.ALL_CONTACTS_NEVER_LOG, [KIM.id])
        message = mail("kim@cust.example", "ann@acme.example", "v@secret.example")
        assert original(message, answer(portal(never_log=("*@secret.example",)))).outcome is Outcome.LOG
        whole = portal(never_log=("*@secret.example",), switches={"never_log_scope": NeverLogScope.MESSAGE})
        assert original(message, answer(whole)).reason is Reason.NEVER_LOG_MESSAGE_SCOPE

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"Content_Type": "multipart/report; report-type=delivery-status"}, Reason.BOUNCE),
            ({"Content_Type": "multipart/report; report-type=disposition-notification"}, Reason.RECEIPT),
        ],
    )
    def test_what_is_no_correspondence(self, fields: dict[str, str], reason: Reason) -> None:
        assert original(mail("kim@cust.example", "ann@acme.example", **fields)).reason is reason

    def test_list_mail_that_names_no_user(self) -> None:
        assert original(mail("kim@cust.example", "l@x.example", List_Id="<l.x>")).reason is Reason.LIST_MAIL
        assert original(mail("kim@cust.example", "l@x.example")).outcome is Outcome.LOG
        assert original(mail("kim@cust.example", "ann@acme.example", List_Id="<l.x>")).outcome is Outcome.LOG

    def test_a_special_kind_is_flagged_or_skipped(self) -> None:
        message = mail("kim@cust.example", "ann@acme.example", Precedence="bulk")
        assert original(message).flags == {Flag.BULK}
        assert original(message, is_attached=False).flags == {Flag.BULK, Flag.UNVERIFIED_FORWARD}
        assert original(message, answer(portal(switches={"log_bulk": False}))).reason is Reason.BULK

    def test_an_original_without_an_author(self) -> None:
        assert original(mail("<>", "ann@acme.example")).reason is Reason.FORWARD_NOT_PARSED

    def test_the_sentence_does_not_say_that_the_user_forwarded_it(self) -> None:
        decision = original(mail("lee@cust.example", "ann@acme.example", "bob@acme.example"))
        assert "bob@acme.example forwarded" not in explain(decision)


class TestWhoseOriginal:
    """An original belongs to whom the rules of section 5 say, as far as the forwarder's word reaches."""

    SEVERAL = mail("lee@cust.example", "ann@acme.example", "bob@acme.example")

    def test_an_attached_one_goes_by_the_rules(self) -> None:
        decision = original(self.SEVERAL)
        assert (decision.user and decision.user.id, decision.attribution) == (BOB.id, Attribution.CONTACT_OWNER)

    def test_one_in_the_text_is_a_claim_and_puts_nothing_on_a_colleague(self) -> None:
        decision = original(self.SEVERAL, is_attached=False)
        assert (decision.user and decision.user.id, decision.attribution) == (ANN.id, Attribution.FORWARDER)

    def test_what_a_text_says_a_colleague_wrote_is_not_the_colleagues(self) -> None:
        message = mail("bob@acme.example", "kim@cust.example")
        decision = original(message, is_attached=False)
        assert (decision.user and decision.user.id, decision.attribution) == (ANN.id, Attribution.FORWARDER)
        attached = original(message)
        assert (attached.user and attached.user.id, attached.attribution) == (BOB.id, Attribution.AUTHOR)

    @kinds_of_forward
    def test_a_forwarder_who_took_no_part_gets_what_names_no_user(self, is_attached: bool) -> None:
        decision = original(mail("kim@cust.example", "list@x.example"), is_attached=is_attached)
        assert (decision.user and decision.user.id, decision.attribution) == (ANN.id, Attribution.FORWARDER)

    def test_an_inactive_user_gets_nothing(self) -> None:
        for message in (mail("kim@cust.example", "eve@acme.example"), mail("eve@acme.example", "kim@cust.example")):
            decision = original(message)
            assert (decision.user and decision.user.id, decision.attribution) == (ANN.id, Attribution.FORWARDER)

    def test_who_has_barred_the_author_gets_nothing(self) -> None:
        bob = changed(BOB, never_log=("lee@cust.example",))
        decision = original(self.SEVERAL, answer(users=[bob]))
        assert (decision.user and decision.user.id, decision.attribution) == (ANN.id, Attribution.SINGLE_USER)
        owner_only = mail("lee@cust.example", "ann@acme.example", "cy@acme.example")
        found = original(owner_only, answer(users=[bob]))
        assert (found.user and found.user.id) == ANN.id

    def test_of_several_the_first_who_opens_the_gate(self) -> None:
        decision = original(mail("max@other.example", "dee@acme.example", "ann@acme.example"))
        assert (decision.user and decision.user.id, decision.attribution) == (ANN.id, Attribution.OWNER_MISSING)
        assert DEE.active
        assert not EVE.active


# -- always -----------------------------------------------------------------------------------------------------------

ADDRESSES = [user.account for user in USERS] + [each.primary for each in CONTACTS]
ADDRESSES += ["sales@acme.example", "kim.k@gmail.com", "x@x.example", BCC, FORWARD, "v@secret.example"]
addresses = st.lists(st.sampled_from(ADDRESSES), max_size=3)
messages = st.builds(
    lambda authors, to, cc: mail(", ".join(authors), *to, cc=cc),
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2),
    addresses,
    addresses,
)
entries = st.sampled_from([*ADDRESSES, "*@cust.example", "*.example", "gmail.com", "*@acme.example", "*@x.example"])
portals = st.builds(
    lambda rule, never_log, **switches: portal(rule, never_log=tuple(never_log), switches=switches),
    st.sampled_from(Rule),
    st.lists(entries, max_size=2),
    never_log_scope=st.sampled_from(NeverLogScope),
    log_internal=st.booleans(),
    forward_creates_contacts=st.booleans(),
)
without_login = st.builds(
    lambda source, recipients, is_copy: Capture(
        source=source, recipients=recipients, capture_addresses=frozenset((BCC,) if is_copy else ())
    ),
    st.sampled_from([Source.BCC, Source.GATEWAY, Source.JOURNAL]),
    st.one_of(st.none(), addresses.map(tuple)),
    st.booleans(),
)


def made(decision: Decision) -> set[object]:
    """Contacts and addresses that the decision logs to."""
    if decision.outcome is Outcome.SKIP:
        return set()
    return {*(each.id for each in decision.contacts), *decision.creates}


class TestAlways:
    @given(messages, portals, entries, st.sampled_from(USERS), st.booleans())
    def test_a_never_log_entry_never_adds_a_record_nor_a_contact(
        self, message: Message, home: Portal, entry: str, forwarder: User, is_attached: bool
    ) -> None:
        longer = replace(home, never_log=(*home.never_log, entry))
        personal = [changed(forwarder, never_log=(entry,))]
        before = original(message, answer(home), forwarder=forwarder, is_attached=is_attached)
        after = original(message, answer(longer), forwarder=forwarder, is_attached=is_attached)
        own = original(message, answer(home, users=personal), forwarder=personal[0], is_attached=is_attached)
        assert made(after) <= made(before)
        assert made(own) <= made(before)

    @given(messages, portals, st.sampled_from(USERS))
    def test_an_original_in_a_text_is_attributed_to_nobody_but_who_forwarded_it(
        self, message: Message, home: Portal, forwarder: User
    ) -> None:
        decision = original(message, answer(home), forwarder=forwarder, is_attached=False)
        assert decision.user is not None
        assert decision.user.id == forwarder.id
        assert decision.outcome is Outcome.SKIP or Flag.UNVERIFIED_FORWARD in decision.flags

    @given(messages, portals, without_login)
    def test_without_a_proof_nothing_is_logged_as_a_copy_and_the_rest_says_so(
        self, message: Message, home: Portal, capture: Capture
    ) -> None:
        decision = decide(capture, message, answer(home, thread=thread(ANN)))
        assert decision.reason is not Reason.BCC_ADDRESS
        assert decision.creates == ()
        assert decision.outcome is Outcome.SKIP or Flag.UNAUTHENTICATED in decision.flags
        strict = replace(home, switches=replace(home.switches, require_authenticated_sender=True))
        assert decide(capture, message, answer(strict, thread=thread(ANN))).outcome is Outcome.SKIP

    @given(messages, portals, addresses, st.sampled_from([user for user in USERS if not user.personal_email_access]))
    def test_who_gave_no_access_logs_nothing_by_asking(
        self, message: Message, home: Portal, recipients: list[str], user: User
    ) -> None:
        decision = decide(copied(user.account, *recipients), message, answer(home))
        assert decision.reason is not Reason.BCC_ADDRESS
