"""Messages that our own client finds in one mailbox: decided on their header section, kept when they are logged.

A message stays where it is, so nothing here is in a hurry: what cannot be decided or kept now is looked at again later.
Each has the key of its sighting, so that looking twice, after a crash or when all UIDs are new, records once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from engine.capture import Folder
from engine.decision import Source
from proxy.capture import Captures
from proxy.content import Content
from proxy.mailbox_sighting import MailboxSighting
from store.database import StoreUnavailable
from store.entry import Entry, EntryKind

__all__ = ["Copy", "NotKept", "ObservedContent", "ObservedMessages"]

log = structlog.get_logger("observer")


class NotKept(Exception):
    """The spool does not take what is to be logged; it is tried again. The text names the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Which of the copies of a message it is: where it lies, and how many octets it has."""

    size: int
    uid: int
    uidvalidity: int | None


@dataclass(slots=True)
class ObservedMessages:
    """Those of the mailbox of `address`."""

    captures: Captures
    address: str
    session: str
    clock: Callable[[], float] = time.time
    _puts: list[asyncio.Future[Exception | None]] = field(default_factory=list)

    async def judge(
        self, section: bytes, folder: Folder | None, *, source: Source = Source.OBSERVER
    ) -> MailboxSighting:
        """What is to be done with a message. Raises `StoreUnavailable`."""
        sighting = MailboxSighting(session=self.session, source=source, mailbox=self.address, folder=folder)
        try:
            capture, message = sighting.read(section)
            verdicts = self.captures.verdicts
            sighting.verdict = verdicts.at_hand(capture, message) or await verdicts.ask(capture, message)
        except StoreUnavailable:
            raise
        except Exception as error:  # of one strange message, which must not keep all others from the log
            self.captures.tell_failure(error, self.session)
        return sighting

    def content(self) -> ObservedContent:
        """Room for the body of one message that is to be fetched."""
        return ObservedContent(Content(self.captures.spool, self.captures.new_key), self.captures.limits.capture_memory)

    def note(self, sighting: MailboxSighting, copy: Copy) -> None:
        """What is kept of a message that is not logged (rules.md 8.2). `settle` waits until it is durable."""
        if sighting.is_nobodys:
            self.captures.counts["unconcerned"] += 1
        else:
            self._put(self._entry(EntryKind.NOTE, sighting, copy), None, "skipped")

    def keep(self, sighting: MailboxSighting, copy: Copy, content: ObservedContent) -> None:
        """A message with its content, which came whole. `settle` waits until it is durable."""
        self._put(self._entry(EntryKind.MESSAGE, sighting, copy, content.content), content.content, "captured")

    def leave_gap(self, sighting: MailboxSighting, copy: Copy, cause: str) -> None:
        """A message that is to be logged and cannot be had. `settle` waits until that is durable."""
        log.error("a message to be logged was not captured", session=self.session, gap="capture_failed", cause=cause)
        entry = self._entry(EntryKind.GAP, sighting, copy, gap="capture_failed", cause=cause)
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

    def _entry(
        self, kind: EntryKind, sighting: MailboxSighting, copy: Copy, content: Content | None = None, **more: Any
    ) -> Entry:
        file = content.file if content is not None else None
        hash_key = self.captures.hash_key
        return Entry(
            key=sighting.key(hash_key, copy.size, uidvalidity=copy.uidvalidity, uid=copy.uid),
            at=self.clock(),
            kind=kind,
            facts=sighting.facts(hash_key, has_content=content is not None) | more,
            content=content.octets() if content is not None else None,
            content_file=file.path if file is not None else None,
        )


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
