"""A relay inside the test's own event loop, made of the real parts: relay, captures, spool, store and recorder.

Nothing is pretended but time, where a test sweeps with a later clock, so tests on the wire take milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from database_template import database_template
from pki import Pki
from recording_provider import RecordingProvider
from smtp_client import Client
from sqlalchemy import Table, select
from structlog.testing import capture_logs

from certs import CertificatePair, Certificates, client_context
from engine.decision import Decision
from engine.directory import Answer, Question, Rule
from proxy.authentication import Authenticator, resolver
from proxy.capture import Captures
from proxy.census import Census
from proxy.limits import CapturePolicy, Deadlines, Limits
from proxy.recorder import Recorder, RecorderOptions
from proxy.relay import Door, Relay
from proxy.route import LineEndings, Listener, Provider, Tls
from proxy.submission import Submission
from store import schema
from store.database import Database
from store.directory import Directory
from store.entry import Entry, EntryKind
from store.lookups import Lookups
from store.parser import Parser
from store.parsing import ParseLimits, parse, unstuff
from store.recording import Recording
from store.spool import Spool
from store.waiting import Waiting

__all__ = ["InProcess", "InlineParser", "route_to"]

QUICK = Deadlines(failed_login_delay=0.0, drain=1.0)
USUAL = Limits()
HASH_KEY = b"k" * 32
NO_NAMESERVER = "127.0.0.1:9"  # nobody asks the world's DNS by mistake; `DnsZone.server` answers
QUIET_TURNS = 200  # turns of the loop without an octet read, after which a session is held to have stopped reading


def route_to(
    provider: RecordingProvider,
    pki: Pki | None = None,
    *,
    name: str = "provider",
    domains: tuple[str, ...] = (),
    login_domain: str | None = None,
    line_endings: LineEndings = LineEndings.REJECT,
    host: str = "localhost",
) -> Provider:
    """The settings of a route to a recording provider."""
    return Provider(
        name=name,
        host=host if provider.tls is not Tls.NONE else provider.host,
        port=provider.port,
        tls=provider.tls,
        ca_file=pki.ca_file if pki else None,
        domains=domains,
        login_domain=login_domain,
        line_endings=line_endings,
    )


class InlineParser(Parser):
    """The parser's work without its process."""

    def __init__(self) -> None:
        super().__init__(seconds=60.0, memory=0, limits=ParseLimits())

    async def parse(self, content: bytes | Path, *, dot_stuffed: bool, keep: Any) -> dict[str, Any]:
        octets = content if isinstance(content, bytes) else content.read_bytes()
        parts: list[tuple[str, int, bytes]] = []
        result = parse(unstuff(octets) if dot_stuffed else octets, lambda *part: parts.append(part), self._limits)
        for part in parts:
            await keep(*part)
        return result


class _Asked(Lookups):
    """Look-ups that know how many are under way."""

    asking = 0

    async def ask(self, question: Question) -> tuple[Answer, ...]:
        self.asking += 1
        try:
            return await super().ask(question)
        finally:
            self.asking -= 1


class _Heard(Submission):
    """A session that counts what its client sends, so that a test can cut octets where it wants to."""

    heard = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.heard += len(data)

    def held(self) -> int:
        """Octets that wait here."""
        transports = [self._transport, self._leg.transport if self._leg is not None else None]
        waiting = sum(each.get_write_buffer_size() for each in transports if each is not None)
        return waiting + len(self._session._conversation._input)


