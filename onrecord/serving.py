"""Whether `onrecord serve` runs on a data folder: as long as it does, its supervisor holds a lock on a file there.

The kernel ends a lock with the process that holds it, however that ends; a file with its number would stay behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import structlog

from onrecord.listening import ServeError

__all__ = ["ServingLock", "is_served"]

log = structlog.get_logger("onrecord")

FILE = "serving.lock"
TRIES = 20  # whoever looks has the lock for microseconds
TRY_SECONDS = 0.05


class ServingLock:
    """A context manager: this process serves `data`. Others may too, as one that starts while another one ends."""

    def __init__(self, data: Path) -> None:
        self._path = data / FILE
        self._descriptor = -1

    def __enter__(self) -> ServingLock:
        """Raises `ServeError` when the file cannot be made."""
        try:
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ServeError(
                f"{self._path}: cannot be written ({error.strerror}); see `data` in the settings"
            ) from error
        for _ in range(TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(TRY_SECONDS)
            else:
                return self
        log.error("commands will not know that this serves: another program has locked the file", file=str(self._path))
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        """For a forked child, with whose copy the lock would outlive its parent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_served(data: Path) -> bool:
    """Whether `onrecord serve` runs on that folder now."""
    try:
        descriptor = os.open(data / FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
