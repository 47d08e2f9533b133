"""What a user asks to be logged, under either rule (rules.md 3.3, 7.1 to 7.4): a copy, a forwarded original, or a
message that lies in the user's mailbox.

The user must be proven: by the login of a session, or by the author's domain vouching for the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.attribution import Attributed, attribute_incoming, attribute_outgoing
from engine.case import Case, Contacts, openers, why_not
from engine.correspondence import is_list_mail, kinds, why_no_correspondence
from engine.decision import Attribution, Decision, Direction, Flag, Reason
from engine.directory import Contact, User
from engine.thread import join

__all__ = ["Refusal", "Sender", "decide_by_hand", "decide_copy", "decide_original", "prove_sender"]

# Local parts that nobody reads: a contact made of one would be no contact.
NO_REPLY = ("noreply", "no-reply", "no_reply", "donotreply", "do-not-reply", "do_not_reply", "mailer-daemon", "bounce")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who used a capture address, and by which rule of 5.1."""

    user: User
    attribution: Attribution
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why somebody may not ask for a message to be logged, and who it is, where that is proven."""

    reason: Reason
    user: User | None = None


def prove_sender(case: Case) -> Sender | Refusal:
    """The user who used a capture address of the portal, or why that cannot be told or is not allowed (7.2)."""
    attributed = attribute_outgoing(case.parties)
    if attributed is None:
        return Refusal(reason=Reason.CAPTURE_SENDER_NOT_USER)
    if case.capture.login is None and case.capture.proof is None:
        return Refusal(reason=Reason.CAPTURE_SENDER_UNVERIFIED)
    user = attributed.user
    if case.borrows_contact():
        return Refusal(reason=Reason.UNAUTHENTICATED_SENDER)
    if not user.active:
        return Refusal(reason=Reason.USER_INACTIVE, user=user)
    if not user.personal_email_access:
        return Refusal(reason=Reason.USER_NO_PERMISSION, user=user)
    return Sender(user=user, attribution=attributed.attribution, flags=attributed.flags)


def decide_copy(case: Case) -> Decision:
    """A message that was sent to the BCC address as well: logged to everybody it is addressed to (7.1)."""
    direction = Direction.OUTGOING
    if (reason := why_no_correspondence(case.message)) is not None:
        return case.skip(reason)
    if not case.parties.authors:
        return case.skip(Reason.UNPARSEABLE)
    sender = prove_sender(case)
    if isinstance(sender, Refusal):
        return case.skip(sender.reason, direction, sender.user)
    if case.capture.recipients == () and case.capture.refused:
        return case.skip(Reason.NOT_DELIVERED, direction, sender.user)
    found = _find(case, sender.user, case.parties.headers, hidden=case.parties.envelope or ())
    if found.reason is not None:
        return case.skip(found.reason, direction, sender.user, found.contacts)
    if case.never_log_bars_message():
        return case.skip(Reason.NEVER_LOG_MESSAGE_SCOPE, direction, sender.user, found.contacts)
    flags, switched_off = kinds(case.message, case.answer.portal.switches)
    if switched_off is not None:
        return case.skip(switched_off, direction, sender.user, found.contacts)
    flags |= sender.flags
    if case.parties.exposes_capture_address:
        flags |= {Flag.CAPTURE_ADDRESS_EXPOSED}
    return case.log(
        Reason.BCC_ADDRESS, direction, sender.user, sender.attribution, found.contacts, flags, creates=found.creates
    )


def decide_original(case: Case, forwarder: User, *, is_attached: bool) -> Decision:
    """An original that a proven user forwarded: logged by the same rules, with its own parties and direction (7.3).

    What stands in the text of a forward is the forwarder's claim: it is flagged, and never attributed to somebody else.
    """
    parties = case.parties
    if (reason := why_no_correspondence(case.message)) is not None:
        return case.skip(reason, None, forwarder)
    if not parties.authors:
        return case.skip(Reason.FORWARD_NOT_PARSED, None, forwarder)
    direction = _direction(case)
    found, flags = _seek(case, forwarder, direction, may_create=case.answer.portal.switches.forward_creates_contacts)
    if found.reason is not None:
        return case.skip(found.reason, direction, forwarder, found.contacts)
    if not is_attached:
        flags |= {Flag.UNVERIFIED_FORWARD}
    user, attribution = _whose(case, found.contacts, forwarder, direction, is_claim=not is_attached)
    return case.log(
        Reason.FORWARDING_ADDRESS, direction, user, attribution, found.contacts, flags, creates=found.creates
    )


def decide_by_hand(case: Case) -> Decision:
    """A message that the user of the mailbox it lies in asks to be logged (7.4): as if it had been seen on its way, to
    contacts that there are. None is made: who wants that has the capture addresses.
    """
    if (reason := why_no_correspondence(case.message)) is not None:
        return case.skip(reason)
    if not case.parties.authors:
        return case.skip(Reason.UNPARSEABLE)
    direction = _direction(case)
    asking = _who_asks(case)
    if isinstance(asking, Refusal):
        return case.skip(asking.reason, direction, asking.user)
    found, flags = _seek(case, asking, direction, may_create=False)
    if found.reason is not None:
        return case.skip(found.reason, direction, asking, found.contacts)
    is_outgoing = direction is Direction.OUTGOING
    attributed = attribute_outgoing(case.parties) if is_outgoing else _attribute_answer(case, found.contacts)
    if attributed is None:
        attributed = Attributed(asking, Attribution.CAPTURED_MAILBOX)
    contacts = case.wanted_by((attributed.user,), found.contacts) if is_outgoing else found.contacts
    if not contacts:
        return case.skip(Reason.PERSONAL_NEVER_LOG, direction, attributed.user, found.contacts)
    if not case.is_authenticated:
        flags |= {Flag.UNAUTHENTICATED}
    return case.log(Reason.MANUAL_LOG, direction, attributed.user, attributed.attribution, contacts, flags)


def _who_asks(case: Case) -> User | Refusal:
    """The user of the mailbox; of several who have it by an alias, the first who may."""
    users = case.parties.users(case.parties.mailbox or "")
    if not users:
        return Refusal(reason=Reason.CAPTURE_SENDER_NOT_USER)
    may = next((each for each in users if each.active and each.personal_email_access), None)
    return may or Refusal(reason=why_not(users[0]), user=users[0])


def _direction(case: Case) -> Direction:
    is_outgoing = any(case.parties.is_user(each) for each in case.parties.authors)
    return Direction.OUTGOING if is_outgoing else Direction.INCOMING


@dataclass(frozen=True, slots=True)
class _Found:
    """Contacts to log to and addresses to make contacts of; or why there are none, with the contacts it is about."""

    contacts: Contacts
    creates: tuple[str, ...] = ()
    reason: Reason | None = None


def _seek(case: Case, user: User, direction: Direction, *, may_create: bool) -> tuple[_Found, frozenset[Flag]]:
    """Whom the other side of a message gives to log to, and the flags of its kind; or why it is not logged."""
    parties = case.parties
    is_outgoing = direction is Direction.OUTGOING
    if not is_outgoing and is_list_mail(case.message) and not any(parties.is_user(each) for each in parties.headers):
        return _Found({}, reason=Reason.LIST_MAIL), frozenset()
    found = _find(case, user, parties.headers if is_outgoing else parties.authors, may_create=may_create)
    flags, switched_off = kinds(case.message, case.answer.portal.switches)
    if found.reason is None and case.never_log_bars_message():
        found = replace(found, reason=Reason.NEVER_LOG_MESSAGE_SCOPE)
    elif found.reason is None and switched_off is not None:
        found = replace(found, reason=switched_off)
    return found, flags


def _find(
    case: Case, user: User, addresses: Sequence[str], *, hidden: Sequence[str] = (), may_create: bool = True
) -> _Found:
    """`hidden` are addresses that only the envelope names: their contacts count, but none is made of them."""
    parties, answer = case.parties, case.answer
    contacts: Contacts = {}
    creates: list[str] = []
    left_out: dict[Reason, Contacts] = {}
    find = parties.record if parties.is_internal() and answer.portal.switches.log_internal else parties.contact
    for address in dict.fromkeys((*addresses, *hidden)):
        contact = find(address)
        reason = _why_left_out(case, user, address, contact)
        if reason is not None:
            about = left_out.setdefault(reason, {})
            if contact is not None:
                about[address] = contact
        elif contact is not None:
            contacts[address] = contact
        elif may_create and address in addresses and not _is_no_reply(address):
            creates.append(parties.written[address])
        else:
            left_out.setdefault(Reason.NO_EXISTING_CONTACT, {})
    if contacts or creates:
        return _Found(contacts, tuple(creates))
    # That somebody on it is a user says least.
    reasons = sorted(left_out, key=lambda each: each is Reason.INTERNAL_ONLY)
    reason = reasons[0] if reasons else Reason.NO_EXISTING_CONTACT
    return _Found(left_out.get(reason, {}), reason=reason)


def _why_left_out(case: Case, user: User, address: str, contact: Contact | None) -> Reason | None:
    if contact is None and case.parties.is_user(address):
        return Reason.INTERNAL_ONLY
    if case.bars(address, contact):
        return Reason.ALL_CONTACTS_NEVER_LOG
    if case.blocks(user, address, contact):
        return Reason.PERSONAL_NEVER_LOG
    return Reason.ERASED_ADDRESS if contact is None and address in case.answer.erased else None


def _whose(
    case: Case, contacts: Contacts, forwarder: User, direction: Direction, *, is_claim: bool
) -> tuple[User, Attribution]:
    """By the rules of section 5, as far as the forwarder's word reaches; else the forwarder."""
    parties = case.parties
    is_outgoing = direction is Direction.OUTGOING
    attributed = attribute_outgoing(parties) if is_outgoing else _attribute_received(case, contacts)
    if attributed is None or not attributed.user.active or (is_claim and attributed.user.id != forwarder.id):
        return forwarder, Attribution.FORWARDER
    return attributed.user, attributed.attribution


def _attribute_answer(case: Case, contacts: Contacts) -> Attributed | None:
    """Rules.md 5.2, and 5.3 where it answers nothing that was logged."""
    joined = join(case.message, case.answer.thread, contacts.values(), case.answer.portal.switches)
    return _attribute_received(case, contacts, parent=joined.parent if joined is not None else None)


def _attribute_received(case: Case, contacts: Contacts, *, parent: User | None = None) -> Attributed | None:
    """Rules.md 5.3. A personal list takes its user out here, too (3.4)."""
    parties = case.parties
    address, contact = next(iter(contacts.items()), (parties.authors[0], None))
    owner = case.answer.owners.get(contact.owner) if contact is not None and contact.owner is not None else None
    candidates = (*parties.all_users(), *(each for each in (owner, parent) if each is not None))
    blocking = frozenset(each.id for each in candidates if case.blocks(each, address, contact))
    eligible = [each for each in openers(parties) if each.id not in blocking]
    return attribute_incoming(parties, contact, eligible, blocking=blocking, parent=parent)


def _is_no_reply(address: str) -> bool:
    local = address.rpartition("@")[0]
    return any(local == each or local.startswith((f"{each}+", f"{each}-", f"{each}.")) for each in NO_REPLY)
