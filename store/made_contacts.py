"""Contacts that mail makes: of those whom a user asks to log mail with (rules.md 7.1, 7.3).

A contact remembers the moment of the capture that made it, so that an earlier one that is recorded later can claim it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from engine.decision import ContactRef, Decision, Reason
from store import schema
from store.database import slices
from store.directory_record import switches_of

__all__ = ["give_to_earliest", "with_created_contacts"]

MAKING = (Reason.BCC_ADDRESS, Reason.FORWARDING_ADDRESS)


async def with_created_contacts(connection: AsyncConnection, decision: Decision, moment: str) -> Decision:
    """Makes a contact for each address of `creates` that has none yet, owned by the decision's user."""
    portal = schema.portal
    subaddressed = frozenset(
        await connection.scalar(select(portal.c.subaddressed_domains).where(portal.c.id == decision.portal)) or ()
    )
    contacts = {each.id: each for each in decision.contacts}
    owner = _owner(decision)
    for written in decision.creates:
        identifier, primary = await _contact_of(connection, decision.portal, written, subaddressed, owner, moment)
        contacts.setdefault(identifier, ContactRef(id=identifier, address=primary))
    return replace(decision, contacts=tuple(contacts.values()), creates=())


async def give_to_earliest(connection: AsyncConnection, logged: Sequence[tuple[Decision, str]]) -> list[int]:
    """Each contact that mail made belongs to whose capture was the first of all that would have made it, whichever was
    recorded first. The places in `logged` (decisions, with their moments) that changed an owner.
    """
    contact = schema.contact
    asked = [place for place, (decision, _) in enumerate(logged) if decision.reason in MAKING]
    named = {one.id for place in asked for one in logged[place][0].contacts}
    made: dict[int, str] = {}
    for some in slices(named):
        wanted = select(contact.c.id, contact.c.made).where(contact.c.id.in_(some), contact.c.made.is_not(None))
        made.update((identifier, moment) for identifier, moment in await connection.execute(wanted))
    changed = []
    for place in asked:
        decision, moment = logged[place]
        mine = [one.id for one in decision.contacts if not one.bcc and moment < made.get(one.id, "")]
        if mine and await _may_make(connection, decision):
            made.update(dict.fromkeys(mine, moment))
            values = {"owner": _owner(decision), "made": moment}
            await connection.execute(update(contact).where(contact.c.id.in_(mine)).values(**values))
            changed.append(place)
    return changed


async def _may_make(connection: AsyncConnection, decision: Decision) -> bool:
    """Whether the portal makes contacts of what is logged so (rules.md 7.3)."""
    if decision.reason is not Reason.FORWARDING_ADDRESS:
        return True
    wanted = select(schema.portal.c.switches).where(schema.portal.c.id == decision.portal)
    return switches_of(await connection.scalar(wanted) or {}).forward_creates_contacts


def _owner(decision: Decision) -> int | None:
    return decision.user.id if decision.user is not None else None


async def _contact_of(
    connection: AsyncConnection, portal: int, written: str, subaddressed: frozenset[str], owner: int | None, moment: str
) -> tuple[int, str]:
    contact, address = schema.contact, schema.contact_address
    form = canonical(written, subaddressed)
    found = select(contact.c.id, contact.c.primary_address).join(address, address.c.contact == contact.c.id)
    row = (await connection.execute(found.where(address.c.portal == portal, address.c.canonical == form))).first()
    if row is not None:
        return row.id, row.primary_address
    result = await connection.execute(
        insert(contact).values(portal=portal, primary_address=written, name=None, owner=owner, made=moment)
    )
    identifier = int(result.inserted_primary_key[0])  # type: ignore[index]  # one row, one key
    await connection.execute(insert(address).values(portal=portal, canonical=form, contact=identifier, written=written))
    return identifier, written
