"""The composition root: everybody meets here and nowhere else.

`serve` is the program: it binds the sockets, brings the database up to date, and lets the supervisor fork the relay
processes, the recorder and the process of the observers. Each of these builds its own collaborators after the fork.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

import certs
import engine
import onrecord
import proxy
import store
from certs import CertificateError, Certificates, client_context
from engine.decision import Decision
from onrecord.capturing import capturing
from onrecord.heap import keep_giving_back
from onrecord.listening import ServeError, bind
from onrecord.observing import observe, own_deadlines
from onrecord.process import Patient, listen_to_signals, run_loop
from onrecord.serving import ServingLock
from onrecord.settings import Settings
from onrecord.supervisor import Child, supervise
from onrecord.web.serving import serve_pages
from proxy.authentication import Authenticator, resolver
from proxy.capture import Captures
from proxy.census import Census
from proxy.client_session import ClientSession
from proxy.companions import Companions
from proxy.folder_changes import FolderChanges
from proxy.notices import Notices
from proxy.passthrough import Passthrough
from proxy.recorder import Recorder
from proxy.relay import Door, Relay
from proxy.route import ListenerKind, ProviderKind, Tls
from proxy.sasl import Secret
from proxy.submission import Submission
from store.database import Database, StoreUnavailable, migrate
from store.lookups import Lookups
from store.notice_record import NoticeRecord
from store.observed import Observed
from store.parser import Parser
from store.parsing import ParseLimits
from store.recording import Recording
from store.waiting import Waiting

__all__ = ["serve"]

log = structlog.get_logger("onrecord")

CERTIFICATE_SECONDS = 5.0  # how often the certificate files are looked at
# A session lives long and breaks its own reference cycles when it ends; looking for others after every 700 new objects
# cost some 5 % of a relay's processor time.
COLLECT_AFTER = (50_000, 20, 100)
SWITCH_SECONDS = 0.0002  # the spool's thread must not wait 5 ms for the interpreter
EXTRA_PATIENCE = 5.0
WEB = -1  # the place of the sockets of the pages, beside those of relay processes
OBSERVERS_NICE = 5  # who sends or reads mail waits for a relay, nobody for an observer
Sockets = list[tuple[socket.socket, ...]]


@dataclass(frozen=True, slots=True)
class _Shared:
    """What relay processes and the process of the observers have from before the fork."""

    settings: Settings
    contexts: dict[Any, ssl.SSLContext | None]
    hash_key: bytes
    ring: int
    folder_changes: FolderChanges

    def capturing(self, database: Database) -> AbstractAsyncContextManager[Captures]:
        """What captures go by in this process."""
        return capturing(self.settings, database, self.hash_key, ring=self.ring, folder_changes=self.folder_changes)


def serve(
    settings: Settings,
    *,
    companions: Sequence[Child] = (),
    on_decision: Callable[[Decision], None] = lambda decision: None,
) -> int:
    """Runs until SIGTERM or SIGINT; the exit status. Raises `ServeError`, `SettingsError` or `CertificateError`.

    `companions` are further processes to run beside; `on_decision` is called in the recorder's.
    """
    # In one piece, because the order is what matters: first all that can be refused, then sockets, then forks.
    _require_siblings()
    _configure_log(settings)
    hash_key = settings.hash_key()
    settings.notice_password()  # refused here, and not first in the recorder
    certificates = Certificates(settings.tls.certificates) if settings.tls.certificates else None
    contexts = {each: client_context(each.ca_file) if each.tls is not Tls.NONE else None for each in settings.provider}
    sockets = _bind(settings)
    web = settings.web
    web_sockets = bind(web.address, web.port, shared=False) if web is not None else ()
    settings.spools.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        migrate(settings.database_url)
    except StoreUnavailable as error:
        raise ServeError(f"store.url = {settings.store.url!r}: {error}; see that the file can be written") from error
    census = Census(
        settings.workers,
        limit=settings.limits.connections,
        limit_per_address=settings.limits.connections_per_address,
    )
    lock = ServingLock(settings.data)
    wake, ring = _doorbell()
    shared = _Shared(settings, contexts, hash_key, ring, FolderChanges())

    def close_sockets(*, but: int | None = None) -> None:
        """A port is closed only when nobody has its sockets, so each process keeps none but its own."""
        for number, row in enumerate(sockets):
            for each in row if number != but else ():
                for one in each:
                    one.close()
        if but != WEB:
            for one in web_sockets:
                one.close()

    def relay(number: int) -> Child:
        def run(life: int) -> int:
            census.claim(number)
            lock.let_go()
            close_sockets(but=number)
            return _run_relay(shared, certificates, sockets[number], census, life)

        return Child(name=f"relay {number}", run=run, stage=1)

    def apart(child: Child) -> Child:
        def run(life: int) -> int:
            lock.let_go()
            close_sockets()
            return child.run(life)

        return replace(child, run=run)

    def run_recorder(life: int) -> int:
        return _run_recorder(settings, hash_key, wake, life, on_decision)

    def run_observers(life: int) -> int:
        return _run_observers(shared, life)

    def run_web(life: int) -> int:
        close_sockets(but=WEB)
        return _run_web(settings, hash_key, web_sockets, life)

    relays = [relay(number) for number in range(settings.workers)]
    others = [Child(name="recorder", run=run_recorder, stage=2), *companions]
    if any(each.kind is ProviderKind.IMAP for each in settings.provider):
        others.append(Child(name="observers", run=run_observers, stage=1))
    children = [*relays, *map(apart, others)]
    if web is not None:
        children.append(Child(name="web", run=run_web, stage=1))
    with lock:
        log.info("serving", listeners=[f"{each.address}:{each.port}" for each in settings.listener])
        return supervise(children, on_stop=close_sockets, patience=settings.deadlines.drain + EXTRA_PATIENCE)


# -- a relay process --------------------------------------------------------------------------------------------------


def _run_relay(shared: _Shared, certificates: Certificates | None, sockets: Sockets, census: Census, life: int) -> int:
    # In one piece, so that who depends on whom, and what ends before what, is seen at once.
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*COLLECT_AFTER)
    settings = shared.settings

    async def main() -> None:
        stop, hangup = asyncio.Event(), asyncio.Event()
        listen_to_signals(stop, hangup, life)
        database = await Database.open(settings.database_url, migrate_first=False)
        async with shared.capturing(database) as captures:
            companions = Companions(
                captures=captures,
                observed=Observed(database),
                contexts=shared.contexts,
                deadlines=own_deadlines(settings.deadlines),
            )
            relay = Relay(
                hostname=settings.hostname,
                limits=settings.limits,
                deadlines=settings.deadlines,
                providers=shared.contexts,
                captures=captures,
                census=census,
                tasks=captures.tasks,
                companions=companions,
            )
            background = [
                captures.tasks.create_task(each)
                for each in (relay.sweep(), companions.keep_looking(), keep_giving_back(lambda: relay.opened))
            ]
            if any(each.kind is not ListenerKind.CAPTURE and each.provider is None for each in settings.listener):
                background.append(captures.tasks.create_task(relay.learn()))
            if certificates is not None:
                background.append(captures.tasks.create_task(_watch(certificates, hangup)))
            await relay.listen(_doors(settings, certificates, sockets), _session)
            await stop.wait()
            await relay.stop()
            for each in background:
                each.cancel()
        await database.close()

    return run_loop(main())


def _doors(settings: Settings, certificates: Certificates | None, sockets: Sockets) -> list[Door]:
    """What each listener's sockets lead to."""
    providers = {each.name: each for each in settings.provider}
    return [
        Door(
            listener=listener,
            sockets=row,
            provider=providers[listener.provider] if listener.provider else None,
            server_context=certificates.context if certificates else None,
        )
        for listener, row in zip(settings.listener, sockets, strict=True)
    ]


