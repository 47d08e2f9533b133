"""Erasing a contact: what names the person goes, and a keyed hash stays that keeps it from coming back (rules.md 8.5).

Records that were the contact's alone lose everything they said. Records with other contacts stay, without this one;
their fields and texts name the address no more, but the message itself, as octets, is correspondence of the others
too, and is left as it is: the report lists them. Afterwards the database is rewritten, so that neither free pages nor
the write-ahead log hold what is gone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Text, delete, func, or_, select, type_coerce, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import Database, StoreUnavailable, slices
from store.directory import Directory
from store.directory_record import DirectoryError, PortalRecord
from store.forgetting import forget_content
from store.hashes import keyed_hash
from store.search import settle

__all__ = ["Erasure", "ErasureReport"]

ERASED = "(erased)"
NOBODY = 0  # no contact has this id
PLAIN = re.compile(r"[!#-\[\]-~]+")


@dataclass(slots=True, kw_only=True)
class ErasureReport:
    """What was removed, what was redacted, and what is kept; ids are those of emails.

    `was_known` is false for an address that was erased before and is on no contact. `messages_waiting` name an address
    and wait to be decided again; they go when that was done. `is_rewritten` is false when the database could not be
    rewritten: old pages of it may still hold what was erased, until the command is run again.
    """

    addresses: int = 0
    was_known: bool = False
    associations_removed: int = 0
    emails_redacted: list[int] = field(default_factory=list)
    emails_kept: list[int] = field(default_factory=list)
    decisions_redacted: int = 0
    gaps_redacted: int = 0
    audit_entries_redacted: int = 0
    never_log_entries_kept: list[str] = field(default_factory=list)
    user_addresses_kept: int = 0
    messages_waiting: int = 0
    is_rewritten: bool = False

    def value(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class Erasure:
    """Erases contacts of a portal."""

    def __init__(self, database: Database, directory: Directory, hash_key: bytes) -> None:
        self._database = database
        self._directory = directory
        self._hash_key = hash_key

    async def erase(self, portal: PortalRecord, address: str) -> ErasureReport:
        """Erases the contact that has `address`; once more, should it have been erased before.

        Raises `DirectoryError` when the portal never knew it, and `StoreUnavailable`, and then nothing was erased.
        """
        form = portal.canonical(address)
        report = ErasureReport()
        async with self._directory.change() as connection:
            contact = await _contact(connection, portal.id, form)
            spellings = {form: {address.strip()}}
            if contact is not None:
                report.was_known = True
                spellings = await _spellings(connection, portal, contact)
            elif not await self._directory.erased(connection, portal, spellings):
                raise DirectoryError(f"{address!r} is on no contact of {portal.name}; see: onrecord contact list")
            report.addresses = len(spellings)
            names = _Names({*spellings, *(each for written in spellings.values() for each in written)})
            if contact is not None:
                await _remove_contact(connection, contact.id, report)
            await _redact(connection, portal.id, contact.id if contact is not None else NOBODY, names, report)
            await self._keep_tombstones(connection, portal.id, spellings)
            await _find_kept(connection, portal.id, names, spellings, report)
            await self._directory.note(
                connection,
                portal.id,
                "contact.erase",
                f"contact {contact.id}" if contact is not None else "a contact that was erased before",
                after={"emails_redacted": len(report.emails_redacted), "emails_kept": len(report.emails_kept)},
            )
        report.is_rewritten = await self._rewrite()
        return report

    async def _keep_tombstones(self, connection: AsyncConnection, portal: int, forms: Iterable[str]) -> None:
        rows = [{"portal": portal, "hash": keyed_hash(self._hash_key, each), "at": time.time()} for each in forms]
        await connection.execute(upsert(schema.erased_address).on_conflict_do_nothing(), rows)

    async def _rewrite(self) -> bool:
        """Rewrites the database and empties the write-ahead log; whether that could be done."""
        try:
            await settle(self._database)
            return await self._database.rewrite()
        except StoreUnavailable:
            return False


class _Names:
    """The spellings of the addresses, to be found in texts and taken out of them."""

    def __init__(self, spellings: set[str]) -> None:
        ordered = sorted(spellings, key=lambda each: (-len(each), each))
        # An address that is part of a longer one is another address.
        self._pattern = re.compile(
            "|".join(rf"(?<![\w.+-]){re.escape(each)}(?![\w-]|\.\w)" for each in ordered), re.IGNORECASE
        )
        self._marks = sorted({max(PLAIN.findall(each), key=len).lower() for each in spellings})

    def are_in(self, text: str) -> bool:
        return self._pattern.search(text) is not None

    def taken_out(self, text: str) -> str:
        return self._pattern.sub(ERASED, text)

    def taken_out_of(self, value: Any) -> Any:
        """A JSON value without the addresses."""
        match value:
            case str():
                return self.taken_out(value)
            case list():
                return [self.taken_out_of(each) for each in value]
            case dict():
                return {key: self.taken_out_of(each) for key, each in value.items()}
            case _:
                return value

    def where(self, *columns: Any) -> Any:
        """Rows that may name one: they hold the longest piece of it that JSON and SQL's `lower` leave alone."""
        texts = [func.lower(type_coerce(each, Text)) for each in columns]
        return or_(*(func.instr(text, mark) > 0 for text in texts for mark in self._marks))


