"""Who was told when that a capture was refused, so that nobody is told more than once an hour (rules.md 7.2)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert as upsert

from engine.address import canonical
from engine.decision import UserRef
from store import schema
from store.database import Database

__all__ = ["NoticeRecord"]


class NoticeRecord:
    """The notices of all users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recipient(self, portal: int, user: UserRef | None, authors: Iterable[str]) -> tuple[int, str] | None:
        """The active user that the decision names, else the one that holds an author's address: id and account.

        `None` when there is none, or several. Raises `StoreUnavailable`.
        """
        table, address = schema.user, schema.user_address
        wanted = select(table.c.id, table.c.account).where(table.c.portal == portal, table.c.active.is_(True))
        async with self._database.read() as connection:
            if user is not None:
                wanted = wanted.where(table.c.id == user.id)
            else:
                listed = await connection.scalar(
                    select(schema.portal.c.subaddressed_domains).where(schema.portal.c.id == portal)
                )
                forms = [canonical(each, frozenset(listed or ())) for each in authors]
                holders = select(address.c.user).where(address.c.portal == portal, address.c.canonical.in_(forms))
                wanted = wanted.where(table.c.id.in_(holders))
            found = (await connection.execute(wanted.limit(2))).all()
        return (found[0].id, found[0].account) if len(found) == 1 else None

    async def claim(self, user: int, now: float, *, seconds: float) -> bool:
        """Whether the user may be told now; then nobody tells again for so long. Raises `StoreUnavailable`."""
        table = schema.notice
        async with self._database.write() as connection:
            adding = upsert(table).values(user=user, at=now)
            due = table.c.at <= now - seconds
            done = await connection.execute(
                adding.on_conflict_do_update(index_elements=["user"], set_={"at": now}, where=due)
            )
            return bool(done.rowcount)
