"""The sample portal as plain values, for tests of the engine: no store, no wire.

`ANN` to `EVE` are users, `KIM` to `BO` contacts; ids count up in that order. `answer()` is what the store would say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from engine import read
from engine.address import canonical
from engine.authentication import Proof
from engine.capture import Capture
from engine.decision import Source
from engine.directory import Ancestor, Answer, Contact, Portal, Rule, Switches, Thread, User
from engine.message import Message
from engine.parties import Parties

__all__ = [
    "ANN", "BCC", "BO", "BOB", "CONTACTS", "CY", "DEE", "EVE", "FORWARD", "KIM", "LEE", "MAX", "NIA", "USERS",
    "answer", "changed", "mail", "parties", "passing", "portal", "relayed", "seen", "thread",
]  # fmt: skip


def _user(number: int, name: str, *, aliases: Iterable[str] = (), connected: bool = True, **more: Any) -> User:
    address = f"{name}@acme.example"
    return User(
        id=number,
        account=address,
        aliases=frozenset(aliases),
        connected=frozenset((address,) if connected else ()),
        **{"personal_email_access": True, **more},
    )


def _contact(number: int, primary: str, *others: str, owner: User | None = None) -> Contact:
    return Contact(id=number, primary=primary, addresses=frozenset((primary, *others)), owner=owner and owner.id)


ANN = _user(1, "ann", aliases=["sales@acme.example"])
BOB = _user(2, "bob")
CY = _user(3, "cy", connected=False)
DEE = _user(4, "dee", personal_email_access=False)
EVE = _user(5, "eve", active=False)
KIM = _contact(1, "kim@cust.example", "kim.k@gmail.com", owner=ANN)
LEE = _contact(2, "lee@cust.example", owner=BOB)
MAX = _contact(3, "max@other.example")
NIA = _contact(4, "nia@other.example", owner=EVE)
BO = _contact(5, "bob@acme.example", owner=ANN)
USERS = (ANN, BOB, CY, DEE, EVE)
CONTACTS = (KIM, LEE, MAX, NIA, BO)
BCC = "log-p1@cap.example"
FORWARD = "fwd-p1@cap.example"


def portal(rule: Rule = Rule.ALL, **more: Any) -> Portal:
    """The portal; `switches` may be a dictionary."""
    switches = more.pop("switches", {})
    more.setdefault("bcc_address", BCC)
    more.setdefault("forward_address", FORWARD)
    return Portal(id=1, name="P1", rule=rule, switches=Switches(**switches), **more)


def answer(
    home: Portal | None = None,
    *,
    users: Sequence[User] = USERS,
    contacts: Sequence[Contact] = CONTACTS,
    thread: Thread | None = None,
    erased: Iterable[str] = (),
) -> Answer:
    """What the store says of everybody. Users given later take the place of those with the same id."""
    home = home or portal()
    people = {user.id: user for user in (*USERS, *users)}.values() if users is not USERS else USERS
    held: dict[str, list[User]] = {}
    for user in people:
        for address in dict.fromkeys((user.account, *user.aliases, *user.connected)):
            held.setdefault(canonical(address, home.subaddressed_domains), []).append(user)
    records: dict[str, list[Contact]] = {}
    for contact in contacts:
        for address in contact.addresses:
            records.setdefault(canonical(address, home.subaddressed_domains), []).append(contact)
    return Answer(
        portal=home,
        users={address: tuple(each) for address, each in held.items()},
        contacts={address: tuple(each) for address, each in records.items()},
        owners={user.id: user for user in people},
        erased=frozenset(erased),
        thread=thread,
    )


def thread(
    *ancestors: User | None,
    contacts: Sequence[Contact] = (KIM,),
    is_direct: bool = True,
    subject: str = "Offer",
    missing: Iterable[str] = (),
) -> Thread:
    """A logged thread: who wrote each ancestor, nearest first, `None` for a contact. The nearest is the direct one."""
    found = tuple(
        Ancestor(email=place + 1, is_direct=is_direct and place == 0, author=author, subject=subject)
        for place, author in enumerate(ancestors)
    )
    return Thread(ancestors=found, contacts=tuple(contacts) if found else (), missing=frozenset(missing))


def mail(author: str, *to: str, cc: Iterable[str] = (), **fields: str) -> Message:
    """A message; further fields by name, with "_" for "-"."""
    lines = [f"From: {author}", "To: " + ", ".join(to) if to else "X-To: none"]
    if cc:
        lines.append("Cc: " + ", ".join(cc))
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return read("".join(line + "\r\n" for line in lines).encode() + b"\r\n")


def relayed(login: str, *recipients: str, refused: Sequence[str] = (), captures: Iterable[str] = ()) -> Capture:
    """Sent through the relay by `login` to the recipients that were accepted, and to capture addresses."""
    return Capture(
        source=Source.RELAY,
        login=login,
        recipients=recipients,
        refused=tuple(refused),
        capture_addresses=frozenset(captures),
    )


def seen(mailbox: str, *, envelope: Sequence[str] | None = None, **more: Any) -> Capture:
    """Seen in the mailbox of that address, which proves its author unless `proof` says otherwise."""
    more.setdefault("proof", Proof(method="dkim", domain="any.example"))
    recipients = None if envelope is None else tuple(envelope)
    return Capture(source=Source.OBSERVER, mailbox=mailbox, recipients=recipients, **more)


def passing(*recipients: str, **more: Any) -> Capture:
    """Seen at a gateway on its way in."""
    return Capture(source=Source.GATEWAY, recipients=recipients, **more)


def parties(capture: Capture, message: Message, said: Answer | None = None) -> Parties:
    """The parties as the portal sees them."""
    return Parties.of(capture, message, said or answer())


def changed(user: User, **changes: Any) -> User:
    """The user, otherwise."""
    return replace(user, **changes)
