"""How far our own client has read each folder of a mailbox, so that the next connection goes on where one was lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from store import schema
from store.database import Database
from store.mailbox_state import is_observable, may_be_read

__all__ = ["FolderProgress", "Observed", "forget_unobserved"]

UNKNOWN = ""  # the server of what was read before servers were told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderProgress:
    """One folder. Messages with a UID below `uidnext` have been looked at, while `uidvalidity` is what it was.

    Times are Unix seconds: what came before `since` is not looked at; with `catch_up_from`, what came from then on is
    still to be searched for, whatever its UID; `at` is when this was written.
    """

    uidvalidity: int
    uidnext: int
    since: float
    catch_up_from: float | None = None
    at: float


class Observed:
    """The progress of all mailboxes. An account is the canonical address of a mailbox, which lies at a server, the name
    of a provider: at another one an address has another mailbox.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def progress(self, server: str, account: str) -> dict[str, FolderProgress]:
        """By the names of the folders. Raises `StoreUnavailable`.

        What is known of the account at no server yet is of this one from then on.
        """
        table = schema.observed_folder
        wanted = select(table).where(table.c.account == account, table.c.server.in_((server, UNKNOWN)))
        async with self._database.read() as connection:
            rows = (await connection.execute(wanted)).all()
        if any(row.server == UNKNOWN for row in rows):
            async with self._database.write() as connection:
                await _adopt(connection, server, account)
                rows = (await connection.execute(wanted)).all()
        return {
            row.name: FolderProgress(
                uidvalidity=row.uidvalidity,
                uidnext=row.uidnext,
                since=row.since,
                catch_up_from=row.catch_up_from,
                at=row.at,
            )
            for row in rows
        }

    async def connected_servers(self, address: str) -> frozenset[str]:
        """The providers at which a mailbox of that address is connected and observed. Raises `StoreUnavailable`."""
        table, users = schema.connected_mailbox, schema.user
        wanted = select(table.c.server).join(users, users.c.id == table.c.user)
        async with self._database.read() as connection:
            mine = wanted.where(is_observable(), table.c.canonical == canonical(address))
            return frozenset((await connection.scalars(mine)).all())

    async def advance(self, server: str, account: str, name: str, progress: FolderProgress) -> None:
        """Replaces what was known of a folder. Raises `StoreUnavailable`."""
        values = {
            "uidvalidity": progress.uidvalidity,
            "uidnext": progress.uidnext,
            "since": progress.since,
            "catch_up_from": progress.catch_up_from,
            "at": progress.at,
        }
        written = upsert(schema.observed_folder).values(server=server, account=account, name=name, **values)
        async with self._database.write() as connection:
            index = ["server", "account", "name"]
            await connection.execute(written.on_conflict_do_update(index_elements=index, set_=values))


async def _adopt(connection: AsyncConnection, server: str, account: str) -> None:
    """Gives a server what no server has, unless it has something of its own: then nobody knows whose the rest is."""
    table = schema.observed_folder
    mine, nobodys = (((table.c.account == account) & (table.c.server == each)) for each in (server, UNKNOWN))
    if (await connection.execute(select(table.c.name).where(mine))).first() is None:
        await connection.execute(update(table).where(nobodys).values(server=server))
    else:
        await connection.execute(delete(table).where(nobodys))


async def forget_unobserved(connection: AsyncConnection, addresses: Iterable[str]) -> None:
    """Forgets how far the mailboxes of these addresses were read, but for servers where some user has one connected.

    Who reads one again begins from then on: what came while nobody might read it stays unread (rules.md 3.6).
    """
    mailbox, user, folder = schema.connected_mailbox, schema.user, schema.observed_folder
    mailboxes = select(mailbox.c.address, mailbox.c.server).join(user, user.c.id == mailbox.c.user)
    read: dict[str, set[str]] = defaultdict(set)
    for row in await connection.execute(mailboxes.where(may_be_read())):
        read[canonical(row.address)].add(row.server)
    for account in {canonical(each) for each in addresses}:
        mine = (folder.c.account == account) & folder.c.server.not_in(read[account])
        await connection.execute(delete(folder).where(mine))
