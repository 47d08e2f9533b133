"""Each side waits for the other: what a slow reader does not take is not piled up here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from in_process import InProcess
from pki import Pki
from recording_provider import Conversation, RecordingProvider
from served import Served
from smtp_client import Client, plain

from proxy.route import Listener, Tls

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


class TestWhileWeWait:
    @pytest.mark.parametrize("step", ["greeting", "EHLO", "AUTH", "DATA", "QUIT"])
    async def test_what_is_sent_ahead_is_bounded(self, tmp_path: Path, step: str) -> None:
        """Where the provider's answer decides what the next octets are, they wait unread."""
        async with (
            RecordingProvider(replies={step: never}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.reply()
            client.send(b"EHLO client.example\r\n")
            if step not in ("greeting", "EHLO"):
                await client.reply()
                client.send(b"AUTH PLAIN " + plain() + b"\r\n")
            if step in ("DATA", "QUIT"):
                await client.reply()
                await client.address(b"kim@cust.example")
                client.send(step.encode() + b"\r\n")
            await relay.heard(client.sent)
            before = relay.session.heard
            assert await relay.saturate(client, b"NOOP\r\n", most=KERNEL) - before < 2 * MIB
            assert relay.held() < 2 * MIB

    async def test_octets_wait_while_tls_with_the_client_begins(self, tmp_path: Path, pki: Pki) -> None:
        """What follows the handshake at once is read once, in order, and after it."""
        listener = Listener(tls=Tls.STARTTLS, provider="provider")
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            await client.start_tls(pki.client_context())
            client.send(b"EHLO client.example\r\nAUTH PLAIN " + plain() + b"\r\nNOOP\r\nVRFY x\r\n")
            assert [each[:3] for each in await client.replies(4)] == [b"250", b"235", b"250", b"252"]


class TestOnTheProgramsLoop:
    """uvloop, TLS on both legs, and the memory of the process as the kernel counts it."""

    LISTENERS = ({"tls": "implicit"},)
    MOST = 96 * MIB  # never needed; the socket buffers of the kernel take some
    SLACK = 24 * MIB  # of allocators and TLS buffers, and of the socket buffers that the process may fill

    async def test_a_provider_that_reads_nothing(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider(tls=Tls.IMPLICIT, context=pki.server_context()) as provider,
            Served(tmp_path, pki, providers=[provider], listeners=self.LISTENERS) as served,
            Client(served.port, context=pki.client_context()) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            await client.say(b"DATA\r\n")
            before = served.resident_memory()
            provider.pause()
            client.send(HEADER)
            taken = await self.push(client, LINES)
            assert served.resident_memory() - before < self.SLACK
            provider.resume()
            assert (await client.say(b".\r\n")).startswith(b"250")
            assert served.resident_memory() - before < self.SLACK
            assert provider.messages[0].mail_data == HEADER + LINES * taken

    async def test_a_client_that_takes_no_replies(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], listeners=self.LISTENERS) as served,
            Client(served.port, context=pki.client_context()) as client,
        ):
            await client.begin()
            before = served.resident_memory()
            client.stop_reading()
            await self.push(client, b"VRFY x\r\n")
            assert served.resident_memory() - before < self.SLACK

    async def push(self, client: Client, octets: bytes) -> int:
        """Sends `octets` until they are not taken any more; how often. Fails when there is no end to it."""
        count = 65536 // len(octets)
        for number in range(1, self.MOST // 65536):
            client.send(octets * count)
            try:
                async with asyncio.timeout(1.0):
                    await client.writer.drain()
            except TimeoutError:
                return number * count
        raise AssertionError("the relay reads without bound")
