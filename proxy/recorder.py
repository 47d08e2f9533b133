"""The recorder: drains the spools of this node into the log.

It runs in a process of its own at low priority, because mail comes first. Each pass reads a batch of each generation,
has the content of what is logged parsed, and records the batch with the new position in one transaction. While the
store is away nothing is lost and nothing is dropped: the spool waits.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any

import structlog

import engine
from engine.decision import Decision, Outcome
from proxy.authentication import Authenticator
from proxy.judging import Judge, Judged, header_section
from proxy.notices import Notices
from proxy.verdict import Directory
from store.database import StoreUnavailable
from store.entry import Entry, EntryKind
from store.parser import Parser
from store.recording import DAY, Batch, Recording, Settled
from store.spool_reader import SpoolReader, open_readers, remove_abandoned
from store.waiting import Waiting, WaitingEntry

__all__ = ["Recorder", "RecorderOptions"]

log = structlog.get_logger("recorder")

POLL_SECONDS = 1.0
PATIENCE = (0.5, 1.0, 2.0, 5.0)  # seconds between tries while the store is away
BATCH_OCTETS = 8 * 1024 * 1024
PRUNE_SECONDS = 600.0
SWEEP_SECONDS = 5.0
MAX_ROUNDS = 10  # of deciding again in one pass: each decision may wake others, and mail that answers itself never ends
LAST_SECONDS = 10.0  # of draining after the end was asked for; the supervisor kills what takes a few times as long
ATTEMPTS = 4  # an entry that no attempt could record is set aside, so that those behind it are recorded

Part = tuple[int, str, int, bytes]


class Unrecorded(Exception):
    """An entry could not be recorded this time. The text names the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderOptions:
    """`nice` lowers the priority; `keep_skipped_days` is how long decisions to skip are kept (rules.md 8.2) and
    `keep_emails_days` how long records are, for ever without it; `parent_minutes` is how long an answer waits for what
    it answers to be logged (4.5).
    """

    nice: int = 19
    batch: int = 200
    parse_seconds: float = 20.0
    parse_memory: int = 1024 * 1024 * 1024
    max_attachment: int = 50 * 1024 * 1024
    max_text: int = 1024 * 1024
    keep_skipped_days: float = 30.0
    keep_emails_days: float | None = None
    parent_minutes: float = 15.0


@dataclass(slots=True)
class _Progress:
    """One generation: `position` is as recorded, `seen` as read; between them `waiting` are not settled yet."""

    reader: SpoolReader
    position: int
    seen: int
    waiting: set[int] = field(default_factory=set)


