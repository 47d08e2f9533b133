"""Attribution: to which user a logged message belongs (rules.md section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.decision import Attribution, Flag
from engine.directory import Contact, User
from engine.parties import Parties, distinct

__all__ = ["Attributed", "attribute_incoming", "attribute_outgoing"]


@dataclass(frozen=True, slots=True)
class Attributed:
    """The user, the rule that chose them, and what the reader should know of it."""

    user: User
    attribution: Attribution
    flags: frozenset[Flag] = frozenset()


def attribute_outgoing(parties: Parties) -> Attributed | None:
    """Rules.md 5.1. `None` when neither author nor login is a user of the portal."""
    authors = distinct(user for address in parties.authors for user in parties.users(address))
    if parties.login is None:
        return Attributed(authors[0], Attribution.AUTHOR) if authors else None
    logins = parties.users(parties.login)
    for author in authors:
        if any(each.id == author.id or author.id in each.send_as for each in logins):
            return Attributed(author, Attribution.AUTHOR)
    if authors and parties.login in parties.answer.portal.service_logins:
        return Attributed(authors[0], Attribution.AUTHOR, frozenset((Flag.GATEWAY_IDENTITY,)))
    if logins:
        return Attributed(logins[0], Attribution.LOGIN, frozenset((Flag.FROM_MISMATCH,)))
    return None


def attribute_incoming(
    parties: Parties,
    contact: Contact | None,
    eligible: Sequence[User],
    *,
    blocking: frozenset[int],
    parent: User | None = None,
) -> Attributed | None:
    """Rules.md 5.2 and 5.3. `blocking` are the users whose personal list holds the sender: none of them is chosen.

    `eligible` are those to whose connected mail the message belongs; `parent` is the user of the nearest logged
    outgoing ancestor.
    """
    if parent is not None and parent.active and parent.id not in blocking:
        return Attributed(parent, Attribution.PARENT)

    def active(addresses: Sequence[str]) -> tuple[User, ...]:
        users = distinct(user for address in addresses for user in parties.users(address))
        return tuple(user for user in users if user.active and user.id not in blocking)

    if users := active(parties.headers):
        if len(users) > 1:
            return _by_owner(parties, contact, users, eligible, blocking)
        is_single = len(parties.headers) == 1
        return Attributed(users[0], Attribution.SINGLE_RECIPIENT if is_single else Attribution.SINGLE_USER)
    if users := active(parties.envelope or ()):
        if len(users) > 1:
            return _by_owner(parties, contact, users, eligible, blocking)
        return Attributed(users[0], Attribution.ENVELOPE_RECIPIENT)
    if users := active([each for each in (parties.mailbox, parties.login) if each is not None]):
        return Attributed(users[0], Attribution.CAPTURED_MAILBOX)
    return None


def _by_owner(
    parties: Parties, contact: Contact | None, users: Sequence[User], eligible: Sequence[User], blocking: frozenset[int]
) -> Attributed:
    """Several users: the owner of the sending contact, addressed or not; else the first eligible one in order."""
    number = contact.owner if contact is not None else None
    owner = parties.answer.owners.get(number) if number is not None else None
    if owner is not None and owner.active and owner.id not in blocking:
        return Attributed(owner, Attribution.CONTACT_OWNER)
    ids = {each.id for each in eligible}
    first = next((user for user in users if user.id in ids), users[0])
    missing = owner is None or owner.active
    return Attributed(first, Attribution.OWNER_MISSING if missing else Attribution.OWNER_INACTIVE)
