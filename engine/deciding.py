"""The decision on one message in one portal (rules.md sections 3 and 5): first what it is, then the gate, then whose.

Each step either gives a reason to skip or hands on; the order of the steps is the order of the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.attribution import Attributed, attribute_incoming, attribute_outgoing
from engine.capture import Capture
from engine.correspondence import is_list_mail, kinds, never_logged
from engine.decision import ContactRef, Decision, Direction, Flag, Outcome, Reason, UserRef
from engine.directory import Answer, Contact, NeverLogScope, Question, Rule, User
from engine.message import Message
from engine.never_log import compile_entries
from engine.parties import Parties

__all__ = ["decide", "question"]


def question(capture: Capture, message: Message) -> Question:
    """What must be known to decide: every address of the header section and the envelope."""
    addresses = {*message.authors, *message.to, *message.cc, *(capture.recipients or ())}
    addresses.update(each for each in (capture.login, capture.mailbox) if each is not None)
    return Question(login=capture.login or capture.mailbox, addresses=frozenset(addresses))


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
        message, parties = self.message, self.parties
        if not parties.authors:
            return self._skip(Reason.UNPARSEABLE)
        if self.capture.recipients == ():
            return self._skip(Reason.NOT_DELIVERED)
        if (reason := never_logged(message)) is not None:
            return self._skip(reason)
        if parties.is_internal() and not self.answer.portal.switches.log_internal:
            return self._skip(Reason.INTERNAL_ONLY)
        if any(parties.is_user(each) for each in parties.authors):
            return self._outgoing()
        if self.capture.login is not None and self.capture.mailbox is None:
            return self._submitted_for_another()
        return self._incoming()

    # -- outgoing -----------------------------------------------------------------------------------------------------

    def _submitted_for_another(self) -> Decision:
        """A relay session whose author is no user: the login speaks, unless a contact's name is borrowed."""
        if any(self.parties.contact(each) for each in self.parties.authors):
            return self._skip(Reason.UNAUTHENTICATED_SENDER, Direction.INCOMING)
        return self._outgoing()

    def _outgoing(self) -> Decision:
        direction = Direction.OUTGOING
        attributed = attribute_outgoing(self.parties)
        if attributed is None:
            return self._skip(Reason.NO_ELIGIBLE_USER, direction)
        flags, switched_off = kinds(self.message, self.answer.portal.switches)
        found = {address: self.parties.contact(address) for address in self.parties.recipients}
        contacts = {address: each for address, each in found.items() if each is not None}
        if not contacts:
            return self._skip(Reason.NO_EXISTING_CONTACT, direction, attributed)
        loggable = {address: each for address, each in contacts.items() if not self._is_never_logged(each, address)}
        if not loggable:
            return self._skip(Reason.ALL_CONTACTS_NEVER_LOG, direction, attributed, contacts)
        if len(loggable) < len(contacts) and self._scope_is_message():
            return self._skip(Reason.NEVER_LOG_MESSAGE_SCOPE, direction, attributed, contacts)
        wanted = {a: each for a, each in loggable.items() if not self._blocks(attributed.user, each, a)}
        if not wanted:
            return self._skip(Reason.PERSONAL_NEVER_LOG, direction, attributed, loggable)
        if not self._eligible(frozenset()):
            return self._skip(_why_not(attributed.user), direction, attributed, wanted)
        if switched_off is not None:
            return self._skip(switched_off, direction, attributed, wanted)
        if self.answer.portal.rule is Rule.REPLIES_ONLY:
            return self._skip(Reason.MODE_REPLIES_ONLY, direction, attributed, wanted)
        return self._log(Reason.SENT_TO_CONTACT, direction, attributed, wanted, flags)

    # -- incoming -----------------------------------------------------------------------------------------------------

    def _incoming(self) -> Decision:
        direction = Direction.INCOMING
        parties = self.parties
        if is_list_mail(self.message) and not any(parties.is_user(each) for each in parties.headers):
            return self._skip(Reason.LIST_MAIL, direction)
        sender = next(((a, each) for a in parties.authors if (each := parties.contact(a)) is not None), None)
        if sender is None:
            return self._skip(Reason.NO_EXISTING_CONTACT, direction)
        address, contact = sender
        contacts = {address: contact}
        if self._is_never_logged(contact, address):
            return self._skip(Reason.ALL_CONTACTS_NEVER_LOG, direction, None, contacts)
        if self._scope_is_message() and self._has_never_logged_recipient():
            return self._skip(Reason.NEVER_LOG_MESSAGE_SCOPE, direction, None, contacts)
        blocking = frozenset(each.id for each in parties.all_users() if self._blocks(each, contact, address))
        eligible = self._eligible(blocking)
        if not eligible:
            return self._skip(self._why_nobody(blocking), direction, None, contacts)
        attributed = attribute_incoming(parties, contact, eligible, blocking=blocking, parent=self.parent)
        if attributed is None:
            return self._skip(Reason.NO_ELIGIBLE_USER, direction, None, contacts)
        flags, switched_off = kinds(self.message, self.answer.portal.switches)
        if switched_off is not None:
            return self._skip(switched_off, direction, attributed, contacts)
        if self.parent is not None:
            return self._log(Reason.REPLY_TO_LOGGED, direction, attributed, contacts, flags)
        if self.answer.portal.rule is Rule.REPLIES_ONLY:
            reason = Reason.THREAD_UNPROVEN if self.message.is_reply else Reason.MODE_REPLIES_ONLY
            return self._skip(reason, direction, attributed, contacts)
        return self._log(Reason.RECEIVED_FROM_CONTACT, direction, attributed, contacts, flags)

    def _has_never_logged_recipient(self) -> bool:
        found = ((each, self.parties.contact(each)) for each in (*self.parties.headers, *(self.parties.envelope or ())))
        return any(contact is not None and self._is_never_logged(contact, each) for each, contact in found)

    def _why_nobody(self, blocking: frozenset[int]) -> Reason:
        """Why no user opens the gate: the first user found says it, a personal list before all."""
        if any(self._is_open(user) for user in self.parties.all_users() if user.id in blocking):
            return Reason.PERSONAL_NEVER_LOG
        users = self.parties.all_users()
        if not users:
            return Reason.NO_ELIGIBLE_USER
        reason = _why_not(next((user for user in users if user.active), users[0]))
        return Reason.NO_ELIGIBLE_USER if reason is Reason.USER_NOT_CONNECTED and self.parent is None else reason

    # -- the gate -----------------------------------------------------------------------------------------------------

    def _eligible(self, blocking: frozenset[int]) -> Sequence[User]:
        """The users to whose connected mail the message belongs and who gave access (rules.md 3.1)."""
        return [user for user in self.parties.all_users() if user.id not in blocking and self._is_open(user)]

    def _is_open(self, user: User) -> bool:
        return user.active and user.personal_email_access and self.parties.belongs_to(user)

    def _is_never_logged(self, contact: Contact, address: str) -> bool:
        return self._covers(self.answer.portal.never_log, contact, address)

    def _blocks(self, user: User, contact: Contact, address: str) -> bool:
        return bool(user.never_log) and self._covers(user.never_log, contact, address)

    def _covers(self, entries: tuple[str, ...], contact: Contact, address: str) -> bool:
        """An entry for the address in use or for the contact's primary address covers the contact."""
        if not entries:
            return False
        compiled, subaddressed = compile_entries(entries), self.answer.portal.subaddressed_domains
        written = self.parties.written.get(address, address)
        return compiled.covers(written, subaddressed) or contact.primary in compiled.addresses

    def _scope_is_message(self) -> bool:
        return self.answer.portal.switches.never_log_scope is NeverLogScope.MESSAGE

    # -- results ------------------------------------------------------------------------------------------------------

    def _log(
        self,
        reason: Reason,
        direction: Direction,
        attributed: Attributed,
        contacts: dict[str, Contact],
        flags: frozenset[Flag],
    ) -> Decision:
        if any(self.parties.is_ambiguous(address) for address in contacts):
            flags |= {Flag.AMBIGUOUS_CONTACT}
        return self._decision(Outcome.LOG, reason, direction, attributed, contacts, flags | attributed.flags)

    def _skip(
        self,
        reason: Reason,
        direction: Direction | None = None,
        attributed: Attributed | None = None,
        contacts: dict[str, Contact] | None = None,
    ) -> Decision:
        return self._decision(Outcome.SKIP, reason, direction, attributed, contacts or {}, frozenset())

    def _decision(
        self,
        outcome: Outcome,
        reason: Reason,
        direction: Direction | None,
        attributed: Attributed | None,
        contacts: dict[str, Contact],
        flags: frozenset[Flag],
    ) -> Decision:
        headers = self.parties.headers
        is_outgoing = direction is Direction.OUTGOING
        refs: dict[int, ContactRef] = {}
        for address, contact in contacts.items():
            bcc = is_outgoing and address not in headers
            seen = refs.get(contact.id)
            refs[contact.id] = ContactRef(id=contact.id, address=contact.primary, bcc=bcc and (not seen or seen.bcc))
        user = attributed.user if attributed is not None else None
        return Decision(
            portal=self.answer.portal.id,
            source=self.capture.source,
            outcome=outcome,
            reason=reason,
            direction=direction,
            contacts=tuple(refs.values()),
            user=UserRef(id=user.id, address=user.account) if user is not None else None,
            attribution=attributed.attribution if attributed is not None and outcome is Outcome.LOG else None,
            flags=flags,
        )


def _why_not(user: User) -> Reason:
    if not user.active:
        return Reason.USER_INACTIVE
    if not user.personal_email_access:
        return Reason.USER_NO_PERMISSION
    return Reason.USER_NOT_CONNECTED