async def _contact(connection: AsyncConnection, portal: int, form: str) -> Any:
    held, contact = schema.contact_address, schema.contact
    wanted = select(contact).join(held, held.c.contact == contact.c.id)
    return (await connection.execute(wanted.where(held.c.portal == portal, held.c.canonical == form))).first()


async def _spellings(connection: AsyncConnection, portal: PortalRecord, contact: Any) -> dict[str, set[str]]:
    """All addresses of the contact by their canonical forms, as they stand in the directory and in its records."""
    held = schema.contact_address
    found = {portal.canonical(contact.primary_address): {contact.primary_address}}
    for form, written in await connection.execute(
        select(held.c.canonical, held.c.written).where(held.c.contact == contact.id)
    ):
        found.setdefault(form, set()).add(written)
    email, linked, recipient = schema.email, schema.email_contact, schema.email_recipient
    mine = select(linked.c.email).where(linked.c.contact == contact.id)
    parties = select(email.c["from"], email.c.to, email.c.cc).where(email.c.id.in_(mine))
    written = {each for row in await connection.execute(parties) for each in (*row[0], *row[1], *row[2])}
    written |= set((await connection.scalars(select(recipient.c.address).where(recipient.c.email.in_(mine)))).all())
    for each in written:
        if (form := portal.canonical(each)) in found:
            found[form].add(each)
    return found


async def _remove_contact(connection: AsyncConnection, contact: int, report: ErasureReport) -> None:
    """Removes the contact with its associations, and all that the records said which were its alone."""
    linked, held = schema.email_contact, schema.contact_address
    mine = set((await connection.scalars(select(linked.c.email).where(linked.c.contact == contact))).all())
    gone = await connection.execute(delete(linked).where(linked.c.contact == contact))
    report.associations_removed = gone.rowcount
    shared: set[int] = set()
    for some in slices(mine):
        others = select(linked.c.email).where(linked.c.email.in_(some), linked.c.is_unlinked.is_(False))
        shared.update((await connection.scalars(others)).all())
    report.emails_redacted = sorted(mine - shared)
    await forget_content(connection, report.emails_redacted)
    await connection.execute(delete(held).where(held.c.contact == contact))
    await connection.execute(delete(schema.contact).where(schema.contact.c.id == contact))


# -- what names it ----------------------------------------------------------------------------------------------------


async def _redact(connection: AsyncConnection, portal: int, contact: int, names: _Names, report: ErasureReport) -> None:
    """Takes the addresses out of all that stays, also of mail to others that names them."""
    report.emails_kept = sorted(
        await _redact_emails(connection, portal, names) | await _redact_envelopes(connection, portal, names)
    )
    await _redact_replies(connection, portal, names)
    report.decisions_redacted = await _redact_decisions(connection, schema.decision, portal, contact, names)
    report.gaps_redacted = await _redact_decisions(connection, schema.gap, portal, contact, names)
    table = schema.email_id  # a Message-ID may be made of an address; its keyed hash still finds it
    mine = (table.c.portal == portal) & table.c.msg_id.is_not(None) & names.where(table.c.msg_id)
    await connection.execute(update(table).where(mine).values(msg_id=None))
    report.audit_entries_redacted = await _redact_audit(connection, portal, names)


