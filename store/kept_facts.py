"""What re-evaluation asks of the store: the decisions that were kept, who is who today, and threads by their hashes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.directory import Contact, Portal, Rule, User
from store import schema
from store.database import slices
from store.directory_record import PortalRecord
from store.hashes import keyed_hash

__all__ = ["People", "decision_hashes", "decision_pages", "portal_today", "thread_contacts"]

PAGE = 500  # decisions read at once


@dataclass(frozen=True, slots=True)
class People:
    """Contacts and users of the portal by id, and contacts by the keyed hashes of their addresses."""

    contacts: dict[int, Contact]
    users: dict[int, User]
    by_hash: dict[str, int]

    @classmethod
    async def load(cls, connection: AsyncConnection, portal: int, hash_key: bytes) -> People:
        """Everybody there is today."""
        contact, held = schema.contact, schema.contact_address
        forms: dict[int, set[str]] = {}
        by_hash: dict[str, int] = {}
        for identifier, form in await connection.execute(
            select(held.c.contact, held.c.canonical).where(held.c.portal == portal)
        ):
            forms.setdefault(identifier, set()).add(form)
            by_hash[keyed_hash(hash_key, form)] = identifier
        rows = await connection.execute(select(contact).where(contact.c.portal == portal))
        contacts = {
            row.id: Contact(
                id=row.id, primary=row.primary_address, addresses=frozenset(forms.get(row.id, ())), owner=row.owner
            )
            for row in rows
        }
        return cls(contacts, await _users(connection, portal), by_hash)

    def named_by(self, hashes: Iterable[str]) -> list[Contact]:
        """The contacts that have an address with one of the keyed hashes, the oldest first."""
        found = sorted({self.by_hash[each] for each in hashes if each in self.by_hash})
        return [self.contacts[each] for each in found]


async def portal_today(connection: AsyncConnection, home: PortalRecord, rule: Rule | None) -> Portal:
    """The portal as the rules see it, under `rule` or else its own; what capturing alone needs is left out."""
    table = schema.never_log
    entries = select(table.c.entry).where(table.c.portal == home.id, table.c.user.is_(None))
    return Portal(
        id=home.id,
        name=home.name,
        rule=rule or home.rule,
        switches=home.switches,
        never_log=tuple((await connection.scalars(entries)).all()),
        subaddressed_domains=frozenset(home.subaddressed_domains),
    )


async def decision_pages(connection: AsyncConnection, portal: int, since: float) -> AsyncIterator[Sequence[Any]]:
    """The decisions since that time, the oldest first, some at a time: id, key, time and value."""
    table, after = schema.decision, 0
    wanted = select(table.c.id, table.c.key, table.c.at, table.c.value)
    while True:
        mine = wanted.where(table.c.portal == portal, table.c.at >= since, table.c.id > after)
        rows = (await connection.execute(mine.order_by(table.c.id).limit(PAGE))).all()
        if not rows:
            return
        yield rows
        after = rows[-1].id


async def decision_hashes(connection: AsyncConnection, decisions: Sequence[int]) -> dict[int, frozenset[str]]:
    """The keyed hashes of each decision's message: of its ids, and of outside addresses."""
    table = schema.decision_hash
    found: dict[int, set[str]] = {}
    for some in slices(decisions):
        for decision, hash_ in await connection.execute(
            select(table.c.decision, table.c.hash).where(table.c.decision.in_(some))
        ):
            found.setdefault(decision, set()).add(hash_)
    return {decision: frozenset(hashes) for decision, hashes in found.items()}


async def thread_contacts(connection: AsyncConnection, portal: int, hashes: set[str]) -> dict[str, set[int]]:
    """For ids of messages that were not logged: the contacts of the threads of the logged messages they answer."""
    answers, named, email, linked = schema.unlogged, schema.email_id, schema.email, schema.email_contact
    other = email.alias()
    found: dict[str, set[int]] = {}
    for some in slices(hashes):
        wanted = (
            select(answers.c.hash, linked.c.contact)
            .join(named, (named.c.portal == answers.c.portal) & (named.c.hash == answers.c.other))
            .join(email, email.c.id == named.c.email)
            .join(other, (other.c.portal == email.c.portal) & (other.c.thread == email.c.thread))
            .join(linked, linked.c.email == other.c.id)
            .where(answers.c.portal == portal, answers.c.hash.in_(some), answers.c.is_same.is_(False))
            .where(other.c.deleted_at.is_(None), linked.c.is_unlinked.is_(False))
            .distinct()
        )
        for hash_, contact in await connection.execute(wanted):
            found.setdefault(hash_, set()).add(contact)
    return found


async def _users(connection: AsyncConnection, portal: int) -> dict[int, User]:
    address, entry = schema.user_address, schema.never_log
    connected: dict[int, set[str]] = {}
    lists: dict[int, list[str]] = {}
    mine = select(address.c.user, address.c.canonical).where(address.c.portal == portal, address.c.kind == "connected")
    for user, form in await connection.execute(mine):
        connected.setdefault(user, set()).add(form)
    personal = select(entry.c.user, entry.c.entry).where(entry.c.portal == portal, entry.c.user.is_not(None))
    for user, text in await connection.execute(personal):
        lists.setdefault(user, []).append(text)
    return {
        row.id: User(
            id=row.id,
            account=row.account,
            connected=frozenset(connected.get(row.id, ())),
            personal_email_access=row.personal_email_access,
            active=row.active,
            never_log=tuple(lists.get(row.id, ())),
        )
        for row in await connection.execute(select(schema.user).where(schema.user.c.portal == portal))
    }
