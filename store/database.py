"""The database: opened, migrated, and its troubles given one name.

SQLite by default (aiosqlite, write-ahead log, every commit durable). One process at a time migrates; the others wait.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Table, create_engine, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

__all__ = ["Database", "StoreUnavailable", "insert_in_order", "migrate", "slices"]

LOCK_TIMEOUT = 5.0  # seconds to wait for another writer
REWRITE_TRIES = 5  # each waits LOCK_TIMEOUT for readers to end, and those of ours read for milliseconds
IN_LIST = 500  # values of one IN list: databases bind a limited number, and one plan serves all full slices

PRAGMAS = (
    "journal_mode = wal",
    "synchronous = full",
    "foreign_keys = on",
    "journal_size_limit = 67108864",
    "secure_delete = on",  # what is removed from the log is overwritten, not only let go
)

T = TypeVar("T")


class StoreUnavailable(Exception):
    """The store cannot answer now: locked, away, or out of space. Trying again later may help."""


class Database:
    """An open database."""

    def __init__(self, pool: AsyncEngine) -> None:
        self.pool = pool

    @classmethod
    async def open(cls, url: str, *, migrate_first: bool = True) -> Database:
        """Opens `url` ("sqlite:///path"); raises `StoreUnavailable`."""
        if migrate_first:
            await asyncio.to_thread(migrate, url)
        parsed = make_url(url).set(drivername="sqlite+aiosqlite")
        # What goes into the tables is mail: it must not be in the text of an error.
        pool = create_async_engine(
            parsed, pool_size=4, max_overflow=4, hide_parameters=True, connect_args={"timeout": LOCK_TIMEOUT}
        )
        event.listen(pool.sync_engine, "connect", _prepare)
        return cls(pool)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to ask questions with. Raises `StoreUnavailable`."""
        with _translated():
            async with self.pool.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end. Raises `StoreUnavailable`; then nothing of it stands."""
        with _translated():
            async with self.pool.connect() as connection:
                # The lock is taken at once: two readers that both want to write would refuse each other.
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    # Whoever is cancelled at work has lost the connection, and with it the transaction: it must end as
                    # cancelled, and not as a trouble that it may try to mend.
                    with suppress(SQLAlchemyError):
                        await connection.exec_driver_sql("ROLLBACK")
                    raise
                await connection.exec_driver_sql("COMMIT")

    async def rewrite(self) -> bool:
        """Rewrites the whole file and empties the write-ahead log, so that nothing removed is left in free pages.

        Whether the log is empty: a reader in another process may still hold on to it. Takes time and room in proportion
        to the size. Raises `StoreUnavailable`.
        """
        async with self.read() as connection:
            await connection.exec_driver_sql("VACUUM")
            for _ in range(REWRITE_TRIES):
                row = (await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()
                if not row[0]:
                    return True
        return False

    async def close(self) -> None:
        """Closes all connections."""
        await self.pool.dispose()


def migrate(url: str) -> None:
    """Brings the tables of `url` to this version, under a lock. Raises `StoreUnavailable`. Blocks."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    path = Path(make_url(url).database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".migrating"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pool = create_engine(url, poolclass=NullPool, connect_args={"timeout": LOCK_TIMEOUT})
        event.listen(pool, "connect", _prepare)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with _translated(), pool.connect() as connection:
            here = MigrationContext.configure(connection).get_current_heads()
            if set(here) != set(ScriptDirectory.from_config(config).get_heads()):
                config.attributes["connection"] = connection
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # all or nothing: half a migration cannot be repeated
                command.upgrade(config, "head")
                connection.exec_driver_sql("COMMIT")
        pool.dispose()
    finally:
        os.close(lock)


def slices(values: Iterable[T]) -> Iterable[list[T]]:
    """`values` in lists that are short enough for `IN`."""
    everything = list(values)
    return (everything[start : start + IN_LIST] for start in range(0, len(everything), IN_LIST))


async def insert_in_order(
    connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> Sequence[int]:
    """Inserts rows in one statement; their ids, in the same order. Only inside `Database.write`: nobody else writes."""
    last = await connection.scalar(select(func.max(table.c.id))) or 0
    await connection.execute(insert(table), list(rows))
    return (await connection.scalars(select(table.c.id).where(table.c.id > last).order_by(table.c.id))).all()


def _prepare(connection: Any, record: Any) -> None:
    """Settings of each new SQLite connection; transactions are begun and ended by us alone."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"pragma {pragma}")
    cursor.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Raises `StoreUnavailable` for what may pass; a broken statement or constraint stays what it is."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        if isinstance(error, DBAPIError) and not _is_operational(error):
            raise
        raise StoreUnavailable(
            f"the database does not answer: {type(getattr(error, 'orig', error)).__name__}"
        ) from error


def _is_operational(error: DBAPIError) -> bool:
    """Locked, full, unreadable: SQLite says `OperationalError` to these and to broken statements alike."""
    text = str(error.orig)
    return type(error.orig).__name__ in ("OperationalError", "DatabaseError") and "syntax error" not in text
