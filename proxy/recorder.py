"""The recorder: drains the spools of this node into the log.

It runs in a process of its own at low priority, because mail comes first. Each pass reads a batch of each generation,
has the content of what is logged parsed, and records the batch with the new position in one transaction. While the
store is away nothing is lost and nothing is dropped: the spool waits.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

import engine
from engine.capture import Capture
from engine.decision import Decision, Outcome, Source
from proxy.capture import Directory
from store.database import StoreUnavailable
from store.parser import Parser
from store.parsing import split, unstuff
from store.recording import DAY, Batch, Recording, Settled
from store.spool import Entry, EntryKind, SpoolReader, open_readers

__all__ = ["Recorder", "RecorderOptions"]

log = structlog.get_logger("recorder")

POLL_SECONDS = 1.0
PATIENCE = (0.5, 1.0, 2.0, 5.0)  # seconds between tries while the store is away
BATCH_OCTETS = 8 * 1024 * 1024
PRUNE_SECONDS = 600.0
HEADER_OCTETS = 1024 * 1024

Part = tuple[int, str, int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderOptions:
    """`nice` lowers the priority; `keep_skipped_days` is how long decisions to skip are kept (rules.md 8.2)."""

    nice: int = 19
    batch: int = 200
    parse_seconds: float = 20.0
    parse_memory: int = 1024 * 1024 * 1024
    max_attachment: int = 50 * 1024 * 1024
    max_text: int = 1024 * 1024
    keep_skipped_days: float = 30.0


@dataclass(slots=True)
class _Progress:
    """One generation: `position` is as recorded; `ahead` holds ids behind it that are recorded already."""

    reader: SpoolReader
    position: int
    ahead: set[int] = field(default_factory=set)


class Recorder:
    """One per node. `on_decision` is told of each new decision, once it is in the log."""

    def __init__(
        self,
        *,
        spools: Path,
        recording: Recording,
        directory: Directory,
        parser: Parser,
        options: RecorderOptions,
        on_decision: Callable[[Decision], None] = lambda decision: None,
    ) -> None:
        self._spools = spools
        self._recording = recording
        self._directory = directory
        self._parser = parser
        self._options = options
        self._on_decision = on_decision
        self._open: dict[str, _Progress] = {}
        self._parts: list[Part] = []
        self._octets = 0
        self._next_prune = 0.0

    async def run(self, wake: int | None, stop: asyncio.Event) -> None:
        """Drains until `stop` is set, then once more, and returns. `wake` becomes readable when there is work."""
        awake = asyncio.Event()
        loop = asyncio.get_running_loop()
        if wake is not None:
            loop.add_reader(wake, _rouse, wake, awake)
        try:
            failures = 0
            while True:
                awake.clear()
                stopping = stop.is_set()
                try:
                    await self.drain()
                    await self._prune()
                    failures = 0
                except StoreUnavailable as error:
                    if not failures:
                        log.warning("the store is away; the spool waits", cause=str(error))
                    failures += 1
                if stopping:
                    return
                pause = PATIENCE[min(failures, len(PATIENCE)) - 1] if failures else POLL_SECONDS
                await _first_of(awake if not failures else stop, stop, pause)
        finally:
            if wake is not None:
                loop.remove_reader(wake)
            await self.close()

    async def close(self) -> None:
        """Closes spools and parser."""
        for progress in self._open.values():
            progress.reader.close()
        self._open.clear()
        await self._parser.close()

    async def drain(self) -> int:
        """One pass over all generations until each has nothing more; how many entries were recorded."""
        count = 0
        for progress in await self._readers():
            while recorded := await self._step(progress):
                count += recorded
            await self._finish(progress)
        return count

    async def _readers(self) -> list[_Progress]:
        for reader in open_readers(self._spools, known=self._open):
            self._open[reader.name] = _Progress(reader, await self._recording.position(reader.name))
        return list(self._open.values())

    async def _finish(self, progress: _Progress) -> None:
        """Removes a generation that nothing can come to any more."""
        reader = progress.reader
        try:
            if reader.is_finished(progress.position):
                del self._open[reader.name]
                reader.remove()
                await self._recording.forget(reader.name)
        except sqlite3.Error as error:
            log.warning("a spool cannot be read now", spool=reader.name, cause=str(error))

    async def _step(self, progress: _Progress) -> int:
        """Records one batch; how many entries it had."""
        try:
            found = progress.reader.read(progress.position, rows=self._options.batch, octets=BATCH_OCTETS)
        except sqlite3.Error as error:
            log.warning("a spool cannot be read now", spool=progress.reader.name, cause=str(error))
            return 0
        ready, position = self._ready(progress, found)
        if not ready and position == progress.position:
            return 0
        self._parts, self._octets = [], 0
        settled = [await self._settle(entry) for _, entry in ready]
        batch = Batch(spool=progress.reader.name, position=position, settled=settled)
        parts, self._parts, self._octets = self._parts, [], 0
        for decision in await self._recording.record(batch, parts):
            self._on_decision(decision)
        progress.position = position
        progress.ahead = {each for each in progress.ahead | {each for each, _ in ready} if each > position}
        return len(ready)

    def _ready(self, progress: _Progress, found: list[tuple[int, Entry]]) -> tuple[list[tuple[int, Entry]], int]:
        """Entries to record now, and how far the position moves: to before the first that waits for its verdict.

        When the writer has died no verdict will come: the outcome stays unknown, and that is a gap.
        """
        ready: list[tuple[int, Entry]] = []
        position, waits = progress.position, False
        gone = any(not entry.settled for _, entry in found) and progress.reader.writer_is_gone()
        for identifier, entry in found:
            if not entry.settled and not gone:
                waits = True
                continue
            if not waits:
                position = identifier
            if identifier not in progress.ahead:
                ready.append((identifier, entry if entry.settled else _as_gap(entry)))
        return ready, position

    # -- one entry ----------------------------------------------------------------------------------------------------

    async def _settle(self, entry: Entry) -> Settled:
        """Decides what was not decided, and reads the content of what is logged. Raises `StoreUnavailable`."""
        values = entry.facts.get("decisions")
        if values is not None:
            decisions = tuple(Decision.from_json(each) for each in values)
        else:
            decisions = await self._decide(entry)
        portals = [each.portal for each in decisions if each.outcome is Outcome.LOG]
        if not portals or entry.kind is not EntryKind.MESSAGE:
            return Settled(entry=entry, decisions=decisions)
        try:
            parsed = await self._parse(entry, portals)
        except OSError as error:
            log.error("spooled content is missing", key=entry.key, cause=type(error).__name__)
            gap = replace(entry, kind=EntryKind.GAP, facts=entry.facts | {"gap": "capture_failed", "cause": "content"})
            return Settled(entry=gap, decisions=decisions)
        return Settled(entry=entry, decisions=decisions, parsed=parsed)

    async def _decide(self, entry: Entry) -> tuple[Decision, ...]:
        facts = entry.facts
        envelope = facts.get("recipients", ())
        capture = Capture(
            source=Source(facts["source"]),
            recipients=tuple(each["address"] for each in envelope if each["accepted"]),
            refused=tuple(each["address"] for each in envelope if not each["accepted"]),
            login=facts.get("login"),
        )
        message = engine.read(_header_section(entry))
        question = engine.question(capture, message)
        answers = self._directory.answer(question)
        if answers is None:
            answers = await self._directory.ask(question)
        if entry.kind is EntryKind.GAP:  # its content is lost, so nobody knows the parties
            return tuple(engine.decide(capture, message, answer) for answer in answers)
        return engine.decide_each(capture, message, answers)

    async def _parse(self, entry: Entry, portals: list[int]) -> dict[str, Any]:
        async def keep(digest: str, number: int, octets: bytes) -> None:
            self._parts.extend((portal, digest, number, octets) for portal in portals)
            self._octets += len(octets)
            if self._octets > BATCH_OCTETS:
                parts, self._parts, self._octets = self._parts, [], 0
                await self._recording.keep(parts)

        content = entry.content_file if entry.content_file is not None else entry.content or b""
        return await self._parser.parse(content, dot_stuffed=entry.dot_stuffed, keep=keep)

    async def _prune(self) -> None:
        now = time.time()
        if now < self._next_prune:
            return
        while await self._recording.prune(older_than=now - self._options.keep_skipped_days * DAY):
            pass
        self._next_prune = now + PRUNE_SECONDS


def _as_gap(entry: Entry) -> Entry:
    return replace(entry, kind=EntryKind.GAP, facts=entry.facts | {"gap": "outcome_unknown", "cause": ""})


def _header_section(entry: Entry) -> bytes:
    if entry.content_file is not None:
        with entry.content_file.open("rb") as file:
            octets = file.read(HEADER_OCTETS)
    else:
        octets = (entry.content or b"")[:HEADER_OCTETS]
    section, _ = split(unstuff(octets) if entry.dot_stuffed else octets)
    return section


def _rouse(wake: int, awake: asyncio.Event) -> None:
    try:
        os.read(wake, 65536)
    except BlockingIOError:
        return
    awake.set()


async def _first_of(first: asyncio.Event, second: asyncio.Event, seconds: float) -> None:
    """Waits for either event, no longer than `seconds`."""
    waits = [asyncio.ensure_future(each.wait()) for each in {first, second}]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
