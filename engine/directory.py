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

__all__ = [
    "Ancestor",
    "Answer",
    "Contact",
    "NeverLogScope",
    "Portal",
    "Question",
    "Rule",
    "Switches",
    "Thread",
    "User",
]


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
    forward_creates_contacts: bool = True
    require_same_subject: bool = False
    require_authenticated_sender: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """One tenant. `never_log` holds entries as typed: `a@b`, `b`, `@b`, `*@b`, `*.b`, `*@*.b`.

    `stopped_ids` are the ids of messages of threads of which nothing more is to be logged. `authserv_ids` name the
    servers whose Authentication-Results count.
    """

    id: int
    name: str
    rule: Rule = Rule.REPLIES_ONLY
    switches: Switches = field(default_factory=Switches)
    never_log: tuple[str, ...] = ()
    subaddressed_domains: frozenset[str] = frozenset()
    bcc_address: str | None = None
    forward_address: str | None = None
    service_logins: frozenset[str] = frozenset()
    authserv_ids: frozenset[str] = frozenset()
    stopped_ids: frozenset[str] = frozenset()

    @property
    def capture_addresses(self) -> tuple[str, ...]:
        """The addresses that log mail instead of receiving it (rules.md 7.1, 7.3)."""
        return tuple(each for each in (self.bcc_address, self.forward_address) if each is not None)


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

    `login` chooses the portals: those in which it is an address of a user, or a service login; `concerned` choose
    those in which one of them is a user's, `capture_addresses` those they belong to. `addresses` are addr-specs as
    written; the store makes them canonical for each portal.
    `parents` are the ids that the message answers, nearest first, those in `direct` by In-Reply-To; none are asked for
    where no thread can matter. `own` are its id and its print, and `at` is when it was captured: a record of it, where
    there is one already, makes nobody a contact of the thread that it answers in, and neither does what came in later.
    """

    login: str | None
    addresses: frozenset[str]
    concerned: frozenset[str] = frozenset()
    capture_addresses: frozenset[str] = frozenset()
    parents: tuple[str, ...] = ()
    direct: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """A logged message that the message answers, or one further up (rules.md section 4).

    `is_direct` when In-Reply-To names it, by whichever of its ids. `author` is the user that an outgoing one belongs
    to, `None` for an incoming one.
    """

    email: int
    is_direct: bool
    author: User | None
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """What the log of one portal knows of a message's ancestors, nearest first, and the contacts of their thread.

    `missing` are keyed hashes of ids on the way whose messages are not logged, or not yet; `seen` are all on the way.
    """

    ancestors: tuple[Ancestor, ...] = ()
    contacts: tuple[Contact, ...] = ()
    missing: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One portal's answer. `users` and `contacts` are keyed by canonical address; `owners` by user id.

    An address that nobody has is no key. Two users may hold one alias; two contacts hold one address only in legacy
    data (rules.md, `ambiguous_contact`). `erased` are the addresses of contacts that were erased; `thread` is `None`
    where none was asked for or none is known.
    """

    portal: Portal
    users: Mapping[str, tuple[User, ...]]
    contacts: Mapping[str, tuple[Contact, ...]]
    owners: Mapping[int, User]
    erased: frozenset[str] = frozenset()
    thread: Thread | None = None
