"""Messages that our own client finds in one mailbox: decided on their header section, kept when they are logged.

A message stays where it is, so nothing here is in a hurry: what cannot be decided or kept now is looked at again later.
Each is told from others by its header section and the mailbox, so that looking twice, after a crash or when all UIDs
are new, records once.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

import engine
from engine.capture import Capture, Folder
from engine.decision import Source
from engine.message import Message
from proxy.capture import Captures
from proxy.content import Content
from proxy.verdict import Verdict
from store.entry import Entry, EntryKind
from store.hashes import keyed_hash, message_hashes

__all__ = ["Judgement", "NotKept", "ObservedMessages"]

log = structlog.get_logger("observer")

KEY_DIGITS = 32  # hexadecimal; as long as the keys of the relay


class NotKept(Exception):
    """The spool does not take what is to be logged; it is tried again. The text names the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the header section says. `verdict` is `None` where the content may change it: the recorder decides then.

    `key` is that of the entry.
    """

    key: str
    capture: Capture
    message: Message | None = None
    verdict: Verdict | None = None
    hashed: Verdict | None = None

    @property
    def needs_content(self) -> bool:
        """Whether the body is to be fetched."""
        return self.verdict is None or self.verdict.logs

    @property
    def concerns_somebody(self) -> bool:
        """Whether any portal has decided on it (rules.md 3.9)."""
        return self.verdict is None or bool(self.verdict.decisions)


@dataclass(slots=True)
class ObservedMessages:
    """Those of the mailbox of `address` at the provider with the name `host`."""

    captures: Captures
    address: str
    host: str
    session: str
    clock: Callable[[], float] = time.time
    _puts: list[asyncio.Future[Exception | None]] = field(default_factory=list)

    async def judge(self, section: bytes, size: int, folder: Folder | None) -> Judgement:
        """The verdict on a message of `size` octets. Raises `StoreUnavailable`."""
        key = self._key(section, size, folder)
        capture = Capture(source=Source.OBSERVER, mailbox=self.address, folder=folder)
        try:
            message = engine.read(section)
            question = engine.question(capture, message)
        except Exception as error:  # of one strange message, which must not keep all others from the log
            return self._not_understood(key, capture, error)
        directory = self.captures.directory
        answers = directory.answer(question)
        if answers is None:
            answers = await directory.ask(question)
        try:
            verdict = self.captures.verdicts.reach(capture, message, question, answers)
            is_open = any(
                engine.needs_proof(decision) or engine.waits_for_parents(decision, message, answer)
                for answer in answers
                for decision in verdict.decisions
                if decision.portal == answer.portal.id
            )
        except Exception as error:  # as above
            return self._not_understood(key, capture, error)
        return Judgement(
            key=key, capture=capture, message=message, verdict=None if is_open else verdict, hashed=verdict
        )

    def _not_understood(self, key: str, capture: Capture, error: Exception) -> Judgement:
        self.captures.counts["judging_failed"] += 1
        log.error("a message could not be judged", session=self.session, cause=type(error).__name__)
        return Judgement(key=key, capture=capture)

    def content(self) -> ObservedContent:
        """Room for the body of one message that is to be fetched."""
        return ObservedContent(Content(self.captures.spool, self.captures.new_key), self.captures.limits.capture_memory)

    def note(self, judgement: Judgement) -> None:
        """What is kept of a message that is not logged (rules.md 8.2). `settle` waits until it is durable."""
        if not judgement.concerns_somebody:
            self.captures.counts["unconcerned"] += 1
            return
        self._put(self._entry(EntryKind.NOTE, judgement), None, "skipped")

    def keep(self, judgement: Judgement, content: ObservedContent) -> None:
        """A message with its content, which came whole. `settle` waits until it is durable."""
        entry = self._entry(EntryKind.MESSAGE, judgement, content.content)
        self._put(entry, content.content, "captured")

    def leave_gap(self, judgement: Judgement, cause: str) -> None:
        """A message that is to be logged and cannot be had. `settle` waits until that is durable."""
        log.error("a message to be logged was not captured", session=self.session, gap="capture_failed", cause=cause)
        entry = self._entry(EntryKind.GAP, judgement)
        decisions = judgement.hashed.values if judgement.hashed is not None else None
        entry.facts.update(gap="capture_failed", cause=cause, decisions=decisions)
        self._put(entry, None, "capture_failed")

    async def settle(self) -> None:
        """Back when all that was handed over is durable. Raises `NotKept`: then any of it may not be."""
        puts, self._puts = self._puts, []
        if not puts:
            return
        try:
            async with asyncio.timeout(self.captures.deadlines.capture):
                troubles = [error for error in await asyncio.gather(*puts) if error is not None]
        except TimeoutError as error:
            raise NotKept("the spool does not answer in time") from error
        if troubles:
            raise NotKept(type(troubles[0]).__name__) from troubles[0]

    def _put(self, entry: Entry, content: Content | None, count: str) -> None:
        durable: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._puts.append(durable)

        def done(error: Exception | None) -> None:
            if error is None:
                self.captures.counts[count] += 1
            elif content is not None:
                content.discard()
            if not durable.done():
                durable.set_result(error)

        self.captures.spool.put(entry, done, content.file if content is not None else None)

    def _entry(self, kind: EntryKind, judgement: Judgement, content: Content | None = None) -> Entry:
        file = content.file if content is not None else None
        return Entry(
            key=judgement.key,
            at=self.clock(),
            kind=kind,
            facts=self._facts(judgement),
            content=content.octets() if content is not None else None,
            content_file=file.path if file is not None else None,
        )

    def _key(self, section: bytes, size: int, folder: Folder | None) -> str:
        """The same for each sighting of a message in this mailbox; nobody else can make it."""
        digest = hashlib.sha256(section).hexdigest()
        what = "\0".join((self.address, folder or "", str(size), digest))
        return keyed_hash(self.captures.hash_key, what)[:KEY_DIGITS]

    def _facts(self, judgement: Judgement) -> dict[str, Any]:
        capture, message, verdict = judgement.capture, judgement.message, judgement.hashed
        facts: dict[str, Any] = {
            "source": capture.source,
            "session": self.session,
            "login": None,
            "mailbox": capture.mailbox,
            "folder": capture.folder,
            "decisions": judgement.verdict.values if judgement.verdict is not None else None,
            "recipients": [],
            "reply": None,
            "host": self.host,
        }
        if message is None:
            return facts
        if judgement.needs_content:
            named = message.message_id
            return facts | {"message_ids": [keyed_hash(self.captures.hash_key, named)] if named else []}
        with_print = verdict is None or verdict.follows_threads
        facts |= message_hashes(self.captures.hash_key, message, with_print=with_print)
        return facts | {"addresses": verdict.addresses if verdict is not None else []}


class ObservedContent:
    """The body of one message while it comes: small ones in memory, others on disk."""

    def __init__(self, content: Content, memory: int) -> None:
        self.content = content
        self._memory = memory

    def take(self, octets: bytes) -> None:
        """The next octets. Raises `OSError`."""
        self.content.add(octets, memory=self._memory)
        self._check()

    def finish(self) -> None:
        """All has come. Raises `OSError`."""
        self.content.flush()
        self._check()

    def discard(self) -> None:
        """Nothing of it is wanted any more."""
        self.content.discard()

    def _check(self) -> None:
        trouble = self.content.trouble
        if trouble is not None:
            raise trouble
