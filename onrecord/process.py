"""What every process of the program does around its work: a loop, the signals that end it, and where it reports."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any, TextIO

__all__ = ["Patient", "listen_to_signals", "run_loop"]


class Patient:
    """A text stream whose troubles are nobody else's: mail goes on when its report has no room or no reader."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Writes `text`, or loses it."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Writes what is held back, or keeps it for later."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def run_loop(main: Coroutine[Any, Any, None]) -> int:
    """Runs a process's work on uvloop where there is one (README, Dependencies), else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)
    return 0


def listen_to_signals(stop: asyncio.Event, hangup: asyncio.Event, life: int) -> None:
    """Sets `stop` on SIGTERM and when the supervisor is gone (`life` is at its end), `hangup` on SIGHUP.

    Those that came before and were blocked count too.
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGHUP))

    def supervisor_is_gone() -> None:
        loop.remove_reader(life)
        stop.set()

    loop.add_reader(life, supervisor_is_gone)
