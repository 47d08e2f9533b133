"""Whether the program serves a data folder, as other programs see it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from pathlib import Path

import pytest
from pki import Pki
from recording_provider import RecordingProvider
from served import Served

from onrecord import serving
from onrecord.listening import ServeError
from onrecord.serving import ServingLock, is_served

PATIENCE = 60.0
POLL = 0.02


def has_open(pid: int, path: Path) -> bool:
    return any(each.resolve() == path.resolve() for each in Path(f"/proc/{pid}/fd").iterdir())


def test_a_folder_is_served_while_somebody_holds_its_lock(tmp_path: Path) -> None:
    assert not is_served(tmp_path)
    with ServingLock(tmp_path):
        assert is_served(tmp_path)
        with ServingLock(tmp_path):  # one that starts while another one ends
            assert is_served(tmp_path)
        assert is_served(tmp_path)
    assert not is_served(tmp_path)


def test_whoever_looks_at_that_moment_keeps_nobody_from_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServingLock(tmp_path):
        pass
    looking = os.open(tmp_path / serving.FILE, os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_EX)
    monkeypatch.setattr(serving.time, "sleep", lambda seconds: os.close(looking))
    with ServingLock(tmp_path):
        assert is_served(tmp_path)


def test_whoever_never_lets_go_of_it_keeps_nobody_from_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving.time, "sleep", lambda seconds: None)
    with ServingLock(tmp_path):
        pass
    with (tmp_path / serving.FILE).open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with ServingLock(tmp_path):
            pass


def test_a_folder_that_is_not_there_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"nowhere/serving\.lock.*see `data` in the settings"), ServingLock(
        tmp_path / "nowhere"
    ):  # fmt: skip
        pass


async def test_the_program_holds_it_until_it_ends(tmp_path: Path, pki: Pki) -> None:
    async with RecordingProvider() as provider, Served(tmp_path, pki, providers=[provider]) as served:
        assert is_served(served.data)
        await served.terminate()
        assert not is_served(served.data)


async def test_a_program_that_was_killed_holds_it_no_more_though_its_children_live(tmp_path: Path, pki: Pki) -> None:
    async with RecordingProvider() as provider, Served(tmp_path, pki, providers=[provider]) as served:
        assert served.process is not None
        children = served.children()
        async with asyncio.timeout(PATIENCE):  # they have just been forked
            while any(has_open(each, served.data / serving.FILE) for each in children):
                await asyncio.sleep(POLL)
        for each in children:
            os.kill(each, signal.SIGSTOP)
        try:
            served.process.kill()
            await asyncio.to_thread(served.process.wait)
            assert not is_served(served.data)
        finally:
            for each in children:
                os.kill(each, signal.SIGKILL)
