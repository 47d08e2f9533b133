"""Policy `closed`: what is journalled is settled, however its message ends."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from in_process import InProcess
from mail_load import make_mail
from recording_provider import RecordingProvider
from smtp_client import Client

from proxy.limits import CapturePolicy, Deadlines
from store.spool_reader import open_readers

HASTY = Deadlines(failed_login_delay=0.0, drain=1.0, capture=0.05)


def unsettled(folder: Path) -> list[str]:
    """The keys of entries that wait for a verdict."""
    keys = []
    for reader in open_readers(folder):
        keys += [entry.key for _, entry in reader.read(0, rows=100, octets=10**6) if not entry.settled]
        reader.close()
    return keys


def lock_spool(folder: Path) -> sqlite3.Connection:
    """Holds the lock of the newest generation, so that the journal takes a while."""
    (path,) = folder.glob("*/*.sqlite")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("begin exclusive")
    return connection


async def test_a_client_that_leaves_during_the_journal_leaves_no_row_waiting(tmp_path: Path) -> None:
    """Its row waited for a verdict as long as the process lived, and became a gap about mail nobody got."""
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider], policy=CapturePolicy.CLOSED) as node:
        other = lock_spool(tmp_path / "spool")
        async with Client(node.port) as client:
            await client.begin()
            await client.address(b"kim@cust.example")
            await client.say(b"DATA\r\n")
            client.send(make_mail(1, 500).mail_data + b".\r\n")
            await client.flush()
            await provider.until(lambda: provider.mail_data_begun == 1)
            client.reset()
        await node.until_idle()
        other.close()
        assert [each.reason for each in await node.decisions()] == ["not_delivered"]
        assert await node.gaps() == []
        assert unsettled(tmp_path / "spool") == []
        assert provider.messages == []


async def test_a_journal_that_takes_too_long_costs_the_message_its_250_and_leaves_no_row_waiting(
    tmp_path: Path,
) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], policy=CapturePolicy.CLOSED, deadlines=HASTY) as node,
    ):
        other = lock_spool(tmp_path / "spool")
        async with Client(node.port) as client:
            await client.begin()
            answer = await client.submit(make_mail(1, 500).mail_data)
            assert answer.startswith(b"451 4.3.0")
        other.close()
        assert [each.reason for each in await node.decisions()] == ["not_delivered"]
        assert unsettled(tmp_path / "spool") == []
        assert provider.messages == []


async def test_a_verdict_that_the_spool_cannot_take_at_once_is_not_lost(tmp_path: Path) -> None:
    """The client had its 250, the row stayed as it was, and ended as a gap instead of as a message."""
    held = asyncio.Event()
    released = asyncio.Event()

    async def hold(conversation: object, line: bytes) -> None:
        held.set()
        await released.wait()

    mail = make_mail(1, 500)
    async with (
        RecordingProvider(replies={"end of data": hold}) as provider,
        InProcess(tmp_path, [provider], policy=CapturePolicy.CLOSED) as node,
        Client(node.port) as client,
    ):
        await client.begin()
        sending = asyncio.create_task(client.submit(mail.mail_data))
        await held.wait()
        other = lock_spool(tmp_path / "spool")
        released.set()
        assert (await sending).startswith(b"250")
        other.close()
        assert [each.message_id for each in await node.emails()] == [mail.msg_id]
