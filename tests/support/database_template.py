"""Databases with all tables, made once for all tests of a process and copied for each: making one takes longer."""

from __future__ import annotations

from pathlib import Path

from sample import sample_directory
from shared_folder import shared_folder

from engine.directory import Rule
from store.database import Database
from store.directory import Directory

__all__ = ["database_template"]

TEMPLATES: dict[Rule | None, Path] = {}


async def database_template(rule: Rule | None) -> Path:
    """The file of a database with the sample portal under `rule`, or without any portal."""
    if rule not in TEMPLATES:
        path = shared_folder() / f"template-{rule}.sqlite"
        database = await Database.open(f"sqlite:///{path}")
        if rule is not None:
            await sample_directory(Directory(database, path.with_suffix(".bell")), rule=rule)
        async with database.read() as connection:
            await connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
        await database.close()
        TEMPLATES[rule] = path
    return TEMPLATES[rule]
