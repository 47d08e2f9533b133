"""The load generators of c/, and a look at memory while they run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterable
from typing import Any

from processes import PROGRAMS, memory

__all__ = ["generate"]

SAMPLE_SECONDS = 0.05  # between two looks at memory


def generate(name: str, options: Iterable[object], workers: Collection[int]) -> tuple[dict[str, Any], int]:
    """What the generator says when it is done, and the most memory that one of `workers` had meanwhile."""
    peak = 0
    with subprocess.Popen([PROGRAMS / name, *map(str, options)], stdout=subprocess.PIPE) as generator:
        while generator.poll() is None:
            peak = max(peak, *(memory(each) for each in workers), 0)
            try:
                generator.wait(SAMPLE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        assert generator.stdout is not None
        return json.loads(generator.stdout.read()), peak
