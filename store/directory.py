"""The directory: portals, users, contacts and Never Log, as administrators keep them.

What people type is checked here and refused with a `DirectoryError` that names the value and the mend. Every change
advances the directory's version in its own transaction and then rings the bell, a small file whose change tells the
other processes of this machine to forget what they had cached. The same transaction writes the audit trail.
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

from engine.address import canonical
from engine.directory import Rule
from store import schema
from store.audit import note_change
from store.capture_address import rotated
from store.database import Database, slices
from store.directory_record import (
    ContactRecord,
    DirectoryError,
    PortalRecord,
    UserRecord,
    checked_address,
    checked_domains,
    checked_entry,
    checked_logins,
    checked_name,
    checked_portal_name,
    checked_servers,
    portal_record,
)
from store.hashes import keyed_hash

__all__ = ["ContactRecord", "Directory", "DirectoryError", "PortalRecord", "UserRecord", "checked_address"]

UNNAMED = "onrecord"  # who made a change that nobody was named for


class Directory:
    """All questions and changes that administrators have. `who` makes the changes, for the audit trail.

    `hash_key` gives the key under which erased addresses are known; without it none is.
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
        """A new portal. Raises `DirectoryError` when the name is taken or empty."""
        name = checked_portal_name(name)
        async with self._change() as connection:
            if await connection.scalar(select(schema.portal.c.id).where(schema.portal.c.name == name)):
                raise DirectoryError(f"there is a portal named {name!r} already; choose another name")
            await _refuse_taken_captures(connection, None, [bcc_address, forward_address])
            values: dict[str, Any] = {
                "name": name,
                "rule": rule,
                "switches": {},
                "bcc_address": checked_address(bcc_address) if bcc_address else None,
                "forward_address": checked_address(forward_address) if forward_address else None,
                "subaddressed_domains": checked_domains(subaddressed_domains),
                "service_logins": checked_logins(service_logins),
                "authserv_ids": checked_servers(authserv_ids),
            }
            result = await connection.execute(insert(schema.portal).values(**values))
            identifier = int(result.inserted_primary_key[0])  # type: ignore[index]  # one row, one key
            await self.note(connection, identifier, "portal.add", name, after=values)
        return await self.portal(name)

    async def portals(self) -> list[PortalRecord]:
        """All portals by name."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(schema.portal).order_by(schema.portal.c.name))
            return [portal_record(row._mapping) for row in rows]

    async def portal(self, name: str | None) -> PortalRecord:
        """The portal of that name, or the only one there is. Raises `DirectoryError`, naming those there are."""
        portals = await self.portals()
        if name is None and len(portals) == 1:
            return portals[0]
        for portal in portals:
            if portal.name == name:
                return portal
        names = ", ".join(each.name for each in portals)
        if not portals:
            raise DirectoryError("there is no portal yet; make one with: onrecord portal add NAME")
        if name is None:
            raise DirectoryError(f"there are several portals; say which with --portal: {names}")
        raise DirectoryError(f"there is no portal named {name!r}; there are: {names}")

    async def set_portal(self, name: str | None, **changes: Any) -> PortalRecord:
        """Changes `rule`, `switches` (a `Switches`), capture addresses, domains or logins that are not `None`.

        An empty capture address takes it away.
        """
        portal = await self.portal(name)
        values = {key: value for key, value in changes.items() if value is not None}
        if "switches" in values:
            values["switches"] = asdict(values["switches"])
        for key in {"bcc_address", "forward_address"} & values.keys():
            values[key] = checked_address(values[key]) if values[key] else None
        if "service_logins" in values:
            values["service_logins"] = checked_logins(values["service_logins"])
        if "authserv_ids" in values:
            values["authserv_ids"] = checked_servers(values["authserv_ids"])
        if "subaddressed_domains" in values:
            values["subaddressed_domains"] = checked_domains(values["subaddressed_domains"])
        if not values:
            return portal
        async with self._change() as connection:
            if set(values.get("subaddressed_domains", portal.subaddressed_domains)) != {*portal.subaddressed_domains}:
                await self._refuse_if_addresses_exist(connection, portal)
            captures = [values.get(each, getattr(portal, each)) for each in ("bcc_address", "forward_address")]
            await _refuse_taken_captures(connection, portal.id, captures)
            await connection.execute(update(schema.portal).where(schema.portal.c.id == portal.id).values(**values))
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

    async def _refuse_if_addresses_exist(self, connection: AsyncConnection, portal: PortalRecord) -> None:
        """Canonical forms stand in the tables; a changed list would make them wrong."""
        for table in (schema.contact_address, schema.user_address):
            if await connection.scalar(select(table.c.canonical).where(table.c.portal == portal.id).limit(1)):
                raise DirectoryError(
                    "subaddressed domains are set before the first user and contact; "
                    "make a new portal with --subaddressed-domain and put its users and contacts there"
                )

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
        """A new user. An alias may be on several users; account and connected addresses belong to one."""
        home = await self.portal(portal)
        address = checked_address(account)
        others = [await self.user(home.name, each) for each in send_as]
        async with self._change() as connection:
            taken = select(schema.user.c.id).where(schema.user.c.portal == home.id, schema.user.c.account == address)
            if await connection.scalar(taken):
                raise DirectoryError(f"{address} is a user already; change it with: onrecord user set {address}")
            result = await connection.execute(
                insert(schema.user).values(
                    portal=home.id,
                    account=address,
                    name=checked_name(name),
                    personal_email_access=personal_email_access,
                    active=active,
                )
            )
            identifier = int(result.inserted_primary_key[0])  # type: ignore[index]  # one row, one key
            await self._put_user_addresses(connection, home, identifier, "account", [address])
            await self._put_user_addresses(connection, home, identifier, "alias", aliases)
            await self._put_user_addresses(connection, home, identifier, "connected", connected)
            await self._put_grants(connection, identifier, others)
            after = {
                "name": checked_name(name),
                "aliases": list(aliases),
                "connected": list(connected),
                "send_as": [each.account for each in others],
                "personal_email_access": personal_email_access,
                "active": active,
            }
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
        """Changes what is not `None`; lists replace what was there."""
        home = await self.portal(portal)
        record = await self.user(home.name, account)
        others = [await self.user(home.name, each) for each in send_as or ()]
        switches = {"personal_email_access": personal_email_access, "active": active}
        values: dict[str, Any] = {key: value for key, value in switches.items() if value is not None}
        if name is not None:
            values["name"] = checked_name(name)
        async with self._change() as connection:
            if values:
                await connection.execute(update(schema.user).where(schema.user.c.id == record.id).values(**values))
            for kind, addresses in (("alias", aliases), ("connected", connected)):
                if addresses is not None:
                    table = schema.user_address
                    await connection.execute(delete(table).where(table.c.user == record.id, table.c.kind == kind))
                    await self._put_user_addresses(connection, home, record.id, kind, addresses)
            if send_as is not None:
                await connection.execute(delete(schema.send_as).where(schema.send_as.c.user == record.id))
                await self._put_grants(connection, record.id, others)
            accounts = None if send_as is None else [each.account for each in others]
            lists = {"aliases": aliases, "connected": connected, "send_as": accounts}
            values |= {key: list(value) for key, value in lists.items() if value is not None}
            await self._note_difference(connection, home.id, "user.set", record.account, asdict(record), values)
        return await self.user(home.name, account)

    async def users(self, portal: str | None) -> list[UserRecord]:
        """All users of a portal by account."""
        home = await self.portal(portal)
        async with self._database.read() as connection:
            wanted = select(schema.user).where(schema.user.c.portal == home.id).order_by(schema.user.c.account)
            return await self._user_records(connection, home, (await connection.execute(wanted)).all())

    async def user(self, portal: str | None, account: str) -> UserRecord:
        """The user with that account or any other address. Raises `DirectoryError`."""
        home = await self.portal(portal)
        form = canonical(account, frozenset(home.subaddressed_domains))
        table = schema.user_address
        async with self._database.read() as connection:
            found = select(schema.user).join(table, table.c.user == schema.user.c.id)
            found = found.where(table.c.portal == home.id, table.c.canonical == form).order_by(schema.user.c.id)
            row = (await connection.execute(found)).first()
            if row is None:
                raise DirectoryError(f"{account!r} is no user of {home.name}; see: onrecord user list")
            return (await self._user_records(connection, home, [row]))[0]

    async def _user_records(
        self, connection: AsyncConnection, home: PortalRecord, rows: Sequence[Any]
    ) -> list[UserRecord]:
        table, grants = schema.user_address, schema.send_as
        by_kind: dict[tuple[int, str], list[str]] = {}
        others: dict[int, list[str]] = {}
        for some in slices([row.id for row in rows]):
            written = select(table.c.user, table.c.kind, table.c.written).where(table.c.user.in_(some))
            for user, kind, address in await connection.execute(written.order_by(table.c.written)):
                by_kind.setdefault((user, kind), []).append(address)
            granted = select(grants.c.user, schema.user.c.account).join(schema.user, grants.c.other == schema.user.c.id)
            for user, account in await connection.execute(
                granted.where(grants.c.user.in_(some)).order_by(schema.user.c.account)
            ):
                others.setdefault(user, []).append(account)
        return [
            UserRecord(
                id=row.id,
                portal=home.name,
                account=row.account,
                name=row.name,
                aliases=tuple(by_kind.get((row.id, "alias"), ())),
                connected=tuple(by_kind.get((row.id, "connected"), ())),
                send_as=tuple(others.get(row.id, ())),
                personal_email_access=row.personal_email_access,
                active=row.active,
            )
            for row in rows
        ]

    async def _put_grants(self, connection: AsyncConnection, identifier: int, others: Iterable[UserRecord]) -> None:
        rows = [{"user": identifier, "other": other} for other in {each.id for each in others}]
        if rows:
            await connection.execute(insert(schema.send_as), rows)

    async def _put_user_addresses(
        self, connection: AsyncConnection, home: PortalRecord, identifier: int, kind: str, addresses: Iterable[str]
    ) -> None:
        table = schema.user_address
        for address in addresses:
            written = checked_address(address)
            form = canonical(written, frozenset(home.subaddressed_domains))
            if kind != "alias":
                holder = select(schema.user.c.account).join(table, table.c.user == schema.user.c.id)
                holder = holder.where(
                    table.c.portal == home.id,
                    table.c.canonical == form,
                    table.c.kind != "alias",
                    table.c.user != identifier,
                )
                if other := await connection.scalar(holder):
                    raise DirectoryError(f"{written} belongs to the user {other} already; take it away there first")
            row = {"portal": home.id, "canonical": form, "user": identifier, "kind": kind}
            await connection.execute(delete(table).filter_by(**row))
            await connection.execute(insert(table).values(**row, written=written))

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
        async with self._change() as connection:
            await self._refuse_erased(connection, home, (primary, *others), again=again)
            await self.insert_contact(connection, home, primary, others=others, name=name, owner=owner)
            after = {"others": list(others), "name": checked_name(name), "owner": owner, "again": again}
            await self.note(connection, home.id, "contact.add", primary, after=after)
        return await self.contact(home.name, primary)

    async def insert_contact(
        self,
        connection: AsyncConnection,
        home: PortalRecord,
        primary: str,
        *,
        others: Sequence[str] = (),
        name: str | None = None,
        owner: str | None = None,
    ) -> int:
        """As `add_contact`, inside a transaction of the caller."""
        written = list(dict.fromkeys(checked_address(each) for each in (primary, *others)))
        name = checked_name(name)
        subaddressed = frozenset(home.subaddressed_domains)
        forms = {canonical(each, subaddressed): each for each in reversed(written)}
        table = schema.contact_address
        held = select(table.c.written, schema.contact.c.primary_address).join(
            schema.contact, schema.contact.c.id == table.c.contact
        )
        row = (await connection.execute(held.where(table.c.portal == home.id, table.c.canonical.in_(forms)))).first()
        if row is not None:
            raise DirectoryError(
                f"{row[0]} belongs to the contact {row[1]} already; an address is on one contact only, leave it out"
            )
        owner_id = await self._owner_id(connection, home, owner) if owner else None
        result = await connection.execute(
            insert(schema.contact).values(portal=home.id, primary_address=written[0], name=name, owner=owner_id)
        )
        identifier = int(result.inserted_primary_key[0])  # type: ignore[index]  # one row, one key
        rows = [
            {"portal": home.id, "canonical": form, "contact": identifier, "written": each}
            for form, each in forms.items()
        ]
        await connection.execute(insert(table), rows)
        return identifier

    async def _refuse_erased(
        self, connection: AsyncConnection, home: PortalRecord, addresses: Iterable[str], *, again: bool
    ) -> None:
        """Addresses of contacts that were erased come back only on purpose (rules.md 8.5)."""
        forms = {canonical(each, frozenset(home.subaddressed_domains)): each for each in addresses}
        found = await self.erased(connection, home, forms)
        if found and not again:
            raise DirectoryError(
                f"{forms[next(iter(found))]} was erased; if it is to come back all the same, add --again"
            )
        table = schema.erased_address
        for some in slices(found.values()):
            await connection.execute(delete(table).where(table.c.portal == home.id, table.c.hash.in_(some)))

    async def erased(self, connection: AsyncConnection, home: PortalRecord, forms: Iterable[str]) -> dict[str, str]:
        """Those of the canonical addresses that were erased, with the hashes that stand for them."""
        if self._hash_key is None:
            return {}
        key = self._hash_key()
        hashes = {keyed_hash(key, form): form for form in forms}
        table = schema.erased_address
        found: dict[str, str] = {}
        for some in slices(hashes):
            wanted = select(table.c.hash).where(table.c.portal == home.id, table.c.hash.in_(some))
            found.update((hashes[each], each) for each in (await connection.scalars(wanted)).all())
        return found

    async def _owner_id(self, connection: AsyncConnection, home: PortalRecord, owner: str) -> int:
        form = canonical(owner, frozenset(home.subaddressed_domains))
        table = schema.user_address
        found = await connection.scalar(
            select(table.c.user).where(table.c.portal == home.id, table.c.canonical == form).order_by(table.c.user)
        )
        if found is None:
            raise DirectoryError(f"the owner {owner!r} is no user of {home.name}; see: onrecord user list")
        return int(found)

    async def contacts(self, portal: str | None, *, after: int = 0, limit: int | None = None) -> list[ContactRecord]:
        """Contacts in order of creation, from behind the id `after`."""
        home = await self.portal(portal)
        async with self._database.read() as connection:
            wanted = select(schema.contact).where(schema.contact.c.portal == home.id, schema.contact.c.id > after)
            rows = (await connection.execute(wanted.order_by(schema.contact.c.id).limit(limit))).all()
            return await self._contact_records(connection, home, rows)

    async def contact(self, portal: str | None, address: str) -> ContactRecord:
        """The contact with that address. Raises `DirectoryError`."""
        home = await self.portal(portal)
        table = schema.contact_address
        form = canonical(address, frozenset(home.subaddressed_domains))
        async with self._database.read() as connection:
            found = select(schema.contact).join(table, table.c.contact == schema.contact.c.id)
            row = (await connection.execute(found.where(table.c.portal == home.id, table.c.canonical == form))).first()
            if row is None:
                raise DirectoryError(f"{address!r} is on no contact of {home.name}; see: onrecord contact list")
            return (await self._contact_records(connection, home, [row]))[0]

    async def _contact_records(
        self, connection: AsyncConnection, home: PortalRecord, rows: Sequence[Any]
    ) -> list[ContactRecord]:
        table = schema.contact_address
        addresses: dict[int, list[str]] = {}
        owners: dict[int, str] = {}
        for some in slices([row.id for row in rows]):
            written = (
                select(table.c.contact, table.c.written).where(table.c.contact.in_(some)).order_by(table.c.written)
            )
            for contact, address in await connection.execute(written):
                addresses.setdefault(contact, []).append(address)
        for some in slices({row.owner for row in rows if row.owner is not None}):
            accounts = select(schema.user.c.id, schema.user.c.account).where(schema.user.c.id.in_(some))
            owners.update((user, account) for user, account in await connection.execute(accounts))
        return [
            ContactRecord(
                id=row.id,
                portal=home.name,
                primary=row.primary_address,
                addresses=(
                    row.primary_address,
                    *(each for each in addresses.get(row.id, ()) if each != row.primary_address),
                ),
                name=row.name,
                owner=owners.get(row.owner),
            )
            for row in rows
        ]

    # -- Never Log ----------------------------------------------------------------------------------------------------

    async def add_never_log(self, portal: str | None, entry: str, *, user: str | None = None) -> str:
        """Puts an entry on the portal's list, or on a user's own. Returns its spelling."""
        spelt = checked_entry(entry)
        home, owner = await self._list_of(portal, user)
        if spelt not in await self.never_log(home.name, user=user):
            async with self._change() as connection:
                await connection.execute(insert(schema.never_log).values(portal=home.id, user=owner, entry=spelt))
                await self.note(connection, home.id, "never_log.add", spelt, after={"user": user})
        return spelt

    async def remove_never_log(self, portal: str | None, entry: str, *, user: str | None = None) -> str:
        """Takes an entry off the list. Raises `DirectoryError` when it is not on it."""
        spelt = checked_entry(entry)
        home, owner = await self._list_of(portal, user)
        table = schema.never_log
        async with self._change() as connection:
            gone = await connection.execute(
                delete(table).where(table.c.portal == home.id, table.c.user.is_(owner), table.c.entry == spelt)
                if owner is None
                else delete(table).where(table.c.portal == home.id, table.c.user == owner, table.c.entry == spelt)
            )
            if not gone.rowcount:
                raise DirectoryError(f"{spelt} is not on the list; see: onrecord never-log list")
            await self.note(connection, home.id, "never_log.remove", spelt, before={"user": user})
        return spelt

    async def never_log(self, portal: str | None, *, user: str | None = None) -> list[str]:
        """The entries of the portal's list, or of a user's own."""
        home, owner = await self._list_of(portal, user)
        table = schema.never_log
        async with self._database.read() as connection:
            condition = table.c.user.is_(None) if owner is None else table.c.user == owner
            wanted = select(table.c.entry).where(table.c.portal == home.id, condition).order_by(table.c.entry)
            return list((await connection.scalars(wanted)).all())

    async def _list_of(self, portal: str | None, user: str | None) -> tuple[PortalRecord, int | None]:
        home = await self.portal(portal)
        return home, (await self.user(home.name, user)).id if user else None

    # -- changes ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def change(self) -> AsyncIterator[AsyncConnection]:
        """One transaction of changes, for callers that make many; the version advances once."""
        async with self._change() as connection:
            yield connection

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[AsyncConnection]:
        table = schema.directory_version
        async with self._database.write() as connection:
            yield connection
            moved = await connection.execute(update(table).values(version=table.c.version + 1))
            if not moved.rowcount:
                await connection.execute(insert(table).values(id=1, version=1))
        self._ring()

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

    def _ring(self) -> None:
        self._bell.write_text(f"{time.time_ns()} {secrets.token_hex(4)}\n")

    async def version(self) -> int:
        """How often the directory was changed."""
        async with self._database.read() as connection:
            return await connection.scalar(select(func.max(schema.directory_version.c.version))) or 0


async def _refuse_taken_captures(
    connection: AsyncConnection, portal: int | None, addresses: Sequence[str | None]
) -> None:
    """A capture address belongs to one portal, and does one thing there. Raises `DirectoryError`."""
    forms = [canonical(each) for each in addresses if each]
    if len(set(forms)) < len(forms):
        raise DirectoryError(f"{addresses[0]} cannot be the BCC and the forwarding address at once; choose another one")
    table = schema.portal
    for row in await connection.execute(select(table)):
        taken = {canonical(each) for each in (row.bcc_address, row.forward_address) if each}
        if row.id != portal and (both := taken & set(forms)):
            raise DirectoryError(f"{both.pop()} is a capture address of the portal {row.name!r}; choose another one")
