"""Threads of the log: which messages answer which (rules.md section 4), found by keyed hashes of ids.

Hashes, because between two logged messages there may lie some that were not logged, of which nothing else is kept. A
search goes from id to id, level by level, over messages that were not logged to those that were, within bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.decision import Direction, Reason
from store import schema
from store.database import slices
from store.hashes import keyed_hash

__all__ = ["FoundAncestor", "FoundThread", "Node", "find_thread", "keep_unlogged", "weave"]

MAX_LEVELS = 8  # of messages that were not logged, one behind the other, and of logged ones up to one that we sent
MAX_HASHES = 500  # looked for in all
MAX_CONTACTS = 500  # of one thread
ASKED_FOR = (Reason.BCC_ADDRESS, Reason.FORWARDING_ADDRESS, Reason.MANUAL_LOG)  # by a user


@dataclass(frozen=True, slots=True)
class FoundAncestor:
    """A logged message; `user` is the id of the user an outgoing one belongs to."""

    email: int
    is_direct: bool
    user: int | None
    subject: str


@dataclass(frozen=True, slots=True)
class FoundThread:
    """Ancestors nearest first, the ids of the contacts of their threads, and hashes on the way: all, and not logged."""

    ancestors: tuple[FoundAncestor, ...]
    contacts: tuple[int, ...]
    missing: frozenset[str]
    seen: frozenset[str]


@dataclass(slots=True)
class _Search:
    """How far it has come. `found` are logged messages in order of nearness, with whether they are direct."""

    direct: set[str]
    level: list[str]
    seen: set[str] = field(default_factory=set)
    found: dict[int, bool] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


async def find_thread(
    connection: AsyncConnection,
    key: bytes,
    portal: int,
    parents: Sequence[str],
    direct: Iterable[str],
    *,
    own: Iterable[str] = (),
    before: float | None = None,
) -> FoundThread:
    """What the portal's log knows of the ids in `parents`, nearest first. A record that is known by one of `own` makes
    nobody a contact of the thread, and neither does one that came in at `before` or later.
    """
    search = _Search(
        direct={keyed_hash(key, each) for each in direct}, level=[keyed_hash(key, each) for each in parents]
    )
    for _ in range(MAX_LEVELS):
        if not search.level:
            break
        await _step(connection, portal, search)
    missing, seen = frozenset(search.missing), frozenset(search.seen)
    if not search.found:
        return FoundThread((), (), missing, seen)
    email = schema.email
    columns = (email.c.id, email.c.thread, email.c.direction, email.c.subject, email.c.user)
    rows = {
        row.id: row
        for row in await connection.execute(
            select(*columns).where(email.c.id.in_(search.found), email.c.deleted_at.is_(None))
        )
    }
    ancestors = tuple(
        FoundAncestor(
            identifier,
            is_direct,
            rows[identifier].user if rows[identifier].direction == Direction.OUTGOING else None,
            rows[identifier].subject,
        )
        for identifier, is_direct in search.found.items()
        if identifier in rows
    )
    threads = {row.thread for row in rows.values()}
    contacts = await _contacts(connection, portal, threads, [keyed_hash(key, each) for each in own], before)
    return FoundThread(ancestors, contacts, missing, seen)


async def _step(connection: AsyncConnection, portal: int, search: _Search) -> None:
    """One level. The next is what its messages answer in turn, logged or not."""
    wanted = [each for each in dict.fromkeys(search.level) if each not in search.seen]
    wanted = wanted[: MAX_HASHES - len(search.seen)]
    search.seen.update(wanted)
    if not wanted:
        search.level = []
        return
    named, parent, email = schema.email_id, schema.email_parent, schema.email
    emails: dict[str, list[int]] = {}
    for hash_, identifier in await connection.execute(
        select(named.c.hash, named.c.email)
        .join(email, email.c.id == named.c.email)
        .where(named.c.portal == portal, named.c.hash.in_(wanted))
        .order_by(email.c.at, email.c.content_rank)
    ):
        emails.setdefault(hash_, []).append(identifier)
    others = await _others(connection, portal, search, [each for each in wanted if each not in emails])
    above: dict[int, list[str]] = {}
    found = [identifier for some in emails.values() for identifier in some][:MAX_HASHES]
    for identifier, hash_ in await connection.execute(
        select(parent.c.email, parent.c.hash)
        .where(parent.c.email.in_(found))
        .order_by(parent.c.email, parent.c.place, parent.c.hash)
    ):
        above.setdefault(identifier, []).append(hash_)
    search.level = []
    for hash_ in wanted:
        for identifier in emails.get(hash_, ()):
            search.found[identifier] = search.found.get(identifier, False) or hash_ in search.direct
            search.level += above.get(identifier, ())
        if hash_ not in emails:
            search.missing.append(hash_)
            search.level += others.get(hash_, ())


async def _others(
    connection: AsyncConnection, portal: int, search: _Search, hashes: Sequence[str]
) -> dict[str, list[str]]:
    """What messages that were not logged answer, or are copies of. A copy of a direct parent is as direct."""
    table = schema.unlogged
    found: dict[str, list[str]] = {}
    for hash_, other, is_same in await connection.execute(
        select(table.c.hash, table.c.other, table.c.is_same)
        .where(table.c.portal == portal, table.c.hash.in_(hashes))
        .order_by(table.c.hash, table.c.is_same.desc(), table.c.place, table.c.other)
    ):
        found.setdefault(hash_, []).append(other)
        if is_same and hash_ in search.direct:
            search.direct.add(other)
    return found


async def _contacts(
    connection: AsyncConnection, portal: int, threads: set[int], own: Sequence[str], before: float | None
) -> tuple[int, ...]:
    """Whom users wrote to, or logged by hand, in these threads, and who wrote in them before that time.

    Only before: if each of two messages could prove that the other's author belongs to the thread, it would depend on
    which was recorded first who does.
    """
    email, contact, named = schema.email, schema.email_contact, schema.email_id
    itself = select(named.c.email).where(named.c.portal == portal, named.c.hash.in_(own))
    wanted = (
        select(contact.c.contact)
        .join(email, email.c.id == contact.c.email)
        .where(email.c.portal == portal, email.c.thread.in_(threads), email.c.deleted_at.is_(None))
        .where(contact.c.is_unlinked.is_(False), email.c.id.not_in(itself))
        .distinct()
        .order_by(contact.c.contact)
        .limit(MAX_CONTACTS)
    )
    if before is not None:
        asked_for = (email.c.direction == Direction.OUTGOING) | email.c.reason.in_(ASKED_FOR)
        wanted = wanted.where(asked_for | (email.c.at < before))
    return tuple((await connection.scalars(wanted)).all())


# -- writing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A message that was just recorded: hashes it is known by and hashes it answers; `email` when it was logged.

    `prints` are hashes that other copies of it share, whatever ids they have.
    """

    portal: int
    names: tuple[str, ...]
    prints: tuple[str, ...]
    parents: tuple[str, ...]
    email: int | None
    at: float

    @property
    def hashes(self) -> frozenset[str]:
        """All that name it."""
        return frozenset((*self.names, *self.prints))


