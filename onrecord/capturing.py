"""What a process needs that captures mail: a spool of its own, and the directory at hand."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from onrecord.settings import Settings
from proxy.capture import Captures
from proxy.folder_changes import FolderChanges
from proxy.limits import CapturePolicy
from store.database import Database
from store.lookups import Lookups
from store.spool import Spool

__all__ = ["capturing"]

log = structlog.get_logger("onrecord")


@asynccontextmanager
async def capturing(
    settings: Settings,
    database: Database,
    hash_key: bytes,
    *,
    ring: int | None = None,
    folder_changes: FolderChanges | None = None,
) -> AsyncIterator[Captures]:
    """What captures go by, for as long as its tasks run; then the spool is written to its end.

    `ring` is a descriptor that wakes the recorder; without it the recorder looks by itself every second.
    """
    directory = Lookups(database, settings.bell, hash_key)
    name = f"{time.time_ns():016x}-{os.getpid()}"
    spool = await Spool.open(settings.spools, name, wake=ring, on_trouble=_tell_spool_trouble)
    async with asyncio.TaskGroup() as writers:
        writers.create_task(spool.run())
        async with asyncio.TaskGroup() as tasks:
            captures = Captures(
                spool=spool,
                directory=directory,
                policy=CapturePolicy(settings.capture.policy),
                limits=settings.limits,
                deadlines=settings.deadlines,
                hash_key=hash_key,
                tasks=tasks,
                log_folder=settings.capture.log_folder,
                folder_changes=folder_changes,
            )
            looking = tasks.create_task(captures.keep_looking())
            yield captures
            looking.cancel()
        await directory.settle()
        spool.close()


def _tell_spool_trouble(error: Exception) -> None:
    log.error("the spool has trouble", cause=f"{type(error).__name__}: {error}")
