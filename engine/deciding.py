"""The decision on one message in one portal (rules.md sections 3 to 5): first what it is, then the gate, then whose.

Each step either gives a reason to skip or hands on; the order of the steps is the order of the reasons. What a user
asked to log, by a capture address or by hand, is decided in `engine.explicit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from engine.attribution import attribute_incoming, attribute_outgoing
from engine.capture import Capture, Folder
from engine.case import Case, Contacts, openers, why_not
from engine.correspondence import is_list_mail, kinds, why_no_correspondence
from engine.decision import Decision, Direction, Flag, Outcome, Reason, Source
from engine.directory import Answer, Contact, Question, Rule, User
from engine.explicit import decide_by_hand, decide_copy
from engine.fingerprint import header_print
from engine.message import Message
from engine.thread import Joined, join, may_match_yet

__all__ = ["decide", "decide_each", "needs_proof", "question", "waits_for_parents"]

PASSING = (Source.GATEWAY, Source.JOURNAL)
FOLDERS = {Folder.DRAFTS: Reason.DRAFT, Folder.JUNK: Reason.SPAM_FOLDER, Folder.TRASH: Reason.SPAM_FOLDER}
MAY_LOG_YET = (Reason.PENDING_PARENT, Reason.UNAUTHENTICATED_SENDER)  # when a parent is logged, or a proof is found


def question(capture: Capture, message: Message) -> Question:
    """What must be known to decide: every address of the header section and the envelope, and what it answers.

    What a user submits is never logged for what it answers (rules.md 3.2), so no thread is asked for then. Where mail
    passes without a login, its recipients choose the portals.
    """
    addresses = {*message.authors, *message.to, *message.cc, *(capture.recipients or ())}
    addresses.update(each for each in (capture.login, capture.mailbox) if each is not None)
    is_submission = capture.login is not None and capture.mailbox is None
    return Question(
        login=capture.login or capture.mailbox,
        addresses=frozenset(addresses),
        concerned=frozenset(capture.recipients or ()) if capture.source in PASSING else frozenset(),
        capture_addresses=capture.capture_addresses,
        parents=() if is_submission else message.parents,
        direct=frozenset() if is_submission else frozenset(message.in_reply_to),
        own=frozenset() if is_submission or not message.parents else _own(message),
        at=None if is_submission or not message.parents else capture.at,
    )


def decide_each(capture: Capture, message: Message, answers: Iterable[Answer]) -> tuple[Decision, ...]:
    """The decisions of the portals that the message concerns: those of which a user takes part in it (rules.md 3.9),
    and those whose capture address it was sent to.
    """
    return tuple(
        decide(capture, message, answer)
        for answer in answers
        if answer.users or answer.portal.bcc_address in capture.capture_addresses
    )


def decide(capture: Capture, message: Message, answer: Answer) -> Decision:
    """The decision of one portal. Never raises on bad mail.

    A copy to the BCC address that is not logged as such is what it would be without: asking for a log loses none. What
    nobody but the portal was sent is a copy and nothing else.
    """
    case = Case.of(capture, message, answer)
    if capture.folder is Folder.LOG:
        return _asked_for(case)
    if answer.portal.bcc_address is None or answer.portal.bcc_address not in capture.capture_addresses:
        return _decide(case)
    copy = decide_copy(replace(case, capture=replace(capture, source=Source.BCC)))
    is_claim = copy.reason is Reason.CAPTURE_SENDER_UNVERIFIED
    if copy.outcome is Outcome.LOG or is_claim or not capture.recipients:
        return copy
    ruled = _decide(case)
    return ruled if ruled.outcome is Outcome.LOG else copy


def _asked_for(case: Case) -> Decision:
    """What lies in the folder for the log: logged by hand, and to whom the rule logs it besides (rules.md 7.4)."""
    by_hand = decide_by_hand(replace(case, capture=replace(case.capture, source=Source.MANUAL)))
    ruled = _decide(case)
    if by_hand.outcome is Outcome.LOG:
        return by_hand.with_those_of(ruled) if ruled.outcome is Outcome.LOG else by_hand
    return ruled if ruled.outcome is Outcome.LOG or ruled.reason in MAY_LOG_YET else by_hand


def waits_for_parents(decision: Decision, message: Message, answer: Answer) -> bool:
    """Whether a parent that is logged later may change the decision (rules.md 4.5)."""
    if decision.direction is not Direction.INCOMING or not message.parents:
        return False
    if decision.outcome is not Outcome.LOG:
        return decision.reason is Reason.PENDING_PARENT
    # Who is no contact of the thread may become one, by what is logged in it meanwhile.
    is_matched = decision.reason is Reason.REPLY_TO_LOGGED and Flag.UNMATCHED_SENDER not in decision.flags
    is_known = answer.thread is not None and bool(answer.thread.ancestors)
    return _is_missing_parents(answer) or (is_known and not is_matched)


def needs_proof(decision: Decision) -> bool:
    """Whether a proof of the author (`Capture.proof`), where the capture has none yet, may change the decision."""
    return Flag.UNAUTHENTICATED in decision.flags or decision.reason in (
        Reason.UNAUTHENTICATED_SENDER,
        Reason.CAPTURE_SENDER_UNVERIFIED,
    )


def _own(message: Message) -> frozenset[str]:
    """What a record of the message itself would be known by."""
    names = {message.message_id} if message.message_id else set()
    return frozenset(names | {header_print(message)})


def _decide(case: Case) -> Decision:
    """The decision by the portal's rule."""
    capture, message, answer = case.capture, case.message, case.answer
    if capture.recipients == ():
        return case.skip(Reason.NOT_DELIVERED)
    if capture.folder is not None and capture.folder in FOLDERS:
        return case.skip(FOLDERS[capture.folder])
    if (reason := why_no_correspondence(message)) is not None:
        return case.skip(reason)
    parties = case.parties
    if not parties.authors:
        return case.skip(Reason.UNPARSEABLE)
    if answer.portal.stopped_ids and not answer.portal.stopped_ids.isdisjoint(message.parents):
        return case.skip(Reason.THREAD_STOPPED)
    if parties.is_internal():
        if not answer.portal.switches.log_internal:
            return case.skip(Reason.INTERNAL_ONLY)
        return _outgoing(case, parties.record)
    if any(parties.is_user(each) for each in parties.authors):
        return _outgoing(case, parties.contact)
    if capture.login is not None and capture.mailbox is None:
        return _submitted_for_another(case)
    return _incoming(case)


