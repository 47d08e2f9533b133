"""A node whose recorder drains when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from in_process import InProcess
from recording_provider import RecordingProvider


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[InProcess]:
    """A node whose recorder drains when it is told to."""
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as node:
        yield node