def _session(relay: Relay, door: Door) -> ClientSession:
    return Passthrough(relay, door) if door.listener.kind is ListenerKind.IMAP else Submission(relay, door)


async def _watch(certificates: Certificates, hangup: asyncio.Event) -> None:
    """Reloads certificates when told to, and when their files have changed and can be used."""
    while True:
        told = await _within(CERTIFICATE_SECONDS, hangup.wait())
        hangup.clear()
        if not told and not certificates.have_changed():
            continue
        try:
            certificates.reload()
        except CertificateError as error:
            log.error("the certificates stay as they were", cause=str(error))
        else:
            log.info("certificates reloaded", expire=[f"{at:%Y-%m-%d}" for _, at in certificates.expiries()])


# -- the process of the observers -------------------------------------------------------------------------------------


def _run_observers(shared: _Shared, life: int) -> int:
    os.nice(OBSERVERS_NICE)

    async def main() -> None:
        stop = asyncio.Event()
        listen_to_signals(stop, asyncio.Event(), life)
        database = await Database.open(shared.settings.database_url, migrate_first=False)
        async with shared.capturing(database) as captures:
            await observe(shared.settings, shared.contexts, database, captures, stop)
        await database.close()

    return run_loop(main())


# -- the process of the pages -----------------------------------------------------------------------------------------