def _is_missing_parents(answer: Answer) -> bool:
    return answer.thread is not None and bool(answer.thread.missing)


def _lacks_proof(case: Case) -> bool:
    """Whether the portal asks that something proves the author, and nothing does."""
    return case.answer.portal.switches.require_authenticated_sender and not case.is_authenticated


def _unproven(case: Case) -> frozenset[Flag]:
    return frozenset() if case.is_authenticated else frozenset((Flag.UNAUTHENTICATED,))


# -- outgoing ---------------------------------------------------------------------------------------------------------


def _submitted_for_another(case: Case) -> Decision:
    """A relay session whose author is no user: the login speaks, unless a contact's name is borrowed."""
    if case.borrows_contact():
        return case.skip(Reason.UNAUTHENTICATED_SENDER, Direction.INCOMING)
    return _outgoing(case, case.parties.contact)


def _outgoing(case: Case, contact: Callable[[str], Contact | None]) -> Decision:
    direction = Direction.OUTGOING
    attributed = attribute_outgoing(case.parties)
    if attributed is None:
        return case.skip(Reason.NO_ELIGIBLE_USER, direction)
    user = attributed.user
    found = {address: contact(address) for address in case.parties.recipients}
    contacts = {address: each for address, each in found.items() if each is not None}
    if not contacts:
        return case.skip(Reason.NO_EXISTING_CONTACT, direction, user)
    loggable = case.loggable(contacts)
    if not loggable:
        return case.skip(Reason.ALL_CONTACTS_NEVER_LOG, direction, user, contacts)
    if case.never_log_bars_message():
        return case.skip(Reason.NEVER_LOG_MESSAGE_SCOPE, direction, user, contacts)
    wanted = case.wanted_by((user,), loggable)
    if not wanted:
        return case.skip(Reason.PERSONAL_NEVER_LOG, direction, user, loggable)
    # A name in From that the login may not use proves nothing, so its owner does not open the gate either.
    is_claim = Flag.FROM_MISMATCH in attributed.flags
    opening = openers(case.parties.without_authors() if is_claim else case.parties)
    if not opening:
        return case.skip(why_not(user), direction, user, wanted)
    wanted = case.wanted_by(opening, wanted)
    if not wanted:
        return case.skip(Reason.PERSONAL_NEVER_LOG, direction, user, loggable)
    flags, switched_off = kinds(case.message, case.answer.portal.switches)
    if switched_off is not None:
        return case.skip(switched_off, direction, user, wanted)
    if case.answer.portal.rule is Rule.REPLIES_ONLY:
        return case.skip(Reason.MODE_REPLIES_ONLY, direction, user, wanted)
    if _lacks_proof(case):
        return case.skip(Reason.UNAUTHENTICATED_SENDER, direction, user, wanted)
    flags |= attributed.flags | _unproven(case)
    return case.log(Reason.SENT_TO_CONTACT, direction, user, attributed.attribution, wanted, flags)


# -- incoming ---------------------------------------------------------------------------------------------------------


