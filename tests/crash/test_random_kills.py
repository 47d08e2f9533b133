"""SIGKILL to any process at any moment, under load: mail flows on, and the log has each message once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
from pathlib import Path

import pytest
from family import ROLES, kill, members
from mail_load import Load, assert_marker_is_nowhere, assert_once
from pki import Pki
from recording_provider import RecordingProvider
from served import Served

SEED = "ONRECORD_KILL_SEED"  # set it to what a failed run has printed, and the same kills happen again
SPREAD = 0.03  # seconds; a kill falls anywhere in the few messages that pass meanwhile
CAPTURE_MEMORY = 16 * 1024  # so that half of the messages go to content files
SETTLED = 30.0


@pytest.mark.parametrize(("policy", "kills"), [("open", 12), ("closed", 8)])
async def test_no_kill_loses_or_doubles_mail(tmp_path: Path, pki: Pki, policy: str, kills: int) -> None:
    await _kill_under_load(tmp_path, pki, policy, kills)


@pytest.mark.soak
@pytest.mark.parametrize(("policy", "kills"), [("open", 120), ("closed", 80)])
async def test_no_kill_of_two_hundred_loses_or_doubles_mail(tmp_path: Path, pki: Pki, policy: str, kills: int) -> None:
    await _kill_under_load(tmp_path, pki, policy, kills)


async def _kill_under_load(folder: Path, pki: Pki, policy: str, kills: int) -> None:
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(1_000_000))
    print(f"{SEED}={seed}")
    chance = random.Random(seed)
    settings = {
        "workers": 2,
        "capture": {"policy": policy},
        "limits": {"capture_memory": CAPTURE_MEMORY},
        "deadlines": {"failed_login_delay": 0.0, "drain": 2.0},
    }
    async with (
        RecordingProvider() as provider,
        Served(folder, pki, providers=[provider], settings=settings) as served,
    ):
        async with Load(served.port, random.Random(seed)) as load:
            for _ in range(kills):
                await _kill_somebody(served, provider, load, chance)
            await load.finish()
        await served.drained()
        await _settled(served)
        assert_once(load.mails, provider, served.data / "onrecord.sqlite")
        assert served.rows("select kind, cause from gap where closed_at is null") == []
        assert_marker_is_nowhere(served.data)
        await served.terminate()
        assert list((served.data / "spool").iterdir()) == []
        assert_marker_is_nowhere(served.data)


async def _kill_somebody(served: Served, provider: RecordingProvider, load: Load, chance: random.Random) -> None:
    """Kills a process of a random role at a random moment after mail has begun to flow again."""
    role = chance.choice(ROLES)
    seen = len(provider.messages)
    await provider.until(lambda: len(provider.messages) > seen + 3, seconds=60)
    await asyncio.sleep(chance.random() * SPREAD)  # the moment itself, not a wait for something
    load.check()
    found = members(served, role) or members(served, "recorder") or members(served, "relay")
    victim = chance.choice(found)
    print(f"kill {role} {victim} after {len(provider.messages)} messages")
    await kill(served, victim)


async def _settled(served: Served) -> None:
    """Waits until the spools hold the folders of the living relays and no other, and no body that no row names."""
    spool = served.data / "spool"
    left: list[Path] = []
    try:
        async with asyncio.timeout(SETTLED):
            while left := _left_behind(spool, len(served.relays())):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"left behind: {left}") from None


def _left_behind(spool: Path, relays: int) -> list[Path]:
    folders = list(spool.iterdir())
    named = {path for generation in spool.glob("*/*.sqlite") for path in _named_by(generation)}
    return [*(folders if len(folders) > relays else ()), *(set(spool.glob("*/*.content")) - named)]


def _named_by(generation: Path) -> list[Path]:
    """The bodies that rows of a generation name; they go when it goes."""
    try:
        with contextlib.closing(sqlite3.connect(f"{generation.as_uri()}?mode=rw", uri=True)) as connection:
            rows = connection.execute("select content_file from entry where content_file is not null")
            return [generation.parent / name for (name,) in rows]
    except sqlite3.Error:
        return []  # it is being removed
