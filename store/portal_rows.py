"""Portals as rows of the store: which there are, which is meant, and what two of them cannot share.

Everything here runs inside a read or a transaction of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from store import schema
from store.directory_record import (
    DirectoryError,
    PortalRecord,
    checked_address,
    checked_domains,
    checked_logins,
    checked_servers,
    portal_record,
)

__all__ = ["all_portals", "checked_portal", "choose_portal", "insert_portal", "update_portal"]


def _checked_capture(address: str) -> str | None:
    return checked_address(address) if address else None


# What is typed for a column, as the column keeps it.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "switches": asdict,
    "bcc_address": _checked_capture,
    "forward_address": _checked_capture,
    "subaddressed_domains": checked_domains,
    "service_logins": checked_logins,
    "authserv_ids": checked_servers,
}


def checked_portal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a portal as they will be kept; an empty capture address is none. Raises `DirectoryError`."""
    return {name: CHECKS[name](value) if name in CHECKS else value for name, value in values.items()}


def choose_portal(portals: Sequence[PortalRecord], name: str | None) -> PortalRecord:
    """The portal of that name, or the only one there is. Raises `DirectoryError`, naming those there are."""
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


async def all_portals(connection: AsyncConnection) -> list[PortalRecord]:
    """All portals by name."""
    rows = await connection.execute(select(schema.portal).order_by(schema.portal.c.name))
    return [portal_record(row._mapping) for row in rows]


async def insert_portal(connection: AsyncConnection, values: Mapping[str, Any]) -> int:
    """A new portal; its id. Raises `DirectoryError` when its name or a capture address is taken."""
    table, name = schema.portal, values["name"]
    if await connection.scalar(select(table.c.id).where(table.c.name == name)):
        raise DirectoryError(f"there is a portal named {name!r} already; choose another name")
    await _refuse_taken_captures(connection, None, [values["bcc_address"], values["forward_address"]])
    result = await connection.execute(insert(table).values(**values))
    return int(result.inserted_primary_key[0])  # type: ignore[index]  # one row, one key


async def update_portal(connection: AsyncConnection, portal: PortalRecord, values: Mapping[str, Any]) -> None:
    """Changes columns of a portal. Raises `DirectoryError` when an address is taken, or domains come too late."""
    if set(values.get("subaddressed_domains", portal.subaddressed_domains)) != {*portal.subaddressed_domains}:
        await _refuse_if_addresses_exist(connection, portal)
    captures = [values.get(each, getattr(portal, each)) for each in ("bcc_address", "forward_address")]
    await _refuse_taken_captures(connection, portal.id, captures)
    await connection.execute(update(schema.portal).where(schema.portal.c.id == portal.id).values(**values))


async def _refuse_if_addresses_exist(connection: AsyncConnection, portal: PortalRecord) -> None:
    """Canonical forms stand in the tables; a changed list would make them wrong."""
    for table in (schema.contact_address, schema.user_address):
        if await connection.scalar(select(table.c.canonical).where(table.c.portal == portal.id).limit(1)):
            raise DirectoryError(
                "subaddressed domains are set before the first user and contact; "
                "make a new portal with --subaddressed-domain and put its users and contacts there"
            )


async def _refuse_taken_captures(
    connection: AsyncConnection, portal: int | None, addresses: Sequence[str | None]
) -> None:
    """A capture address belongs to one portal, and does one thing there."""
    forms = [canonical(each) for each in addresses if each]
    if len(set(forms)) < len(forms):
        raise DirectoryError(f"{addresses[0]} cannot be the BCC and the forwarding address at once; choose another one")
    for row in await connection.execute(select(schema.portal)):
        taken = {canonical(each) for each in (row.bcc_address, row.forward_address) if each}
        if row.id != portal and (both := taken & set(forms)):
            raise DirectoryError(f"{both.pop()} is a capture address of the portal {row.name!r}; choose another one")