class Recorder:
    """One per node. `on_decision` is told of each new decision, once it is in the log."""

    def __init__(
        self,
        *,
        spools: Path,
        recording: Recording,
        waiting: Waiting,
        directory: Directory,
        authenticator: Authenticator,
        parser: Parser,
        options: RecorderOptions,
        notices: Notices | None = None,
        on_decision: Callable[[Decision], None] = lambda decision: None,
    ) -> None:
        self._spools = spools
        self._unrecorded = spools.with_name("unrecorded")
        self._recording = recording
        self._waiting = waiting
        self._judge = Judge(directory, authenticator, self._read_text)
        self._parser = parser
        self._options = options
        self._notices = notices
        self._on_decision = on_decision
        self._open: dict[str, _Progress] = {}
        self._parts: list[Part] = []
        self._octets = 0
        self._failures: Counter[str] = Counter()
        self._troubles: dict[Path, str] = {}
        self._clock = asyncio.get_running_loop().time
        self._stop: asyncio.Event | None = None
        self._last = float("inf")
        self._next_prune = 0.0
        self._next_retention = 0.0
        self._unsettled = Unsettled.NOTHING
        self._next_sweep = 0.0

    async def run(self, wake: int | None, stop: asyncio.Event) -> None:
        """Drains until `stop` is set, then for `LAST_SECONDS` at most. `wake` becomes readable when there is work."""
        self._stop = stop
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
                except (StoreUnavailable, Unrecorded) as error:
                    if not failures:
                        log.warning("nothing can be recorded now; the spool waits", cause=str(error))
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
            while not self._must_end() and (recorded := await self._step(progress)):
                count += recorded
            if progress.reader.name in self._open:
                await self._finish(progress)
        await self._decide_again(time.time())
        return count

    def _must_end(self) -> bool:
        """Whether the time after `stop` is over; what is left is recorded by the next process."""
        if self._stop is None or not self._stop.is_set():
            return False
        self._last = min(self._last, self._clock() + LAST_SECONDS)
        return self._clock() >= self._last

    async def _readers(self) -> list[_Progress]:
        for reader in open_readers(self._spools, known=self._open, on_trouble=self._tell_trouble):
            position = await self._recording.position(reader.name)
            self._open[reader.name] = _Progress(reader, position, position)
        return list(self._open.values())

    async def _finish(self, progress: _Progress) -> None:
        """Removes a generation that nothing can come to any more."""
        reader = progress.reader
        try:
            if reader.is_finished(progress.position):
                # In this order nothing is left in the store when we end in between; entries read again are known there.
                await self._recording.forget(reader.name)
                del self._open[reader.name]
                reader.remove()
        except (OSError, ValueError, sqlite3.Error) as error:
            self._tell_trouble(reader.path, error)

    async def _step(self, progress: _Progress) -> int:
        """Records one batch; how many entries it had."""
        reader = progress.reader
        try:
            found = self._read(progress)
        except (OSError, ValueError, sqlite3.Error) as error:
            self._tell_trouble(reader.path, error)
            if _is_broken(error) and reader.is_sealed():
                log.error("a broken spool is set aside", spool=reader.name, folder=self._unrecorded.name)
                del self._open[reader.name]
                reader.set_aside(self._unrecorded)
            return 0
        if not found:
            return 0
        ready = [entry for _, entry in found if entry.settled]
        seen = max(progress.seen, *(identifier for identifier, _ in found))
        waiting = progress.waiting - {each for each, entry in found if entry.settled}
        waiting |= {each for each, entry in found if not entry.settled}
        position = min(waiting) - 1 if waiting else seen
        if ready or position != progress.position:
            await self._record(progress, ready, position)
        progress.position, progress.seen, progress.waiting = position, seen, waiting
        return len(found)

    def _read(self, progress: _Progress) -> list[tuple[int, Entry]]:
        """The next entries, and those that were waiting for their verdict and have it.

        When the writer has died no verdict will come: the outcome stays unknown, and that is a gap.
        """
        reader = progress.reader
        is_gone = reader.writer_is_gone()
        found = reader.read(progress.seen, rows=self._options.batch, octets=BATCH_OCTETS)
        if progress.waiting:
            found = reader.read_at(sorted(progress.waiting)[: self._options.batch], settled_only=not is_gone) + found
        if is_gone:
            found = [(each, entry if entry.settled else _as_gap(entry)) for each, entry in found]
        return found

    async def _record(self, progress: _Progress, ready: list[Entry], position: int) -> None:
        """Records entries together. When that fails for a reason of its own, one by one: most will be recorded."""
        name = progress.reader.name
        try:
            await self._record_together(Batch(spool=name, position=position, settled=()), ready)
        except StoreUnavailable:
            raise
        except Exception as error:  # one entry must not keep all others from the log
            if len(ready) > 1:
                for entry in ready:
                    await self._record(progress, [entry], progress.position)
            else:
                self._give_up(ready[0], error)
            await self._recording.record(Batch(spool=name, position=position, settled=()), [])

    async def _record_together(self, batch: Batch, entries: list[Entry]) -> None:
        self._parts, self._octets = [], 0
        origins = [(entry, each) for entry in entries for each in await self._settle(entry)]
        parts, self._parts, self._octets = self._parts, [], 0
        decisions = await self._recording.record(replace(batch, settled=[each for _, each in origins]), parts)
        for decision in decisions:
            self._on_decision(decision)
        for entry, settled in origins:
            self._tell_user(entry, [each for each in settled.decisions if each in decisions], settled)

    def _give_up(self, entry: Entry, error: Exception) -> None:
        """Sets the entry aside, but not at the first try. Raises `Unrecorded` until then."""
        self._failures[entry.key] += 1
        cause = type(error).__name__
        if self._failures[entry.key] < ATTEMPTS:
            raise Unrecorded(cause) from error
        del self._failures[entry.key]
        log.error("an entry cannot be recorded and is set aside", key=entry.key, cause=cause)
        self._set_aside(entry)

    def _set_aside(self, entry: Entry) -> None:
        """Keeps what cannot be recorded where an operator finds it: facts and content, beside the spools."""
        folder = self._unrecorded
        folder.mkdir(exist_ok=True, mode=0o700)
        facts = json.dumps({"at": entry.at, "kind": entry.kind, "dot_stuffed": entry.dot_stuffed} | entry.facts)
        (folder / f"{entry.key}.json").write_text(facts)
        if entry.content is not None:
            (folder / f"{entry.key}.content").write_bytes(entry.content)
        elif entry.content_file is not None and entry.content_file.exists():
            shutil.copyfile(entry.content_file, folder / f"{entry.key}.content")

    def _tell_trouble(self, path: Path, error: Exception) -> None:
        """Says once what is wrong with a spool, and again when that changes."""
        cause = f"{type(error).__name__}: {error}"
        if self._troubles.get(path) != cause:
            self._troubles[path] = cause
            log.error("a spool cannot be read now", spool=f"{path.parent.name}/{path.stem}", cause=cause)

    # -- one entry ----------------------------------------------------------------------------------------------------

    async def _settle(self, entry: Entry) -> list[Settled]:
        """Decides what was not decided, and reads the content of what is logged. Raises `StoreUnavailable`."""
        values = entry.facts.get("decisions")
        judged = [Judged(entry=entry, decisions=())]
        try:
            if values is not None:
                judged = [replace(judged[0], decisions=tuple(map(Decision.from_json, values)))]
            else:
                judged = await self._judge.judge(entry)
            return [await self._with_content(await self._judge.without_calendar(each)) for each in judged]
        except FileNotFoundError as error:
            log.error("spooled content is missing", key=entry.key, cause=type(error).__name__)
            gap = replace(entry, kind=EntryKind.GAP, facts=entry.facts | {"gap": "capture_failed", "cause": "content"})
            return [Settled(entry=gap, decisions=judged[0].decisions)]

    async def _with_content(self, judged: Judged) -> Settled:
        """Reads the content where a portal logs it, and keeps it where the last word is not said.

        Nothing of it stays in memory: the originals of a batch of forwards may be as large as the disk.
        """
        entry = judged.entry
        if judged.message is not None:
            entry = replace(entry, facts=entry.facts | self._recording.message_hashes(judged.message))
        settled = Settled(
            entry=replace(entry, content=None),
            decisions=judged.decisions,
            hashes=self._recording.hashes(judged.outside),
            waits=judged.waits,
        )
        if judged.waits:
            await asyncio.to_thread(self._waiting.keep_content, entry)
        portals = [each.portal for each in judged.decisions if each.outcome is Outcome.LOG]
        if not portals or entry.kind is not EntryKind.MESSAGE:
            return settled
        return replace(settled, parsed=await self._parse(entry, portals))

    async def _decide_again(self, now: float) -> None:
        """Decides once more what waited for a parent that is logged now, or for long enough (rules.md 4.5)."""
        for _ in range(MAX_ROUNDS):
            due = await self._waiting.due(now, limit=self._options.batch)
            if not due:
                return
            for waited in due:
                await self._record_again(waited)

    async def _record_again(self, waited: WaitingEntry) -> None:
        """Raises `StoreUnavailable`, and `Unrecorded` when it fails otherwise; after some tries the decision stays."""
        try:
            self._parts, self._octets = [], 0
            settled = await self._settle_again(waited)
            parts, self._parts, self._octets = self._parts, [], 0
            decisions = await self._recording.record_again(waited, settled, parts)
        except StoreUnavailable:
            raise
        except Exception as error:  # one entry must not keep all others from the log
            self._give_up(waited.entry, error)
            settled = []
            decisions = await self._recording.record_again(waited, [], [])
        for decision in decisions:
            self._on_decision(decision)
        for each in settled:
            self._tell_user(waited.entry, each.decisions, each)

    async def _settle_again(self, waited: WaitingEntry) -> list[Settled]:
        """The entry's decision of today; none when its content is gone, and the decision stays as it was."""
        try:
            found = []
            for judged in await self._judge.judge(waited.entry, waited=waited.is_over):
                mine = tuple(each for each in judged.decisions if each.portal == waited.portal)
                waits = {portal: each for portal, each in judged.waits.items() if portal == waited.portal}
                again = await self._judge.without_calendar(replace(judged, decisions=mine, waits=waits))
                found.append(await self._with_content(again))
            return found
        except FileNotFoundError as error:
            log.error("waiting content is missing", key=waited.entry.key, cause=type(error).__name__)
            return []

    def _tell_user(self, entry: Entry, decisions: Iterable[Decision], settled: Settled) -> None:
        """Hands decisions that are the last word to the notices. `entry` is what was sent, originals in it and all."""
        if self._notices is None:
            return
        for decision in decisions:
            if decision.portal in settled.waits or not self._notices.concerns(decision):
                continue
            try:
                message = engine.read(header_section(entry))
            except OSError:
                return
            self._notices.consider(decision, message, entry.facts.get("reverse_path") or "", entry.at)

    async def _read_text(self, entry: Entry) -> dict[str, Any]:
        """Text and HTML of an entry's content; nothing of it is kept."""
        return await self._parse(entry, [])

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
        """Removes what has become old, now and then by a clock that nobody sets."""
        now = self._clock()
        if now >= self._next_sweep:
            remove_abandoned(self._spools)
            await self._waiting.sweep()
            self._next_sweep = now + SWEEP_SECONDS
        if now >= self._next_prune:
            while await self._recording.prune(older_than=time.time() - self._options.keep_skipped_days * DAY):
                pass
            self._next_prune = now + PRUNE_SECONDS
        if self._options.keep_emails_days is not None and now >= self._next_retention:
            # One step a pass: years of mail may go when it is first set, and what is new must not wait for that.
            limit = time.time() - self._options.keep_emails_days * DAY
            if await self._recording.prune_emails(older_than=limit):
                self._unsettled = Unsettled.ALL
            elif self._unsettled is not Unsettled.NOTHING:
                begins = self._unsettled is Unsettled.ALL
                is_more = await self._recording.settle_search(begins=begins)
                self._unsettled = Unsettled.REST if is_more else Unsettled.NOTHING
            else:
                self._next_retention = now + PRUNE_SECONDS


class Unsettled(Enum):
    """What words of removed mail are in the search index still."""

    NOTHING = auto()
    REST = auto()
    ALL = auto()


def _is_broken(error: Exception) -> bool:
    """Whether trying again is of no use: the file is damaged. Locked or out of space is `OperationalError` too."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such table" in str(error)
    return isinstance(error, ValueError | sqlite3.DatabaseError)


def _as_gap(entry: Entry) -> Entry:
    facts = entry.facts | {"gap": "outcome_unknown", "cause": ""}
    return replace(entry, kind=EntryKind.GAP, facts=facts, settled=True)


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
