"""The engine's questions, answered from memory where it can be, else by one query for all that wait.

Answers are cached address by address, also that nobody has one, until the directory changes. A change is noticed at
once by the bell (the file `Directory` touches), and within a second by the version in the database.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from engine.directory import Ancestor, Answer, Contact, Portal, Question, Thread, User
from store import schema
from store.capture_address import capture_bell
from store.database import Database, slices
from store.directory_record import portal_record
from store.hashes import keyed_hash
from store.threads import find_thread

__all__ = ["Lookups", "when_rung"]

CACHED_ADDRESSES = 100_000
VERSION_SECONDS = 1.0
REFRESH_SECONDS = 0.5
CAPTURES_SECONDS = 10.0  # capture addresses change once in years; who looks every second missed ten looks then
IN_LIST = 500  # values of one IN list
NOTHING = Question(login=None, addresses=frozenset())
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class _Found:
    """Who has one canonical address, by portal."""

    users: dict[int, tuple[User, ...]] = field(default_factory=dict)
    contacts: dict[int, tuple[Contact, ...]] = field(default_factory=dict)
    erased: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Cache:
    """All that is known of one version of the directory. Portals are known whole, people by address."""

    portals: dict[int, Portal]
    version: int
    services: dict[str, tuple[int, ...]]
    captures: dict[str, tuple[int, ...]]
    subaddressed: frozenset[str]
    users: dict[int, User] = field(default_factory=dict)
    addresses: OrderedDict[str, _Found] = field(default_factory=OrderedDict)


class Lookups:
    """Implements `proxy.capture.Directory`."""

    def __init__(self, database: Database, bell: Path, hash_key: bytes) -> None:
        self._database = database
        self._hash_key = hash_key
        self._bell = os.fspath(bell)
        self._capture_bell = os.fspath(capture_bell(bell))
        self._rung = 0
        self._capture_rung = 0
        self._checked = float("-inf")
        self._cache: _Cache | None = None
        self._waiting: dict[Question, asyncio.Future[tuple[Answer, ...]]] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._clock = asyncio.get_running_loop().time

    def answer(self, question: Question) -> tuple[Answer, ...] | None:
        """The answer when all of it is in memory and known to be of today, else `None`. Threads never are."""
        cache, age = self._cache, self._clock() - self._checked
        if cache is None or age > VERSION_SECONDS or question.parents or self._has_rung():
            return None
        answer = _assemble(cache, question, {})
        if age > REFRESH_SECONDS and answer is not None and not self._is_gathering():
            self._gathered(question)  # nobody waits for it; but without it every session would wait once a second
        return answer

    def is_capture_address(self, address: str) -> bool | None:
        """Whether mail to `address` is logged instead of sent; `None` when that is not known to be of today.

        A change made on this node rings the bell of the portals. One made elsewhere waits for the next `look`: until
        then mail to a new address finds the server that takes it from outside. The other changes of a directory, which
        may be many, ring another bell, so that no recipient has to wait for them.
        """
        cache, is_old = self._cache, self._clock() - self._checked > CAPTURES_SECONDS
        if cache is None or is_old or when_rung(self._capture_bell) != self._capture_rung:
            return None
        return canonical(address) in cache.captures

    def was_capture_address(self, address: str) -> bool:
        """Whether it is one as far as anybody knows, however old that is."""
        return self._cache is not None and canonical(address) in self._cache.captures

    def token(self) -> object | None:
        """An object that stays the same while answers stay true; `None` when the directory must be looked at again."""
        if self._clock() - self._checked > REFRESH_SECONDS or self._has_rung():
            return None
        return self._cache

    async def look(self) -> None:
        """Sees what has changed, unless that was seen just now. Raises `StoreUnavailable`.

        Called every second it keeps the capture addresses at hand, so that a message asks once: for the decision.
        """
        if self.token() is None:
            await self.ask(NOTHING)

    async def ask(self, question: Question) -> tuple[Answer, ...]:
        """The answer. Questions asked in one turn of the loop share their queries. Raises `StoreUnavailable`."""
        return await asyncio.shield(self._gathered(question))

    async def settle(self) -> None:
        """Back when nothing is asked of the database any more, also for askers that are gone; then it can be closed."""
        while self._gathering is not None and not self._gathering.done():
            await asyncio.wait((self._gathering,))

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
                    threads = await self._threads(cache, question) if question.parents else {}
                    answer = _assemble(cache, question, threads)
                    assert answer is not None, "everything asked for was just loaded"
                    future.set_result(answer)
            except Exception as error:  # whoever asked gets it
                for future in waiting.values():
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # an asker that is gone must not make noise

    async def _load(self, questions: list[Question]) -> _Cache:
        rung, capture_rung = when_rung(self._bell), when_rung(self._capture_bell)
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
                await _load_addresses(connection, cache, missing, self._hash_key)
        while len(cache.addresses) > max(CACHED_ADDRESSES, len(wanted)):
            cache.addresses.popitem(last=False)
        self._cache, self._checked = cache, self._clock()
        self._rung, self._capture_rung = rung, capture_rung
        return cache

    async def _threads(self, cache: _Cache, question: Question) -> dict[int, Thread]:
        """What each portal concerned knows of the ids that the message answers."""
        threads = {}
        async with self._database.read() as connection:
            for portal in _portals(cache, question) or ():
                found = await find_thread(
                    connection,
                    self._hash_key,
                    portal,
                    question.parents,
                    question.direct,
                    own=question.own,
                    before=question.at,
                )
                users = {each.user for each in found.ancestors if each.user is not None}
                await _load_users(connection, cache, [each for each in users if each not in cache.users])
                ancestors = tuple(
                    Ancestor(
                        email=each.email,
                        is_direct=each.is_direct,
                        author=cache.users.get(each.user) if each.user is not None else None,
                        subject=each.subject,
                    )
                    for each in found.ancestors
                )
                contacts = await _load_contacts(connection, cache, cache.portals[portal], found.contacts)
                threads[portal] = Thread(ancestors=ancestors, contacts=contacts, missing=found.missing, seen=found.seen)
        return threads

    def _has_rung(self) -> bool:
        return when_rung(self._bell) != self._rung


def when_rung(bell: str) -> int:
    """When the bell of that path was rung last, in nanoseconds; 0 when it never was."""
    try:
        return os.stat(bell).st_mtime_ns  # noqa: PTH116  # asked for every message
    except OSError:
        return 0


def _forms(cache: _Cache, question: Question) -> set[str]:
    addresses = question.addresses | question.concerned
    if question.login is not None:
        addresses |= {question.login}
    forms = {canonical(each) for each in addresses}
    if cache.subaddressed:
        forms |= {
            canonical(each, portal.subaddressed_domains) for portal in cache.portals.values() for each in addresses
        }
    return forms


def _assemble(cache: _Cache, question: Question, threads: Mapping[int, Thread]) -> tuple[Answer, ...] | None:
    """One answer for each portal concerned; `None` when an address was not loaded."""
    portals = _portals(cache, question)
    if portals is None:
        return None
    answers = []
    for identifier in portals:
        answer = _answer(cache, cache.portals[identifier], question.addresses, threads.get(identifier))
        if answer is None:
            return None
        answers.append(answer)
    return tuple(answers)


def _portals(cache: _Cache, question: Question) -> dict[int, None] | None:
    """The portals that the question chooses (`Question`); `None` when not loaded."""
    portals: dict[int, None] = {}
    for address in question.capture_addresses:
        portals.update(dict.fromkeys(cache.captures.get(address, ())))
    if question.login is not None:
        portals.update(dict.fromkeys(cache.services.get(canonical(question.login), ())))
    for address in question.concerned if question.login is None else {*question.concerned, question.login}:
        found = _portals_of_user(cache, address)
        if found is None:
            return None
        portals.update(dict.fromkeys(found))
    return portals


def _portals_of_user(cache: _Cache, address: str) -> list[int] | None:
    """The portals in which the address is a user's; `None` when not loaded."""
    found = cache.addresses.get(canonical(address))
    if found is None:
        return None
    portals = list(found.users)
    if cache.subaddressed:
        for each in cache.portals.values():
            other = cache.addresses.get(canonical(address, each.subaddressed_domains))
            if other is None:
                return None
            if each.id in other.users:
                portals.append(each.id)
    return portals


