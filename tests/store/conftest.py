"""A database with the sample portal, and what asks and changes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio
from log_writer import LogWriter
from sample import sample_directory
from sqlalchemy import Table, select

from store.database import Database
from store.directory import Directory
from store.lookups import Lookups
from store.reading import Reading

HASH_KEY = b"k" * 32


@dataclass(frozen=True, slots=True)
class Opened:
    """An open store in a folder of its own."""

    folder: Path
    url: str
    database: Database
    bell: Path
    directory: Directory
    reading: Reading
    writer: LogWriter

    def lookups(self) -> Lookups:
        """Another process's look-ups, with nothing cached yet."""
        return Lookups(self.database, self.bell)

    async def rows(self, table: Table) -> list[Any]:
        """All rows of a table."""
        async with self.database.read() as connection:
            return list((await connection.execute(select(table))).all())

    async def portal(self, name: str = "P1") -> int:
        """The id of a portal."""
        return (await self.directory.portal(name)).id


@pytest_asyncio.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Opened]:
    """A store without any portal."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    database = await Database.open(url)
    bell = tmp_path / "bell"
    yield Opened(
        folder=tmp_path,
        url=url,
        database=database,
        bell=bell,
        directory=Directory(database, bell),
        reading=Reading(database, HASH_KEY),
        writer=LogWriter(database, bell, HASH_KEY),
    )
    await database.close()


@pytest_asyncio.fixture
async def opened(empty: Opened) -> Opened:
    """A store with the sample portal P1."""
    await sample_directory(empty.directory)
    return empty
