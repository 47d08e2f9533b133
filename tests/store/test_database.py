"""Opening, migrating and the troubles of a database."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, insert, select
from sqlalchemy.exc import IntegrityError

from store import schema
from store.database import Database, StoreUnavailable, migrate

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deep' / 'er' / 'store.sqlite'}"


async def test_a_database_that_is_not_there_is_made_with_its_folder(url: str) -> None:
    database = await Database.open(url)
    async with database.read() as connection:
        assert (await connection.execute(select(schema.portal))).all() == []
    await database.close()


def _is_no_index_of_words(name: str | None, kind: str, parents: object) -> bool:
    """Full-text indexes are made of tables that SQLite keeps to itself."""
    return kind != "table" or not str(name).startswith(("email_words", "contact_words"))


def test_the_migrations_make_exactly_the_tables_of_the_schema(url: str) -> None:
    migrate(url)
    pool = create_engine(url)
    with pool.connect() as connection:
        options = {"compare_type": True, "include_name": _is_no_index_of_words}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []
    pool.dispose()


def test_two_processes_migrate_at_once_and_both_find_it_done(url: str) -> None:
    script = "import sys; sys.stdin.read(1); from store.database import migrate; migrate(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, url], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"g")
        process.stdin.flush()
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error.decode()
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    assert connection.execute("select count(*) from alembic_version").fetchone() == (1,)
    connection.close()


def test_a_migration_that_was_killed_is_made_by_the_next(url: str) -> None:
    script = (
        "import sys, os, signal\n"
        "from alembic import op\n"
        "made = op.create_table\n"
        "def stop(name, *rest, **more):\n"
        "    made(name, *rest, **more)\n"
        "    if name == 'email': os.kill(os.getpid(), signal.SIGKILL)\n"
        "op.create_table = stop\n"
        "from store.database import migrate\n"
        "migrate(sys.argv[1])\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, url], cwd=ROOT, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    migrate(url)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    connection.close()
    assert tables >= set(schema.metadata.tables)


class TestTroubles:
    async def test_a_locked_database_is_unavailable_and_then_serves_again(
        self, empty: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.database.LOCK_TIMEOUT", 0.05)
        database = await Database.open(empty.url, migrate_first=False)
        holder = sqlite3.connect(empty.folder / "store.sqlite", isolation_level=None)
        holder.execute("begin immediate")
        with pytest.raises(StoreUnavailable, match="the database does not answer"):
            async with database.write():
                raise AssertionError("a locked database was written to")
        async with database.read() as connection:  # readers are not kept out
            assert (await connection.execute(select(schema.portal))).all() == []
        holder.execute("rollback")
        holder.close()
        async with database.write() as connection:
            await connection.execute(insert(schema.directory_version).values(id=1, version=1))
        await database.close()

    async def test_a_file_that_is_no_database_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "store.sqlite").write_bytes(b"no database" * 1000)
        with pytest.raises(StoreUnavailable):
            await Database.open(f"sqlite:///{tmp_path / 'store.sqlite'}")

    async def test_a_full_disk_is_unavailable_and_nothing_of_the_transaction_stands(self, empty: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        part = {"portal": 1, "hash": "h", "number": 0, "octets": os.urandom(4_000_000)}
        await empty.directory.add_portal("P1")
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
            with pytest.raises(StoreUnavailable):
                async with empty.database.write() as connection:
                    await connection.execute(insert(schema.directory_version).values(id=9, version=9))
                    await connection.execute(insert(schema.content_part).values(**part))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert await empty.rows(schema.content_part) == []
        assert all(row.version != 9 for row in await empty.rows(schema.directory_version))
        async with empty.database.write() as connection:
            await connection.execute(insert(schema.content_part).values(**part))

    async def test_a_broken_constraint_is_no_trouble_of_the_store(self, empty: Any) -> None:
        row = {"id": 1, "version": 1}
        with pytest.raises(IntegrityError):
            async with empty.database.write() as connection:
                await connection.execute(insert(schema.directory_version).values(**row))
                await connection.execute(insert(schema.directory_version).values(**row))
        assert await empty.rows(schema.directory_version) == []

    async def test_an_error_does_not_tell_what_was_to_be_kept(self, empty: Any) -> None:
        row = {"id": 1, "portal": 77, "primary_address": "private@cust.example", "name": "Private Person"}
        with pytest.raises(IntegrityError) as refused:
            async with empty.database.write() as connection:
                await connection.execute(insert(schema.contact).values(**row))
        assert "rivate" not in str(refused.value)

    async def test_a_cancelled_transaction_does_not_stand_and_holds_no_lock(self, empty: Any) -> None:
        inside = asyncio.Event()

        async def forever() -> None:
            async with empty.database.write() as connection:
                await connection.execute(insert(schema.directory_version).values(id=1, version=1))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(forever())
        await inside.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await empty.rows(schema.directory_version) == []
        await empty.directory.add_portal("P1")

    async def test_foreign_keys_are_enforced(self, empty: Any) -> None:
        with pytest.raises(IntegrityError):
            async with empty.database.write() as connection:
                await connection.execute(insert(schema.contact).values(portal=77, primary_address="x@y.example"))


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.003, 0.01, 0.05])
async def test_whoever_is_cancelled_in_a_transaction_ends_as_cancelled(empty: Any, seconds: float) -> None:
    """However far it has come; else an observer that is to end would take it for trouble of the store, and go on."""
    numbers = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 200000) select x from n"

    async def work() -> None:
        async with empty.database.write() as connection:
            await connection.exec_driver_sql(f"insert into numbers {numbers}")

    async with empty.database.write() as connection:
        await connection.exec_driver_sql("create table numbers (x)")
    for _ in range(5):
        task = asyncio.create_task(work())
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with empty.database.write() as connection:  # all or nothing of it stands, and nobody holds the lock
            assert (await connection.exec_driver_sql("delete from numbers")).rowcount in (0, 200_000)
