"""Contacts as rows of the store: the person, and the addresses, each of which is on one contact of a portal only.

Everything here runs inside a read or a transaction of the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, insert, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import slices
from store.directory_record import ContactRecord, DirectoryError, PortalRecord, checked_address, checked_name
from store.hashes import keyed_hash
from store.search_words import beginnings_wanted, portal_word

__all__ = ["contacts_behind", "contacts_like", "find_contact", "find_erased", "forget_erased", "insert_contact"]


async def contacts_behind(
    connection: AsyncConnection, home: PortalRecord, after: int, limit: int | None
) -> list[ContactRecord]:
    """Contacts in order of creation, from behind the id `after`."""
    wanted = select(schema.contact).where(schema.contact.c.portal == home.id, schema.contact.c.id > after)
    rows = (await connection.execute(wanted.order_by(schema.contact.c.id).limit(limit))).all()
    return await _contact_records(connection, home, rows)


async def contacts_like(connection: AsyncConnection, home: PortalRecord, typed: str, limit: int) -> list[ContactRecord]:
    """Contacts whose name or addresses have words that begin with those typed; all, where nothing is; at most `limit`.

    By their primary address. Where there are more than `limit`, those that were added first.
    """
    contact, index = schema.contact, schema.contact_words
    wanted = select(contact).where(contact.c.portal == home.id)
    if typed.strip():
        if not (words := beginnings_wanted(typed)):
            return []
        matches = literal_column("contact_words").op("match")(f'"{portal_word(home.id)}" AND {words}')
        found = select(index.c.rowid).where(matches).order_by(index.c.rowid).limit(limit)
        wanted = wanted.where(contact.c.id.in_((await connection.scalars(found)).all()))
    rows = (await connection.execute(wanted.order_by(contact.c.primary_address).limit(limit))).all()
    return await _contact_records(connection, home, rows)


async def find_contact(connection: AsyncConnection, home: PortalRecord, address: str) -> ContactRecord:
    """The contact with that address. Raises `DirectoryError`."""
    table = schema.contact_address
    found = select(schema.contact).join(table, table.c.contact == schema.contact.c.id)
    found = found.where(table.c.portal == home.id, table.c.canonical == home.canonical(address))
    row = (await connection.execute(found)).first()
    if row is None:
        raise DirectoryError(f"{address!r} is on no contact of {home.name}; see: onrecord contact list")
    return (await _contact_records(connection, home, [row]))[0]


async def insert_contact(
    connection: AsyncConnection,
    home: PortalRecord,
    primary: str,
    *,
    others: Sequence[str] = (),
    name: str | None = None,
    owner: str | None = None,
) -> None:
    """A new contact. Raises `DirectoryError` when an address is none or taken, or the owner is no user."""
    written = list(dict.fromkeys(checked_address(each) for each in (primary, *others)))
    name = checked_name(name)
    forms = {home.canonical(each): each for each in reversed(written)}
    await _refuse_taken(connection, home, forms)
    owner_id = await _owner_id(connection, home, owner) if owner else None
    result = await connection.execute(
        insert(schema.contact).values(portal=home.id, primary_address=written[0], name=name, owner=owner_id)
    )
    identifier = int(result.inserted_primary_key[0])  # type: ignore[index]  # one row, one key
    rows = [
        {"portal": home.id, "canonical": form, "contact": identifier, "written": each} for form, each in forms.items()
    ]
    await connection.execute(insert(schema.contact_address), rows)


async def find_erased(
    connection: AsyncConnection, home: PortalRecord, forms: Iterable[str], hash_key: bytes
) -> dict[str, str]:
    """Those of the canonical addresses that were erased, with the hashes that stand for them."""
    hashes = {keyed_hash(hash_key, form): form for form in forms}
    table = schema.erased_address
    found: dict[str, str] = {}
    for some in slices(hashes):
        wanted = select(table.c.hash).where(table.c.portal == home.id, table.c.hash.in_(some))
        found.update((hashes[each], each) for each in (await connection.scalars(wanted)).all())
    return found


async def forget_erased(connection: AsyncConnection, home: PortalRecord, hashes: Iterable[str]) -> None:
    """Lets addresses come back that were erased."""
    table = schema.erased_address
    for some in slices(hashes):
        await connection.execute(delete(table).where(table.c.portal == home.id, table.c.hash.in_(some)))


async def _contact_records(connection: AsyncConnection, home: PortalRecord, rows: Sequence[Any]) -> list[ContactRecord]:
    table = schema.contact_address
    addresses: dict[int, list[str]] = {}
    owners: dict[int, str] = {}
    for some in slices([row.id for row in rows]):
        written = select(table.c.contact, table.c.written).where(table.c.contact.in_(some)).order_by(table.c.written)
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


async def _refuse_taken(connection: AsyncConnection, home: PortalRecord, forms: Iterable[str]) -> None:
    table, contact = schema.contact_address, schema.contact
    held = select(table.c.written, contact.c.primary_address).join(contact, contact.c.id == table.c.contact)
    row = (await connection.execute(held.where(table.c.portal == home.id, table.c.canonical.in_(forms)))).first()
    if row is not None:
        raise DirectoryError(
            f"{row[0]} belongs to the contact {row[1]} already; an address is on one contact only, leave it out"
        )


async def _owner_id(connection: AsyncConnection, home: PortalRecord, owner: str) -> int:
    table = schema.user_address
    found = select(table.c.user).where(table.c.portal == home.id, table.c.canonical == home.canonical(owner))
    identifier: int | None = await connection.scalar(found.order_by(table.c.user))
    if identifier is None:
        raise DirectoryError(f"the owner {owner!r} is no user of {home.name}; see: onrecord user list")
    return identifier