def _answer(cache: _Cache, portal: Portal, addresses: frozenset[str], thread: Thread | None) -> Answer | None:
    users: dict[str, tuple[User, ...]] = {}
    contacts: dict[str, tuple[Contact, ...]] = {}
    owners: dict[int, User] = {}
    erased: set[str] = set()
    for address in addresses:
        form = canonical(address, portal.subaddressed_domains)
        found = cache.addresses.get(form)
        if found is None:
            return None
        if portal.id in found.users:
            users[form] = found.users[portal.id]
        if portal.id in found.erased:
            erased.add(form)
        if portal.id in found.contacts:
            contacts[form] = found.contacts[portal.id]
            for contact in found.contacts[portal.id]:
                if contact.owner is not None and contact.owner in cache.users:
                    owners[contact.owner] = cache.users[contact.owner]
    for contact in thread.contacts if thread is not None else ():
        if contact.owner is not None and contact.owner in cache.users:
            owners[contact.owner] = cache.users[contact.owner]
    return Answer(portal=portal, users=users, contacts=contacts, owners=owners, erased=frozenset(erased), thread=thread)


async def _load_portals(connection: AsyncConnection, version: int) -> _Cache:
    table = schema.never_log
    entries: dict[int, list[str]] = {}
    for identifier, entry in await connection.execute(
        select(table.c.portal, table.c.entry).where(table.c.user.is_(None)).order_by(table.c.id)
    ):
        entries.setdefault(identifier, []).append(entry)
    portals: dict[int, Portal] = {}
    services: dict[str, tuple[int, ...]] = {}
    captures: dict[str, tuple[int, ...]] = {}
    stopped = await _pairs(connection, _stopped_ids())
    for row in await connection.execute(select(schema.portal)):
        record = portal_record(row._mapping)
        logins = frozenset(canonical(each) for each in record.service_logins)
        subaddressed = frozenset(record.subaddressed_domains)
        bcc, forward = (
            canonical(each, subaddressed) if each else None for each in (record.bcc_address, record.forward_address)
        )
        portals[record.id] = Portal(
            id=record.id,
            name=record.name,
            rule=record.rule,
            switches=record.switches,
            never_log=tuple(entries.get(record.id, ())),
            subaddressed_domains=subaddressed,
            bcc_address=bcc,
            forward_address=forward,
            authserv_ids=frozenset(record.authserv_ids),
            stopped_ids=frozenset(stopped.get(record.id, ())),
            # As the engine compares addresses of this portal, and as written, for who asks before a portal is known.
            service_logins=logins | {canonical(each, subaddressed) for each in logins},
        )
        for login in logins:
            services[login] = (*services.get(login, ()), record.id)
        for address in portals[record.id].capture_addresses:
            captures[address] = (*captures.get(address, ()), record.id)
    listed = frozenset(each for portal in portals.values() for each in portal.subaddressed_domains)
    return _Cache(portals=portals, version=version, services=services, captures=captures, subaddressed=listed)


