"""A spool that somebody breaks, a parser that hangs: mail flows, the trouble is told, the rest is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from family import member
from mail_load import Mail, assert_once, make_mail
from pki import Pki
from recording_provider import RecordingProvider
from served import Served
from smtp_client import Client

SETTINGS = {"limits": {"capture_memory": 16 * 1024}, "recorder": {"parse_seconds": 1.0}}
LARGE = 60_000


@pytest.fixture
async def provider() -> AsyncIterator[RecordingProvider]:
    async with RecordingProvider() as provider:
        yield provider


@pytest.fixture
async def served(tmp_path: Path, pki: Pki, provider: RecordingProvider) -> AsyncIterator[Served]:
    async with Served(tmp_path, pki, providers=[provider], settings=SETTINGS) as served:
        yield served


async def submit(served: Served, *mails: Mail) -> list[Mail]:
    """Sends mails that must be accepted."""
    async with Client(served.port) as client:
        await client.begin()
        for mail in mails:
            mail.dots += 1
            mail.replies.append(await client.submit(mail.mail_data, mail.recipient))
            assert mail.is_accepted
    return list(mails)


async def check(served: Served, provider: RecordingProvider, mails: list[Mail]) -> None:
    """All are at the provider and in the log, once."""
    await served.drained()
    assert_once(mails, provider, served.data / "onrecord.sqlite")


async def test_a_spool_folder_that_is_removed_is_made_again(served: Served, provider: RecordingProvider) -> None:
    before = await submit(served, make_mail(0, 400))
    await served.drained()
    shutil.rmtree(served.data / "spool")
    after = await submit(served, make_mail(1, LARGE), make_mail(2, 400), make_mail(3, LARGE))
    await check(served, provider, before + after)
    assert "the spool has trouble" in served.log_text()


async def test_a_spool_folder_that_takes_nothing_costs_gaps_only_while_it_does(
    served: Served, provider: RecordingProvider
) -> None:
    spool = served.data / "spool"
    shutil.rmtree(spool)
    spool.write_text("a file where the folder should be")
    lost = await submit(served, make_mail(0, 400), make_mail(1, LARGE))
    spool.unlink()
    after = await submit(served, make_mail(2, 400), make_mail(3, LARGE))
    async with asyncio.timeout(30):  # gaps are tried again now and then
        while len(served.rows("select kind from gap where kind = 'capture_failed'")) < len(lost):
            await asyncio.sleep(0.05)
    assert len(provider.messages) == 4
    del provider.messages[: len(lost)]
    await check(served, provider, after)
    assert len(served.rows("select kind from gap where kind = 'capture_failed'")) == len(lost)


async def test_a_generation_that_another_process_locks_stops_nobody(
    served: Served, provider: RecordingProvider
) -> None:
    (generation,) = (served.data / "spool").glob("*/*.sqlite")
    with contextlib.closing(sqlite3.connect(generation, isolation_level=None)) as other:
        other.execute("begin exclusive")
        mails = await submit(served, make_mail(0, 400), make_mail(1, LARGE))
        other.execute("rollback")
    await check(served, provider, mails)
    assert "database is locked" in served.log_text()


async def test_a_generation_that_is_cut_costs_nothing_that_comes_later(
    served: Served, provider: RecordingProvider
) -> None:
    before = await submit(served, make_mail(0, 400))
    await served.drained()
    (generation,) = (served.data / "spool").glob("*/*.sqlite")
    os.truncate(generation, 0)
    after = await submit(served, make_mail(1, 400), make_mail(2, LARGE))
    await served.logged("was changed by somebody else")
    await check(served, provider, before + after)


async def test_a_parser_that_hangs_costs_the_reading_of_a_message_and_not_its_record(
    served: Served, provider: RecordingProvider
) -> None:
    before = await submit(served, make_mail(0, 400))
    await served.drained()
    parser = await member(served, "parser")
    os.kill(parser, signal.SIGSTOP)
    after = await submit(served, make_mail(1, LARGE))
    await check(served, provider, before + after)
    assert served.rows("select flags from email order by id") == [("[]",), ('["unparsed"]',)]
