"""The spool in its daily work: what is told to be durable is there, in order, in few commits, until it was drained."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spooled import an_entry, keys_in, put, settle, writing

from store import spool as spool_module
from store.entry import Entry, EntryKind
from store.spool import Spool
from store.spool_reader import SpoolReader, open_readers


def entries_in(folder: Path) -> list[Entry]:
    found: list[Entry] = []
    for reader in open_readers(folder):
        found += [entry for _, entry in reader.read(0, rows=10_000, octets=2**30)]
        reader.close()
    return found


def generations(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "writer").glob("*.sqlite"))


async def until_generation(folder: Path, number: int, writer: str = "writer") -> None:
    """The next generation begins after those who wait were told."""
    async with asyncio.timeout(20):
        while not (folder / writer / f"{number}.sqlite").exists():
            await asyncio.sleep(0.001)


def only_reader(folder: Path) -> SpoolReader:
    (reader,) = open_readers(folder)
    return reader


@contextmanager
def counted_commits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of rows of each statement that appends."""
    sizes: list[int] = []
    append = spool_module._Generation.append

    async def counting(self: Any, batch: Any, *rest: Any) -> None:
        sizes.append(len(batch))
        await append(self, batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(spool_module._Generation, "append", counting)
        yield sizes


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file of this process may grow beyond `free` octets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


class TestEntries:
    @settings(max_examples=60, deadline=None)
    @given(
        entry=st.builds(
            Entry,
            key=st.text("0123456789abcdef", min_size=1, max_size=32),
            at=st.floats(0, 1e10),
            kind=st.sampled_from(EntryKind),
            facts=st.dictionaries(
                st.text(), st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.lists(st.text())
            ),
            content=st.none() | st.binary(),
            dot_stuffed=st.booleans(),
            settled=st.booleans(),
        )
    )
    async def test_an_entry_comes_out_as_it_went_in(
        self, entry: Entry, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("spool")
        async with writing(folder) as (spool, _):
            assert await put(spool, entry) is None
        assert entries_in(folder) == [entry]

    async def test_a_body_in_a_file_comes_out_with_its_path(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            file = spool.content_file("body")
            for chunks in ([b"one", b""], [], [b"two", b"x" * 1_000_000]):
                file.write(chunks)
            entry = an_entry("one", content=None, content_file=file.path)
            assert await put(spool, entry, file) is None
        (found,) = entries_in(tmp_path)
        assert found == entry
        assert found.content_file is not None
        assert found.content_file.read_bytes() == b"onetwo" + b"x" * 1_000_000

    async def test_a_discarded_body_leaves_no_file(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            file = spool.content_file("body")
            file.write([b"x"])
            file.discard()
            file.discard()
            assert list((tmp_path / "writer").glob("*.content")) == []

    async def test_files_are_for_their_owner_only(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            file = spool.content_file("body")
            assert await put(spool, an_entry()) is None
            assert file.path.stat().st_mode & 0o077 == 0
            assert (tmp_path / "writer").stat().st_mode & 0o077 == 0
            file.discard()


class TestGroupCommit:
    async def test_what_has_gathered_shares_one_commit_and_keeps_its_order(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with counted_commits(monkeypatch) as sizes:
            async with writing(tmp_path) as (spool, _):
                keys = [f"key{number:03d}" for number in range(100)]
                outcomes = await asyncio.gather(*(put(spool, an_entry(key)) for key in keys))
                assert outcomes == [None] * 100
        assert sizes == [100]
        assert keys_in(tmp_path) == keys

    async def test_what_comes_while_a_commit_is_under_way_shares_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with counted_commits(monkeypatch) as sizes:
            async with writing(tmp_path) as (spool, _):
                first = asyncio.ensure_future(put(spool, an_entry("first")))
                while not sizes:
                    await asyncio.sleep(0)
                rest = [asyncio.ensure_future(put(spool, an_entry())) for _ in range(50)]
                assert await asyncio.gather(first, *rest) == [None] * 51
        assert sizes == [1, 50]

    async def test_a_batch_is_bounded_in_rows_and_octets(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with counted_commits(monkeypatch) as sizes:
            async with writing(tmp_path) as (spool, _):
                await asyncio.gather(*(put(spool, an_entry()) for _ in range(600)))
                assert max(sizes) <= spool_module.BATCH_ROWS
                assert sum(sizes) == 600
                sizes.clear()
                big = b"x" * (3 * 1024 * 1024)
                await asyncio.gather(*(put(spool, an_entry(content=big)) for _ in range(8)))
        assert max(sizes) <= 4
        assert sum(sizes) == 8
        assert len(keys_in(tmp_path)) == 608

    async def test_nobody_is_told_before_the_row_can_be_read_by_another_process(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            seen: list[list[str]] = []
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def told(error: Exception | None) -> None:
                seen.append(keys_in(tmp_path))
                done.set_result(None)

            spool.put(an_entry("one"), told)
            await done
        assert seen == [["one"]]

    async def test_closing_writes_what_is_queued(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            waiting = [asyncio.ensure_future(put(spool, an_entry(f"k{n}"))) for n in range(10)]
            await asyncio.sleep(0)
            spool.note(an_entry("note", kind=EntryKind.NOTE))
        assert await asyncio.gather(*waiting) == [None] * 10
        assert keys_in(tmp_path) == [*(f"k{n}" for n in range(10)), "note"]

    async def test_a_recorder_that_does_not_listen_stops_nobody(self, tmp_path: Path) -> None:
        rung, wake = os.pipe()
        os.set_blocking(wake, False)
        os.write(wake, b"\0" * 65536)
        spool = await Spool.open(tmp_path, "writer", wake=wake)
        task = asyncio.create_task(spool.run())
        assert await put(spool, an_entry()) is None
        os.close(rung)
        before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        assert await put(spool, an_entry()) is None
        signal.signal(signal.SIGPIPE, before)
        spool.close()
        await task
        os.close(wake)


class TestGenerations:
    async def test_a_full_generation_is_followed_by_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool_module, "ROTATE_OCTETS", 10_000)
        async with writing(tmp_path) as (spool, _):
            for number in range(30):
                assert await put(spool, an_entry(f"key{number:02d}", content=b"x" * 1000)) is None
            assert len(generations(tmp_path)) >= 5
        assert keys_in(tmp_path) == [f"key{number:02d}" for number in range(30)]

    async def test_a_generation_that_is_old_is_followed_by_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with writing(tmp_path) as (spool, _):
            monkeypatch.setattr(spool_module, "ROTATE_SECONDS", 0.0)
            assert await put(spool, an_entry("one")) is None
            await until_generation(tmp_path, 2)
            monkeypatch.setattr(spool_module, "ROTATE_SECONDS", 300.0)
            assert await put(spool, an_entry("two")) is None
            assert await put(spool, an_entry("three")) is None
            assert generations(tmp_path) == ["1.sqlite", "2.sqlite"]
        assert keys_in(tmp_path) == ["one", "two", "three"]

    async def test_an_entry_without_verdict_is_settled_where_it_lies_after_the_next_has_begun(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool_module, "ROTATE_OCTETS", 1)
        async with writing(tmp_path) as (spool, _):
            assert await put(spool, an_entry("waits", settled=False)) is None
            await until_generation(tmp_path, 2)
            assert await put(spool, an_entry("later")) is None
            assert [each.settled for each in entries_in(tmp_path) if each.key == "waits"] == [False]
            verdict = an_entry("waits", kind=EntryKind.NOTE, facts={"outcome": "refused"})
            assert await settle(spool, verdict) is None
            (waits,) = (each for each in entries_in(tmp_path) if each.key == "waits")
            assert (waits.settled, waits.kind, waits.facts["outcome"]) == (True, EntryKind.NOTE, "refused")
            assert waits.content == b"x\r\n"
        assert sorted(keys_in(tmp_path)) == ["later", "waits"]

    async def test_puts_and_verdicts_at_once_all_stand(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spool_module, "ROTATE_OCTETS", 20_000)
        async with writing(tmp_path) as (spool, troubles):

            async def journalled(number: int) -> None:
                assert await put(spool, an_entry(f"key{number:03d}", settled=False)) is None
                assert await settle(spool, an_entry(f"key{number:03d}")) is None

            await asyncio.gather(*(journalled(number) for number in range(120)))
            assert troubles == []
        assert sorted(keys_in(tmp_path)) == [f"key{number:03d}" for number in range(120)]
        assert all(each.settled for each in entries_in(tmp_path))

    async def test_no_fact_of_an_entry_is_lost_when_its_writer_dies(self, tmp_path: Path) -> None:
        """The rows lie in the write-ahead log alone; a reader that comes later must find them all the same."""
        async with writing(tmp_path) as (spool, _):
            assert await put(spool, an_entry("one", content=b"x" * 100_000)) is None
            for name in ("1.sqlite", "1.sqlite-wal", "lock"):  # what a dead process leaves
                target = tmp_path / "copy" / "dead" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes((tmp_path / "writer" / name).read_bytes())
        (found,) = entries_in(tmp_path / "copy")
        assert found.content == b"x" * 100_000


class TestReading:
    async def test_a_reader_takes_a_bounded_batch_and_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            for number in range(10):
                await put(spool, an_entry(f"k{number}", content=b"x" * 10_000))
            reader = only_reader(tmp_path)
            first = reader.read(0, rows=4, octets=10**9)
            assert [entry.key for _, entry in first] == ["k0", "k1", "k2", "k3"]
            second = reader.read(first[-1][0], rows=100, octets=25_000)
            assert [entry.key for _, entry in second] == ["k4", "k5", "k6"]
            assert len(reader.read(second[-1][0], rows=100, octets=1)) == 1, "one at least"
            assert reader.read(10, rows=100, octets=10**9) == []
            reader.close()

    async def test_a_generation_is_finished_when_its_writer_has_gone_on_and_all_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with writing(tmp_path) as (spool, _):
            await put(spool, an_entry("one"))
            reader = only_reader(tmp_path)
            assert not reader.is_sealed()
            assert not reader.is_finished(1)
            monkeypatch.setattr(spool_module, "ROTATE_OCTETS", 1)
            await put(spool, an_entry("two"))
            await until_generation(tmp_path, 2)
            assert reader.is_sealed()
            assert not reader.is_finished(0)
            assert reader.is_finished(2)
            reader.close()

    async def test_a_writer_that_ended_is_gone_and_its_last_generation_is_finished(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            await put(spool, an_entry("one", settled=False))
            reader = only_reader(tmp_path)
            assert not reader.writer_is_gone()
        assert reader.writer_is_gone()
        assert reader.is_sealed()
        assert reader.is_finished(1)
        reader.close()

    async def test_removing_takes_the_bodies_and_after_the_last_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool_module, "ROTATE_OCTETS", 1)
        async with writing(tmp_path) as (spool, _):
            for key in ("one", "two"):
                file = spool.content_file(key)
                file.write([b"body"])
                await put(spool, an_entry(key, content=None, content_file=file.path), file)
                await until_generation(tmp_path, 2)
            reader, *others = open_readers(tmp_path)
            for other in others:
                other.close()
            reader.remove()
            assert not (tmp_path / "writer" / "one.content").exists()
            assert (tmp_path / "writer" / "two.content").exists()
            assert generations(tmp_path)[0] == "2.sqlite"
        for reader in open_readers(tmp_path):
            reader.remove()
        assert list(tmp_path.iterdir()) == []

    async def test_known_generations_are_not_opened_again(self, tmp_path: Path) -> None:
        async with writing(tmp_path):
            reader = only_reader(tmp_path)
            assert open_readers(tmp_path, known=[reader.name]) == []
            reader.close()
        assert open_readers(tmp_path / "nowhere") == []

    async def test_readers_are_given_each_writers_oldest_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool_module, "ROTATE_OCTETS", 1)
        async with writing(tmp_path, "b") as (b, _), writing(tmp_path, "a") as (a, _):
            for number in range(11):
                await put(b, an_entry(f"b{number}"))
            await put(a, an_entry("a0"))
            await until_generation(tmp_path, 2, "a")
            await until_generation(tmp_path, 12, "b")
            readers = open_readers(tmp_path)
            names = [reader.name for reader in readers]
            assert names == ["a/1", "a/2", *(f"b/{number}" for number in range(1, 13))]
            for reader in readers:
                reader.close()

    async def test_a_reader_never_stops_the_writer(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, troubles):
            await put(spool, an_entry("one"))
            other = sqlite3.connect(tmp_path / "writer" / "1.sqlite", isolation_level=None)
            other.execute("begin")
            assert other.execute("select count(*) from entry").fetchone() == (1,)
            assert await put(spool, an_entry("two")) is None
            other.close()
            assert troubles == []
            assert generations(tmp_path) == ["1.sqlite"]


class TestFullDisk:
    async def test_entries_are_refused_and_taken_again_when_there_is_room(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, troubles):
            assert await put(spool, an_entry("before")) is None
            with full_disk(100_000):
                error = await put(spool, an_entry("during", content=b"x" * 1_000_000))
                assert isinstance(error, sqlite3.Error | OSError)
                assert troubles
            assert await put(spool, an_entry("after", content=b"x" * 1_000_000)) is None
        assert keys_in(tmp_path) == ["before", "after"]

    async def test_a_body_that_does_not_fit_is_refused_and_can_be_discarded(self, tmp_path: Path) -> None:
        async with writing(tmp_path) as (spool, _):
            file = spool.content_file("body")
            with full_disk(100_000), pytest.raises(OSError, match="too large"):
                file.write([b"x" * 99_999, b"y" * 1000])
            file.discard()
            assert await put(spool, an_entry("one")) is None
        assert keys_in(tmp_path) == ["one"]

    async def test_a_gap_is_kept_and_written_when_there_is_room(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(spool_module, "NOTE_DELAY", 0.0)
        monkeypatch.setattr(spool_module, "RETRY_SECONDS", 0.01)
        async with writing(tmp_path) as (spool, troubles):
            assert await put(spool, an_entry("before")) is None
            with full_disk(1):
                spool.note(an_entry("gap", kind=EntryKind.GAP, content=None))
                async with asyncio.timeout(20):
                    while not troubles:
                        await asyncio.sleep(0.001)
            async with asyncio.timeout(20):
                while "gap" not in keys_in(tmp_path):
                    await asyncio.sleep(0.001)
        assert keys_in(tmp_path) == ["before", "gap"]
