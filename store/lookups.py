"""The engine's questions, answered from memory where it can be, else by one query for all that wait.

Answers are cached address by address, also that nobody has one, until the directory changes. A change is noticed at
once by the bell (the file `Directory` touches), and within a second by the version in the database.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from engine.directory import Answer, Contact, Portal, Question, User
from store import schema
from store.database import Database
from store.directory_record import portal_record

__all__ = ["Lookups"]

CACHED_ADDRESSES = 100_000
VERSION_SECONDS = 1.0
REFRESH_SECONDS = 0.5
IN_LIST = 500  # values of one IN list
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class _Found:
    """Who has one canonical address, by portal."""

    users: dict[int, tuple[User, ...]] = field(default_factory=dict)
    contacts: dict[int, tuple[Contact, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Cache:
    """All that is known of one version of the directory. Portals are known whole, people by address."""

    portals: dict[int, Portal]
    version: int
    services: dict[str, tuple[int, ...]]
    subaddressed: frozenset[str]
    users: dict[int, User] = field(default_factory=dict)
    addresses: OrderedDict[str, _Found] = field(default_factory=OrderedDict)


class Lookups:
    """Implements `proxy.capture.Directory`."""

    def __init__(self, database: Database, bell: Path) -> None:
        self._database = database
        self._bell = os.fspath(bell)
        self._rung = 0
        self._checked = float("-inf")
        self._cache: _Cache | None = None
        self._waiting: dict[Question, asyncio.Future[tuple[Answer, ...]]] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._clock = asyncio.get_running_loop().time

    def answer(self, question: Question) -> tuple[Answer, ...] | None:
        """The answer when all of it is in memory and known to be of today, else `None`."""
        cache, age = self._cache, self._clock() - self._checked
        if cache is None or age > VERSION_SECONDS or self._has_rung():
            return None
        answer = _assemble(cache, question)
        if age > REFRESH_SECONDS and answer is not None and not self._is_gathering():
            self._gathered(question)  # nobody waits for it; but without it every session would wait once a second
        return answer

    def token(self) -> object | None:
        """An object that stays the same while answers stay true; `None` when the directory must be looked at again."""
        if self._clock() - self._checked > REFRESH_SECONDS or self._has_rung():
            return None
        return self._cache

    async def ask(self, question: Question) -> tuple[Answer, ...]:
        """The answer. Questions asked in one turn of the loop share their queries. Raises `StoreUnavailable`."""
        return await asyncio.shield(self._gathered(question))

    def _gathered(self, question: Question) -> asyncio.Future[tuple[Answer, ...]]:
        waiting = self._waiting.get(question)
        if waiting is None:
            waiting = self._waiting[question] = asyncio.get_running_loop().create_future()
        if not self._is_gathering():
            self._gathering = asyncio.ensure_future(self._gather())
        return waiting

    def _is_gathering(self) -> bool:
        return self._gathering is not None and not self._gathering.done()

    async def _gather(self) -> None:
        await asyncio.sleep(0)  # let the rest of this turn ask too
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            try:
                cache = await self._load(list(waiting))
                for question, future in waiting.items():
                    answer = _assemble(cache, question)
                    assert answer is not None, "everything asked for was just loaded"
                    future.set_result(answer)
            except Exception as error:  # whoever asked gets it
                for future in waiting.values():
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # an asker that is gone must not make noise

    async def _load(self, questions: list[Question]) -> _Cache:
        rung = self._stat()
        async with self._database.read() as connection:
            version = await connection.scalar(select(schema.directory_version.c.version)) or 0
            cache = self._cache
            if cache is None or cache.version != version or rung != self._rung:
                cache = await _load_portals(connection, version)
            wanted = {form for question in questions for form in _forms(cache, question)}
            missing = [form for form in wanted if form not in cache.addresses]
            for form in wanted.difference(missing):
                cache.addresses.move_to_end(form)  # what is asked for now must not be the first to go
            if missing:
                await _load_addresses(connection, cache, missing)
        while len(cache.addresses) > max(CACHED_ADDRESSES, len(wanted)):
            cache.addresses.popitem(last=False)
        self._cache, self._rung, self._checked = cache, rung, self._clock()
        return cache

    def _has_rung(self) -> bool:
        return self._stat() != self._rung

    def _stat(self) -> int:
        try:
            return os.stat(self._bell).st_mtime_ns  # noqa: PTH116  # asked for every message
        except OSError:
            return 0


def _forms(cache: _Cache, question: Question) -> set[str]:
    addresses = question.addresses if question.login is None else question.addresses | {question.login}
    forms = {canonical(each) for each in addresses}
    if cache.subaddressed:
        forms |= {
            canonical(each, portal.subaddressed_domains) for portal in cache.portals.values() for each in addresses
        }
    return forms


def _assemble(cache: _Cache, question: Question) -> tuple[Answer, ...] | None:
    """One answer for each portal that the login belongs to; `None` when an address was not loaded."""
    if question.login is None:
        return ()
    known = cache.addresses
    form = canonical(question.login)
    found = known.get(form)
    if found is None:
        return None
    portals = dict.fromkeys(found.users)
    portals.update(dict.fromkeys(cache.services.get(form, ())))
    if cache.subaddressed:
        for each in cache.portals.values():
            other = known.get(canonical(question.login, each.subaddressed_domains))
            if other is None:
                return None
            if each.id in other.users:
                portals[each.id] = None
    answers = []
    for identifier in portals:
        answer = _answer(cache, cache.portals[identifier], question.addresses)
        if answer is None:
            return None
        answers.append(answer)
    return tuple(answers)


def _answer(cache: _Cache, portal: Portal, addresses: frozenset[str]) -> Answer | None:
    users: dict[str, tuple[User, ...]] = {}
    contacts: dict[str, tuple[Contact, ...]] = {}
    owners: dict[int, User] = {}
    for address in addresses:
        form = canonical(address, portal.subaddressed_domains)
        found = cache.addresses.get(form)
        if found is None:
            return None
        if portal.id in found.users:
            users[form] = found.users[portal.id]
        if portal.id in found.contacts:
            contacts[form] = found.contacts[portal.id]
            for contact in found.contacts[portal.id]:
                if contact.owner is not None and contact.owner in cache.users:
                    owners[contact.owner] = cache.users[contact.owner]
    return Answer(portal=portal, users=users, contacts=contacts, owners=owners)


async def _load_portals(connection: AsyncConnection, version: int) -> _Cache:
    table = schema.never_log
    entries: dict[int, list[str]] = {}
    for identifier, entry in await connection.execute(
        select(table.c.portal, table.c.entry).where(table.c.user.is_(None)).order_by(table.c.id)
    ):
        entries.setdefault(identifier, []).append(entry)
    portals: dict[int, Portal] = {}
    services: dict[str, tuple[int, ...]] = {}
    for row in await connection.execute(select(schema.portal)):
        record = portal_record(row._mapping)
        logins = frozenset(canonical(each) for each in record.service_logins)
        subaddressed = frozenset(record.subaddressed_domains)
        captures = (each for each in (record.bcc_address, record.forward_address) if each)
        portals[record.id] = Portal(
            id=record.id,
            name=record.name,
            rule=record.rule,
            switches=record.switches,
            never_log=tuple(entries.get(record.id, ())),
            subaddressed_domains=subaddressed,
            capture_addresses=frozenset(canonical(each, subaddressed) for each in captures),
            # As the engine compares addresses of this portal, and as written, for who asks before a portal is known.
            service_logins=logins | {canonical(each, subaddressed) for each in logins},
        )
        for login in logins:
            services[login] = (*services.get(login, ()), record.id)
    listed = frozenset(each for portal in portals.values() for each in portal.subaddressed_domains)
    return _Cache(portals=portals, version=version, services=services, subaddressed=listed)


async def _load_addresses(connection: AsyncConnection, cache: _Cache, forms: list[str]) -> None:
    """Who has each of `forms`, and the owners of the contacts among them."""
    found = {form: _Found() for form in forms}
    holders: dict[tuple[str, int], dict[int, None]] = {}
    contacts: dict[tuple[str, int], list[tuple[int, str, int | None]]] = {}
    # Octets that are no UTF-8 stand as surrogates here, which the database cannot be asked for; nobody has such a form.
    texts = [form for form in forms if form.isascii() or not SURROGATE.search(form)]
    for start in range(0, len(texts), IN_LIST):
        some = texts[start : start + IN_LIST]
        address = schema.user_address
        for form, portal, user in await connection.execute(
            select(address.c.canonical, address.c.portal, address.c.user)
            .where(address.c.canonical.in_(some))
            .order_by(address.c.user)
        ):
            holders.setdefault((form, portal), {})[user] = None
        held, contact = schema.contact_address, schema.contact
        for form, portal, identifier, primary, owner in await connection.execute(
            select(held.c.canonical, held.c.portal, contact.c.id, contact.c.primary_address, contact.c.owner)
            .join(contact, contact.c.id == held.c.contact)
            .where(held.c.portal.in_(cache.portals), held.c.canonical.in_(some))
            .order_by(contact.c.id)
        ):
            contacts.setdefault((form, portal), []).append((identifier, primary, owner))
    people = {user for users in holders.values() for user in users}
    people |= {owner for rows in contacts.values() for _, _, owner in rows if owner is not None}
    await _load_users(connection, cache, [each for each in people if each not in cache.users])
    for (form, portal), users in holders.items():
        found[form].users[portal] = tuple(cache.users[each] for each in users)
    for (form, portal), rows in contacts.items():
        found[form].contacts[portal] = tuple(
            Contact(id=identifier, primary=primary, addresses=frozenset((form,)), owner=owner)
            for identifier, primary, owner in rows
        )
    cache.addresses.update(found)


async def _load_users(connection: AsyncConnection, cache: _Cache, identifiers: list[int]) -> None:
    for start in range(0, len(identifiers), IN_LIST):
        some = identifiers[start : start + IN_LIST]
        kinds: dict[int, dict[str, set[str]]] = {}
        address, entry, grant = schema.user_address, schema.never_log, schema.send_as
        for user, kind, form in await connection.execute(
            select(address.c.user, address.c.kind, address.c.canonical).where(address.c.user.in_(some))
        ):
            kinds.setdefault(user, {}).setdefault(kind, set()).add(form)
        entries = await _pairs(connection, select(entry.c.user, entry.c.entry).where(entry.c.user.in_(some)))
        grants = await _pairs(connection, select(grant.c.user, grant.c.other).where(grant.c.user.in_(some)))
        for row in await connection.execute(select(schema.user).where(schema.user.c.id.in_(some))):
            mine = kinds.get(row.id, {})
            cache.users[row.id] = User(
                id=row.id,
                account=row.account,
                aliases=frozenset(mine.get("alias", ())),
                connected=frozenset(mine.get("connected", ())),
                personal_email_access=row.personal_email_access,
                active=row.active,
                never_log=tuple(entries.get(row.id, ())),
                send_as=frozenset(grants.get(row.id, ())),
            )


async def _pairs(connection: AsyncConnection, query: Any) -> dict[int, list[Any]]:
    pairs: dict[int, list[Any]] = {}
    for key, value in await connection.execute(query):
        pairs.setdefault(key, []).append(value)
    return pairs
