"""Who signs in to the pages, and the sessions that are open.

A session is known by the SHA-256 of a token that only the browser has, and ends when it is told to, when nobody used
it for two hours, twelve hours after it began, and when its account gets another password or is removed.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.audit import note_change
from store.database import Database
from store.directory_record import DirectoryError, PortalRecord, checked_name

__all__ = ["WebAccount", "WebAccounts"]

IDLE_SECONDS = 2 * 3600.0
LONGEST_SECONDS = 12 * 3600.0
SEEN_SECONDS = 60.0  # how exactly it is written when a session was last used: not every page is a write
MAX_LOGIN = 320


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAccount:
    """An administrator. `portal` is the name of the only portal it sees; `None`: it sees all."""

    id: int
    login: str
    name: str | None
    portal: str | None
    created_at: float


class WebAccounts:
    """The accounts in `database`. `who` makes changes, for the audit trail. All methods raise `StoreUnavailable`."""

    def __init__(self, database: Database, *, who: str, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._who = who
        self._clock = clock

    # -- accounts -----------------------------------------------------------------------------------------------------

    async def add(
        self, login: str, password: str, *, name: str | None = None, portal: PortalRecord | None = None
    ) -> WebAccount:
        """A new account. `password` is a hash. Raises `DirectoryError` when the login is none, or taken."""
        spelt = _checked_login(login)
        values = {"login": spelt, "name": checked_name(name), "portal": portal.id if portal else None}
        try:
            async with self._database.write() as connection:
                await connection.execute(
                    insert(schema.web_account).values(**values, password=password, created_at=self._clock())
                )
                await self._note(connection, "web_account.add", spelt, portal.id if portal else None)
        except IntegrityError as error:
            raise DirectoryError(
                f"{spelt} is an account already; give it a new password with: onrecord admin password {spelt}"
            ) from error
        return await self.account(spelt)

    async def accounts(self) -> list[WebAccount]:
        """All of them by login."""
        async with self._database.read() as connection:
            rows = await connection.execute(_accounts().order_by(schema.web_account.c.login))
            return [_account(row) for row in rows]

    async def account(self, login: str) -> WebAccount:
        """The account of that login. Raises `DirectoryError`."""
        found = await self.credentials(login)
        if found is None:
            raise DirectoryError(f"there is no account {login!r}; see: onrecord admin list")
        return found[0]

    async def credentials(self, login: str) -> tuple[WebAccount, str] | None:
        """The account of that login with its password's hash; `None` when there is none."""
        table = schema.web_account
        async with self._database.read() as connection:
            row = (await connection.execute(_accounts().where(table.c.login == _form(login)))).one_or_none()
        return None if row is None else (_account(row), row.password)

    async def set_password(self, login: str, password: str) -> None:
        """Another password; every session of the account ends. Raises `DirectoryError`."""
        account = await self.account(login)
        async with self._database.write() as connection:
            mine = schema.web_account.c.id == account.id
            await connection.execute(update(schema.web_account).where(mine).values(password=password))
            await connection.execute(delete(schema.web_session).where(schema.web_session.c.account == account.id))
            await self._note(connection, "web_account.password", account.login)

    async def replace_hash(self, account: int, password: str) -> None:
        """The same password, hashed with today's parameters."""
        async with self._database.write() as connection:
            mine = schema.web_account.c.id == account
            await connection.execute(update(schema.web_account).where(mine).values(password=password))

    async def remove(self, login: str) -> None:
        """Removes the account and ends its sessions. Raises `DirectoryError`."""
        account = await self.account(login)
        async with self._database.write() as connection:
            await connection.execute(delete(schema.web_account).where(schema.web_account.c.id == account.id))
            await self._note(connection, "web_account.remove", account.login)

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def begin_session(self, account: WebAccount) -> str:
        """A new session; its token. Sessions that are over are forgotten meanwhile."""
        token, now = secrets.token_urlsafe(32), self._clock()
        table = schema.web_session
        async with self._database.write() as connection:
            await connection.execute(
                delete(table).where(or_(table.c.seen_at < now - IDLE_SECONDS, table.c.begun_at < now - LONGEST_SECONDS))
            )
            await connection.execute(
                insert(table).values(digest=_digest(token), account=account.id, begun_at=now, seen_at=now)
            )
        return token

    async def session(self, token: str) -> WebAccount | None:
        """Whose session that is; `None` when it is over, or never was."""
        table, now = schema.web_session, self._clock()
        wanted = _accounts().add_columns(table.c.seen_at).join(table, table.c.account == schema.web_account.c.id)
        wanted = wanted.where(
            table.c.digest == _digest(token),
            table.c.seen_at >= now - IDLE_SECONDS,
            table.c.begun_at >= now - LONGEST_SECONDS,
        )
        async with self._database.read() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        if row is None:
            return None
        if row.seen_at < now - SEEN_SECONDS:
            async with self._database.write() as connection:
                await connection.execute(update(table).where(table.c.digest == _digest(token)).values(seen_at=now))
        return _account(row)

    async def end_session(self, token: str) -> None:
        """Ends it, if it is one."""
        async with self._database.write() as connection:
            await connection.execute(delete(schema.web_session).where(schema.web_session.c.digest == _digest(token)))

    async def _note(self, connection: AsyncConnection, action: str, subject: str, portal: int | None = None) -> None:
        await note_change(connection, portal=portal, who=self._who, action=action, subject=subject)


def _checked_login(text: str) -> str:
    login = _form(text)
    if not login or len(login) > MAX_LOGIN or not login.isprintable() or any(each.isspace() for each in login):
        raise DirectoryError(f"{text[:40]!r} is no login; write a word without blanks, such as an e-mail address")
    return login


def _form(login: str) -> str:
    return login.strip().casefold()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _accounts() -> Select[Any]:
    portals = schema.portal
    named = schema.web_account.outerjoin(portals, portals.c.id == schema.web_account.c.portal)
    return select(schema.web_account, portals.c.name.label("portal_name")).select_from(named)


def _account(row: Any) -> WebAccount:
    return WebAccount(id=row.id, login=row.login, name=row.name, portal=row.portal_name, created_at=row.created_at)
