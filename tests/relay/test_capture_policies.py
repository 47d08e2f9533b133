"""What a capture that fails does to mail: nothing under policy `open`, a 451 under `closed`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from in_process import InProcess
from recording_provider import RecordingProvider
from smtp_client import Client

from proxy.limits import CapturePolicy, Limits

HEADER = b"From: ann@acme.example\r\nTo: kim@cust.example\r\nDate: x\r\nMessage-ID: <1@acme.example>\r\n\r\n"
SIZES = pytest.mark.parametrize("size", [100, 300_000], ids=["in a row", "in a file"])


def message_of(size: int) -> bytes:
    return HEADER + b"0123456789\r\n" * (size // 12)


def break_spool(relay: InProcess) -> None:
    """A file stands where the spool's folder was: nothing can be written there, and the folder not be made again."""
    shutil.rmtree(relay.folder / "spool")
    (relay.folder / "spool").write_text("")


@SIZES
@pytest.mark.parametrize("policy", list(CapturePolicy))
async def test_captured_and_delivered(tmp_path: Path, policy: CapturePolicy, size: int) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], policy=policy) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        assert await client.submit(message_of(size)) == b"250 2.0.0 taken as 1\r\n"
        (email,) = await relay.emails()
        assert await relay.raw(email) == message_of(size) == provider.messages[0].mail_data


@pytest.mark.parametrize("policy", list(CapturePolicy))
async def test_mail_that_is_not_logged_leaves_no_octet_of_its_body(tmp_path: Path, policy: CapturePolicy) -> None:
    body = b"a body that nobody may keep"
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], policy=policy, limits=Limits(capture_memory=1000)) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        for _ in range(2):  # the first asks the store, the second finds its answer in memory
            message = HEADER.replace(b"kim@cust", b"no@body") + (body + b"\r\n") * 200
            assert (await client.submit(message, b"no@body.example")).startswith(b"250")
        decisions = await relay.decisions()
        assert [each.reason for each in decisions] == ["no_existing_contact"] * 2
        assert await relay.emails() == []
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"no@body.example" not in kept
    assert body not in kept


@SIZES
async def test_open_lets_mail_pass_when_it_cannot_be_captured(tmp_path: Path, size: int) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider]) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        break_spool(relay)
        assert await client.submit(message_of(size)) == b"250 2.0.0 taken as 1\r\n"
        assert provider.messages[0].mail_data == message_of(size)
        assert relay.captures.counts["capture_failed"] == 1
        assert "a message to be logged was not captured" in [each["event"] for each in relay.log]


@SIZES
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_closed_sends_no_end_when_it_cannot_be_journalled(tmp_path: Path, size: int, is_chunked: bool) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], policy=CapturePolicy.CLOSED) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        break_spool(relay)
        message = message_of(size)
        if is_chunked:
            await client.address(b"kim@cust.example")
            answer = await client.say(b"BDAT %d LAST\r\n" % len(message) + message)
        else:
            answer = await client.submit(message)
        assert answer.startswith(b"451 4.3.0 ")
        assert await client.rest() == b""
        await provider.until_idle()
        assert provider.messages == []


async def test_closed_lets_mail_pass_that_is_not_logged(tmp_path: Path) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], policy=CapturePolicy.CLOSED) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        break_spool(relay)
        answer = await client.submit(HEADER.replace(b"kim@cust", b"no@body"), b"no@body.example")
        assert answer.startswith(b"250")
        assert len(provider.messages) == 1


async def test_closed_records_nothing_of_what_the_provider_refused(tmp_path: Path) -> None:
    async with (
        RecordingProvider(replies={"end of data": b"554 5.7.1 spam\r\n"}) as provider,
        InProcess(tmp_path, [provider], policy=CapturePolicy.CLOSED) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        assert await client.submit(message_of(100)) == b"554 5.7.1 spam\r\n"
        assert await relay.emails() == []
        assert await relay.gaps() == []
