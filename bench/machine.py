"""What the figures were taken on, for the head of the tables."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["describe"]


def describe(arguments: Sequence[str]) -> str:
    """Command, machine and date in a sentence each."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    given = f' ARGS="{shlex.join(arguments)}"' if arguments else ""
    return (
        f"Command: `make bench{given}`. Machine: {os.cpu_count()} processors ({_processor()}), {gib:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}. Date: {datetime.now(UTC):%Y-%m-%d}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
