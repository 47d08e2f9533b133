"""Users as rows of the store: the person, the addresses in three kinds, and in whose name they may send.

Everything here runs inside a read or a transaction of the caller. An alias may be on several users; account and
connected addresses belong to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import slices
from store.directory_record import DirectoryError, PortalRecord, UserRecord, checked_address

__all__ = [
    "all_users",
    "find_user",
    "insert_user",
    "mailboxes_of",
    "replace_addresses",
    "replace_grants",
    "update_user",
]


async def all_users(connection: AsyncConnection, home: PortalRecord) -> list[UserRecord]:
    """All users of a portal by account."""
    wanted = select(schema.user).where(schema.user.c.portal == home.id).order_by(schema.user.c.account)
    return await _user_records(connection, home, (await connection.execute(wanted)).all())


async def find_user(connection: AsyncConnection, home: PortalRecord, address: str) -> UserRecord:
    """The user with that account or any other address, the first where several share it. Raises `DirectoryError`."""
    table = schema.user_address
    found = select(schema.user).join(table, table.c.user == schema.user.c.id)
    found = found.where(table.c.portal == home.id, table.c.canonical == home.canonical(address))
    row = (await connection.execute(found.order_by(schema.user.c.id))).first()
    if row is None:
        raise DirectoryError(f"{address!r} is no user of {home.name}; see: onrecord user list")
    return (await _user_records(connection, home, [row]))[0]


async def insert_user(connection: AsyncConnection, home: PortalRecord, account: str, values: Mapping[str, Any]) -> int:
    """A new user with no address but the account; the id. Raises `DirectoryError` when somebody has the address."""
    taken = select(schema.user.c.id).where(schema.user.c.portal == home.id, schema.user.c.account == account)
    if await connection.scalar(taken):
        raise DirectoryError(f"{account} is a user already; change it with: onrecord user set {account}")
    result = await connection.execute(insert(schema.user).values(portal=home.id, account=account, **values))
    identifier = int(result.inserted_primary_key[0])  # type: ignore[index]  # one row, one key
    await _put_addresses(connection, home, identifier, "account", [account])
    return identifier


async def mailboxes_of(connection: AsyncConnection, user: int) -> list[str]:
    """The addresses of the connected mailboxes of a user."""
    table = schema.connected_mailbox
    return list(await connection.scalars(select(table.c.address).where(table.c.user == user)))


async def update_user(connection: AsyncConnection, user: int, values: Mapping[str, Any]) -> None:
    """Changes columns of a user."""
    if values:
        await connection.execute(update(schema.user).where(schema.user.c.id == user).values(**values))


async def replace_addresses(
    connection: AsyncConnection, home: PortalRecord, user: int, kind: str, addresses: Iterable[str]
) -> None:
    """The user's addresses of that kind, instead of those there were. Raises `DirectoryError` when one is taken."""
    table = schema.user_address
    await connection.execute(delete(table).where(table.c.user == user, table.c.kind == kind))
    await _put_addresses(connection, home, user, kind, addresses)


async def replace_grants(connection: AsyncConnection, user: int, others: Iterable[UserRecord]) -> None:
    """In whose name the user may send, instead of whom it was."""
    await connection.execute(delete(schema.send_as).where(schema.send_as.c.user == user))
    rows = [{"user": user, "other": other} for other in {each.id for each in others}]
    if rows:
        await connection.execute(insert(schema.send_as), rows)


async def _put_addresses(
    connection: AsyncConnection, home: PortalRecord, user: int, kind: str, addresses: Iterable[str]
) -> None:
    table = schema.user_address
    for address in addresses:
        written = checked_address(address)
        form = home.canonical(written)
        if kind != "alias":
            holder = select(schema.user.c.account).join(table, table.c.user == schema.user.c.id)
            holder = holder.where(
                table.c.portal == home.id, table.c.canonical == form, table.c.kind != "alias", table.c.user != user
            )
            if other := await connection.scalar(holder):
                raise DirectoryError(f"{written} belongs to the user {other} already; take it away there first")
        row = {"portal": home.id, "canonical": form, "user": user, "kind": kind}
        await connection.execute(delete(table).filter_by(**row))  # the same address written in another way
        await connection.execute(insert(table).values(**row, written=written))


async def _user_records(connection: AsyncConnection, home: PortalRecord, rows: Sequence[Any]) -> list[UserRecord]:
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
