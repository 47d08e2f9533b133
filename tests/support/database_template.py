"""Databases with all tables, made once for all tests of a process and copied for each: making one takes longer."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from sample import sample_directory

from engine.directory import Rule
from store.database import Database
from store.directory import Directory

__all__ = ["database_template"]

TEMPLATES: dict[Rule | None, Path] = {}


async def database_template(rule: Rule | None) -> Path:
    """The file of a database with the sample portal under `rule`, or without any portal."""
    if rule not in TEMPLATES:
        if not TEMPLATES:
            atexit.register(_forget_templates)
        path = Path(tempfile.mkdtemp(prefix="onrecord-template-")) / "onrecord.sqlite"
        database = await Database.open(f"sqlite:///{path}")
        if rule is not None:
            await sample_directory(Directory(database, path.with_name("bell")), rule=rule)
        async with database.read() as connection:
            await connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
        await database.close()
        TEMPLATES[rule] = path
    return TEMPLATES[rule]


def _forget_templates() -> None:
    for path in TEMPLATES.values():
        shutil.rmtree(path.parent, ignore_errors=True)
