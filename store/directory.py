"""The directory: portals, users, contacts and Never Log, as administrators keep them.

What people type is checked and refused with a `DirectoryError` that names the value and the mend. Every change advances
the directory's version in its own transaction and then rings the bell, a small file whose change tells the other
processes of this machine to forget what they had cached; a second one tells of portals alone, whose capture addresses
are asked for with every recipient. The same transaction writes the audit trail. What the rows are is in
`store.portal_rows`, `store.user_rows` and `store.contact_rows`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.directory import Rule
from store import schema
from store.audit import note_change
from store.capture_address import capture_bell, rotated
from store.contact_rows import contacts_behind, contacts_like, find_contact, find_erased, forget_erased, insert_contact
from store.database import Database
from store.directory_record import (
    ContactRecord,
    DirectoryError,
    PortalRecord,
    UserRecord,
    checked_address,
    checked_entry,
    checked_name,
    checked_portal_name,
)
from store.observed import forget_unobserved
from store.portal_rows import all_portals, checked_portal, choose_portal, insert_portal, update_portal
from store.user_rows import (
    all_users,
    find_user,
    insert_user,
    mailboxes_of,
    replace_addresses,
    replace_grants,
    update_user,
)

__all__ = ["ContactRecord", "Directory", "DirectoryError", "PortalRecord", "UserRecord"]

UNNAMED = "onrecord"  # who made a change that nobody was named for


class Directory:
    """All questions and changes that administrators have. `who` makes the changes, for the audit trail.

    `hash_key` gives the key under which erased addresses are known; without it none is. All methods raise
    `StoreUnavailable`, and those that take a portal by name `DirectoryError` when it is not clear which is meant.
    """

    def __init__(
        self, database: Database, bell: Path, *, who: str = UNNAMED, hash_key: Callable[[], bytes] | None = None
    ) -> None:
        self._database = database
        self._bell = bell
        self._hash_key = hash_key
        self.who = who

    # -- portals ------------------------------------------------------------------------------------------------------

    async def add_portal(
        self,
        name: str,
        *,
        rule: Rule = Rule.REPLIES_ONLY,
        bcc_address: str | None = None,
        forward_address: str | None = None,
        subaddressed_domains: Sequence[str] = (),
        service_logins: Sequence[str] = (),
        authserv_ids: Sequence[str] = (),
    ) -> PortalRecord:
        """A new portal. Raises `DirectoryError` when a value is none, or the name or an address is taken."""
        name = checked_portal_name(name)
        captures = {"bcc_address": bcc_address or "", "forward_address": forward_address or ""}
        lists = {
            "subaddressed_domains": subaddressed_domains,
            "service_logins": service_logins,
            "authserv_ids": authserv_ids,
        }
        values = {"name": name, "rule": rule, "switches": {}, **checked_portal(captures | lists)}
        async with self.change(of_portal=True) as connection:
            identifier = await insert_portal(connection, values)
            await self.note(connection, identifier, "portal.add", name, after=values)
        return await self.portal(name)

    async def portals(self) -> list[PortalRecord]:
        """All portals by name."""
        async with self._database.read() as connection:
            return await all_portals(connection)

    async def portal(self, name: str | None) -> PortalRecord:
        """The portal of that name, or the only one there is. Raises `DirectoryError`, naming those there are."""
        return choose_portal(await self.portals(), name)

    async def set_portal(self, name: str | None, **changes: Any) -> PortalRecord:
        """Changes `rule`, `switches` (a `Switches`), capture addresses, domains or logins that are not `None`.

        An empty capture address takes it away. Raises `DirectoryError` as `add_portal` does, and when domains are to
        be subaddressed that come too late.
        """
        portal = await self.portal(name)
        values = checked_portal({key: value for key, value in changes.items() if value is not None})
        if not values:
            return portal
        async with self.change(of_portal=True) as connection:
            await update_portal(connection, portal, values)
            await self._note_difference(connection, portal.id, "portal.set", portal.name, asdict(portal), values)
        return await self.portal(portal.name)

    async def rotate_address(self, name: str | None, kind: str) -> PortalRecord:
        """Gives the portal a new, unguessable "bcc" or "forward" address; the old one stops at once.

        Raises `DirectoryError` when it has none.
        """
        portal = await self.portal(name)
        column = f"{kind}_address"
        before = getattr(portal, column)
        if before is None:
            raise DirectoryError(
                f"{portal.name} has no such address yet; set one with: onrecord portal set --{kind}-address ADDRESS"
            )
        return await self.set_portal(portal.name, **{column: rotated(before)})

    # -- users --------------------------------------------------------------------------------------------------------

    async def add_user(
        self,
        portal: str | None,
        account: str,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        connected: Sequence[str] = (),
        send_as: Sequence[str] = (),
        personal_email_access: bool = True,
        active: bool = True,
    ) -> UserRecord:
        """A new user. Raises `DirectoryError` when an address is none or somebody else's; aliases may be shared."""
        home = await self.portal(portal)
        address = checked_address(account)
        values = {"name": checked_name(name), "personal_email_access": personal_email_access, "active": active}
        async with self.change() as connection:
            others = [await find_user(connection, home, each) for each in send_as]
            identifier = await insert_user(connection, home, address, values)
            await replace_addresses(connection, home, identifier, "alias", aliases)
            await replace_addresses(connection, home, identifier, "connected", connected)
            await replace_grants(connection, identifier, others)
            lists = {"aliases": aliases, "connected": connected, "send_as": [each.account for each in others]}
            after = values | {key: list(each) for key, each in lists.items()}
            await self.note(connection, home.id, "user.add", address, after=after)
        return await self.user(home.name, address)

    async def set_user(
        self,
        portal: str | None,
        account: str,
        *,
        name: str | None = None,
        aliases: Sequence[str] | None = None,
        connected: Sequence[str] | None = None,
        send_as: Sequence[str] | None = None,
        personal_email_access: bool | None = None,
        active: bool | None = None,
    ) -> UserRecord:
        """Changes what is not `None`; lists replace what was there. Raises `DirectoryError` as `add_user` does."""
        home = await self.portal(portal)
        switches = {"personal_email_access": personal_email_access, "active": active}
        values: dict[str, Any] = {key: value for key, value in switches.items() if value is not None}
        if name is not None:
            values["name"] = checked_name(name)
        async with self.change() as connection:
            record = await find_user(connection, home, account)
            if not (record.active and record.personal_email_access):
                mine = [*record.connected, *await mailboxes_of(connection, record.id)]
                await forget_unobserved(connection, mine)
            await update_user(connection, record.id, values)
            for kind, addresses in (("alias", aliases), ("connected", connected)):
                if addresses is not None:
                    await replace_addresses(connection, home, record.id, kind, addresses)
            lists = {"aliases": aliases, "connected": connected}
            if send_as is not None:
                others = [await find_user(connection, home, each) for each in send_as]
                await replace_grants(connection, record.id, others)
                lists["send_as"] = [each.account for each in others]
            values |= {key: list(each) for key, each in lists.items() if each is not None}
            await self._note_difference(connection, home.id, "user.set", record.account, asdict(record), values)
        return await self.user(home.name, account)

    async def users(self, portal: str | None) -> list[UserRecord]:
        """All users of a portal by account."""
        home = await self.portal(portal)
        async with self._database.read() as connection:
            return await all_users(connection, home)

    async def user(self, portal: str | None, account: str) -> UserRecord:
        """The user with that account or any other address. Raises `DirectoryError`."""
        home = await self.portal(portal)
        async with self._database.read() as connection:
            return await find_user(connection, home, account)

    # -- contacts -----------------------------------------------------------------------------------------------------

    async def add_contact(
        self,
        portal: str | None,
        primary: str,
        *,
        others: Sequence[str] = (),
        name: str | None = None,
        owner: str | None = None,
        again: bool = False,
    ) -> ContactRecord:
        """A new contact. Raises `DirectoryError` when one of its addresses belongs to another, or was erased.

        `again` lets erased addresses come back.
        """
        home = await self.portal(portal)
        async with self.change() as connection:
            await self._refuse_erased(connection, home, (primary, *others), again=again)
            await insert_contact(connection, home, primary, others=others, name=name, owner=owner)
            after = {"others": list(others), "name": checked_name(name), "owner": owner, "again": again}
            await self.note(connection, home.id, "contact.add", primary, after=after)
        return await self.contact(home.name, primary)

    async def contacts(self, portal: str | None, *, after: int = 0, limit: int | None = None) -> list[ContactRecord]:
        """Contacts in order of creation, from behind the id `after`."""
        home = await self.portal(portal)
        async with self._database.read() as connection:
            return await contacts_behind(connection, home, after, limit)

    async def contacts_like(self, portal: str | None, text: str, *, limit: int) -> list[ContactRecord]:
        """Contacts with `text` in the name or an address, by their primary address."""
        home = await self.portal(portal)
        async with self._database.read() as connection:
            return await contacts_like(connection, home, text, limit)

    async def contact(self, portal: str | None, address: str) -> ContactRecord:
        """The contact with that address. Raises `DirectoryError`."""
        home = await self.portal(portal)
        async with self._database.read() as connection:
            return await find_contact(connection, home, address)

    async def erased(self, connection: AsyncConnection, home: PortalRecord, forms: Iterable[str]) -> dict[str, str]:
        """Those of the canonical addresses that were erased, with the hashes that stand for them."""
        return await find_erased(connection, home, forms, self._hash_key()) if self._hash_key is not None else {}

    async def _refuse_erased(
        self, connection: AsyncConnection, home: PortalRecord, addresses: Iterable[str], *, again: bool
    ) -> None:
        """Addresses of contacts that were erased come back only on purpose (rules.md 8.5)."""
        forms = {home.canonical(each): each for each in addresses}
        found = await self.erased(connection, home, forms)
        if found and not again:
            raise DirectoryError(
                f"{forms[next(iter(found))]} was erased; if it is to come back all the same, add --again"
            )
        await forget_erased(connection, home, found.values())

    # -- Never Log ----------------------------------------------------------------------------------------------------

    async def add_never_log(self, portal: str | None, entry: str, *, user: str | None = None) -> str:
        """Puts an entry on the portal's list, or on a user's own. Returns its spelling. Raises `DirectoryError`."""
        spelt = checked_entry(entry)
        home, owner = await self._list_of(portal, user)
        if spelt not in await self.never_log(home.name, user=user):
            async with self.change() as connection:
                await connection.execute(insert(schema.never_log).values(portal=home.id, user=owner, entry=spelt))
                await self.note(connection, home.id, "never_log.add", spelt, after={"user": user})
        return spelt

    async def remove_never_log(self, portal: str | None, entry: str, *, user: str | None = None) -> str:
        """Takes an entry off the list. Raises `DirectoryError` when it is not on it."""
        spelt = checked_entry(entry)
        home, owner = await self._list_of(portal, user)
        table = schema.never_log
        async with self.change() as connection:
            mine = (table.c.portal == home.id) & (table.c.user == owner) & (table.c.entry == spelt)
            gone = await connection.execute(delete(table).where(mine))
            if not gone.rowcount:
                raise DirectoryError(f"{spelt} is not on the list; see: onrecord never-log list")
            await self.note(connection, home.id, "never_log.remove", spelt, before={"user": user})
        return spelt

    async def never_log(self, portal: str | None, *, user: str | None = None) -> list[str]:
        """The entries of the portal's list, or of a user's own."""
        home, owner = await self._list_of(portal, user)
        table = schema.never_log
        async with self._database.read() as connection:
            wanted = select(table.c.entry).where(table.c.portal == home.id, table.c.user == owner)
            return list((await connection.scalars(wanted.order_by(table.c.entry))).all())

    async def _list_of(self, portal: str | None, user: str | None) -> tuple[PortalRecord, int | None]:
        """Whose list: the portal, and the id of the user; none for the portal's own, which compares as IS NULL."""
        home = await self.portal(portal)
        return home, (await self.user(home.name, user)).id if user else None

    # -- changes ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def change(self, *, of_portal: bool = False) -> AsyncIterator[AsyncConnection]:
        """One transaction of changes, also of callers that make many: the version advances once."""
        table = schema.directory_version
        async with self._database.write() as connection:
            yield connection
            moved = await connection.execute(update(table).values(version=table.c.version + 1))
            if not moved.rowcount:
                await connection.execute(insert(table).values(id=1, version=1))
        if of_portal:
            _ring(capture_bell(self._bell))
        _ring(self._bell)

    async def note(
        self,
        connection: AsyncConnection,
        portal: int,
        action: str,
        subject: str,
        *,
        before: Any = None,
        after: Any = None,
    ) -> None:
        """Writes the audit trail, inside the transaction of a change."""
        await note_change(
            connection, portal=portal, who=self.who, action=action, subject=subject, before=before, after=after
        )

    async def _note_difference(
        self,
        connection: AsyncConnection,
        portal: int,
        action: str,
        subject: str,
        before: dict[str, Any],
        values: dict[str, Any],
    ) -> None:
        """What of `values` is another than it was; nothing when all is as it was."""
        was = {key: list(value) if isinstance(value, tuple) else value for key, value in before.items()}
        changed = [key for key, value in values.items() if was[key] != value]
        if changed:
            await self.note(
                connection,
                portal,
                action,
                subject,
                before={key: was[key] for key in changed},
                after={key: values[key] for key in changed},
            )

    async def version(self) -> int:
        """How often the directory was changed."""
        async with self._database.read() as connection:
            return await connection.scalar(select(func.max(schema.directory_version.c.version))) or 0


def _ring(bell: Path) -> None:
    bell.write_text(f"{time.time_ns()} {secrets.token_hex(4)}\n")
