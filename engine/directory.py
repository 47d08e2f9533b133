"""What the rule asks of the directory, and the shape of the answer.

The engine never looks anything up. Whoever captured a message collects the addresses that matter (`Question`), the
store answers once for every portal concerned (`Answer`), and `engine.decide` works on the answer alone.

All addresses in these values are canonical (`engine.address.canonical`) under the portal's own list of subaddressed
domains; written forms stay with the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Answer", "Contact", "NeverLogScope", "Portal", "Question", "Rule", "Switches", "User"]


class Rule(StrEnum):
    """The portal's setting "Contact email logging rules" (rules.md section 1)."""

    REPLIES_ONLY = "replies_only"
    ALL = "all"


class NeverLogScope(StrEnum):
    """What one Never Log contact does to the message: hides that contact, or the whole message (rules.md 3.4)."""

    CONTACT = "contact"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """The portal's switches, with the defaults of rules.md."""

    never_log_scope: NeverLogScope = NeverLogScope.CONTACT
    log_internal: bool = False
    log_auto_submitted: bool = True
    log_calendar: bool = True
    log_bulk: bool = True
    require_same_subject: bool = False
    require_authenticated_sender: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """One tenant. `never_log` holds entries as typed: `a@b`, `b`, `@b`, `*@b`, `*.b`, `*@*.b`."""

    id: int
    name: str
    rule: Rule = Rule.REPLIES_ONLY
    switches: Switches = field(default_factory=Switches)
    never_log: tuple[str, ...] = ()
    subaddressed_domains: frozenset[str] = frozenset()
    capture_addresses: frozenset[str] = frozenset()
    service_logins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person of the portal. `send_as` holds the ids of the users whose addresses this login may write in From."""

    id: int
    account: str
    aliases: frozenset[str] = frozenset()
    connected: frozenset[str] = frozenset()
    personal_email_access: bool = False
    active: bool = True
    never_log: tuple[str, ...] = ()
    send_as: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """An existing record. `owner` is a user id. Ids grow with age: the oldest of two contacts has the smaller one."""

    id: int
    primary: str
    addresses: frozenset[str]
    owner: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one message needs to know: who logged in, and every address in its header section and envelope.

    `login` chooses the portals: those in which it is an address of a user, or a service login. `addresses` are
    addr-specs as written; the store makes them canonical for each portal.
    """

    login: str | None
    addresses: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One portal's answer. `users` and `contacts` are keyed by canonical address; `owners` by user id.

    An address that nobody has is no key. Two users may hold one alias; two contacts hold one address only in legacy
    data (rules.md, `ambiguous_contact`).
    """

    portal: Portal
    users: Mapping[str, tuple[User, ...]]
    contacts: Mapping[str, tuple[Contact, ...]]
    owners: Mapping[int, User]
