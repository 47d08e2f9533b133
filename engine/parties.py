"""The parties of a message in one portal: who wrote it, who got it, and whose connected mail it is.

Everything is found once here, in canonical form and in header order, so that gate and attribution read plainly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.address import canonical
from engine.capture import Capture
from engine.directory import Answer, Contact, User
from engine.message import Message

__all__ = ["Parties"]


@dataclass(frozen=True, slots=True)
class Parties:
    """`authors`, `headers` (To then Cc) and `envelope` are canonical addresses, capture addresses left out.

    `envelope` is `None` where the path has none; `written` gives the written form of each address.
    """

    answer: Answer
    authors: tuple[str, ...]
    headers: tuple[str, ...]
    envelope: tuple[str, ...] | None
    written: dict[str, str]
    login: str | None
    mailbox: str | None

    @classmethod
    def of(cls, capture: Capture, message: Message, answer: Answer) -> Parties:
        """Reads the parties of `message` as the portal of `answer` sees them."""
        subaddressed = answer.portal.subaddressed_domains
        capturing = answer.portal.capture_addresses
        written: dict[str, str] = {}

        def forms(addresses: Iterable[str]) -> tuple[str, ...]:
            found: dict[str, None] = {}
            for address in addresses:
                form = canonical(address, subaddressed)
                if form not in capturing:
                    written.setdefault(form, address)
                    found[form] = None
            return tuple(found)

        return cls(
            answer,
            forms(message.authors),
            forms((*message.to, *message.cc)),
            None if capture.recipients is None else forms(capture.recipients),
            written,
            canonical(capture.login, subaddressed) if capture.login else None,
            canonical(capture.mailbox, subaddressed) if capture.mailbox else None,
        )

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who got it: the envelope where there is one, else the headers."""
        return self.headers if self.envelope is None else self.envelope

    def users(self, address: str) -> tuple[User, ...]:
        """The users that hold `address`."""
        return self.answer.users.get(address, ())

    def is_user(self, address: str) -> bool:
        """Whether `address` is a user's; a user who is also a contact acts as user (rules.md 3.5)."""
        return bool(self.answer.users.get(address))

    def contact(self, address: str) -> Contact | None:
        """The contact that holds `address`: the oldest, should there be several."""
        if self.is_user(address):
            return None
        found = self.answer.contacts.get(address)
        return min(found, key=lambda each: each.id) if found else None

    def is_ambiguous(self, address: str) -> bool:
        """Whether several contacts hold `address`."""
        return len(self.answer.contacts.get(address, ())) > 1

    def is_internal(self) -> bool:
        """Whether every party is a user (rules.md 3.5)."""
        parties = (*self.authors, *self.headers, *(self.envelope or ()))
        return bool(self.authors) and all(self.is_user(each) for each in parties) and len(parties) > len(self.authors)

    def belongs_to(self, user: User) -> bool:
        """Whether the message is of the connected mail of `user` (rules.md 3.1)."""
        connected = user.connected
        if not connected:
            return False
        if self.login in connected or self.mailbox in connected:
            return True
        parties = (*self.authors, *self.headers, *(self.envelope or ()))
        return any(each in connected or each in user.aliases for each in parties)

    def all_users(self) -> tuple[User, ...]:
        """Every user among the parties, login and mailbox, each once, authors first."""
        places = (*self.authors, *self.headers, *(self.envelope or ()), self.login, self.mailbox)
        return distinct(user for place in places if place is not None for user in self.users(place))


def distinct(users: Iterable[User]) -> tuple[User, ...]:
    """Each user once, in order."""
    return tuple({user.id: user for user in users}.values())
