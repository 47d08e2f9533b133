"""Never Log entries applied to what was logged before (rules.md 3.4), which happens only when somebody asks for it.

The same is judged as of a new message: the address that stands in the record, and a contact's primary address. Records
whose contacts are all covered are deleted; others lose the covered contacts. An entry of the portal under the scope
`message` deletes every record with a covered party that is no user. An entry of one user's own list concerns only the
records of that user.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.directory import NeverLogScope
from engine.never_log import NeverLogList, compile_entries
from store import schema
from store.database import Database, slices
from store.directory import Directory
from store.directory_record import PortalRecord, checked_entry
from store.envelopes import accepted_recipients
from store.forgetting import forget_content

__all__ = ["HistoryPlan", "NeverLogHistory"]

READ_ROWS = 1000  # records looked at in one query
CHANGED_ROWS = 200  # records changed in one transaction, so that the recorder never waits long


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPlan:
    """What an entry does to the log: records that go, and the contacts that others lose."""

    deleted: Sequence[int] = ()
    unlinked: Sequence[tuple[int, int]] = ()

    @property
    def kept(self) -> int:
        """How many records stay with fewer contacts."""
        return len({email for email, _ in self.unlinked})


@dataclass(slots=True)
class _Reader:
    """Judges records by one entry. `users` are canonical addresses of the portal's users."""

    portal: PortalRecord
    entries: NeverLogList
    user: int | None
    users: frozenset[str]
    deleted: list[int] = field(default_factory=list)
    unlinked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def subaddressed(self) -> frozenset[str]:
        return frozenset(self.portal.subaddressed_domains)

    @property
    def bars_messages(self) -> bool:
        return self.user is None and self.portal.switches.never_log_scope is NeverLogScope.MESSAGE

    def covers(self, address: str) -> bool:
        return self.entries.covers(address, self.subaddressed)

    def judge(self, email: int, parties: Sequence[str], contacts: Sequence[_Linked]) -> None:
        forms = {self.portal.canonical(each): each for each in parties}
        if self.bars_messages and any(
            self.covers(written) for form, written in forms.items() if form not in self.users
        ):
            self.deleted.append(email)
            return
        covered = [each.id for each in contacts if self._covers_contact(each, forms)]
        if covered and len(covered) == len(contacts):
            self.deleted.append(email)
        else:
            self.unlinked += [(email, each) for each in covered]

    def _covers_contact(self, contact: _Linked, forms: dict[str, str]) -> bool:
        """By an address that it has in this record; one that has none there was linked by hand, so by its primary."""
        used = [forms[each] for each in contact.forms if each in forms] or [contact.primary]
        return any(self.entries.covers_contact(each, contact.primary, self.subaddressed) for each in used)


@dataclass(frozen=True, slots=True)
class _Linked:
    id: int
    primary: str
    forms: frozenset[str]


class NeverLogHistory:
    """Plans and makes the change. Both methods raise `StoreUnavailable`."""

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._directory = directory

    async def plan(self, portal: PortalRecord, entry: str, *, user: str | None = None) -> HistoryPlan:
        """What would happen. Raises `DirectoryError` when the entry is none, or there is no such user."""
        owner = (await self._directory.user(portal.name, user)).id if user else None
        entries = compile_entries((checked_entry(entry),))
        async with self._database.read() as connection:
            reader = _Reader(portal, entries, owner, await _user_forms(connection, portal.id))
            after = 0
            while rows := await _page(connection, portal.id, owner, after):
                await _judge_page(connection, reader, rows)
                after = rows[-1].id
        return HistoryPlan(deleted=reader.deleted, unlinked=reader.unlinked)

    async def apply(self, portal: PortalRecord, entry: str, plan: HistoryPlan) -> None:
        """Makes the change, some records at a time; what breaks it off leaves the rest as it was."""
        for start in range(0, len(plan.deleted), CHANGED_ROWS):
            some = plan.deleted[start : start + CHANGED_ROWS]
            async with self._directory.change() as connection:
                await forget_content(connection, some)
                for email in some:
                    await self._directory.note(
                        connection, portal.id, "email.delete", f"email {email}", after={"never_log": entry}
                    )
        for start in range(0, len(plan.unlinked), CHANGED_ROWS):
            pairs = plan.unlinked[start : start + CHANGED_ROWS]
            async with self._directory.change() as connection:
                for email, contact in pairs:
                    await self._unlink(connection, portal, entry, email, contact)

    async def _unlink(
        self, connection: AsyncConnection, portal: PortalRecord, entry: str, email: int, contact: int
    ) -> None:
        table = schema.email_contact
        mine = and_(table.c.email == email, table.c.contact == contact)
        await connection.execute(update(table).where(mine).values(is_unlinked=True))
        primary = await connection.scalar(
            select(schema.contact.c.primary_address).where(schema.contact.c.id == contact)
        )
        await self._directory.note(
            connection,
            portal.id,
            "email.unlink",
            f"email {email}",
            before={"contact": primary},
            after={"never_log": entry},
        )


async def _user_forms(connection: AsyncConnection, portal: int) -> frozenset[str]:
    table = schema.user_address
    return frozenset((await connection.scalars(select(table.c.canonical).where(table.c.portal == portal))).all())


async def _page(connection: AsyncConnection, portal: int, user: int | None, after: int) -> list[Any]:
    email = schema.email
    wanted = select(email.c.id, email.c["from"], email.c.to, email.c.cc)
    wanted = wanted.where(email.c.portal == portal, email.c.id > after, email.c.deleted_at.is_(None))
    if user is not None:
        wanted = wanted.where(email.c.user == user)
    return list((await connection.execute(wanted.order_by(email.c.id).limit(READ_ROWS))).all())


async def _judge_page(connection: AsyncConnection, reader: _Reader, rows: Sequence[Any]) -> None:
    ids = [row.id for row in rows]
    contacts = await _linked(connection, ids)
    envelopes = await accepted_recipients(connection, ids)
    for row in rows:
        parties = (*row._mapping["from"], *row.to, *row.cc, *envelopes.get(row.id, ()))
        reader.judge(row.id, parties, contacts.get(row.id, ()))


async def _linked(connection: AsyncConnection, emails: Iterable[int]) -> dict[int, list[_Linked]]:
    """The contacts of each record with all of their addresses."""
    linked, contact, address = schema.email_contact, schema.contact, schema.contact_address
    forms: dict[int, set[str]] = {}
    pairs: list[tuple[int, int, str]] = []
    for some in slices(emails):
        wanted = select(linked.c.email, contact.c.id, contact.c.primary_address)
        wanted = wanted.join(contact, contact.c.id == linked.c.contact)
        rows = await connection.execute(wanted.where(linked.c.email.in_(some), linked.c.is_unlinked.is_(False)))
        pairs += [(email, identifier, primary) for email, identifier, primary in rows]
    for some in slices({identifier for _, identifier, _ in pairs}):
        held = select(address.c.contact, address.c.canonical).where(address.c.contact.in_(some))
        for identifier, form in await connection.execute(held):
            forms.setdefault(identifier, set()).add(form)
    found: dict[int, list[_Linked]] = {}
    for email, identifier, primary in pairs:
        found.setdefault(email, []).append(_Linked(identifier, primary, frozenset(forms.get(identifier, ()))))
    return found
