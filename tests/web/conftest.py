"""The pages, for each test its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from web_pages import Browser, Web, web_pages


@pytest_asyncio.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    """The pages of the sample portal."""
    async with web_pages(tmp_path) as pages:
        yield pages


@pytest_asyncio.fixture
async def browser(web: Web) -> Browser:
    """An administrator's."""
    return await web.signed_in()
