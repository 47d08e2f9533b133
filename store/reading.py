"""What people ask of the log: which emails, this email, its octets, what was decided, and why.

Every question names a portal, except for one record by its id. Times are as the tables keep them. Addresses of contacts
and users are those of today; in a decision they are those of the time it was made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard
from sqlalchemy import select, tuple_, union
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from engine.decision import Decision
from store import schema
from store.database import Database, slices
from store.hashes import keyed_hash
from store.parsing import PART

__all__ = [
    "AttachmentRecord",
    "CaptureRecord",
    "DecisionRecord",
    "EmailRecord",
    "Explanation",
    "GapRecord",
    "Reading",
    "bare_message_id",
    "email_query",
    "email_records",
]

MAX_EXPLAINED = 100  # records, decisions and gaps under one id; more is somebody's loop


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRecord:
    """One sighting of a logged message."""

    source: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentRecord:
    """An attachment as the message names it; `content` is `None` when it was over the limit."""

    name: str
    type: str
    size: int
    content: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailRecord:
    """A logged message. `sender`, `to` and `cc` are as written in it; who was only in the envelope is in neither."""

    id: int
    portal: str
    message_id: str | None
    direction: str
    subject: str
    date: float | None
    at: float
    sender: tuple[str, ...]
    to: tuple[str, ...]
    cc: tuple[str, ...]
    contacts: tuple[str, ...]
    user: str | None
    attribution: str | None
    reason: str
    flags: tuple[str, ...]
    captures: tuple[CaptureRecord, ...]
    thread: int
    attachments: tuple[AttachmentRecord, ...]
    size: int
    text: str
    html: str
    content: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision of a portal, and the id of the email it made or joined."""

    at: float
    portal: str
    value: Decision
    email: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRecord:
    """A message that should have been logged and is not: the capture failed, or nobody knows whether it was sent."""

    at: float
    portal: str
    kind: str
    cause: str
    value: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All that one portal knows of one Message-ID; decisions and gaps newest first, emails oldest first.

    `deleted` are emails that were in the log, with the time when their content was erased.
    """

    message_id: str
    decisions: tuple[DecisionRecord, ...]
    emails: tuple[EmailRecord, ...]
    gaps: tuple[GapRecord, ...]
    deleted: tuple[tuple[int, float], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not (self.decisions or self.emails or self.gaps or self.deleted)


class Reading:
    """The reading side of the log. All methods raise `StoreUnavailable`."""

    def __init__(self, database: Database, hash_key: bytes) -> None:
        self._database = database
        self._hash_key = hash_key

    async def emails(
        self,
        portal: int,
        *,
        contact: int | None = None,
        user: int | None = None,
        direction: str | None = None,
        since: float | None = None,
        before: tuple[float, int] | None = None,
        thread: int | None = None,
        limit: int | None = None,
    ) -> list[EmailRecord]:
        """The emails of a portal, the last captured first. `contact` and `user` are ids; `before` is the `at` and
        the id of the last one of the page before.
        """
        table, linked = schema.email, schema.email_contact
        # Those of a contact or thread are few: they are to be sorted, not looked for among all that the portal has.
        # What is added to a column keeps its index out of it.
        at = table.c.at if contact is None and thread is None else table.c.at + 0.0
        of = table.c.portal if contact is None else table.c.portal + 0
        wanted = select(table.c.id).where(of == portal, table.c.deleted_at.is_(None))
        if contact is not None:
            mine = select(linked.c.email).where(linked.c.contact == contact, linked.c.is_unlinked.is_(False))
            wanted = wanted.where(table.c.id.in_(mine))
        if user is not None:
            wanted = wanted.where(table.c.user == user)
        if direction is not None:
            wanted = wanted.where(table.c.direction == direction)
        if since is not None:
            wanted = wanted.where(at >= since)
        if before is not None:
            wanted = wanted.where(tuple_(at, table.c.id) < before)
        if thread is not None:
            wanted = wanted.where(table.c.thread == thread)
        page = wanted.order_by(at.desc(), table.c.id.desc()).limit(limit)
        shown = email_query().where(table.c.id.in_(page)).order_by(table.c.at.desc(), table.c.id.desc())
        async with self._database.read() as connection:
            return await email_records(connection, (await connection.execute(shown)).all())

    async def email(self, identifier: int, *, portal: int | None = None) -> EmailRecord | None:
        """One email, of any portal unless one is named; `None` when there is none of that id."""
        wanted = email_query().where(schema.email.c.id == identifier)
        if portal is not None:
            wanted = wanted.where(schema.email.c.portal == portal)
        async with self._database.read() as connection:
            found = await email_records(connection, (await connection.execute(wanted)).all())
        return found[0] if found else None

    async def content(self, identifier: int) -> AsyncIterator[bytes]:
        """The octets of an email as they passed, in pieces of at most 1 MiB. Ends early where a part is missing."""
        wanted = select(schema.email.c.portal, schema.email.c.content).where(schema.email.c.id == identifier)
        async with self._database.read() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        if row is not None and row.content is not None:
            async for octets in self.octets(row.portal, row.content):
                yield octets

    async def octets(self, portal: int, content: str) -> AsyncIterator[bytes]:
        """What a portal keeps under that hash, a message or an attachment, as `content` gives it."""
        part = schema.content_part
        wanted = select(part.c.octets).where(part.c.portal == portal, part.c.hash == content)
        unpacker = zstandard.ZstdDecompressor()
        number = 0
        while True:
            async with self._database.read() as connection:
                octets = await connection.scalar(wanted.where(part.c.number == number))
            if octets is None:
                return
            yield unpacker.decompress(octets, max_output_size=PART)
            number += 1

    async def decisions(
        self, portal: int, *, message_id: str | None = None, address: str | None = None, limit: int | None = None
    ) -> list[DecisionRecord]:
        """The decisions of a portal, newest first; of one Message-ID, or that concern one outside address."""
        hashed, decision = schema.decision_hash, schema.decision
        values = (bare_message_id(message_id) if message_id else None, canonical(address) if address else None)
        hashes = [keyed_hash(self._hash_key, each) for each in values if each is not None]
        # Without the sum, all of the portal's decisions would be read in their order to find the few.
        wanted = _decision_query().where((decision.c.portal + 0 if hashes else decision.c.portal) == portal)
        for each in hashes:
            wanted = wanted.where(decision.c.id.in_(select(hashed.c.decision).where(hashed.c.hash == each)))
        async with self._database.read() as connection:
            return await _decision_records(connection, wanted, limit)

    async def explain(self, portal: int, message_id: str) -> Explanation:
        """What is known of a Message-ID, or of another id that the message goes by."""
        name = bare_message_id(message_id)
        hash_ = keyed_hash(self._hash_key, name)
        named, hashed, decision, gap = schema.email_id, schema.decision_hash, schema.decision, schema.gap
        async with self._database.read() as connection:
            ids = select(named.c.email).where(named.c.portal == portal, named.c.hash == hash_)
            emails = email_query().where(schema.email.c.id.in_(ids)).order_by(schema.email.c.id).limit(MAX_EXPLAINED)
            records = await email_records(connection, (await connection.execute(emails)).all())
            named_so = select(hashed.c.decision).where(hashed.c.hash == hash_)
            mine = union(named_so, select(decision.c.id).where(decision.c.email.in_(ids)))
            # Without the sum, all of the portal's decisions would be read in their order to find the few.
            here = (decision.c.portal + 0 == portal) & decision.c.id.in_(mine)
            decisions = await _decision_records(connection, _decision_query().where(here), MAX_EXPLAINED)
            open_gaps = (
                select(gap, schema.portal.c.name.label("portal_name"))
                .join(schema.portal, schema.portal.c.id == gap.c.portal)
                .where(gap.c.portal == portal, gap.c.hash == hash_, gap.c.closed_at.is_(None))
                .order_by(gap.c.at.desc(), gap.c.id.desc())
                .limit(MAX_EXPLAINED)
            )
            gaps = [_gap_record(row) for row in await connection.execute(open_gaps)]
            gone = select(schema.email.c.id, schema.email.c.deleted_at).where(
                schema.email.c.id.in_(ids), schema.email.c.deleted_at.is_not(None)
            )
            deleted = [(row.id, row.deleted_at) for row in await connection.execute(gone.order_by(schema.email.c.id))]
        return Explanation(
            message_id=name,
            decisions=tuple(decisions),
            emails=tuple(records),
            gaps=tuple(gaps),
            deleted=tuple(deleted),
        )


def bare_message_id(text: str) -> str:
    """A Message-ID as people paste it, without its brackets."""
    name = text.strip()
    return name[1:-1].strip() if name[:1] == "<" and name[-1:] == ">" else name


def email_query() -> Any:
    """Rows of `email` with the names of portal and user; those that were deleted are none."""
    account = schema.user.c.account.label("account")
    joined = schema.email.join(schema.portal, schema.portal.c.id == schema.email.c.portal)
    joined = joined.outerjoin(schema.user, schema.user.c.id == schema.email.c.user)
    emails = select(schema.email, schema.portal.c.name.label("portal_name"), account).select_from(joined)
    return emails.where(schema.email.c.deleted_at.is_(None))


async def email_records(connection: AsyncConnection, rows: Sequence[Any]) -> list[EmailRecord]:
    """Rows of `email_query` as records, with all that other tables have of them."""
    contact, linked = schema.contact, schema.email_contact
    capture, attachment = schema.capture, schema.attachment
    contacts: dict[int, list[str]] = {}
    captures: dict[int, list[CaptureRecord]] = {}
    attachments: dict[int, list[AttachmentRecord]] = {}
    for some in slices([row.id for row in rows]):
        primaries = select(linked.c.email, contact.c.primary_address).join(contact, contact.c.id == linked.c.contact)
        for email, primary in await connection.execute(
            primaries.where(linked.c.email.in_(some), linked.c.is_unlinked.is_(False)).order_by(linked.c.contact)
        ):
            contacts.setdefault(email, []).append(primary)
        seen = select(capture.c.email, capture.c.source, capture.c.at).where(capture.c.email.in_(some))
        for email, source, at in await connection.execute(seen.order_by(capture.c.at, capture.c.id)):
            captures.setdefault(email, []).append(CaptureRecord(source=source, at=at))
        for row in await connection.execute(
            select(attachment).where(attachment.c.email.in_(some)).order_by(attachment.c.email, attachment.c.number)
        ):
            attachments.setdefault(row.email, []).append(
                AttachmentRecord(name=row.name, type=row.type, size=row.size, content=row.content)
            )
    return [
        EmailRecord(
            id=row.id,
            portal=row.portal_name,
            message_id=row.message_id,
            direction=row.direction,
            subject=row.subject,
            date=row.date,
            at=row.at,
            sender=tuple(row._mapping["from"]),
            to=tuple(row.to),
            cc=tuple(row.cc),
            contacts=tuple(contacts.get(row.id, ())),
            user=row.account,
            attribution=row.attribution,
            reason=row.reason,
            flags=tuple(row.flags),
            captures=tuple(captures.get(row.id, ())),
            thread=row.thread,
            attachments=tuple(attachments.get(row.id, ())),
            size=row.size,
            text=row.text,
            html=row.html,
            content=row.content,
        )
        for row in rows
    ]


def _decision_query() -> Any:
    """Rows of `decision` with the name of the portal."""
    joined = schema.decision.join(schema.portal, schema.portal.c.id == schema.decision.c.portal)
    return select(schema.decision, schema.portal.c.name.label("portal_name")).select_from(joined)


async def _decision_records(connection: AsyncConnection, wanted: Any, limit: int | None) -> list[DecisionRecord]:
    table = schema.decision
    rows = await connection.execute(wanted.order_by(table.c.at.desc(), table.c.id.desc()).limit(limit))
    return [
        DecisionRecord(at=row.at, portal=row.portal_name, value=Decision.from_json(row.value), email=row.email)
        for row in rows
    ]


def _gap_record(row: Any) -> GapRecord:
    return GapRecord(
        at=row.at, portal=row.portal_name, kind=row.kind, cause=row.cause, value=Decision.from_json(row.value)
    )
