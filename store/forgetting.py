"""Forgetting: content of records that are deleted, whole records that are too old, and parts that nobody uses.

Content is shared: a part of a message or attachment goes when the last record that has it is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import slices

__all__ = ["forget_content", "forget_old_emails", "forget_unused"]

FORGET_ROWS = 200  # records at once, so that no transaction is long
EMPTY: dict[str, Any] = {
    "message_id": None,
    "subject": "",
    "date": None,
    "from": [],
    "to": [],
    "cc": [],
    "text": "",
    "html": "",
    "other_text": "",
    "size": 0,
    "content": None,
}


async def forget_content(connection: AsyncConnection, emails: Iterable[int], *, at: float | None = None) -> None:
    """Deletes records: everything that the messages said is gone, and who they went to.

    What stays is what tells a later capture that the message is known: its keys, keyed hashes of its ids and parents,
    and its place in a thread.
    """
    email, recipient = schema.email, schema.email_recipient
    for some in slices(emails):
        used = await _parts_of(connection, some)
        values = EMPTY | {"deleted_at": time.time() if at is None else at}
        await connection.execute(update(email).where(email.c.id.in_(some)).values(**values))
        await connection.execute(delete(schema.attachment).where(schema.attachment.c.email.in_(some)))
        await connection.execute(delete(recipient).where(recipient.c.email.in_(some)))
        await connection.execute(update(schema.capture).where(schema.capture.c.email.in_(some)).values(reply=None))
        await forget_unused(connection, used)


async def forget_old_emails(connection: AsyncConnection, *, older_than: float) -> int:
    """Removes records captured before that time with their decisions, a bounded number at once; how many."""
    decision = schema.decision
    emails = await _old_emails(connection, older_than)
    if not emails:
        return 0
    used = await _parts_of(connection, emails)
    mine = select(decision.c.id).where(decision.c.email.in_(emails))
    await connection.execute(delete(schema.decision_hash).where(schema.decision_hash.c.decision.in_(mine)))
    for table in (
        decision, schema.capture, schema.attachment, schema.email_recipient, schema.email_contact, schema.email_key,
        schema.email_id, schema.email_parent, schema.stopped_thread,
    ):  # fmt: skip
        await connection.execute(delete(table).where(table.c.email.in_(emails)))
    await connection.execute(delete(schema.email).where(schema.email.c.id.in_(emails)))
    await forget_unused(connection, used)
    return len(emails)


async def forget_unused(connection: AsyncConnection, parts: Iterable[tuple[int, str]]) -> None:
    """Removes content, by portal and hash, that no record has."""
    email, attachment, part = schema.email, schema.attachment, schema.content_part
    by_portal: dict[int, list[str]] = {}
    for portal, hash_ in parts:
        by_portal.setdefault(portal, []).append(hash_)
    for portal, hashes in by_portal.items():
        here = email.c.portal + 0 == portal  # the sum keeps the index of all that the portal has out of it
        attached = exists().where(attachment.c.content == part.c.hash, attachment.c.email == email.c.id, here)
        whole = exists().where(email.c.content == part.c.hash, here)
        for some in slices(hashes):
            await connection.execute(
                delete(part).where(part.c.portal == portal, part.c.hash.in_(some), ~or_(whole, attached))
            )


async def _old_emails(connection: AsyncConnection, older_than: float) -> list[int]:
    """Ids of old records of one portal, the oldest first: by portal, because the index is."""
    email = schema.email
    for portal in (await connection.scalars(select(schema.portal.c.id))).all():
        wanted = select(email.c.id).where(email.c.portal == portal, email.c.at < older_than)
        found = (await connection.scalars(wanted.order_by(email.c.at).limit(FORGET_ROWS))).all()
        if found:
            return list(found)
    return []


async def _parts_of(connection: AsyncConnection, emails: Sequence[int]) -> set[tuple[int, str]]:
    """The portal and hash of all content that the records have."""
    email, attachment = schema.email, schema.attachment
    whole = select(email.c.portal, email.c.content).where(email.c.id.in_(emails))
    attached = select(email.c.portal, attachment.c.content).join(email, email.c.id == attachment.c.email)
    found = [*await connection.execute(whole), *await connection.execute(attached.where(email.c.id.in_(emails)))]
    return {(portal, hash_) for portal, hash_ in found if hash_ is not None}
