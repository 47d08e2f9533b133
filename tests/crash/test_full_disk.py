"""A full disk: under policy `open` mail flows and gaps tell what is missing, under `closed` it is put off with 451."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from family import kill
from mail_load import Mail, assert_once, make_mail
from pki import Pki
from recording_provider import RecordingProvider
from served import Served
from small_disk import SmallDisk, small_disk
from smtp_client import Client

from store.hashes import keyed_hash

MEBIBYTES = 8
CAPTURE_MEMORY = 16 * 1024
SIZES = (400, 8_000, 60_000, 400)  # in rows and in files


@asynccontextmanager
async def on_small_disk(
    folder: Path, pki: Pki, policy: str, *, part: str = "data"
) -> AsyncIterator[tuple[Served, RecordingProvider, SmallDisk]]:
    """The program with its data on a small disk, or all of its folder."""
    settings = {"capture": {"policy": policy}, "limits": {"capture_memory": CAPTURE_MEMORY}}
    with small_disk(folder / part, mebibytes=MEBIBYTES) as disk:
        async with (
            RecordingProvider() as provider,
            Served(folder, pki, providers=[provider], settings=settings) as served,
        ):
            yield served, provider, disk


async def submit(served: Served, mails: list[Mail]) -> None:
    """Sends each on a connection of its own, as a mail client does after a 451 ended the one before."""
    for mail in mails:
        async with Client(served.port) as client:
            await client.begin()
            mail.dots += 1
            mail.replies.append(await client.submit(mail.mail_data, mail.recipient))


def mails(first: int) -> list[Mail]:
    """Messages to be logged, numbered from `first`."""
    return [make_mail(first + number, size) for number, size in enumerate(SIZES)]


def gap_hashes(served: Served) -> list[str]:
    return [each for (each,) in served.rows("select hash from gap order by at")]


async def until_gaps(served: Served, count: int) -> None:
    """Waits until so many gaps are in the log."""
    async with asyncio.timeout(30):
        while len(gap_hashes(served)) < count:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("relay_is_killed", [False, True])
async def test_mail_flows_and_gaps_are_recorded_when_there_is_room_again(
    tmp_path: Path, pki: Pki, relay_is_killed: bool
) -> None:
    """A relay process that starts on a full disk lets mail pass, too."""
    before, during, after = mails(0), mails(10), mails(20)
    async with on_small_disk(tmp_path, pki, "open") as (served, provider, disk):
        await submit(served, before)
        await served.drained()
        disk.fill()
        if relay_is_killed:
            await kill(served, served.relays()[0])
        await submit(served, during)
        assert [each.replies[0][:3] for each in during] == [b"250"] * len(SIZES)
        await served.logged("a message to be logged was not captured")
        disk.free()
        await submit(served, after)
        await until_gaps(served, len(during))
        await served.drained()
        assert_once(before + after, provider_without(provider, during), served.data / "onrecord.sqlite")
        assert len(provider.messages) == 3 * len(SIZES)
        key = bytes.fromhex((served.data / "keys" / "hash.key").read_text().strip())
        assert sorted(gap_hashes(served)) == sorted(keyed_hash(key, each.msg_id) for each in during)


def provider_without(provider: RecordingProvider, lost: list[Mail]) -> RecordingProvider:
    """The provider as if it had never got `lost`: these are checked apart."""
    other = RecordingProvider()
    unwanted = {each.mail_data for each in lost}
    other.messages = [each for each in provider.messages if each.mail_data not in unwanted]
    assert len(other.messages) + len(lost) == len(provider.messages)
    return other


async def test_nothing_is_delivered_under_policy_closed_until_there_is_room_again(tmp_path: Path, pki: Pki) -> None:
    before, during = mails(0), mails(10)
    async with on_small_disk(tmp_path, pki, "closed") as (served, provider, disk):
        await submit(served, before)
        await served.drained()
        disk.fill()
        await submit(served, during)
        assert [each.replies[0][:3] for each in during] == [b"451"] * len(SIZES)
        assert len(provider.messages) == len(SIZES)
        disk.free()
        await submit(served, during)
        assert [each.replies[1][:3] for each in during] == [b"250"] * len(SIZES)
        await served.drained()
        assert_once(before + during, provider, served.data / "onrecord.sqlite")
        assert gap_hashes(served) == []


async def test_what_was_spooled_when_the_disk_filled_is_recorded_later(tmp_path: Path, pki: Pki) -> None:
    """The recorder has no room to record; the spool waits, and nothing is recorded twice."""
    spooled = mails(0)
    async with on_small_disk(tmp_path, pki, "open") as (served, provider, disk):
        recorder = await served.recorder()
        os.kill(recorder, signal.SIGSTOP)
        await submit(served, spooled)
        disk.fill()
        os.kill(recorder, signal.SIGCONT)
        await served.logged("nothing can be recorded now")
        disk.free()
        await served.drained()
        assert_once(spooled, provider, served.data / "onrecord.sqlite")
        assert gap_hashes(served) == []


async def test_the_program_ends_in_time_on_a_full_disk(tmp_path: Path, pki: Pki) -> None:
    """Notes that the disk does not take kept a relay process alive, and busy, until it was killed."""
    async with on_small_disk(tmp_path, pki, "open") as (served, _, disk):
        disk.fill()
        await submit(served, mails(0))
        assert await served.terminate() == 0
        assert "do not end and are killed" not in served.log_text()


async def test_the_program_starts_on_a_full_disk_and_lets_mail_pass(tmp_path: Path, pki: Pki) -> None:
    """Somebody else has the database open. A database that nobody has open SQLite opens only where there is room."""
    during = mails(10)
    async with on_small_disk(tmp_path, pki, "open") as (served, provider, disk):
        await (await served.directory()).portal("P1")
        await submit(served, mails(0))
        await served.terminate()
        disk.fill()
        await served.start()
        await submit(served, during)
        assert [each.replies[0][:3] for each in during] == [b"250"] * len(SIZES)
        assert len(provider.messages) == 2 * len(SIZES)


async def test_mail_flows_when_there_is_no_room_for_the_program_to_report_either(tmp_path: Path, pki: Pki) -> None:
    """A line of the report that could not be written came out as an error where the message was, and it had no 250."""
    before, after = mails(0), mails(10)
    during = [make_mail(100 + number, 400) for number in range(40)]  # their lines fill the page that the log has
    async with on_small_disk(tmp_path, pki, "open", part="") as (served, provider, disk):
        await submit(served, before)
        await served.drained()
        disk.fill()
        await submit(served, during)
        assert [each.replies[0][:3] for each in during] == [b"250"] * len(during)
        disk.free()
        await submit(served, after)
        await until_gaps(served, len(during))
        await served.drained()
        assert_once(before + after, provider_without(provider, during), served.data / "onrecord.sqlite")
