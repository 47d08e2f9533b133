"""Decisions that were made before a contact was erased and are recorded after it (rules.md 8.5).

They name a contact that is no more, or an address of which one was to be made: both are left out. What was to be logged
to them alone is not logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from engine.decision import Decision, Outcome, Reason
from store import schema
from store.database import slices
from store.hashes import keyed_hash
from store.settled import Settled

__all__ = ["without_erased"]


async def without_erased(connection: AsyncConnection, settled: Sequence[Settled], hash_key: bytes) -> list[Settled]:
    """The entries, with decisions that name nobody who was erased."""
    decisions = [decision for each in settled for decision in each.decisions]
    named = {contact.id for each in decisions for contact in each.contacts}
    known = await _known(connection, named)
    erased = await _erased(connection, [each for each in decisions if each.creates], hash_key)
    if known == named and not erased:
        return list(settled)
    return [replace(each, decisions=tuple(_left(one, known, erased) for one in each.decisions)) for each in settled]


async def _known(connection: AsyncConnection, named: set[int]) -> set[int]:
    """Those of the contacts that there are."""
    table = schema.contact
    known: set[int] = set()
    for some in slices(named):
        known.update((await connection.scalars(select(table.c.id).where(table.c.id.in_(some)))).all())
    return known


async def _erased(connection: AsyncConnection, creating: Sequence[Decision], hash_key: bytes) -> set[tuple[int, str]]:
    """Portals with addresses, as written, of which a contact was to be made and none may be."""
    portal, gone = schema.portal, schema.erased_address
    found: set[tuple[int, str]] = set()
    for decision in creating:
        listed = await connection.scalar(select(portal.c.subaddressed_domains).where(portal.c.id == decision.portal))
        hashes = {keyed_hash(hash_key, canonical(each, frozenset(listed or ()))): each for each in decision.creates}
        for some in slices(hashes):
            mine = (gone.c.portal == decision.portal) & gone.c.hash.in_(some)
            for hash_ in (await connection.scalars(select(gone.c.hash).where(mine))).all():
                found.add((decision.portal, hashes[hash_]))
    return found


def _left(decision: Decision, known: set[int], erased: set[tuple[int, str]]) -> Decision:
    contacts = tuple(each for each in decision.contacts if each.id in known)
    creates = tuple(each for each in decision.creates if (decision.portal, each) not in erased)
    if (contacts, creates) == (decision.contacts, decision.creates):
        return decision
    if contacts or creates or decision.outcome is Outcome.SKIP:
        return replace(decision, contacts=contacts, creates=creates)
    return Decision(
        portal=decision.portal,
        source=decision.source,
        outcome=Outcome.SKIP,
        reason=Reason.ERASED_ADDRESS,
        direction=decision.direction,
        user=decision.user,
    )
