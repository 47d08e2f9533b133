"""A folder for what the tests of one process make once; tests/conftest.py removes it when they have run."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

__all__ = ["remove_shared_folder", "shared_folder"]


@functools.cache
def shared_folder() -> Path:
    """The folder, made when it is first asked for."""
    return Path(tempfile.mkdtemp(prefix="onrecord-shared-"))


def remove_shared_folder() -> None:
    """Removes it if there is one."""
    if shared_folder.cache_info().currsize:
        shutil.rmtree(shared_folder(), ignore_errors=True)
        shared_folder.cache_clear()