def _incoming(case: Case) -> Decision:
    direction = Direction.INCOMING
    parties = case.parties
    if is_list_mail(case.message) and not any(parties.is_user(each) for each in parties.headers):
        return case.skip(Reason.LIST_MAIL, direction)
    found = {address: parties.contact(address) for address in parties.authors}
    contacts = {address: each for address, each in found.items() if each is not None}
    joined = join(case.message, case.answer.thread, contacts.values(), case.answer.portal.switches)
    if not contacts and joined is None and not _may_join_yet(case):
        return case.skip(_why_no_contact(case), direction)
    # A sender who is barred stays barred when the answer would log to somebody else.
    if all(case.bars(each, contact) for each, contact in found.items()):
        return case.skip(Reason.ALL_CONTACTS_NEVER_LOG, direction, None, contacts)
    if joined is not None and not joined.is_matched:
        contacts |= {each.primary: each for each in joined.contacts}
        if not contacts:
            return case.skip(Reason.NO_EXISTING_CONTACT, direction)
    loggable = case.loggable(contacts)
    if contacts and not loggable:
        return case.skip(Reason.ALL_CONTACTS_NEVER_LOG, direction, None, contacts)
    if case.never_log_bars_message():
        return case.skip(Reason.NEVER_LOG_MESSAGE_SCOPE, direction, None, contacts)
    opening = openers(parties)
    if not opening:
        return _nobody_opens(case, loggable)
    if not contacts:
        return case.skip(Reason.PENDING_PARENT, direction, opening[0])
    if joined is not None and not joined.is_matched:
        first, opening = opening[0], [each for each in opening if not case.blocks_authors(each)]
        if not opening:
            return case.skip(Reason.PERSONAL_NEVER_LOG, direction, first, loggable)
    wanted = case.wanted_by(opening, loggable)
    if not wanted:
        return case.skip(Reason.PERSONAL_NEVER_LOG, direction, opening[0], loggable)
    return _received(case, opening, wanted, joined)


def _may_join_yet(case: Case) -> bool:
    """Whether a message of nobody known answers something directly that may still be logged (rules.md 4.2, 4.5)."""
    return bool(case.message.in_reply_to) and not case.capture.waited and _is_missing_parents(case.answer)


def _why_no_contact(case: Case) -> Reason:
    """A stranger who only refers to a logged thread has proven nothing; any other is just no contact."""
    thread = case.answer.thread
    return Reason.THREAD_UNPROVEN if thread is not None and thread.ancestors else Reason.NO_EXISTING_CONTACT


def _received(case: Case, opening: Sequence[User], contacts: Contacts, joined: Joined | None) -> Decision:
    """The gate is open; whose is it, and does the portal's rule want it?"""
    direction = Direction.INCOMING
    address, contact = next(iter(contacts.items()))
    parent = joined.parent if joined is not None else None
    is_matched = joined is None or joined.is_matched
    blocking = frozenset(
        each.id
        for each in _candidates(case, contact, parent)
        if case.blocks(each, address, contact) or (not is_matched and case.blocks_authors(each))
    )
    eligible = [each for each in opening if each.id not in blocking]
    attributed = attribute_incoming(case.parties, contact, eligible, blocking=blocking, parent=parent)
    if attributed is None:
        return case.skip(Reason.NO_ELIGIBLE_USER, direction, None, contacts)
    user = attributed.user
    flags, switched_off = kinds(case.message, case.answer.portal.switches)
    if switched_off is not None:
        return case.skip(switched_off, direction, user, contacts)
    if joined is None and case.answer.portal.rule is Rule.REPLIES_ONLY:
        return case.skip(_why_unproven(case, contacts), direction, user, contacts)
    if _lacks_proof(case):
        return case.skip(Reason.UNAUTHENTICATED_SENDER, direction, user, contacts)
    flags |= _unproven(case)
    if not is_matched:
        flags |= {Flag.UNMATCHED_SENDER}
    reason = Reason.REPLY_TO_LOGGED if joined is not None else Reason.RECEIVED_FROM_CONTACT
    return case.log(reason, direction, user, attributed.attribution, contacts, flags | attributed.flags)


def _why_unproven(case: Case, contacts: Contacts) -> Reason:
    """Under "Log replies only": it answers nothing, nothing that was logged, or perhaps something that will be.

    Perhaps, too, something whose thread its author will be a contact of.
    """
    message, thread = case.message, case.answer.thread
    may_join = thread is not None and (bool(thread.missing) or may_match_yet(thread, contacts.values()))
    if may_join and not case.capture.waited:
        return Reason.PENDING_PARENT
    return Reason.THREAD_UNPROVEN if message.is_reply or message.has_reply_mark else Reason.MODE_REPLIES_ONLY


def _candidates(case: Case, contact: Contact, parent: User | None) -> Iterable[User]:
    """Every user who may be attributed: those who take part, the contact's owner, and who wrote the parent."""
    owner = case.answer.owners.get(contact.owner) if contact.owner is not None else None
    others = (each for each in (owner, parent) if each is not None)
    return (*case.parties.all_users(), *others)


def _nobody_opens(case: Case, contacts: Contacts) -> Decision:
    """Why not: the first active user among the parties says it, else the first."""
    users = case.parties.all_users()
    user = next((each for each in users if each.active), users[0] if users else None)
    reason = why_not(user) if user is not None else Reason.NO_ELIGIBLE_USER
    if reason is Reason.USER_NOT_CONNECTED and not (case.answer.thread and case.answer.thread.ancestors):
        reason = Reason.NO_ELIGIBLE_USER
    return case.skip(reason, Direction.INCOMING, user, contacts)
