"""Contacts made after a message was logged: today's rules would log it to them too (rules.md 3.6, 7.5).

The record has the parties as written, so nothing is guessed: of an outgoing message whoever got it counts, of an
incoming one its author. Users act as users, the lists of Never Log are those of today, and who was unlinked by hand
stays so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from engine.decision import Direction
from engine.directory import Contact, NeverLogScope, Portal, User
from engine.never_log import compile_entries
from engine.reevaluation import stays_logged
from store import schema
from store.envelopes import accepted_recipients

__all__ = ["LaterContact", "find_later_contacts"]

PAGE = 500  # records judged at once


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterContact:
    """A record, and a contact that it would be logged to as well; `bcc` when only the envelope names the contact."""

    email: int
    contact: Contact
    bcc: bool


async def find_later_contacts(
    connection: AsyncConnection,
    portal: Portal,
    contacts: Mapping[int, Contact],
    users: Mapping[int, User],
    *,
    since: float,
) -> list[LaterContact]:
    """All of records captured since that time which the portal's rule logs."""
    by_form = {form: contact for contact in contacts.values() for form in contact.addresses}
    address = schema.user_address
    mine = select(address.c.canonical).where(address.c.portal == portal.id)
    of_users = set((await connection.scalars(mine)).all())
    found: list[LaterContact] = []
    after = 0
    while rows := await _page(connection, portal.id, since, after):
        after = rows[-1].id
        ids = [row.id for row in rows]
        linked, envelopes = await _linked(connection, ids), await accepted_recipients(connection, ids)
        for row in rows:
            if not stays_logged(row.reason, portal.rule):
                continue
            user = users.get(row.user)
            for form, written, bcc in _others(row, envelopes.get(row.id, ()), portal):
                contact = by_form.get(form)
                if contact is None or form in of_users or (row.id, contact.id) in linked:
                    continue
                if not _is_barred(portal, user, contact, written):
                    linked.add((row.id, contact.id))
                    found.append(LaterContact(email=row.id, contact=contact, bcc=bcc))
    return found


def _others(row: Any, envelope: Sequence[str], portal: Portal) -> Iterator[tuple[str, str, bool]]:
    """The other side's addresses: canonical, as written, and whether only the envelope has it. None when barred."""
    is_outgoing = row.direction == Direction.OUTGOING
    headers = (*row.to, *row.cc) if is_outgoing else tuple(row._mapping["from"])
    hidden = envelope if is_outgoing else ()
    parties = (*row._mapping["from"], *row.to, *row.cc, *envelope)
    lists = compile_entries(portal.never_log)
    if portal.switches.never_log_scope is NeverLogScope.MESSAGE and any(
        lists.covers(each, portal.subaddressed_domains) for each in parties
    ):
        return
    for addresses, bcc in ((headers, False), (hidden, True)):
        for written in addresses:
            yield canonical(written, portal.subaddressed_domains), written, bcc


def _is_barred(portal: Portal, user: User | None, contact: Contact, written: str) -> bool:
    lists = compile_entries(portal.never_log + (user.never_log if user is not None else ()))
    return lists.covers_contact(written, contact.primary, portal.subaddressed_domains)


async def _page(connection: AsyncConnection, portal: int, since: float, after: int) -> Sequence[Any]:
    email = schema.email
    wanted = select(
        email.c.id, email.c.direction, email.c.reason, email.c.user, email.c["from"], email.c.to, email.c.cc
    )
    mine = (email.c.portal == portal) & (email.c.at >= since) & (email.c.id > after) & email.c.deleted_at.is_(None)
    return (await connection.execute(wanted.where(mine).order_by(email.c.id).limit(PAGE))).all()


async def _linked(connection: AsyncConnection, emails: Sequence[int]) -> set[tuple[int, int]]:
    table = schema.email_contact
    rows = await connection.execute(select(table.c.email, table.c.contact).where(table.c.email.in_(emails)))
    return {(email, contact) for email, contact in rows}
