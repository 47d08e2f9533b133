"""The decision on one message in one portal (rules.md sections 3 and 5): first what it is, then the gate, then whose.

Each step either gives a reason to skip or hands on; the order of the steps is the order of the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from engine.attribution import attribute_incoming, attribute_outgoing
from engine.capture import Capture
from engine.correspondence import is_list_mail, kinds, never_logged
from engine.decision import Attribution, ContactRef, Decision, Direction, Flag, Outcome, Reason, UserRef
from engine.directory import Answer, Contact, NeverLogScope, Question, Rule, User
from engine.message import Message
from engine.never_log import compile_entries
from engine.parties import Parties

__all__ = ["decide", "decide_each", "question"]


def question(capture: Capture, message: Message) -> Question:
    """What must be known to decide: every address of the header section and the envelope."""
    addresses = {*message.authors, *message.to, *message.cc, *(capture.recipients or ())}
    addresses.update(each for each in (capture.login, capture.mailbox) if each is not None)
    return Question(login=capture.login or capture.mailbox, addresses=frozenset(addresses))


def decide_each(capture: Capture, message: Message, answers: Iterable[Answer]) -> tuple[Decision, ...]:
    """The decisions of the portals that the message concerns: those of which a user takes part in it (rules.md 3.9)."""
    return tuple(decide(capture, message, answer) for answer in answers if answer.users)


def decide(capture: Capture, message: Message, answer: Answer, *, parent: User | None = None) -> Decision:
    """The decision of one portal. Never raises on bad mail.

    `parent` is the user of the nearest logged outgoing ancestor, where the message answers a logged one.
    """
    return _Case(capture, message, answer, Parties.of(capture, message, answer), parent).decide()


@dataclass(frozen=True, slots=True)
class _Case:
    capture: Capture
    message: Message
    answer: Answer
    parties: Parties
    parent: User | None

    def decide(self) -> Decision:
        parties = self.parties
        if self.capture.recipients == ():
            return self._skip(Reason.NOT_DELIVERED)
        if (reason := never_logged(self.message)) is not None:
            return self._skip(reason)
        if not parties.authors:
            return self._skip(Reason.UNPARSEABLE)
        if parties.is_internal():
            if not self.answer.portal.switches.log_internal:
                return self._skip(Reason.INTERNAL_ONLY)
            return self._outgoing(parties.record)
        if any(parties.is_user(each) for each in parties.authors):
            return self._outgoing(parties.contact)
        if self.capture.login is not None and self.capture.mailbox is None:
            return self._submitted_for_another()
        return self._incoming()

    # -- outgoing -----------------------------------------------------------------------------------------------------

    def _submitted_for_another(self) -> Decision:
        """A relay session whose author is no user: the login speaks, unless a contact's name is borrowed."""
        if any(self.parties.contact(each) for each in self.parties.authors):
            return self._skip(Reason.UNAUTHENTICATED_SENDER, Direction.INCOMING)
        return self._outgoing(self.parties.contact)

    def _outgoing(self, contact: Callable[[str], Contact | None]) -> Decision:
        direction = Direction.OUTGOING
        attributed = attribute_outgoing(self.parties)
        if attributed is None:
            return self._skip(Reason.NO_ELIGIBLE_USER, direction)
        user = attributed.user
        found = {address: contact(address) for address in self.parties.recipients}
        contacts = {address: each for address, each in found.items() if each is not None}
        if not contacts:
            return self._skip(Reason.NO_EXISTING_CONTACT, direction, user)
        loggable = {address: each for address, each in contacts.items() if not self._is_never_logged(each, address)}
        if not loggable:
            return self._skip(Reason.ALL_CONTACTS_NEVER_LOG, direction, user, contacts)
        if self._never_log_bars_message():
            return self._skip(Reason.NEVER_LOG_MESSAGE_SCOPE, direction, user, contacts)
        wanted = {address: each for address, each in loggable.items() if not self._blocks(user, each, address)}
        if not wanted:
            return self._skip(Reason.PERSONAL_NEVER_LOG, direction, user, loggable)
        # A name in From that the login may not use proves nothing, so its owner does not open the gate either.
        is_claim = Flag.FROM_MISMATCH in attributed.flags
        openers = _openers(self.parties.without_authors() if is_claim else self.parties)
        if not openers:
            return self._skip(_why_not(user), direction, user, wanted)
        wanted = self._wanted_by(openers, wanted)
        if not wanted:
            return self._skip(Reason.PERSONAL_NEVER_LOG, direction, user, loggable)
        flags, switched_off = kinds(self.message, self.answer.portal.switches)
        if switched_off is not None:
            return self._skip(switched_off, direction, user, wanted)
        if self.answer.portal.rule is Rule.REPLIES_ONLY:
            return self._skip(Reason.MODE_REPLIES_ONLY, direction, user, wanted)
        flags |= attributed.flags
        return self._log(Reason.SENT_TO_CONTACT, direction, user, attributed.attribution, wanted, flags)

    # -- incoming -----------------------------------------------------------------------------------------------------

    def _incoming(self) -> Decision:
        direction = Direction.INCOMING
        parties = self.parties
        if is_list_mail(self.message) and not any(parties.is_user(each) for each in parties.headers):
            return self._skip(Reason.LIST_MAIL, direction)
        found = {address: parties.contact(address) for address in parties.authors}
        contacts = {address: each for address, each in found.items() if each is not None}
        if not contacts:
            return self._skip(Reason.NO_EXISTING_CONTACT, direction)
        loggable = {address: each for address, each in contacts.items() if not self._is_never_logged(each, address)}
        if not loggable:
            return self._skip(Reason.ALL_CONTACTS_NEVER_LOG, direction, None, contacts)
        if self._never_log_bars_message():
            return self._skip(Reason.NEVER_LOG_MESSAGE_SCOPE, direction, None, contacts)
        openers = _openers(parties)
        if not openers:
            return self._nobody_opens(loggable)
        wanted = self._wanted_by(openers, loggable)
        if not wanted:
            return self._skip(Reason.PERSONAL_NEVER_LOG, direction, openers[0], loggable)
        return self._received(openers, wanted)

    def _received(self, openers: Sequence[User], contacts: dict[str, Contact]) -> Decision:
        """The gate is open; whose is it, and does the portal's rule want it?"""
        direction = Direction.INCOMING
        address, contact = next(iter(contacts.items()))
        blocking = frozenset(each.id for each in self._candidates(contact) if self._blocks(each, contact, address))
        eligible = [each for each in openers if each.id not in blocking]
        attributed = attribute_incoming(self.parties, contact, eligible, blocking=blocking, parent=self.parent)
        if attributed is None:
            return self._skip(Reason.NO_ELIGIBLE_USER, direction, None, contacts)
        user = attributed.user
        flags, switched_off = kinds(self.message, self.answer.portal.switches)
        if switched_off is not None:
            return self._skip(switched_off, direction, user, contacts)
        reason = Reason.RECEIVED_FROM_CONTACT
        if self.parent is not None:
            reason = Reason.REPLY_TO_LOGGED
        elif self.answer.portal.rule is Rule.REPLIES_ONLY:
            is_reply = self.message.is_reply or self.message.has_reply_mark
            return self._skip(
                Reason.THREAD_UNPROVEN if is_reply else Reason.MODE_REPLIES_ONLY, direction, user, contacts
            )
        return self._log(reason, direction, user, attributed.attribution, contacts, flags | attributed.flags)

    def _candidates(self, contact: Contact) -> Iterable[User]:
        """Every user who may be attributed: those who take part, the contact's owner, and who wrote the parent."""
        owner = self.answer.owners.get(contact.owner) if contact.owner is not None else None
        others = (each for each in (owner, self.parent) if each is not None)
        return (*self.parties.all_users(), *others)

    def _nobody_opens(self, contacts: dict[str, Contact]) -> Decision:
        """Why not: the first active user among the parties says it, else the first."""
        users = self.parties.all_users()
        user = next((each for each in users if each.active), users[0] if users else None)
        reason = _why_not(user) if user is not None else Reason.NO_ELIGIBLE_USER
        if reason is Reason.USER_NOT_CONNECTED and self.parent is None:
            reason = Reason.NO_ELIGIBLE_USER
        return self._skip(reason, Direction.INCOMING, user, contacts)

    # -- Never Log ----------------------------------------------------------------------------------------------------

    def _is_never_logged(self, contact: Contact, address: str) -> bool:
        return self._covers(self.answer.portal.never_log, contact, address)

    def _blocks(self, user: User, contact: Contact, address: str) -> bool:
        return bool(user.never_log) and self._covers(user.never_log, contact, address)

    def _covers(self, entries: tuple[str, ...], contact: Contact, address: str) -> bool:
        """An entry for the address in use, or one that names the contact by the primary address, covers the contact."""
        if not entries:
            return False
        compiled, subaddressed = compile_entries(entries), self.answer.portal.subaddressed_domains
        written = self.parties.written.get(address, address)
        return compiled.covers(written, subaddressed) or compiled.names(contact.primary, subaddressed)

    def _wanted_by(self, openers: Sequence[User], contacts: dict[str, Contact]) -> dict[str, Contact]:
        """A personal entry takes its user out of the gate for that contact (rules.md 3.4)."""
        return {a: each for a, each in contacts.items() if any(not self._blocks(user, each, a) for user in openers)}

    def _never_log_bars_message(self) -> bool:
        """Whether one barred address is enough, and there is one that is no user's own (rules.md 3.4)."""
        portal, parties = self.answer.portal, self.parties
        if portal.switches.never_log_scope is not NeverLogScope.MESSAGE or not portal.never_log:
            return False
        compiled = compile_entries(portal.never_log)
        return any(
            compiled.covers(parties.written.get(each, each), portal.subaddressed_domains)
            for each in parties.everybody
            if not parties.is_user(each)
        )

    # -- results ------------------------------------------------------------------------------------------------------

    def _log(
        self,
        reason: Reason,
        direction: Direction,
        user: User,
        attribution: Attribution,
        contacts: dict[str, Contact],
        flags: frozenset[Flag],
    ) -> Decision:
        if any(self.parties.is_ambiguous(address) for address in contacts):
            flags |= {Flag.AMBIGUOUS_CONTACT}
        return Decision(
            portal=self.answer.portal.id,
            source=self.capture.source,
            outcome=Outcome.LOG,
            reason=reason,
            direction=direction,
            contacts=self._references(contacts, direction),
            user=UserRef(id=user.id, address=user.account),
            attribution=attribution,
            flags=flags,
        )

    def _skip(
        self,
        reason: Reason,
        direction: Direction | None = None,
        user: User | None = None,
        contacts: dict[str, Contact] | None = None,
    ) -> Decision:
        """`user` and `contacts` are those whom the reason speaks of; nothing is attributed."""
        return Decision(
            portal=self.answer.portal.id,
            source=self.capture.source,
            outcome=Outcome.SKIP,
            reason=reason,
            direction=direction,
            contacts=self._references(contacts, direction) if contacts else (),
            user=UserRef(id=user.id, address=user.account) if user is not None else None,
        )

    def _references(self, contacts: dict[str, Contact], direction: Direction | None) -> tuple[ContactRef, ...]:
        """Each contact once; `bcc` when none of the addresses in use stands in To or Cc (rules.md 6.4)."""
        named = self.parties.headers if direction is Direction.OUTGOING else self.parties.authors
        found: dict[int, ContactRef] = {}
        for address, contact in contacts.items():
            seen = found.get(contact.id)
            bcc = address not in named and (seen is None or seen.bcc)
            found[contact.id] = ContactRef(id=contact.id, address=contact.primary, bcc=bcc)
        return tuple(found.values())


def _openers(parties: Parties) -> Sequence[User]:
    """The users to whose connected mail the message belongs and who gave access (rules.md 3.1)."""
    users = parties.all_users()
    return [each for each in users if each.active and each.personal_email_access and parties.belongs_to(each)]


def _why_not(user: User) -> Reason:
    if not user.active:
        return Reason.USER_INACTIVE
    if not user.personal_email_access:
        return Reason.USER_NO_PERMISSION
    return Reason.USER_NOT_CONNECTED
