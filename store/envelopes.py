"""Who got a logged message by its envelope, whether or not its header section names them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import slices

__all__ = ["accepted_recipients"]


async def accepted_recipients(connection: AsyncConnection, emails: Iterable[int]) -> dict[int, list[str]]:
    """The forward-paths of each record that the next hop took, as written; records without an envelope are no keys."""
    table = schema.email_recipient
    found: dict[int, list[str]] = {}
    for some in slices(emails):
        wanted = select(table.c.email, table.c.address).where(table.c.email.in_(some), table.c.accepted.is_(True))
        for email, address in await connection.execute(wanted):
            found.setdefault(email, []).append(address)
    return found
