"""A decision explains itself in one plain sentence."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest

from engine import explain
from engine.decision import Attribution, ContactRef, Decision, Direction, Flag, Outcome, Reason, Source, UserRef

KIM = ContactRef(id=1, address="kim@cust.example")
LEE = ContactRef(id=2, address="lee@cust.example")
ANN = UserRef(id=1, address="ann@acme.example")
LOGS = (
    Reason.SENT_TO_CONTACT,
    Reason.RECEIVED_FROM_CONTACT,
    Reason.REPLY_TO_LOGGED,
    Reason.BCC_ADDRESS,
    Reason.FORWARDING_ADDRESS,
    Reason.MANUAL_LOG,
)


def decision(
    reason: Reason,
    *,
    direction: Direction | None = Direction.INCOMING,
    contacts: tuple[ContactRef, ...] = (KIM,),
    user: UserRef | None = ANN,
    attribution: Attribution = Attribution.SINGLE_RECIPIENT,
    flags: frozenset[Flag] = frozenset(),
) -> Decision:
    is_log = reason in LOGS
    return Decision(
        portal=1,
        source=Source.RELAY,
        outcome=Outcome.LOG if is_log else Outcome.SKIP,
        reason=reason,
        direction=direction,
        contacts=contacts,
        user=user,
        attribution=attribution if is_log else None,
        flags=flags,
    )


def seen_at_the_gateway(reason: Reason) -> Decision:
    return replace(decision(reason), source=Source.GATEWAY)


def is_plain_sentence(text: str) -> bool:
    return (
        re.fullmatch(r"(Logged|Not logged): [^{}\n]+[a-z]\.", text) is not None
        and "None" not in text
        and "  " not in text
        and "_" not in text
        and ". " not in text
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_reads_as_one_plain_sentence(reason: Reason) -> None:
    sides = itertools.product((None, *Direction), ((), (KIM,), (KIM, LEE)), (None, ANN))
    for (direction, contacts, user), flag, source in itertools.product(sides, (None, *Flag), Source):
        flags = frozenset((flag,)) if flag is not None else frozenset()
        made = decision(reason, direction=direction, contacts=contacts, user=user, flags=flags)
        text = explain(replace(made, source=source))
        assert is_plain_sentence(text), text


@pytest.mark.parametrize("attribution", Attribution)
@pytest.mark.parametrize("flags", [frozenset(), frozenset((Flag.FROM_MISMATCH,))], ids=["", "from_mismatch"])
def test_every_attribution_reads_as_one_plain_sentence(attribution: Attribution, flags: frozenset[Flag]) -> None:
    text = explain(decision(Reason.RECEIVED_FROM_CONTACT, attribution=attribution, flags=flags))
    assert is_plain_sentence(text), text
    assert "; attributed to ann@acme.example, " in text


def test_no_two_reasons_and_no_two_attributions_read_the_same() -> None:
    assert len({explain(decision(reason)) for reason in Reason}) == len(Reason)
    sentences = {explain(decision(Reason.RECEIVED_FROM_CONTACT, attribution=each)) for each in Attribution}
    assert len(sentences) == len(Attribution)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            decision(Reason.MODE_REPLIES_ONLY),
            "Not logged: kim@cust.example is a contact, but the portal logs replies only and this message answers "
            "nothing that was logged.",
        ),
        (
            decision(Reason.MODE_REPLIES_ONLY, direction=Direction.OUTGOING, contacts=(KIM, LEE)),
            "Not logged: kim@cust.example and lee@cust.example are contacts, but the portal logs replies only and "
            "what a user sends does not log by itself.",
        ),
        (
            decision(Reason.NO_EXISTING_CONTACT, direction=Direction.OUTGOING, contacts=()),
            "Not logged: nobody it was sent to is an existing contact.",
        ),
        (
            decision(Reason.NO_EXISTING_CONTACT, contacts=()),
            "Not logged: nobody who wrote it is an existing contact.",
        ),
        (
            decision(Reason.USER_NO_PERMISSION),
            "Not logged: ann@acme.example has not given access to personal email.",
        ),
        (
            decision(Reason.ALL_CONTACTS_NEVER_LOG, contacts=(KIM, LEE)),
            "Not logged: kim@cust.example and lee@cust.example are on the Never Log list.",
        ),
        (
            decision(Reason.ALL_CONTACTS_NEVER_LOG, contacts=()),
            "Not logged: whoever wrote it is on the Never Log list.",
        ),
        (
            decision(Reason.ALL_CONTACTS_NEVER_LOG, direction=Direction.OUTGOING, contacts=()),
            "Not logged: everybody it was sent to is on the Never Log list.",
        ),
        (
            decision(Reason.PENDING_PARENT),
            "Not logged: what it answers may still be logged, so it waits.",
        ),
        (
            decision(Reason.THREAD_UNPROVEN, contacts=()),
            "Not logged: whoever wrote it is no contact, refers to logged mail only in passing, and answers none of it "
            "directly.",
        ),
        (
            decision(Reason.UNAUTHENTICATED_SENDER),
            "Not logged: the login does not belong to the contact whose address is in From.",
        ),
        (
            seen_at_the_gateway(Reason.UNAUTHENTICATED_SENDER),
            "Not logged: nothing proves that whoever stands in From sent it, and the portal asks for proof.",
        ),
        (
            decision(Reason.REPLY_TO_LOGGED, attribution=Attribution.PARENT),
            "Logged: kim@cust.example answers a message that was logged; attributed to ann@acme.example, who wrote the "
            "message it answers.",
        ),
        (
            decision(Reason.REPLY_TO_LOGGED, attribution=Attribution.PARENT, flags=frozenset((Flag.UNMATCHED_SENDER,))),
            "Logged: somebody answered from another address what was logged with kim@cust.example; attributed to "
            "ann@acme.example, who wrote the message it answers.",
        ),
        (
            decision(Reason.BCC_ADDRESS, direction=Direction.OUTGOING, attribution=Attribution.AUTHOR),
            "Logged: ann@acme.example sent a copy to the portal's BCC address; attributed to ann@acme.example, who "
            "wrote it.",
        ),
        (
            decision(Reason.FORWARDING_ADDRESS, attribution=Attribution.FORWARDER),
            "Logged: it was forwarded to the portal's forwarding address; attributed to ann@acme.example, who "
            "forwarded it.",
        ),
        (
            decision(Reason.SENT_TO_CONTACT, direction=Direction.OUTGOING, attribution=Attribution.AUTHOR),
            "Logged: ann@acme.example sent it to kim@cust.example, and the portal logs all emails with existing "
            "contacts; attributed to ann@acme.example, who wrote it.",
        ),
        (
            decision(Reason.RECEIVED_FROM_CONTACT, attribution=Attribution.CONTACT_OWNER),
            "Logged: kim@cust.example sent it, and the portal logs all emails with existing contacts; attributed to "
            "ann@acme.example, the owner of the contact, because several users got it.",
        ),
    ],
)
def test_the_sentence_names_the_inputs(made: Decision, sentence: str) -> None:
    assert explain(made) == sentence


def test_an_address_with_braces_is_printed_and_not_filled_in() -> None:
    odd = ContactRef(id=1, address="{user}@cust.example")
    assert "{user}@cust.example" in explain(decision(Reason.RECEIVED_FROM_CONTACT, contacts=(odd,)))
