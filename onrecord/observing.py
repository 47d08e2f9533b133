"""Observing the connected mailboxes: one observer for each, as they are connected, connected anew and disconnected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from engine.address import canonical
from onrecord.mailbox_credentials import ConnectedCredentials
from onrecord.oauth.client import OAuthClient
from onrecord.settings import Settings
from proxy.capture import Captures
from proxy.imap.own_login import LoggedIn
from proxy.limits import Deadlines
from proxy.mailbox_dial import MailboxLeg
from proxy.mailbox_login import ConnectedMailbox
from proxy.observer import Observer, State
from proxy.route import Provider, ProviderKind
from store.database import Database, StoreUnavailable
from store.lookups import when_rung
from store.mailboxes import Mailboxes, MailboxRecord
from store.observed import Observed
from store.sealing import Sealer

__all__ = ["observe", "own_deadlines"]

log = structlog.get_logger("observing")

LOOK_SECONDS = 1.0  # how often it is looked whether a change of the directory was told on this machine
REREAD_SECONDS = 30.0  # and how often it is read without that, for changes that nobody tells
OPENING = 50  # sessions that are opened at a time: not all mailboxes of a provider at once
COMMAND_SECONDS = 60.0  # a server that takes longer for a login of ours is as good as away


def own_deadlines(deadlines: Deadlines) -> Deadlines:
    """Those of sessions of our own, for which no client waits that may be more patient."""
    return replace(deadlines, provider_command=min(deadlines.provider_command, COMMAND_SECONDS))


async def observe(
    settings: Settings,
    contexts: Mapping[Provider, ssl.SSLContext | None],
    database: Database,
    captures: Captures,
    stop: asyncio.Event,
) -> None:
    """Observes until `stop` is set."""
    client = OAuthClient(settings.oauth, settings.client_secret)
    mailboxes = Mailboxes(database, Sealer(settings.key_ring().read))
    observers = _Observers(settings, contexts, mailboxes, ConnectedCredentials(mailboxes, client), captures, database)
    try:
        await observers.run(stop)
    finally:
        client.close()


@dataclass(slots=True)
class _Running:
    """An observer at work, for a mailbox as it was connected then."""

    record: MailboxRecord
    observer: Observer
    task: asyncio.Task[None]

    def is_of(self, record: MailboxRecord) -> bool:
        """Whether nothing has changed that it goes by; every change of state or secret moves `changed_at`."""
        mine = self.record
        return (mine.changed_at, mine.server, mine.address) == (record.changed_at, record.server, record.address)


class _Observers:
    def __init__(
        self,
        settings: Settings,
        contexts: Mapping[Provider, ssl.SSLContext | None],
        mailboxes: Mailboxes,
        source: ConnectedCredentials,
        captures: Captures,
        database: Database,
    ) -> None:
        self._bell = os.fspath(settings.bell)
        self._providers = {each.name: each for each in settings.provider if each.kind is ProviderKind.IMAP}
        self._contexts = contexts
        self._mailboxes = mailboxes
        self._source = source
        self._captures = captures
        self._observed = Observed(database)
        self._deadlines = own_deadlines(settings.deadlines)
        self._doors = asyncio.Semaphore(OPENING)
        self._running: dict[int, _Running] = {}
        self._shared: dict[int, int] = {}  # which mailbox's observer reads this one, too
        self._states: dict[int, str | None] = {}
        self._is_swept = False
        self._rung = -1
        self._read_at = float("-inf")
        self._told: set[int] = set()

    async def run(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                await self._look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_SECONDS)
        finally:
            await self._end(list(self._running))
            with contextlib.suppress(StoreUnavailable):
                await self._mailboxes.forget_observers()

    async def _look(self) -> None:
        """Starts and ends observers as the store says, and tells it what they do. A store that is away can wait."""
        now, rung = time.monotonic(), when_rung(self._bell)
        try:
            if not self._is_swept:  # what an earlier process has left
                await self._mailboxes.forget_observers()
                self._is_swept = True
            if rung != self._rung or now - self._read_at >= REREAD_SECONDS:
                await self._follow(await self._mailboxes.observable())
                self._rung, self._read_at = rung, now
            if states := self._states:
                self._states = {}
                try:
                    await self._mailboxes.note_observers(states)
                except BaseException:
                    self._states = states | self._states
                    raise
        except StoreUnavailable as error:
            log.warning("the connected mailboxes cannot be asked for now", cause=str(error))

    async def _follow(self, records: list[MailboxRecord]) -> None:
        wanted, shared = self._chosen(records)
        await self._end(
            [each for each, one in self._running.items() if each not in wanted or not one.is_of(wanted[each])]
        )
        for mailbox, record in wanted.items():
            if mailbox not in self._running:
                self._start(record)
        self._share(shared)

    def _chosen(self, records: list[MailboxRecord]) -> tuple[dict[int, MailboxRecord], dict[int, int]]:
        """By id, and which of them reads others, too. A mailbox that several portals have connected is observed once:
        each message is decided for all.
        """
        wanted: dict[int, MailboxRecord] = {}
        shared: dict[int, int] = {}
        places: dict[tuple[str, str], int] = {}
        for record in records:
            if record.server not in self._providers:
                self._tell_lost(record)
                continue
            first = places.setdefault((canonical(record.address), record.server), record.id)
            if first == record.id:
                wanted[record.id] = record
            else:
                shared[record.id] = first
        return wanted, shared

    def _share(self, shared: dict[int, int]) -> None:
        """A mailbox that is read by another's observer has the state of that one."""
        for mailbox in self._shared.keys() - shared.keys() - self._running.keys():
            self._states[mailbox] = None
        for mailbox, other in shared.items() - self._shared.items():
            self._states[mailbox] = self._running[other].observer.state
        self._shared = shared

    def _tell_lost(self, record: MailboxRecord) -> None:
        if record.id not in self._told:
            self._told.add(record.id)
            log.error(
                "a mailbox is at a provider that the settings do not name", mailbox=record.id, server=record.server
            )

    def _start(self, record: MailboxRecord) -> None:
        provider = self._providers[record.server]
        mailbox = ConnectedMailbox(self._source, record.id, provider, self._contexts[provider], self._deadlines)

        async def open_mailbox() -> tuple[MailboxLeg, LoggedIn]:
            async with self._doors:
                return await mailbox.open()

        def tell(state: State) -> None:
            self._note(record.id, state)

        observer = Observer(
            address=record.address,
            server=record.server,
            open_mailbox=open_mailbox,
            captures=self._captures,
            observed=self._observed,
            connected_at=record.connected_at,
            tell=tell,
        )
        log.info("observing a mailbox", mailbox=record.id, session=observer.session)
        self._running[record.id] = _Running(record, observer, self._captures.tasks.create_task(observer.run()))

    def _note(self, mailbox: int, state: State | None) -> None:
        self._states[mailbox] = state
        self._states.update((each, state) for each, other in self._shared.items() if other == mailbox)

    async def _end(self, ids: list[int]) -> None:
        ended = [self._running.pop(each) for each in ids]
        for each in ended:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in ended), return_exceptions=True)
        for mailbox in ids:
            self._note(mailbox, None)
