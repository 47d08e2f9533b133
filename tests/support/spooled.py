"""A spool that is being written, and entries for it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.decision import ContactRef, Decision, Direction, Outcome, Reason, Source
from store.entry import Entry, EntryKind
from store.spool import ContentFile, Spool
from store.spool_reader import open_readers

__all__ = ["LOG", "SKIP", "a_message", "an_entry", "facts", "keys_in", "put", "settle", "writing"]

SKIP = Decision(portal=1, source=Source.RELAY, outcome=Outcome.SKIP, reason=Reason.NO_EXISTING_CONTACT)
LOG = Decision(
    portal=1,
    source=Source.RELAY,
    outcome=Outcome.LOG,
    reason=Reason.SENT_TO_CONTACT,
    direction=Direction.OUTGOING,
    contacts=(ContactRef(id=1, address="kim@cust.example"),),
)
PATIENCE = 20.0
SERIAL = itertools.count(1)


def an_entry(key: str = "", *, kind: EntryKind = EntryKind.MESSAGE, settled: bool = True, **more: Any) -> Entry:
    """An entry about a message that no portal wants, unless `facts` say otherwise."""
    facts = {"source": "relay", "decisions": []} | more.pop("facts", {})
    key = key or f"key{next(SERIAL):08d}"
    return Entry(key=key, at=1.0, kind=kind, settled=settled, **{"facts": facts, "content": b"x\r\n"} | more)


def facts(decision: Decision, **more: Any) -> dict[str, Any]:
    """The facts of an entry that was decided so."""
    return {"source": "relay", "decisions": [decision.to_json()]} | more


def a_message(msg_id: str) -> bytes:
    """A message from Ann to Kim."""
    return f"From: ann@acme.example\r\nTo: kim@cust.example\r\nMessage-ID: <{msg_id}>\r\n\r\nhello\r\n".encode()


@asynccontextmanager
async def writing(folder: Path, name: str = "writer") -> AsyncIterator[tuple[Spool, list[Exception]]]:
    """An open spool whose `run` is under way, and the troubles it has told of. It is closed at the end."""
    troubles: list[Exception] = []
    spool = await Spool.open(folder, name, on_trouble=troubles.append)
    task = asyncio.create_task(spool.run())
    try:
        yield spool, troubles
    finally:
        spool.close()
        async with asyncio.timeout(PATIENCE):
            await task


async def put(spool: Spool, entry: Entry, file: ContentFile | None = None) -> Exception | None:
    """Puts an entry; what went wrong, once that is known."""
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    spool.put(entry, done.set_result, file)
    async with asyncio.timeout(PATIENCE):
        return await done


async def settle(spool: Spool, entry: Entry) -> Exception | None:
    """Settles an entry; what went wrong, once that is known."""
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    spool.settle(entry, done.set_result)
    async with asyncio.timeout(PATIENCE):
        return await done


def keys_in(folder: Path) -> list[str]:
    """The keys of all entries below `folder`, each writer's in order."""
    keys: list[str] = []
    for reader in open_readers(folder):
        keys += [entry.key for _, entry in reader.read(0, rows=10_000, octets=2**30)]
        reader.close()
    return keys