async def keep_unlogged(connection: AsyncConnection, nodes: Iterable[Node]) -> None:
    """Keeps what messages that are not logged answer and look like, so that answers to them find their thread."""
    rows = [
        {"portal": node.portal, "hash": name, "other": other, "place": place, "is_same": is_same, "at": node.at}
        for node in nodes
        if node.email is None
        for name in node.names
        for others, is_same in ((node.prints, True), (node.parents, False))
        for place, other in enumerate(others)
        if other != name
    ]
    if rows:
        await connection.execute(upsert(schema.unlogged).on_conflict_do_nothing(), rows)


async def weave(connection: AsyncConnection, nodes: Sequence[Node]) -> None:
    """Makes one thread of those that the new messages connect, whichever of them came first."""
    by_portal: dict[int, list[Node]] = {}
    for node in nodes:
        by_portal.setdefault(node.portal, []).append(node)
    for portal, some in by_portal.items():
        await _Weaving(connection, portal, some).run()


class _Weaving:
    """Which hashes and threads hang together, found level by level for all new messages of a portal at once.

    What was logged joins all that it names. What was not logged leads from a logged message that answers it to what it
    answers itself, and joins nothing else: it has proven nothing, and anybody can send a message that names two
    threads.
    """

    def __init__(self, connection: AsyncConnection, portal: int, nodes: Sequence[Node]) -> None:
        self._connection = connection
        self._portal = portal
        self._new = frozenset(each for node in nodes for each in node.hashes)
        self._level = {each for node in nodes for each in (*node.hashes, *node.parents)}
        self._most = MAX_HASHES * len(nodes)
        self._seen: set[str] = set()
        self._leaders: dict[str | int, str | int] = {}
        self._logged: set[str] = set()
        self._answered: set[str] = set()
        self._above: dict[str, set[str]] = {}
        for node in nodes:
            if node.email is not None:
                for one, other in pairwise((*node.names, *node.prints, *node.parents)):
                    self._unite(one, other)

    async def run(self) -> None:
        for _ in range(MAX_LEVELS):
            some = sorted(self._level - self._seen)[: self._most - len(self._seen)]
            if not some:
                break
            self._seen.update(some)
            self._level = set()
            for each in slices(some):
                await self._step(each)
        self._go_up()
        await self._connect()

    async def _step(self, hashes: Sequence[str]) -> None:
        """One level. What is beyond a logged message was woven when that was recorded."""
        named, parent, email, unlogged = schema.email_id, schema.email_parent, schema.email, schema.unlogged
        for table, told in ((named, self._logged), (parent, self._answered)):
            wanted = select(table.c.hash, email.c.thread).join(email, email.c.id == table.c.email).distinct()
            for hash_, thread in await self._connection.execute(
                wanted.where(table.c.portal == self._portal, table.c.hash.in_(hashes))
            ):
                self._unite(hash_, int(thread))
                told.add(hash_)
        on = [each for each in hashes if each not in self._logged or each in self._new]
        for column in (unlogged.c.hash, unlogged.c.other):
            wanted_edges = select(unlogged.c.hash, unlogged.c.other).where(
                unlogged.c.portal == self._portal, column.in_(on)
            )
            for hash_, other in await self._connection.execute(wanted_edges.limit(self._most)):
                self._above.setdefault(hash_, set()).add(other)
                self._level |= {hash_, other}

    def _go_up(self) -> None:
        """From what logged messages answer, over messages that were not logged, to what those answer."""
        level = self._answered - self._logged
        while level:
            above = {other for each in level for other in self._above.get(each, ())}
            for each in level:
                for other in self._above.pop(each, ()):
                    self._unite(each, other)
            level = above - self._logged

    async def _connect(self) -> None:
        threads: dict[str | int, list[int]] = {}
        for each in list(self._leaders):
            if isinstance(each, int):
                threads.setdefault(self._leader(each), []).append(each)
        moves = [{"old": other, "new": first} for first, *others in map(sorted, threads.values()) for other in others]
        if moves:
            email = schema.email
            mine = (email.c.portal == self._portal) & (email.c.thread == bindparam("old"))
            await self._connection.execute(update(email).where(mine).values(thread=bindparam("new")), moves)

    def _leader(self, each: str | int) -> str | int:
        leaders = self._leaders
        while (above := leaders.setdefault(each, each)) != each:
            leaders[each] = each = leaders.setdefault(above, above)
        return each

    def _unite(self, one: str | int, other: str | int) -> None:
        self._leaders[self._leader(one)] = self._leader(other)
