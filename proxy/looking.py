"""Looking at what may have changed, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

__all__ = ["keep_looking"]

log = structlog.get_logger("looking")


async def keep_looking(look: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Looks every so many seconds, for ever. A strange directory must not end every session of the process."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await look()
        except Exception as error:
            log.error("the directory could not be looked at", cause=type(error).__name__)
