"""The parties of a message in one portal: who wrote it, who got it, and whose connected mail it is.

Everything is found once here, in canonical form and in header order, so that gate and attribution read plainly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from engine.address import canonical
from engine.capture import Capture
from engine.directory import Answer, Contact, User
from engine.message import Message

__all__ = ["Parties", "distinct"]


@dataclass(frozen=True, slots=True)
class Parties:
    """`authors`, `headers` (To then Cc) and `envelope` are canonical addresses, capture addresses left out.

    A recipient whom the next hop refused is in none of them (rules.md 3.8). `envelope` is `None` where the path has
    none; `everybody` is all three; `written` gives the written form of each address. `exposes_capture_address` when one
    stands in To or Cc for all to see.
    """

    answer: Answer
    authors: tuple[str, ...]
    headers: tuple[str, ...]
    envelope: tuple[str, ...] | None
    written: dict[str, str]
    login: str | None
    mailbox: str | None
    everybody: tuple[str, ...]
    exposes_capture_address: bool

    @classmethod
    def of(cls, capture: Capture, message: Message, answer: Answer) -> Parties:
        """Reads the parties of `message` as the portal of `answer` sees them."""
        subaddressed = answer.portal.subaddressed_domains
        capturing = answer.portal.capture_addresses
        # Those of other portals, too: nobody may become a contact of this one by them.
        nobody = {*capturing, *capture.capture_addresses}
        written: dict[str, str] = {}

        def forms(addresses: Iterable[str]) -> tuple[str, ...]:
            found: dict[str, None] = {}
            for address in addresses:
                form = canonical(address, subaddressed)
                if form not in nobody:
                    written.setdefault(form, address)
                    found[form] = None
            return tuple(found)

        authors, headers = forms(message.authors), forms((*message.to, *message.cc))
        envelope = None if capture.recipients is None else forms(capture.recipients)
        if capture.refused:
            refused = set(forms(capture.refused)) - set(envelope or ())
            headers = tuple(each for each in headers if each not in refused)
        return cls(
            answer,
            authors,
            headers,
            envelope,
            written,
            canonical(capture.login, subaddressed) if capture.login else None,
            canonical(capture.mailbox, subaddressed) if capture.mailbox else None,
            (*authors, *headers, *(envelope or ())),
            bool(capturing) and any(canonical(each, subaddressed) in capturing for each in (*message.to, *message.cc)),
        )

    def without_authors(self) -> Parties:
        """The parties when what From says is only a claim."""
        return replace(self, authors=(), everybody=(*self.headers, *(self.envelope or ())))

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who got it: the envelope where there is one, else the headers."""
        return self.headers if self.envelope is None else self.envelope

    def users(self, address: str) -> tuple[User, ...]:
        """The users that hold `address`."""
        return self.answer.users.get(address, ())

    def is_user(self, address: str) -> bool:
        """Whether `address` is a user's; a user who is also a contact acts as user (rules.md 3.5)."""
        return address in self.answer.users

    def contact(self, address: str) -> Contact | None:
        """The contact that holds `address`, if it is no user's."""
        return None if self.is_user(address) else self.record(address)

    def record(self, address: str) -> Contact | None:
        """The contact that holds `address`, even if a user has it too: the oldest, should there be several."""
        found = self.answer.contacts.get(address)
        return min(found, key=lambda each: each.id) if found else None

    def is_ambiguous(self, address: str) -> bool:
        """Whether several contacts hold `address`."""
        return len(self.answer.contacts.get(address, ())) > 1

    def is_internal(self) -> bool:
        """Whether every party is a user (rules.md 3.5)."""
        users = self.answer.users
        return 0 < len(self.authors) < len(self.everybody) and all(each in users for each in self.everybody)

    def belongs_to(self, user: User) -> bool:
        """Whether the message is of the connected mail of `user` (rules.md 3.1)."""
        connected = user.connected
        if not connected:
            return False
        if self.login in connected or self.mailbox in connected:
            return True
        return not (connected.isdisjoint(self.everybody) and user.aliases.isdisjoint(self.everybody))

    def all_users(self) -> tuple[User, ...]:
        """Every user among the parties, login and mailbox, each once, authors first."""
        places = (*self.everybody, self.login, self.mailbox)
        return distinct(user for place in places if place is not None for user in self.users(place))


def distinct(users: Iterable[User]) -> tuple[User, ...]:
    """Each user once, in order."""
    return tuple({user.id: user for user in users}.values())
