"""What a writer does when its folder, its generation or a body is taken from it: it goes on with a new one."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from spooled import an_entry, keys_in, put, settle, writing

import store.spool
from store.entry import EntryKind
from store.spool import Spool
from store.spool_reader import SpoolReader, open_readers, remove_abandoned


def reader_of(folder: Path, name: str) -> SpoolReader:
    """The reader of one generation; all others are closed."""
    readers = {each.name: each for each in open_readers(folder)}
    wanted = readers.pop(name)
    for each in readers.values():
        each.close()
    return wanted


async def until(condition: object) -> None:
    """Gives the loop its turns until `condition()` holds."""
    assert callable(condition)
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


class TestTheFolder:
    async def test_that_was_removed_is_made_again(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, troubles):
            assert await put(spool, an_entry("before")) is None
            shutil.rmtree(tmp_path / "writer")
            assert await put(spool, an_entry("after")) is None
            assert keys_in(tmp_path) == ["after"]
            assert [type(each) for each in troubles] == [FileNotFoundError]
            reader = reader_of(tmp_path, "writer/2")
            assert not reader.writer_is_gone()
            reader.close()

    async def test_that_was_removed_takes_a_large_body(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            shutil.rmtree(tmp_path / "writer")
            file = spool.content_file("body")
            file.write([b"large"])
            assert await put(spool, an_entry("one", content=None, content_file=file.path), file) is None
            assert keys_in(tmp_path) == ["one"]

    async def test_whose_lock_was_removed_is_locked_again(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            (tmp_path / "writer" / "lock").unlink()
            assert await put(spool, an_entry("one")) is None
            reader = reader_of(tmp_path, "writer/1")
            assert not reader.writer_is_gone()
            reader.close()

    async def test_that_cannot_be_made_costs_entries_and_not_the_process(self, tmp_path: Path) -> None:
        (tmp_path / "spool").write_text("a file where the folder should be")
        async with writing(tmp_path / "spool") as (spool, _):
            assert isinstance(await put(spool, an_entry("lost")), OSError)
            (tmp_path / "spool").unlink()
            assert await put(spool, an_entry("kept")) is None
            assert keys_in(tmp_path / "spool") == ["kept"]

    async def test_of_a_living_writer_is_refused_to_another(self, tmp_path: Path) -> None:
        async with writing(tmp_path):
            with pytest.raises(BlockingIOError):
                await Spool.open(tmp_path, "writer")

    async def test_of_a_dead_writer_of_the_same_name_loses_nothing(self, tmp_path: Path) -> None:
        """Names hold the time, which can be set back."""
        for key in ("one", "two"):
            async with writing(tmp_path) as (spool, _):
                assert await put(spool, an_entry(key)) is None
        assert keys_in(tmp_path) == ["one", "two"]

    async def test_without_a_generation_is_removed_when_its_writer_is_gone(self, tmp_path: Path) -> None:
        """A process killed between making its folder and its first generation left the folder for ever."""
        for name, age in (("old", 60), ("young", 0)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "lock").touch()
            os.utime(tmp_path / name, (time.time() - age,) * 2)
        async with writing(tmp_path):
            os.utime(tmp_path / "writer", (0, 0))
            remove_abandoned(tmp_path)
            assert {each.name for each in tmp_path.iterdir()} == {"writer", "young"}


class TestAGeneration:
    async def test_that_is_locked_is_left_for_a_new_one(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, troubles):
            other = sqlite3.connect(tmp_path / "writer" / "1.sqlite", isolation_level=None)
            other.execute("begin exclusive")
            assert await put(spool, an_entry("one")) is None
            assert "locked" in str(troubles[0])
            other.execute("rollback")
            other.close()
            assert keys_in(tmp_path) == ["one"]

    async def test_that_is_damaged_is_left_for_a_new_one(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            assert await put(spool, an_entry("lost")) is None
            for name in ("1.sqlite", "1.sqlite-wal"):
                os.truncate(tmp_path / "writer" / name, 0)
            assert await put(spool, an_entry("one")) is None
            reader = reader_of(tmp_path, "writer/2")
            assert [entry.key for _, entry in reader.read(0, rows=10, octets=10**6)] == ["one"]
            reader.close()

    async def test_that_could_not_be_made_does_not_end_the_one_before(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its file stood there, so the recorder took the one before for ended and removed it; the writer wrote on."""
        async with writing(tmp_path) as (spool, _):
            assert await put(spool, an_entry("one")) is None
            with monkeypatch.context() as patch:
                patch.setattr(store.spool, "SCHEMA", "create table")
                with pytest.raises(sqlite3.Error):
                    await spool._rotate()
            reader = reader_of(tmp_path, "writer/1")
            assert not reader.is_sealed()
            assert await put(spool, an_entry("two")) is None
            assert [entry.key for _, entry in reader.read(0, rows=10, octets=10**6)] == ["one", "two"]
            reader.close()
            assert sorted(path.name for path in (tmp_path / "writer").glob("*.new*")) == []

    async def test_with_mail_nobody_could_decide_on_ends_soon(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It ended with the next mail only, however late that came, and so long the body lay on the disk."""
        monkeypatch.setattr(store.spool, "UNDECIDED_SECONDS", 0.01)
        async with writing(tmp_path) as (spool, _):
            assert await put(spool, an_entry(facts={"decisions": None})) is None
            await until(lambda: (tmp_path / "writer" / "2.sqlite").exists())
            reader = reader_of(tmp_path, "writer/1")
            assert reader.is_sealed()
            reader.close()

    async def test_is_never_made_by_looking_for_it(self, tmp_path: Path) -> None:
        path = tmp_path / "writer" / "1.sqlite"
        path.parent.mkdir()
        with pytest.raises(sqlite3.OperationalError):
            SpoolReader(path)
        assert not path.exists()


class TestABody:
    async def test_that_was_removed_costs_its_own_entry_only(self, tmp_path: Path) -> None:
        """All entries of the batch counted as failed."""
        async with writing(tmp_path) as (spool, _):
            gone, there = spool.content_file("gone"), spool.content_file("there")
            for file in (gone, there):
                file.write([b"octets"])
            gone.path.unlink()
            outcomes = await asyncio.gather(
                put(spool, an_entry("one", content=None, content_file=gone.path), gone),
                put(spool, an_entry("two", content=None, content_file=there.path), there),
                put(spool, an_entry("three")),
            )
            assert [type(each) for each in outcomes] == [FileNotFoundError, type(None), type(None)]
            assert keys_in(tmp_path) == ["two", "three"]

    async def test_that_was_given_up_costs_its_own_entry_only(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            file = spool.content_file("late")
            file.write([b"octets"])
            late = asyncio.ensure_future(put(spool, an_entry("one", content=None, content_file=file.path), file))
            other = asyncio.ensure_future(put(spool, an_entry("two")))
            await asyncio.sleep(0)
            file.discard()
            assert await late is not None
            assert await other is None


class TestAVerdict:
    async def test_about_an_entry_that_is_not_there_is_appended(self, tmp_path: Path) -> None:
        """It failed the whole batch, twice, and gaps were left for messages that were durable."""
        async with writing(tmp_path) as (spool, _):
            first = asyncio.ensure_future(put(spool, an_entry("one")))
            second = asyncio.ensure_future(settle(spool, an_entry("never journalled")))
            assert [await first, await second] == [None, None]
            assert keys_in(tmp_path) == ["one", "never journalled"]

    async def test_is_appended_when_the_generation_of_its_entry_is_locked(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            assert await put(spool, an_entry("one", settled=False)) is None
            other = sqlite3.connect(tmp_path / "writer" / "1.sqlite", isolation_level=None)
            other.execute("begin exclusive")
            assert await settle(spool, an_entry("one")) is None
            other.execute("rollback")
            other.close()
            reader = reader_of(tmp_path, "writer/2")
            assert [entry.settled for _, entry in reader.read(0, rows=10, octets=10**6)] == [True]
            reader.close()


class TestNotes:
    async def test_are_written_when_the_disk_takes_them_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store.spool, "RETRY_SECONDS", 0.01)
        (tmp_path / "spool").write_text("")
        async with writing(tmp_path / "spool") as (spool, troubles):
            spool.note(an_entry("gap", kind=EntryKind.GAP, content=None))
            await until(lambda: len(troubles) > 4)
            (tmp_path / "spool").unlink()
            await until(lambda: keys_in(tmp_path / "spool") == ["gap"])

    async def test_are_bounded_in_number_while_the_disk_takes_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those of each failed batch were counted apart, so a long trouble filled the memory."""
        monkeypatch.setattr(store.spool, "BACKLOG_ROWS", 10)
        (tmp_path / "spool").write_text("")
        async with writing(tmp_path / "spool") as (spool, _):
            for _ in range(4):
                for _ in range(6):
                    spool.note(an_entry(kind=EntryKind.NOTE, content=None))
                for _ in range(3):
                    spool.note(an_entry(kind=EntryKind.GAP, content=None))
                assert await put(spool, an_entry()) is not None
            kinds = [each.entry.kind for each in (*spool._backlog, *spool._notes)]
            assert len(kinds) == 10
            assert kinds.count(EntryKind.GAP) >= 5

    async def test_do_not_keep_a_closing_spool_on_a_full_disk(self, tmp_path: Path) -> None:
        """It tried without end and without a pause until the supervisor killed it."""
        (tmp_path / "spool").write_text("")
        async with writing(tmp_path / "spool") as (spool, _):
            spool.note(an_entry(content=None))
