"""The audit trail: who changed what by hand or by command, when, and how it was before and after.

An entry is written in the transaction of the change itself, so there is none without the other. Where an address was
erased, the entries that name it keep everything but that.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import Database

__all__ = ["AuditEntry", "audit_entries", "note_change"]

MAX_SUBJECT = 400  # as wide as the column


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change. `portal` is a name; `before` and `after` hold what was changed, as JSON values."""

    id: int
    portal: str | None
    at: float
    who: str
    action: str
    subject: str
    before: Any
    after: Any


async def note_change(
    connection: AsyncConnection,
    *,
    portal: int | None,
    who: str,
    action: str,
    subject: str,
    before: Any = None,
    after: Any = None,
) -> None:
    """Writes an entry inside a transaction of the caller."""
    await connection.execute(
        insert(schema.audit).values(
            portal=portal,
            at=time.time(),
            who=who,
            action=action,
            subject=subject[:MAX_SUBJECT],
            before=before,
            after=after,
        )
    )


async def audit_entries(database: Database, portal: int | None = None, *, limit: int | None = None) -> list[AuditEntry]:
    """The entries of a portal, or of all, the newest first. Raises `StoreUnavailable`."""
    table, portals = schema.audit, schema.portal
    wanted = select(table, portals.c.name.label("portal_name")).outerjoin(portals, portals.c.id == table.c.portal)
    if portal is not None:
        wanted = wanted.where(table.c.portal == portal)
    async with database.read() as connection:
        rows = await connection.execute(wanted.order_by(table.c.id.desc()).limit(limit))
        return [
            AuditEntry(
                id=row.id,
                portal=row.portal_name,
                at=row.at,
                who=row.who,
                action=row.action,
                subject=row.subject,
                before=row.before,
                after=row.after,
            )
            for row in rows
        ]
