"""The command line on a real installation, in this process; `run_program` starts the real program."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from log_writer import LogWriter
from sample import sample_directory

from onrecord.cli import run
from store.database import Database
from store.directory import Directory

HASH_KEY = b"k" * 32


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command printed, and its exit status."""

    status: int
    raw: bytes
    error: str

    @property
    def text(self) -> str:
        return self.raw.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


class Installation:
    """A folder with settings, hash key and database."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[bytes]) -> None:
        self.folder = folder
        self.config = folder / "onrecord.toml"
        self.database_url = f"sqlite:///{folder / 'onrecord.sqlite'}"
        self._capture = capture
        (folder / "hash.key").write_text(HASH_KEY.hex())
        self.config.write_text('hash_key_file = "hash.key"\n')

    def run(self, *arguments: str) -> Outcome:
        """One command, as `onrecord` runs it."""
        self._capture.readouterr()
        status = 0
        try:
            run(["-c", str(self.config), *arguments])
        except SystemExit as error:
            status = int(error.code or 0)
        out, error_text = self._capture.readouterr()
        return Outcome(status, out, error_text.decode())

    def done(self, *arguments: str) -> Outcome:
        """A command that must succeed."""
        outcome = self.run(*arguments)
        assert outcome.status == 0, outcome
        return outcome

    def refused(self, *arguments: str, status: int = 1) -> str:
        """What a command complains of that must not succeed. It must print nothing and leave no traceback."""
        outcome = self.run(*arguments)
        assert outcome.status == status, outcome
        assert outcome.raw == b""
        assert "Traceback" not in outcome.error
        if status == 1:
            assert outcome.error.count("\n") == 1, outcome.error
        return " ".join(outcome.error.split())

    def work(self, what: Callable[[Directory, LogWriter], Awaitable[Any]]) -> Any:
        """Does something to the directory and the log directly."""

        async def main() -> Any:
            database = await Database.open(self.database_url)
            bell = self.folder / "directory.bell"
            try:
                return await what(Directory(database, bell), LogWriter(database, bell, HASH_KEY))
            finally:
                await database.close()

        return asyncio.run(main())

    def program(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """`python -m onrecord` as a process."""
        return subprocess.run(
            [sys.executable, "-m", "onrecord", *arguments],
            cwd=Path(__file__).parents[2],
            env={key: value for key, value in os.environ.items() if not key.startswith("ONRECORD_")}
            | more.pop("env", {}),
            capture_output=True,
            timeout=60,
            check=False,
            **more,
        )


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A database without any portal and one with the sample portal P1, made once and copied for each test."""
    found = {}
    for name in ("empty", "sample"):
        folder = tmp_path_factory.mktemp(name)
        found[name] = folder / "onrecord.sqlite"
        asyncio.run(_fill(found[name], with_sample=name == "sample"))
    return found


async def _fill(path: Path, *, with_sample: bool) -> None:
    database = await Database.open(f"sqlite:///{path}")
    if with_sample:
        await sample_directory(Directory(database, path.with_name("directory.bell")))
    await database.close()


@pytest.fixture
def installation(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], templates: dict[str, Path]
) -> Installation:
    """An installation without any portal."""
    shutil.copy(templates["empty"], tmp_path)
    return Installation(tmp_path, capsysbinary)


@pytest.fixture
def sample(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], templates: dict[str, Path]) -> Installation:
    """An installation with the sample portal P1."""
    shutil.copy(templates["sample"], tmp_path)
    return Installation(tmp_path, capsysbinary)
