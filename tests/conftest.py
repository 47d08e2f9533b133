"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from pki import Pki
from shared_folder import remove_shared_folder
from xdist.scheduler import LoadScopeScheduling

# A busy machine is no error. In CI the examples are the same in each run; elsewhere each run tries others.
settings.register_profile("patient", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("patient")

# When several processes run tests (`make test`), these folders are handed out file by file: their tests are quick, or a
# file has something expensive that all of them use. Of the other folders each test goes where there is room.
BY_FILE = (
    *("authentication", "docs", "engine", "forwarded", "imap", "mailboxes", "notices", "observer", "sasl", "scenarios"),
    "smtp",
    "web",
)
SHARE_A_PROGRAM = ("test_mailbox_exhaustion.py",)  # files of other folders whose tests do, too


class Scheduling(LoadScopeScheduling):
    """Which tests run in one process when there are several; the largest groups begin first.

    tests/peers makes two, so that each chain of Debian's servers starts once. No choice made here can make a test fail:
    what tests share is made anew in each process that needs it.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        folder = path.parts[1]
        if folder == "peers":
            return "mailbox chain" if path.name.startswith(("test_imap_", "test_mailbox_")) else "mail chain"
        return str(path) if folder in BY_FILE or path.name in SHARE_A_PROGRAM else nodeid


@pytest.hookimpl(optionalhook=True)  # unknown where xdist is switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """What hands out the tests."""
    return Scheduling(config, log)


def pytest_unconfigure() -> None:
    """Here and not by atexit, which the processes that xdist starts end without."""
    remove_shared_folder()


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """An authority and a certificate for localhost, made once for the run."""
    return Pki.make(tmp_path_factory.mktemp("pki"))
