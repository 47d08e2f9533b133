"""A database with the sample portal, and what asks and changes it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
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
        return Lookups(self.database, self.bell, HASH_KEY)

    async def rows(self, table: Table) -> list[Any]:
        """All rows of a table."""
        async with self.database.read() as connection:
            return list((await connection.execute(select(table))).all())

    async def portal(self, name: str = "P1") -> int:
        """The id of a portal."""
        return (await self.directory.portal(name)).id


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A database without any portal and one with the sample portal P1, made once and copied for each test."""
    found = {}
    for name in ("empty", "sample"):
        found[name] = tmp_path_factory.mktemp(name) / "store.sqlite"
        asyncio.run(_fill(found[name], with_sample=name == "sample"))
    return found


async def _fill(path: Path, *, with_sample: bool) -> None:
    database = await Database.open(f"sqlite:///{path}")
    if with_sample:
        await sample_directory(Directory(database, path.with_name("bell")))
    await database.close()


@pytest_asyncio.fixture
async def empty(tmp_path: Path, templates: dict[str, Path]) -> AsyncIterator[Opened]:
    """A store without any portal."""
    async with _opened(tmp_path, templates["empty"]) as opened:
        yield opened


@pytest_asyncio.fixture
async def opened(tmp_path: Path, templates: dict[str, Path]) -> AsyncIterator[Opened]:
    """A store with the sample portal P1."""
    async with _opened(tmp_path, templates["sample"]) as opened:
        yield opened


@asynccontextmanager
async def _opened(folder: Path, template: Path) -> AsyncIterator[Opened]:
    shutil.copy(template, folder)
    url = f"sqlite:///{folder / template.name}"
    database = await Database.open(url, migrate_first=False)
    bell = folder / "bell"
    bell.touch()
    try:
        yield Opened(
            folder=folder,
            url=url,
            database=database,
            bell=bell,
            directory=Directory(database, bell),
            reading=Reading(database, HASH_KEY),
            writer=LogWriter(database, bell, HASH_KEY),
        )
    finally:
        await database.close()
