"""What the recorder does with spools and entries that are not as they should be: everything else is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
import sqlalchemy
from in_process import InProcess
from spooled import LOG, SKIP, a_message, an_entry, facts, put, settle, writing

import proxy.recorder
from engine.decision import ContactRef, Decision, Direction, Outcome, Reason, Source, UserRef
from proxy.recorder import ATTEMPTS, Unrecorded
from store.entry import EntryKind


async def test_many_entries_behind_one_without_a_verdict_are_recorded(node: InProcess) -> None:
    """Two hundred of them hid all that came later, as long as the verdict was outstanding."""
    waiting = an_entry("waiting", settled=False, facts=facts(SKIP))
    assert await put(node.spool, waiting) is None
    for _ in range(450):
        node.spool.note(an_entry(kind=EntryKind.NOTE, content=None, facts=facts(SKIP)))
    assert len(await node.decisions()) == 450
    assert await settle(node.spool, an_entry("waiting", facts=facts(SKIP))) is None
    assert len(await node.decisions()) == 451


async def test_an_entry_that_cannot_be_recorded_is_set_aside_and_the_rest_recorded(
    node: InProcess, tmp_path: Path
) -> None:
    """The recorder died of it, and of it again, and nothing of this node was ever recorded again."""
    stranger = Decision(
        portal=1,
        source=Source.RELAY,
        outcome=Outcome.LOG,
        reason=Reason.SENT_TO_CONTACT,
        direction=Direction.OUTGOING,
        contacts=(ContactRef(id=1, address="kim@cust.example"),),
        user=UserRef(id=4711, address="no-such-user@acme.example"),
    )
    await put(node.spool, an_entry("good", content=a_message("good@x"), facts=facts(LOG)))
    await put(node.spool, an_entry("bad", content=a_message("bad@x"), facts=facts(stranger)))
    await put(node.spool, an_entry("better", content=a_message("better@x"), facts=facts(LOG)))
    for _ in range(ATTEMPTS - 1):
        with pytest.raises(Unrecorded, match="IntegrityError"):
            await node.recorded()
    assert [each.message_id for each in await node.emails()] == ["good@x", "better@x"]
    assert (tmp_path / "unrecorded" / "bad.content").read_bytes() == a_message("bad@x")
    assert '"no-such-user@acme.example"' in (tmp_path / "unrecorded" / "bad.json").read_text()


async def test_a_missing_body_of_undecided_mail_does_not_stop_the_recorder(node: InProcess) -> None:
    body = node.spool.content_file("body")
    body.write([a_message("lost@x")])
    lost = an_entry(content=None, content_file=body.path, facts={"decisions": None, "login": "ann@acme.example"})
    assert await put(node.spool, lost, body) is None
    body.path.unlink()
    assert await put(node.spool, an_entry(content=a_message("kept@x"), facts=facts(LOG))) is None
    assert [each.message_id for each in await node.emails()] == ["kept@x"]
    assert any("content is missing" in each["event"] for each in node.log)


async def test_a_damaged_generation_is_set_aside_and_later_ones_are_recorded(node: InProcess, tmp_path: Path) -> None:
    async with writing(tmp_path / "spool", "0-dead") as (spool, _):
        await put(spool, an_entry(content=a_message("lost@x"), facts=facts(LOG)))
        await spool._rotate()
        await put(spool, an_entry(content=a_message("kept@x"), facts=facts(LOG)))
    damaged = tmp_path / "spool" / "0-dead" / "1.sqlite"
    damaged.write_bytes(b"no database at all" * 1000)
    assert [each.message_id for each in await node.emails()] == ["kept@x"]
    assert (tmp_path / "unrecorded" / "0-dead-1.sqlite").exists()
    assert not damaged.parent.exists()
    assert sum("cannot be read" in each["event"] for each in node.log) == 1


async def test_a_row_that_makes_no_sense_costs_nothing_that_came_before(node: InProcess, tmp_path: Path) -> None:
    async with writing(tmp_path / "spool", "0-dead") as (spool, _):
        await put(spool, an_entry(content=a_message("before@x"), facts=facts(LOG)))
        await put(spool, an_entry("senseless", content=a_message("lost@x"), facts=facts(LOG)))
        assert spool._current is not None
        await spool._current.connection.execute("update entry set facts = '{' where key = 'senseless'")
    assert [each.message_id for each in await node.emails()] == ["before@x"]
    assert not (tmp_path / "spool" / "0-dead").exists()


async def test_a_spool_that_is_forgotten_but_not_removed_is_read_again_without_harm(
    node: InProcess, tmp_path: Path
) -> None:
    async with writing(tmp_path / "spool", "0-dead") as (spool, _):
        await put(spool, an_entry(content=a_message("once@x"), facts=facts(LOG)))
    kept = {path: path.read_bytes() for path in (tmp_path / "spool" / "0-dead").iterdir()}
    assert len(await node.emails()) == 1
    (tmp_path / "spool" / "0-dead").mkdir()
    for path, octets in kept.items():
        path.write_bytes(octets)
    assert len(await node.emails()) == 1
    async with node.database.read() as connection:
        names = (await connection.exec_driver_sql("select name from spool_progress")).scalars().all()
    assert [name for name in names if name.startswith("0-dead")] == []


async def test_an_unfinished_folder_of_a_dead_process_is_removed(node: InProcess, tmp_path: Path) -> None:
    home = tmp_path / "spool" / "0-dead"
    home.mkdir()
    (home / "1.new").write_bytes(b"")
    os.utime(home, (0, 0))
    await node._recorder._prune()
    assert not home.exists()


async def test_pruning_goes_on_when_the_clock_was_set_back(node: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of the next pruning was kept by a clock that can be set: back an hour meant an hour without any."""
    recorder = node._recorder
    old = an_entry("old", kind=EntryKind.NOTE, content=None, facts=facts(SKIP))
    with contextlib.ExitStack() as stack:
        stack.callback(monkeypatch.undo)
        monkeypatch.setattr("time.time", lambda: 10_000_000.0)
        await recorder._prune()
        await put(node.spool, old)
        assert len(await node.decisions()) == 1
        monkeypatch.setattr("time.time", lambda: 9_996_400.0)
        monkeypatch.setattr(recorder, "_clock", lambda: float("inf"))
        await recorder._prune()
    assert await node.decisions() == []


async def test_a_long_backlog_does_not_keep_it_when_it_is_to_end(
    node: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drained all there was, however long that took, and was killed for it."""
    monkeypatch.setattr(proxy.recorder, "LAST_SECONDS", 0.0)
    for number in range(3):
        await put(node.spool, an_entry(content=a_message(f"{number}@x"), facts=facts(LOG)))
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(20):
        await node._recorder.run(None, stop)
    async with node.database.read() as connection:
        assert await connection.scalar(sqlalchemy.text("select count(*) from email")) == 0
    node._recorder._stop = None
    assert len(await node.emails()) == 3