def _stopped_ids() -> Any:
    """The ids of all messages of threads of which nothing more is logged."""
    email, named = schema.email, schema.email_id
    # One within the other: joined, all ids would be read to find the few.
    threads = select(email.c.portal, email.c.thread).where(email.c.id.in_(select(schema.stopped_thread.c.email)))
    emails = select(email.c.id).where(tuple_(email.c.portal, email.c.thread).in_(threads))
    return select(named.c.portal, named.c.msg_id).where(named.c.email.in_(emails), named.c.msg_id.is_not(None))


async def _load_addresses(connection: AsyncConnection, cache: _Cache, forms: list[str], hash_key: bytes) -> None:
    """Who has each of `forms`, the owners of the contacts among them, and where one was erased."""
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
    hashes = {keyed_hash(hash_key, form): form for form in forms}
    gone = schema.erased_address
    for some in slices(hashes):
        for portal, hash_ in await connection.execute(select(gone.c.portal, gone.c.hash).where(gone.c.hash.in_(some))):
            found[hashes[hash_]].erased.add(portal)
    cache.addresses.update(found)


async def _load_contacts(
    connection: AsyncConnection, cache: _Cache, portal: Portal, identifiers: Sequence[int]
) -> tuple[Contact, ...]:
    contact = schema.contact
    wanted = select(contact.c.id, contact.c.primary_address, contact.c.owner).order_by(contact.c.id)
    found = []
    for some in slices(identifiers):
        for identifier, primary, owner in await connection.execute(wanted.where(contact.c.id.in_(some))):
            forms = frozenset((canonical(primary, portal.subaddressed_domains),))
            found.append(Contact(id=identifier, primary=primary, addresses=forms, owner=owner))
    owners = {each.owner for each in found if each.owner is not None}
    await _load_users(connection, cache, [each for each in owners if each not in cache.users])
    return tuple(found)


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
