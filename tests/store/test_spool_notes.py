"""Notes, for which nobody waits, cost no commit of their own while mail is busy."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store import spool as spool_module
from store.entry import Entry, EntryKind
from store.spool import Spool
from store.spool_reader import open_readers


def entry(key: str, kind: EntryKind = EntryKind.MESSAGE) -> Entry:
    return Entry(key=key, at=0.0, kind=kind, facts={})


@contextlib.asynccontextmanager
async def running(folder: Path, wake: int) -> AsyncIterator[Spool]:
    spool = await Spool.open(folder, "writer", wake=wake)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(spool.run())
        yield spool
        spool.close()


async def put(spool: Spool, key: str, *, note: str | None = None) -> None:
    """Returns when the entry is durable; `note` is left at that very moment."""
    durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(error: Exception | None) -> None:
        assert error is None
        if note is not None:
            spool.note(entry(note, EntryKind.NOTE))
        durable.set_result(None)

    spool.put(entry(key), done)
    await durable


def keys(folder: Path) -> list[str]:
    (reader,) = open_readers(folder)
    found = [each.key for _, each in reader.read(0, rows=100, octets=1_000_000)]
    reader.close()
    return found


async def test_a_note_left_while_mail_is_written_waits_for_the_next_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "NOTE_DELAY", 3600.0)
    rung, wake = os.pipe()
    async with running(tmp_path, wake) as spool:
        await put(spool, "first", note="note")
        await put(spool, "second")
    os.close(wake)
    assert keys(tmp_path) == ["first", "second", "note"]
    assert os.read(rung, 100) == b"\0\0", "one ring for each commit"
    os.close(rung)


async def test_notes_that_nothing_comes_after_are_written_when_they_are_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "NOTE_DELAY", 0.001)
    rung, wake = os.pipe()
    async with running(tmp_path, wake) as spool:
        spool.note(entry("one", EntryKind.NOTE))
        spool.note(entry("two", EntryKind.NOTE))
        await asyncio.to_thread(os.read, rung, 1)
        assert keys(tmp_path) == ["one", "two"]
    os.close(wake)
    os.close(rung)


async def test_a_note_is_written_at_the_latest_when_the_spool_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "NOTE_DELAY", 3600.0)
    rung, wake = os.pipe()
    async with running(tmp_path, wake) as spool:
        await put(spool, "first", note="note")
    os.close(wake)
    os.close(rung)
    assert keys(tmp_path) == ["first", "note"]
