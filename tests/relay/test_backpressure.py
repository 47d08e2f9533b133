"""Each side waits for the other: what a slow reader does not take is not piled up here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from in_process import InProcess
from recording_provider import Conversation, RecordingProvider
from smtp_client import Client

MIB = 1024 * 1024
HEADER = (
    b"From: ann@acme.example\r\nTo: kim@cust.example\r\nDate: x\r\nMessage-ID: <big@acme.example>\r\nSubject: x\r\n\r\n"
)
LINES = b"x" * 1022 + b"\r\n"
KERNEL = 16 * MIB  # what the socket buffers of both connections may hold between them on loopback


async def never(conversation: Conversation, line: bytes) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


class TestASlowProvider:
    @pytest.mark.parametrize("recipient", [b"kim@cust.example", b"stranger@x.example"], ids=["logged", "not logged"])
    async def test_slows_the_client_down(self, tmp_path: Path, recipient: bytes) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(recipient)
            await client.say(b"DATA\r\n")
            provider.pause()
            client.send(HEADER)
            heard = await relay.saturate(client, LINES, most=KERNEL)
            assert relay.held() < 2 * MIB
            provider.resume()
            client.send(b".\r\n")
            assert (await client.reply()).startswith(b"250")
            (message,) = provider.messages
            assert len(message.mail_data) > heard - 1000
            assert message.mail_data.startswith(HEADER + LINES)
            assert set(message.mail_data[len(HEADER) :].split(b"\r\n")) == {LINES[:-2], b""}

    async def test_slows_chunks_down(self, tmp_path: Path) -> None:
        size = 64 * MIB
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            provider.pause()
            client.send(b"BDAT %d LAST\r\n" % size + HEADER)
            rest = size - len(HEADER) - await relay.saturate(client, LINES, most=KERNEL)
            assert rest > 0
            assert relay.held() < 2 * MIB
            provider.resume()

    async def test_that_answers_nothing_bounds_what_is_asked(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider(replies={"NOOP": never}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert await relay.saturate(client, b"NOOP\r\n", most=4 * MIB) < 4 * MIB
            assert len(provider.commands) < 10_000

    async def test_all_that_was_sent_ahead_is_answered_once_it_wakes(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            provider.pause()
            client.send(b"NOOP\r\nVRFY x\r\n" * 2500)
            await relay.heard(client.sent // 100)
            provider.resume()
            codes = [each[:3] for each in await client.replies(5000)]
            assert codes == [b"250", b"252"] * 2500


class TestASlowClient:
    async def test_that_takes_no_replies_may_ask_for_no_more(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.stop_reading()
            heard = await relay.saturate(client, b"VRFY x\r\n", most=KERNEL)
            assert relay.held() < 4 * MIB
            client.start_reading()
            replies = await client.replies(heard // 8 - 100)
            assert {each[:3] for each in replies} == {b"252"}

    async def test_holds_the_provider_back(self, tmp_path: Path) -> None:
        """Long replies of the provider's to short questions: they wait at the provider."""
        long_reply = b"".join(b"250-%s\r\n" % (b"y" * 1000) for _ in range(100)) + b"250 done\r\n"
        async with (
            RecordingProvider(replies={"NOOP": long_reply}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.stop_reading()
            await relay.saturate(client, b"NOOP\r\n", most=4 * MIB)
            assert relay.held() < 4 * MIB
            client.start_reading()
            assert await client.reply() == long_reply