class InProcess:
    """An async context manager: a relay with one listener for each of `listeners`, in front of `providers`.

    `port` is the first listener's. The directory holds the sample portal unless `sample` is false. `log` is what was
    logged. `parser=True` parses in a process, as the program does; else the same code runs here.
    Unless `opens`, connections are taken only after `open`.
    """

    def __init__(
        self,
        folder: Path,
        providers: Sequence[RecordingProvider | Provider],
        *,
        pki: Pki | None = None,
        listeners: Sequence[Listener] = (Listener(tls=Tls.NONE, provider="provider"),),
        limits: Limits = USUAL,
        deadlines: Deadlines = QUICK,
        policy: CapturePolicy = CapturePolicy.OPEN,
        rule: Rule = Rule.ALL,
        sample: bool = True,
        parser: bool = False,
        hostname: str = "relay.example",
        opens: bool = True,
        nameservers: tuple[str, ...] = (NO_NAMESERVER,),
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.deadlines = deadlines
        self.decided: list[Decision] = []
        self.log: list[Any] = []
        self._pki = pki
        self._listeners = listeners
        self._policy = policy
        self._rule = rule
        self._sample = sample
        self._parser = parser
        self._hostname = hostname
        self._opens = opens
        self.nameservers = nameservers
        self._doors: list[Door] = []
        self._routes = [
            route_to(each, pki if each.tls is not Tls.NONE else None) if isinstance(each, RecordingProvider) else each
            for each in providers
        ]
        self._stack = contextlib.AsyncExitStack()
        self._ready = asyncio.Event()
        self._over = asyncio.Event()
        self._life: asyncio.Task[None]
        self._barriers = 0
        self.longest_turn = 0.0  # for tests that measure it
        self.ports: list[int] = []
        self.certificates: Certificates | None = None
        self.database: Database
        self.waiting: Waiting
        self.directory: Directory
        self.spool: Spool
        self.captures: Captures
        self.relay: Relay
        self.session: _Heard  # the newest
        self._recorder: Recorder
        self._lookups: _Asked

    async def __aenter__(self) -> InProcess:
        self._life = asyncio.get_running_loop().create_task(self._live())
        ready = asyncio.ensure_future(self._ready.wait())
        await asyncio.wait((self._life, ready), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._life.done():
            await self._life
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        await self._life

    async def _live(self) -> None:
        """All parts, opened and closed in one task of their own, so that a failed test shows its failure alone."""
        async with self._stack:
            await self._open()
            self._ready.set()
            await self._over.wait()
            for session in tuple(self.relay.sessions):
                session.abort()
            await self.relay.stop()

    @property
    def port(self) -> int:
        return self.ports[0]

    async def open(self) -> None:
        """Begins to take connections; those made before wait in the backlog."""
        await self.relay.listen(self._doors, self._session)

    async def recorded(self) -> None:
        """Waits until all that was captured so far is durable, and drains the spool into the database."""
        await self.until(lambda: not self._lookups.asking)
        await asyncio.sleep(0)  # who asked acts on the answer
        for _ in range(2):  # a batch takes what waits for its reply first, and notes with the rest
            await self._barrier()
        await self._recorder.drain()

    async def emails(self) -> list[Any]:
        """The records of the log, oldest first, after draining."""
        return await self._rows(schema.email)

    async def decisions(self) -> list[Any]:
        """The decisions, oldest first, after draining."""
        return await self._rows(schema.decision)

    async def gaps(self) -> list[Any]:
        """The gaps, oldest first, after draining."""
        return await self._rows(schema.gap)

    async def raw(self, email: Any) -> bytes:
        """The content of a record, octet by octet as it was kept."""
        import zstandard

        table = schema.content_part
        wanted = select(table.c.octets).where(table.c.portal == email.portal, table.c.hash == email.content)
        async with self.database.read() as connection:
            parts = (await connection.scalars(wanted.order_by(table.c.number))).all()
        return b"".join(zstandard.ZstdDecompressor().decompress(part) for part in parts)

    def sweep(self, *, after: float) -> None:
        """Measures all deadlines now, and once more as if `after` seconds had passed."""
        now = self.relay.clock()
        for moment in (now, now + after):
            for session in tuple(self.relay.sessions):
                session.sweep(moment)

    async def until(self, condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
        """Gives the loop its turns until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.001)

    async def heard(self, octets: int) -> None:
        """Waits until the newest session has read that many octets of its client."""
        await self.until(lambda: self.session.heard >= octets)

    async def saturate(self, client: Client, octets: bytes, *, most: int = 64 * 1024 * 1024) -> int:
        """Sends `octets` over and over until the newest session reads no more; how many octets it has read.

        Fails when it still reads after `most` octets: then nothing bounds what it keeps.
        """
        block = octets * max(1, 65536 // len(octets))
        heard, quiet = -1, 0
        while quiet < QUIET_TURNS:
            if client.writer.transport.get_write_buffer_size() < len(block):
                client.send(block)
            await asyncio.sleep(0.001)
            quiet = quiet + 1 if self.session.heard == heard else 0
            heard = self.session.heard
            assert heard < most, "the relay reads without bound"
        return heard

    def held(self) -> int:
        """Octets that the newest session keeps for either side, in its transports and on the way between them."""
        return self.session.held()

    async def until_idle(self) -> None:
        """Waits until no session is left."""
        await self.until(lambda: not self.relay.sessions)

    # -- the parts ----------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        stack = self._stack
        self.log = stack.enter_context(capture_logs())
        path = self.folder / "onrecord.sqlite"
        shutil.copyfile(await database_template(self._rule if self._sample else None), path)
        self.database = await Database.open(f"sqlite:///{path}", migrate_first=False)
        stack.push_async_callback(self.database.close)
        bell = self.folder / "directory.bell"
        self.directory = Directory(self.database, bell)
        self.spool = await Spool.open(self.folder / "spool", f"{time.time_ns():016x}-{os.getpid()}")
        writers = await stack.enter_async_context(asyncio.TaskGroup())
        writers.create_task(self.spool.run())
        stack.callback(self.spool.close)
        self._lookups = lookups = _Asked(self.database, bell, HASH_KEY)
        self.waiting = Waiting(self.database, self.folder / "waiting", seconds=RecorderOptions().parent_minutes * 60)
        self._recorder = self._make_recorder(lookups)
        stack.push_async_callback(self._recorder.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        self.captures = Captures(
            spool=self.spool,
            directory=lookups,
            policy=self._policy,
            limits=self.limits,
            deadlines=self.deadlines,
            hash_key=HASH_KEY,
            tasks=tasks,
        )
        self.relay = Relay(
            hostname=self._hostname,
            limits=self.limits,
            deadlines=self.deadlines,
            providers={
                each: client_context(each.ca_file) if each.tls is not Tls.NONE else None for each in self._routes
            },
            captures=self.captures,
            census=Census(1, limit=self.limits.connections, limit_per_address=self.limits.connections_per_address),
            tasks=tasks,
        )
        if self._pki is not None:
            self.certificates = Certificates([CertificatePair(certificate=self._pki.certificate, key=self._pki.key)])
        self._doors = [self._door(each) for each in self._listeners]
        if self._opens:
            await self.open()

    def _session(self, relay: Relay, door: Door) -> Submission:
        self.session = _Heard(relay, door)
        return self.session

    def _make_recorder(self, lookups: Lookups) -> Recorder:
        return Recorder(
            spools=self.folder / "spool",
            recording=Recording(self.database, HASH_KEY, self.waiting),
            waiting=self.waiting,
            directory=lookups,
            authenticator=Authenticator(resolver(self.nameservers)),
            parser=Parser(seconds=20.0, memory=0, limits=ParseLimits()) if self._parser else InlineParser(),
            options=RecorderOptions(),
            on_decision=self.decided.append,
        )

    def _door(self, listener: Listener) -> Door:
        bound = socket.socket()
        bound.bind((listener.address, 0))
        bound.listen()
        bound.setblocking(False)
        self.ports.append(bound.getsockname()[1])
        by_name = {each.name: each for each in self._routes}
        return Door(
            listener=listener,
            sockets=(bound,),
            provider=by_name[listener.provider] if listener.provider else None,
            server_context=self.certificates.context if self.certificates else None,
        )

    async def _barrier(self) -> None:
        """An entry of nobody's through the spool: all before it are durable when it is."""
        durable = asyncio.get_running_loop().create_future()
        self._barriers += 1
        entry = Entry(
            key=f"barrier{self._barriers}",
            at=time.time(),
            kind=EntryKind.NOTE,
            facts={"source": "relay", "decisions": []},
        )
        self.spool.put(entry, lambda error: durable.done() or durable.set_result(error))
        await durable

    async def _rows(self, table: Table) -> list[Any]:
        await self.recorded()
        async with self.database.read() as connection:
            return list((await connection.execute(select(table).order_by(table.c.id))).all())
