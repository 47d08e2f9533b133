"""What people change of the log by hand. Each change sticks: captures that come later do not undo it (rules.md 5.4).

Every method is one transaction with its entry in the audit trail; one that changes nothing writes none. Users and
contacts are those of the record's own portal, named by any of their addresses. All raise `DirectoryError` when there is
no such record, user or contact, and `StoreUnavailable`; then nothing was changed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import Database
from store.directory import Directory
from store.directory_record import ContactRecord, DirectoryError, UserRecord
from store.forgetting import forget_content

__all__ = ["Corrections"]


class Corrections:
    """Changes of single records, made by `directory.who`."""

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._directory = directory

    async def reassign(self, email: int, account: str) -> UserRecord:
        """The record belongs to the user from now on, whatever captures say."""
        table = schema.email
        user = await self._directory.user(await self._portal_of(email), account)
        async with self._directory.change() as connection:
            row = await _email(connection, email)
            before = await connection.scalar(select(schema.user.c.account).where(schema.user.c.id == row.user))
            await connection.execute(update(table).where(table.c.id == email).values(user=user.id, is_reassigned=True))
            if row.user != user.id or not row.is_reassigned:
                await self._note(connection, row, "email.reassign", {"user": before}, {"user": user.account})
        return user

    async def unlink(self, email: int, address: str) -> ContactRecord:
        """The record is no longer shown with the contact."""
        table = schema.email_contact
        contact = await self._directory.contact(await self._portal_of(email), address)
        async with self._directory.change() as connection:
            row = await _email(connection, email)
            mine = (table.c.email == email) & (table.c.contact == contact.id) & table.c.is_unlinked.is_(False)
            moved = await connection.execute(update(table).where(mine).values(is_unlinked=True))
            if not moved.rowcount:
                raise DirectoryError(
                    f"email {email} is not with the contact {contact.primary}; see: onrecord show {email}"
                )
            await self._note(connection, row, "email.unlink", {"contact": contact.primary}, None)
        return contact

    async def add_contact(self, email: int, address: str) -> ContactRecord:
        """The record is shown with the contact too."""
        table = schema.email_contact
        contact = await self._directory.contact(await self._portal_of(email), address)
        async with self._directory.change() as connection:
            row = await _email(connection, email)
            mine = (table.c.email == email) & (table.c.contact == contact.id)
            linked = await connection.scalar(select(table.c.is_unlinked).where(mine))
            if linked is False:
                return contact
            adding = upsert(table).values(email=email, contact=contact.id, bcc=False, is_unlinked=False)
            await connection.execute(
                adding.on_conflict_do_update(index_elements=["email", "contact"], set_={"is_unlinked": False})
            )
            await self._note(connection, row, "email.add_contact", None, {"contact": contact.primary})
        return contact

    async def delete(self, email: int) -> None:
        """The record's content is erased, and it is not shown any more; a later capture does not bring it back."""
        async with self._directory.change() as connection:
            row = await _email(connection, email)
            await forget_content(connection, [email])
            before = {"direction": row.direction, "at": row.at}
            await self._note(connection, row, "email.delete", before, None)

    async def stop_thread(self, email: int) -> None:
        """Nothing more of the record's thread is logged."""
        table = schema.stopped_thread
        async with self._directory.change() as connection:
            row = await _email(connection, email)
            if not await _stopped(connection, row):
                await connection.execute(insert(table).values(portal=row.portal, email=email))
                await self._note(connection, row, "email.stop_thread", {"stopped": False}, {"stopped": True})

    async def resume_thread(self, email: int) -> None:
        """The thread is logged again, from now on."""
        table = schema.stopped_thread
        async with self._directory.change() as connection:
            row = await _email(connection, email)
            stopped = await _stopped(connection, row)
            if stopped:
                mine = (table.c.portal == row.portal) & table.c.email.in_(stopped)
                await connection.execute(delete(table).where(mine))
                await self._note(connection, row, "email.resume_thread", {"stopped": True}, {"stopped": False})

    async def _portal_of(self, email: int) -> str:
        """The name of the record's portal."""
        joined = schema.portal.join(schema.email, schema.email.c.portal == schema.portal.c.id)
        wanted = select(schema.portal.c.name).select_from(joined).where(schema.email.c.id == email)
        async with self._database.read() as connection:
            name: str | None = await connection.scalar(wanted)
        if name is None:
            raise _no_email(email)
        return name

    async def _note(self, connection: AsyncConnection, row: Any, action: str, before: Any, after: Any) -> None:
        await self._directory.note(connection, row.portal, action, f"email {row.id}", before=before, after=after)


async def _email(connection: AsyncConnection, identifier: int) -> Any:
    table = schema.email
    row = (await connection.execute(select(table).where(table.c.id == identifier))).first()
    if row is None:
        raise _no_email(identifier)
    if row.deleted_at is not None:
        raise DirectoryError(f"the email {identifier} was deleted, so there is nothing to change of it")
    return row


def _no_email(identifier: int) -> DirectoryError:
    return DirectoryError(f"there is no logged email with the id {identifier}; see: onrecord emails")


async def _stopped(connection: AsyncConnection, row: Any) -> list[int]:
    """The emails for whose sake the record's thread is stopped."""
    stopped, email = schema.stopped_thread, schema.email
    wanted = select(stopped.c.email).join(email, email.c.id == stopped.c.email)
    wanted = wanted.where(email.c.portal == row.portal, email.c.thread == row.thread)
    return list((await connection.scalars(wanted)).all())
