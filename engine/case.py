"""One message in one portal, being decided: what Never Log says of its contacts, and how a decision is written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.capture import Capture
from engine.decision import Attribution, ContactRef, Decision, Direction, Flag, Outcome, Reason, UserRef
from engine.directory import Answer, Contact, NeverLogScope, User
from engine.message import Message
from engine.never_log import compile_entries
from engine.parties import Parties

__all__ = ["Case", "Contacts", "openers", "why_not"]

Contacts = dict[str, Contact]
"""Contacts by the canonical address in use."""


@dataclass(frozen=True, slots=True)
class Case:
    """The message, how it was captured, and what the portal's directory answered."""

    capture: Capture
    message: Message
    answer: Answer
    parties: Parties

    @classmethod
    def of(cls, capture: Capture, message: Message, answer: Answer) -> Case:
        """A case with its parties read."""
        return cls(capture, message, answer, Parties.of(capture, message, answer))

    # -- Never Log ----------------------------------------------------------------------------------------------------

    def bars(self, address: str, contact: Contact | None = None) -> bool:
        """Whether the portal's list holds the address or the contact."""
        return self._covers(self.answer.portal.never_log, address, contact)

    def blocks(self, user: User, address: str, contact: Contact | None = None) -> bool:
        """Whether the user's personal list holds the address or the contact."""
        return bool(user.never_log) and self._covers(user.never_log, address, contact)

    def blocks_authors(self, user: User) -> bool:
        """Whether the user's personal list holds everybody who wrote the message."""
        return all(self.blocks(user, each, self.parties.contact(each)) for each in self.parties.authors)

    def _covers(self, entries: tuple[str, ...], address: str, contact: Contact | None) -> bool:
        if not entries:
            return False
        compiled, subaddressed = compile_entries(entries), self.answer.portal.subaddressed_domains
        written = self.parties.written.get(address, address)
        if contact is None:
            return compiled.covers(written, subaddressed)
        return compiled.covers_contact(written, contact.primary, subaddressed)

    def loggable(self, contacts: Contacts) -> Contacts:
        """The contacts that the portal's list does not hold."""
        return {address: each for address, each in contacts.items() if not self.bars(address, each)}

    def wanted_by(self, users: Sequence[User], contacts: Contacts) -> Contacts:
        """A personal entry takes its user out of the gate for that contact (rules.md 3.4)."""
        return {a: each for a, each in contacts.items() if any(not self.blocks(user, a, each) for user in users)}

    def never_log_bars_message(self) -> bool:
        """Whether one barred address is enough, and there is one that is no user's own (rules.md 3.4)."""
        portal, parties = self.answer.portal, self.parties
        if portal.switches.never_log_scope is not NeverLogScope.MESSAGE or not portal.never_log:
            return False
        return any(self.bars(each) for each in parties.everybody if not parties.is_user(each))

    # -- who it comes from --------------------------------------------------------------------------------------------

    @property
    def is_authenticated(self) -> bool:
        """Whether something proves that its author sent it: a login, the author's own mailbox, or the domain's word."""
        if self.capture.login is not None or self.capture.proof is not None:
            return True
        mailbox = self.parties.mailbox
        owners = {each.id for each in self.parties.users(mailbox)} if mailbox is not None else set()
        return any(each.id in owners for address in self.parties.authors for each in self.parties.users(address))

    def borrows_contact(self) -> bool:
        """Whether a login wrote under the address of a contact."""
        authors = self.parties.authors
        if self.capture.login is None or any(self.parties.is_user(each) for each in authors):
            return False
        return any(self.parties.contact(each) is not None for each in authors)

    # -- results ------------------------------------------------------------------------------------------------------

    def log(
        self,
        reason: Reason,
        direction: Direction,
        user: User,
        attribution: Attribution,
        contacts: Contacts,
        flags: frozenset[Flag],
        *,
        creates: Iterable[str] = (),
    ) -> Decision:
        """A decision to log."""
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
            creates=tuple(creates),
        )

    def skip(
        self,
        reason: Reason,
        direction: Direction | None = None,
        user: User | None = None,
        contacts: Contacts | None = None,
    ) -> Decision:
        """A decision to skip. `user` and `contacts` are those whom the reason speaks of; nothing is attributed."""
        return Decision(
            portal=self.answer.portal.id,
            source=self.capture.source,
            outcome=Outcome.SKIP,
            reason=reason,
            direction=direction,
            contacts=self._references(contacts, direction) if contacts else (),
            user=UserRef(id=user.id, address=user.account) if user is not None else None,
        )

    def _references(self, contacts: Mapping[str, Contact], direction: Direction | None) -> tuple[ContactRef, ...]:
        """Each contact once; `bcc` when only the envelope of an outgoing message names it (rules.md 6.4)."""
        parties = self.parties
        hidden = set(parties.envelope or ()).difference(parties.headers) if direction is Direction.OUTGOING else ()
        found: dict[int, ContactRef] = {}
        for address, contact in contacts.items():
            seen = found.get(contact.id)
            bcc = address in hidden and (seen is None or seen.bcc)
            found[contact.id] = ContactRef(id=contact.id, address=contact.primary, bcc=bcc)
        return tuple(found.values())


def openers(parties: Parties) -> Sequence[User]:
    """The users to whose connected mail the message belongs and who gave access (rules.md 3.1)."""
    users = parties.all_users()
    return [each for each in users if each.active and each.personal_email_access and parties.belongs_to(each)]


def why_not(user: User) -> Reason:
    """Why a user does not open the gate."""
    if not user.active:
        return Reason.USER_INACTIVE
    if not user.personal_email_access:
        return Reason.USER_NO_PERMISSION
    return Reason.USER_NOT_CONNECTED
