"""The composition root: everybody meets here and nowhere else.

`serve` is the program: it binds the sockets, brings the database up to date, and lets the supervisor fork the relay
processes and the recorder. Each of these builds its own collaborators after the fork.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

import certs
import engine
import onrecord
import proxy
import store
from certs import CertificateError, Certificates, client_context
from onrecord.settings import Settings
from onrecord.supervisor import Child, supervise
from proxy.capture import Captures
from proxy.census import Census
from proxy.limits import CapturePolicy
from proxy.recorder import Recorder
from proxy.relay import BACKLOG, Door, Relay
from proxy.route import Tls
from proxy.submission import Submission
from store.database import Database, StoreUnavailable, migrate
from store.lookups import Lookups
from store.parser import Parser
from store.parsing import ParseLimits
from store.recording import Recording
from store.spool import Spool

__all__ = ["ServeError", "serve"]

log = structlog.get_logger("onrecord")

CERTIFICATE_SECONDS = 5.0  # how often the certificate files are looked at
SWITCH_SECONDS = 0.0002  # the spool's thread must not wait 5 ms for the interpreter
EXTRA_PATIENCE = 5.0
Sockets = list[tuple[socket.socket, ...]]


class ServeError(Exception):
    """The program cannot start; the text names what and how to mend it."""


def serve(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT; the exit status. Raises `ServeError`, `SettingsError` or `CertificateError`."""
    _require_siblings()
    _configure_log(settings)
    hash_key = settings.hash_key()
    certificates = Certificates(settings.tls.certificates) if settings.tls.certificates else None
    contexts = {each: client_context(each.ca_file) if each.tls is not Tls.NONE else None for each in settings.provider}
    for row in _bind(settings, shared=False):  # SO_REUSEPORT alone would join another program of ours in silence
        for each in row:
            each.close()
    sockets = [_bind(settings, shared=True) for _ in range(settings.workers)]
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
    wake, ring = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(ring, False)

    def worker(number: int) -> Callable[[int], int]:
        def run(life: int) -> int:
            census.claim(number)
            return _run_relay(settings, certificates, contexts, sockets[number], census, hash_key, ring=ring, life=life)

        return run

    children = [Child(name=f"relay {n}", run=worker(n), stage=1) for n in range(settings.workers)]
    children.append(Child(name="recorder", run=lambda life: _run_recorder(settings, hash_key, wake, life), stage=2))
    log.info("serving", listeners=[f"{each.address}:{each.port}" for each in settings.listener])

    def close_sockets() -> None:
        for row in sockets:
            for each in row:
                for one in each:
                    one.close()

    return supervise(children, on_stop=close_sockets, patience=settings.deadlines.drain + EXTRA_PATIENCE)


# -- a relay process --------------------------------------------------------------------------------------------------


def _run_relay(
    settings: Settings,
    certificates: Certificates | None,
    contexts: dict[Any, ssl.SSLContext | None],
    sockets: Sockets,
    census: Census,
    hash_key: bytes,
    *,
    ring: int,
    life: int,
) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)

    async def main() -> None:
        stop, hangup = asyncio.Event(), asyncio.Event()
        _listen_to_signals(stop, hangup, life)
        database = await Database.open(settings.database_url, migrate_first=False)
        name = f"{time.time_ns():016x}-{os.getpid()}"
        spool = await Spool.open(settings.spools, name, wake=ring, on_trouble=_tell_spool_trouble)
        providers = {each.name: each for each in settings.provider}
        async with asyncio.TaskGroup() as writers:
            writers.create_task(spool.run())
            async with asyncio.TaskGroup() as tasks:
                captures = Captures(
                    spool=spool,
                    directory=Lookups(database, settings.bell),
                    policy=CapturePolicy(settings.capture.policy),
                    limits=settings.limits,
                    deadlines=settings.deadlines,
                    hash_key=hash_key,
                    tasks=tasks,
                )
                relay = Relay(
                    hostname=settings.hostname,
                    limits=settings.limits,
                    deadlines=settings.deadlines,
                    providers=contexts,
                    captures=captures,
                    census=census,
                    tasks=tasks,
                )
                doors = [
                    Door(
                        listener=listener,
                        sockets=row,
                        provider=providers[listener.provider] if listener.provider else None,
                        server_context=certificates.context if certificates else None,
                    )
                    for listener, row in zip(settings.listener, sockets, strict=True)
                ]
                background = [tasks.create_task(relay.sweep())]
                if any(door.provider is None for door in doors):
                    background.append(tasks.create_task(relay.learn()))
                if certificates is not None:
                    background.append(tasks.create_task(_watch(certificates, hangup)))
                await relay.listen(doors, Submission)
                await stop.wait()
                await relay.stop()
                for each in background:
                    each.cancel()
            spool.close()
        await database.close()

    return _run(main())


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


def _tell_spool_trouble(error: Exception) -> None:
    log.error("the spool has trouble", cause=f"{type(error).__name__}: {error}")


# -- the recorder process ---------------------------------------------------------------------------------------------


def _run_recorder(settings: Settings, hash_key: bytes, wake: int, life: int) -> int:
    options = settings.recorder
    os.nice(options.nice)

    async def main() -> None:
        stop = asyncio.Event()
        _listen_to_signals(stop, asyncio.Event(), life)
        database = await Database.open(settings.database_url, migrate_first=False)
        limits = ParseLimits(attachment=options.max_attachment, text=options.max_text)
        recorder = Recorder(
            spools=settings.spools,
            recording=Recording(database, hash_key),
            directory=Lookups(database, settings.bell),
            parser=Parser(seconds=options.parse_seconds, memory=options.parse_memory, limits=limits),
            options=options,
        )
        await recorder.run(wake, stop)
        await database.close()

    return _run(main())


# -- both -------------------------------------------------------------------------------------------------------------


def _run(main: Coroutine[Any, Any, None]) -> int:
    """Runs a process's work on uvloop where there is one (README, Dependencies), else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
    return 0


def _listen_to_signals(stop: asyncio.Event, hangup: asyncio.Event, life: int) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)

    def supervisor_is_gone() -> None:
        loop.remove_reader(life)
        stop.set()

    loop.add_reader(life, supervisor_is_gone)


async def _within(seconds: float, awaitable: Awaitable[Any]) -> bool:
    try:
        await asyncio.wait_for(awaitable, seconds)
    except TimeoutError:
        return False
    return True


def _bind(settings: Settings, *, shared: bool) -> Sockets:
    """One socket for each listener and address family; every worker has its own, on the same ports."""
    rows: Sockets = []
    for listener in settings.listener:
        try:
            infos = socket.getaddrinfo(
                listener.address, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            rows.append(tuple(_bound(info[0], info[4], shared=shared) for info in infos))
        except OSError as error:
            raise ServeError(
                f"listener on {listener.address}:{listener.port}: {error.strerror or error}; "
                "change its port, or stop the program that has it"
            ) from error
    return rows


def _bound(family: int, address: Any, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