def _run_web(settings: Settings, hash_key: bytes, sockets: Sequence[socket.socket], life: int) -> int:
    os.nice(OBSERVERS_NICE)

    async def main() -> None:
        stop = asyncio.Event()
        listen_to_signals(stop, asyncio.Event(), life)
        database = await Database.open(settings.database_url, migrate_first=False)
        await serve_pages(settings, database, hash_key, sockets, stop)
        await database.close()

    return run_loop(main())


# -- the recorder process ---------------------------------------------------------------------------------------------


def _run_recorder(
    settings: Settings, hash_key: bytes, wake: int, life: int, on_decision: Callable[[Decision], None]
) -> int:
    options = settings.recorder
    password = settings.notice_password()
    context = client_context(settings.notices.ca_file) if settings.notices.tls is not Tls.NONE else None
    os.nice(options.nice)

    async def main() -> None:
        stop = asyncio.Event()
        listen_to_signals(stop, asyncio.Event(), life)
        database = await Database.open(settings.database_url, migrate_first=False)
        waiting = Waiting(database, settings.data / "waiting", seconds=options.parent_minutes * 60)
        limits = ParseLimits(attachment=options.max_attachment, text=options.max_text)
        notices = _notices(settings, database, password, context)
        recorder = Recorder(
            spools=settings.spools,
            recording=Recording(database, hash_key, waiting),
            waiting=waiting,
            directory=Lookups(database, settings.bell, hash_key),
            authenticator=Authenticator(resolver(settings.dns.nameservers)),
            parser=Parser(seconds=options.parse_seconds, memory=options.parse_memory, limits=limits),
            options=options,
            notices=notices,
            on_decision=on_decision,
        )
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(notices.run()) if notices is not None else None
            await recorder.run(wake, stop)
            if notices is not None and telling is not None:
                await notices.finish(settings.deadlines.drain)
                telling.cancel()
        await database.close()

    return run_loop(main())


def _notices(
    settings: Settings, database: Database, password: Secret, context: ssl.SSLContext | None
) -> Notices | None:
    if settings.notices.host is None:
        return None
    return Notices(settings.notices, NoticeRecord(database), password=password, context=context)


# -- both -------------------------------------------------------------------------------------------------------------


async def _within(seconds: float, awaitable: Awaitable[Any]) -> bool:
    try:
        await asyncio.wait_for(awaitable, seconds)
    except TimeoutError:
        return False
    return True


def _doorbell() -> tuple[int, int]:
    """The ends of a pipe by which relays wake the recorder; who finds it full or empty does not wait."""
    wake, ring = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(ring, False)
    return wake, ring


def _bind(settings: Settings) -> list[Sockets]:
    """The sockets of each worker, on the same ports. Raises `ServeError`."""
    for each in settings.listener:  # a shared port alone would join another program of ours in silence
        for bound in bind(each.address, each.port, shared=False):
            bound.close()
    return [[bind(each.address, each.port, shared=True) for each in settings.listener] for _ in range(settings.workers)]


def _require_siblings() -> None:
    """Another distribution may own a package called `proxy` or `store`; to run with that is worse than to stop."""
    ours = (onrecord, proxy, engine, store, certs)
    homes = {each.__name__: Path(each.__file__ or "").resolve().parent.parent for each in ours}
    expected = homes["onrecord"]
    for name, home in homes.items():
        if home != expected:
            raise ServeError(
                f"the package {name!r} comes from {home}, not from {expected}: another distribution has overwritten "
                "it; install onrecord in an environment of its own"
            )


def _configure_log(settings: Settings) -> None:
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.log.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Patient(sys.stderr))),
        cache_logger_on_first_use=True,
    )
