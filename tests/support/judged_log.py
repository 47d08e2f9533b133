"""A log that is written by the real judge, parser, recorder and store, from entries made by hand: no wire, no spool.

`pass_by` records entries as one batch of the spool and decides again what that wakes; `end_waiting` decides on all that
waits, as the recorder does when the waiting time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from in_process import InlineParser

from engine.decision import Decision
from proxy.authentication import Authenticator, resolver
from proxy.recorder import Recorder, RecorderOptions
from store.database import Database
from store.lookups import Lookups
from store.parser import Parser
from store.recording import Batch, Recording
from store.spool import Entry, EntryKind
from store.waiting import Waiting

__all__ = ["HASH_KEY", "JudgedLog", "entry", "seen_in"]

HASH_KEY = b"k" * 32
BEGIN = 1_800_000_000.0
NO_NAMESERVER = "127.0.0.1:9"


def entry(
    key: str,
    content: bytes,
    *,
    login: str | None = None,
    to: Sequence[str] = (),
    refused: Sequence[str] = (),
    captures: Sequence[str] = (),
    source: str = "relay",
    reply: str = "250 ok",
    host: str = "smtp.provider.example",
    at: float = BEGIN,
    **facts: Any,
) -> Entry:
    """An entry that the recorder decides; `captures` are capture addresses that it was sent to besides."""
    recipients = [{"address": each, "accepted": True, "reply": "250 ok"} for each in to]
    recipients += [{"address": each, "accepted": False, "reply": "550 no"} for each in refused]
    all_facts = {"source": source, "login": login, "recipients": recipients, "captures": list(captures)}
    all_facts |= {"decisions": None, "reply": reply, "host": host, "session": "s1", **facts}
    return Entry(key=key, at=at, kind=EntryKind.MESSAGE, facts=all_facts, content=content)


def seen_in(mailbox: str, key: str, content: bytes, *, folder: str | None = None, at: float = BEGIN) -> Entry:
    """An entry of the message as seen in that mailbox."""
    return entry(key, content, source="observer", mailbox=mailbox, folder=folder, reply="", host="", at=at)


class JudgedLog:
    """Made inside the event loop that uses it. Unless given a `parser` it parses here, without a process."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        nameservers: tuple[str, ...] = (NO_NAMESERVER,),
        seconds: float = 5.0,
        parser: Parser | None = None,
    ) -> None:
        self.database = database
        self.folder = folder
        self.waiting = Waiting(database, folder / "waiting", seconds=900.0)
        self.recording = Recording(database, HASH_KEY, self.waiting)
        self.told: list[Decision] = []
        self.recorder = Recorder(
            spools=folder / "spool",
            recording=self.recording,
            waiting=self.waiting,
            directory=Lookups(database, folder / "bell", HASH_KEY),
            authenticator=Authenticator(resolver(nameservers, seconds=seconds)),
            parser=parser or InlineParser(),
            options=RecorderOptions(),
            on_decision=self.told.append,
        )
        self._position = 0

    async def pass_by(self, *entries: Entry) -> list[Decision]:
        """Records entries as one batch, and what that wakes; the decisions that are new, first those of the batch."""
        self.told.clear()
        self._position += len(entries)
        batch = Batch(spool="w/1", position=self._position, settled=())
        await self.recorder._record_together(batch, list(entries))
        await self.recorder._decide_again(BEGIN)
        return list(self.told)

    async def end_waiting(self) -> list[Decision]:
        """The waiting time is over for everything; the decisions that this makes."""
        self.told.clear()
        await self.recorder._decide_again(BEGIN + 1_000_000.0)
        await self.waiting.sweep()
        return list(self.told)
