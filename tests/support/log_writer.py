"""Puts messages into the log as relay and recorder would, by the real engine, parser and store, without the wire."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine
from engine.capture import Capture
from engine.decision import Decision, Outcome, Source
from store.database import Database
from store.entry import Entry, EntryKind
from store.hashes import keyed_hash, message_hashes
from store.lookups import Lookups
from store.parsing import ParseLimits, parse, split
from store.recording import Batch, Recording, Settled
from store.waiting import Waiting

__all__ = ["LogWriter", "message"]

WAIT = 900.0  # seconds that a reply waits for its parent


def message(
    sender: str = "ann@acme.example",
    to: str = "kim@cust.example",
    *,
    message_id: str | None = "<1@acme.example>",
    subject: str = "Offer",
    body: str = "Hello\r\n",
    more: str = "",
) -> bytes:
    """A small message; `more` holds further header fields, each with its line end."""
    id_field = f"Message-ID: {message_id}\r\n" if message_id else ""
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: Tue, 24 Nov 2026 10:00:00 +0100\r\n"
        f"{id_field}{more}\r\n{body}"
    ).encode()


class LogWriter:
    """`passes` is one message going by. Made inside the event loop that uses it."""

    def __init__(self, database: Database, bell: Path, hash_key: bytes) -> None:
        self.waiting = Waiting(database, bell.with_name("waiting"), seconds=WAIT)
        self.recording = Recording(database, hash_key, self.waiting)
        self._lookups = Lookups(database, bell, hash_key)
        self._hash_key = hash_key
        self._position = 0

    async def passes(
        self,
        content: bytes,
        *,
        login: str | None = "ann@acme.example",
        recipients: Sequence[str] | None = None,
        key: str | None = None,
        source: Source = Source.RELAY,
        at: float | None = None,
        kind: EntryKind = EntryKind.MESSAGE,
        gap: str = "capture_failed",
        mailbox: str | None = None,
    ) -> list[Decision]:
        """The decisions that were recorded. `recipients` are those of To unless given."""
        settled, parts = await self.settle(content, login, recipients, key, source, at, kind, gap, mailbox)
        return await self.record([settled], parts)

    async def record(self, settled: Sequence[Settled], parts: Sequence[Any] = ()) -> list[Decision]:
        """Records a batch."""
        self._position += len(settled)
        return await self.recording.record(Batch(spool="w/1", position=self._position, settled=settled), list(parts))

    async def settle(
        self,
        content: bytes,
        login: str | None = "ann@acme.example",
        recipients: Sequence[str] | None = None,
        key: str | None = None,
        source: Source = Source.RELAY,
        at: float | None = None,
        kind: EntryKind = EntryKind.MESSAGE,
        gap: str = "capture_failed",
        mailbox: str | None = None,
    ) -> tuple[Settled, list[Any]]:
        """A message ready for the log, and the parts of its content."""
        read = engine.read(split(content)[0])
        envelope = tuple(read.to if recipients is None else recipients)
        capture = Capture(source=source, recipients=envelope if mailbox is None else None, login=login, mailbox=mailbox)
        answers = await self._lookups.ask(engine.question(capture, read))
        decisions = tuple(engine.decide(capture, read, each) for each in answers)
        portals = [each.portal for each in decisions if each.outcome is Outcome.LOG]
        parts: list[Any] = []
        parsed = None
        if portals and kind is EntryKind.MESSAGE:
            parsed = parse(content, lambda *part: parts.extend((each, *part) for each in portals), ParseLimits())
        elif kind is EntryKind.MESSAGE:
            kind = EntryKind.NOTE
        facts = {
            "source": source,
            "recipients": [{"address": each, "accepted": True, "reply": "250 ok"} for each in envelope],
            **message_hashes(self._hash_key, read),
            "addresses": [keyed_hash(self._hash_key, each) for each in envelope],
            "gap": gap,
            "cause": "OSError",
        }
        self._position += 1
        entry = Entry(key=key or f"key{self._position}", at=at or time.time(), kind=kind, facts=facts)
        return Settled(entry=entry, decisions=decisions, parsed=parsed), parts