async def _redact_emails(connection: AsyncConnection, portal: int, names: _Names) -> set[int]:
    """Fields and texts of records that stay; the ids of those that named it."""
    email = schema.email
    columns = [email.c[each] for each in ("from", "to", "cc", "subject", "text", "html", "other_text", "message_id")]
    wanted = select(email.c.id, *columns).where(email.c.portal == portal, email.c.deleted_at.is_(None))
    found: set[int] = set()
    for row in (await connection.execute(wanted.where(names.where(*columns)))).all():
        values = {name: names.taken_out_of(value) for name, value in row._mapping.items() if name != "id"}
        changed = {name: value for name, value in values.items() if value != row._mapping[name]}
        if changed:
            found.add(row.id)
            await connection.execute(update(email).where(email.c.id == row.id).values(**changed))
    return found


async def _redact_envelopes(connection: AsyncConnection, portal: int, names: _Names) -> set[int]:
    """Who was in the envelope, and what the next hop said of it; the ids of records that named it."""
    email, recipient = schema.email, schema.email_recipient
    wanted = select(recipient).join(email, email.c.id == recipient.c.email).where(email.c.portal == portal)
    found: set[int] = set()
    for row in (await connection.execute(wanted.where(names.where(recipient.c.address, recipient.c.reply)))).all():
        mine = (recipient.c.email == row.email) & (recipient.c.address == row.address)
        if names.are_in(row.address):
            found.add(row.email)
            await connection.execute(delete(recipient).where(mine))
        elif names.are_in(row.reply):
            await connection.execute(update(recipient).where(mine).values(reply=names.taken_out(row.reply)))
    return found


async def _redact_replies(connection: AsyncConnection, portal: int, names: _Names) -> None:
    table = schema.capture
    wanted = select(table.c.id, table.c.reply).where(table.c.portal == portal, table.c.reply.is_not(None))
    for identifier, reply in (await connection.execute(wanted.where(names.where(table.c.reply)))).all():
        await connection.execute(update(table).where(table.c.id == identifier).values(reply=names.taken_out(reply)))


async def _redact_decisions(connection: AsyncConnection, table: Any, portal: int, contact: int, names: _Names) -> int:
    """Takes the contact, and addresses it was to be made of, out of decisions; how many named it."""
    is_named = func.instr(type_coerce(table.c.value, Text), f"[{contact}, ") > 0
    wanted = select(table.c.id, table.c.value).where(
        table.c.portal == portal, or_(is_named, names.where(table.c.value))
    )
    number = 0
    for identifier, value in (await connection.execute(wanted)).all():
        left = [each for each in value.get("contacts", ()) if each[0] != contact and not names.are_in(each[1])]
        creates = [each for each in value.get("creates", ()) if not names.are_in(each)]
        redacted = {key: each for key, each in value.items() if key not in ("contacts", "creates")}
        redacted |= {"contacts": left} if left else {}
        redacted |= {"creates": creates} if creates else {}
        if redacted != value:
            number += 1
            await connection.execute(update(table).where(table.c.id == identifier).values(value=redacted))
    return number


async def _redact_audit(connection: AsyncConnection, portal: int, names: _Names) -> int:
    table = schema.audit
    columns = (table.c.subject, table.c.before, table.c.after)
    wanted = select(table.c.id, *columns).where(table.c.portal == portal, names.where(*columns))
    number = 0
    for row in (await connection.execute(wanted)).all():
        before = {name: row._mapping[name] for name in ("subject", "before", "after")}
        after = {name: names.taken_out_of(value) for name, value in before.items()}
        if after != before:
            number += 1
            await connection.execute(update(table).where(table.c.id == row.id).values(**after))
    return number


async def _find_kept(
    connection: AsyncConnection, portal: int, names: _Names, forms: Iterable[str], report: ErasureReport
) -> None:
    """What names the address for another reason, and is the administrator's to take away."""
    entry, user, waiting = schema.never_log, schema.user_address, schema.waiting
    entries = (await connection.scalars(select(entry.c.entry).where(entry.c.portal == portal))).all()
    report.never_log_entries_kept = sorted({each for each in entries if names.are_in(each)})
    mine = select(func.count()).select_from(user)
    mine = mine.where(user.c.portal == portal, user.c.canonical.in_(list(forms)))
    report.user_addresses_kept = await connection.scalar(mine) or 0
    waits = select(func.count()).select_from(waiting).where(waiting.c.portal == portal, names.where(waiting.c.entry))
    report.messages_waiting = await connection.scalar(waits) or 0
