"""Every wait has a deadline (RFC 5321 §4.5.3.2), and only the side that is waited for can renew it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from in_process import InProcess
from pki import Pki
from recording_provider import Conversation, RecordingProvider
from smtp_client import Client, plain

from proxy.limits import Deadlines
from proxy.route import Listener, Tls
from proxy.smtp.session import Phase

HEADER = b"From: ann@acme.example\r\nTo: kim@cust.example\r\nSubject: x\r\n\r\n"
USUAL = Deadlines()


async def never(conversation: Conversation, line: bytes) -> bytes:
    """A step that the provider does not answer."""
    await asyncio.Event().wait()
    raise AssertionError


class TestTheClient:
    @pytest.mark.parametrize("state", ["connected", "greeted", "in AUTH", "logged in", "addressed"])
    async def test_silent_between_commands(self, tmp_path: Path, state: str) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            assert (await client.reply()).startswith(b"220")
            if state != "connected":
                await client.say(b"EHLO client.example\r\n")
            if state == "in AUTH":
                assert (await client.say(b"AUTH LOGIN\r\n")).startswith(b"334")
            if state in ("logged in", "addressed"):
                await client.log_in()
            if state == "addressed":
                await client.address(b"kim@cust.example")
            relay.sweep(after=USUAL.client_command - 1)
            assert relay.relay.sessions
            relay.sweep(after=USUAL.client_command + 1)
            assert (await client.rest()).startswith(b"421 4.4.2 ")
            await provider.until_idle()
            await relay.until_idle()
            assert await relay.emails() == []

    async def test_silent_in_mail_data(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            await client.say(b"DATA\r\n")
            client.send(HEADER + b"half a mess")
            await relay.heard(client.sent)
            relay.sweep(after=USUAL.client_data + 1)
            assert (await client.rest()).startswith(b"421 4.4.2 ")
            await provider.until_idle()
            assert provider.messages == []
            assert provider.unfinished
            assert await relay.emails() == []

    async def test_silent_in_a_chunk(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            client.send(b"BDAT 1000 LAST\r\n" + HEADER)
            await relay.heard(client.sent)
            relay.sweep(after=USUAL.client_data + 1)
            assert (await client.rest()).startswith(b"421 4.4.2 ")
            await provider.until_idle()
            assert provider.messages == []
            assert await relay.emails() == []

    async def test_one_octet_renews_the_wait(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
            clock = Clock(relay)
            async with Client(relay.port) as client:
                await client.reply()
                for octet in b"EHLO x":
                    client.send(bytes([octet]))
                    await relay.heard(client.sent)
                    clock.advance(USUAL.client_command - 1)
                assert (await client.say(b"\r\n")).startswith(b"250")

    async def test_gone_without_a_word_during_the_wait_for_the_verdict(self, tmp_path: Path) -> None:
        """Nobody is left to tell, but the provider's verdict still decides what becomes of the record."""
        async with (
            RecordingProvider(replies={"end of data": never}) as provider,
            InProcess(tmp_path, [provider]) as relay,
        ):
            async with Client(relay.port) as client:
                await client.begin()
                await client.address(b"kim@cust.example")
                await client.say(b"DATA\r\n")
                client.send(HEADER + b".\r\n")
                await relay.heard(client.sent)
                client.reset()
            assert relay.relay.sessions
            relay.sweep(after=USUAL.provider_data_termination + 1)
            await relay.until_idle()
            (gap,) = await relay.gaps()
            assert gap.kind == "outcome_unknown"

    async def test_that_takes_no_octet_does_not_keep_a_closed_connection(self, tmp_path: Path) -> None:
        """close() would wait for ever to deliver the last replies."""
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.reply()
            client.stop_reading()
            await relay.saturate(client, b"VRFY someone\r\n")
            relay.sweep(after=USUAL.client_command + 1)
            assert relay.relay.sessions
            relay.sweep(after=2 * USUAL.client_command + 2)
            await relay.until_idle()
            assert relay.relay.census.total() == 0


class TestTheProvider:
    STEPS = pytest.mark.parametrize(
        ("step", "seconds"),
        [
            ("AUTH", USUAL.provider_command),
            ("MAIL", USUAL.provider_command),
            ("RCPT", USUAL.provider_command),
            ("DATA", USUAL.provider_data_initiation),
            ("end of data", USUAL.provider_data_termination),
            ("BDAT", USUAL.provider_command),
            ("BDAT LAST", USUAL.provider_data_termination),
            ("RSET", USUAL.provider_command),
            ("NOOP", USUAL.provider_command),
            ("QUIT", USUAL.provider_command),
        ],
    )

    @STEPS
    async def test_that_does_not_answer(self, tmp_path: Path, step: str, seconds: float) -> None:
        async with (
            RecordingProvider(replies={step: never}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await _say_until(client, step)
            await relay.heard(client.sent)
            await relay.until(lambda: relay.session._session.phase is not Phase.OURSELVES)  # asked about a recipient
            relay.sweep(after=seconds - 1)
            assert relay.relay.sessions
            relay.sweep(after=seconds + 1)
            answer = await client.rest()
            assert answer[:1] == b"4"
            assert b"250" not in answer
            await relay.until_idle()
            assert await relay.emails() == []
            gaps = [gap.kind for gap in await relay.gaps()]
            assert gaps == (["outcome_unknown"] if step in ("end of data", "BDAT LAST") else [])

    async def test_a_chatty_client_does_not_renew_the_wait_for_the_provider(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider(replies={"NOOP": never}) as provider,
            InProcess(tmp_path, [provider]) as relay,
        ):
            clock = Clock(relay)
            async with Client(relay.port) as client:
                await client.begin()
                for _ in range(5):
                    client.send(b"NOOP\r\n")
                    await relay.heard(client.sent)
                    clock.advance(USUAL.provider_command / 4)
                assert (await client.rest()).startswith(b"421 4.4.2 ")

    @pytest.mark.parametrize("step", ["greeting", "EHLO"])
    async def test_that_does_not_answer_while_it_is_dialled(self, tmp_path: Path, step: str) -> None:
        deadlines = Deadlines(provider_greeting=0.2, provider_command=0.2, failed_login_delay=0.0, drain=1.0)
        async with (
            RecordingProvider(replies={step: never}) as provider,
            InProcess(tmp_path, [provider], deadlines=deadlines) as relay,
            Client(relay.port) as client,
        ):
            assert (await client.greet()).startswith(b"421 4.4.1 ")
            assert await client.rest() == b""
            await provider.until_idle()

    @pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
    async def test_that_goes_mute_in_the_handshake(self, tmp_path: Path, pki: Pki, tls: Tls) -> None:
        deadlines = Deadlines(provider_connect=0.2, provider_command=0.2, failed_login_delay=0.0, drain=1.0)

        async def go_mute(conversation: Conversation, line: bytes) -> bytes:
            conversation.write(b"220 go\r\n")
            return await never(conversation, line)

        provider = RecordingProvider(tls=tls, context=pki.server_context(), replies={"STARTTLS": go_mute})
        if tls is Tls.IMPLICIT:
            provider = RecordingProvider(tls=tls, context=None, replies={"greeting": never})  # TCP and no more
        async with (
            provider,
            InProcess(tmp_path, [provider], pki=pki, deadlines=deadlines) as relay,
            Client(relay.port) as client,
        ):
            assert (await client.greet()).startswith(b"421 4.4.1 ")
            await provider.until_idle()

    async def test_that_is_not_there(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider:
            pass
        async with InProcess(tmp_path, [provider]) as relay, Client(relay.port) as client:
            assert (await client.greet()).startswith(b"421 4.4.1 ")
            assert await client.rest() == b""


async def test_the_sweep_runs_by_itself(tmp_path: Path) -> None:
    """All other tests here sweep by hand."""
    deadlines = Deadlines(client_command=0.2, failed_login_delay=0.0, drain=1.0)
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], deadlines=deadlines) as relay,
        Client(relay.port) as client,
    ):
        await client.reply()
        sweeping = asyncio.ensure_future(relay.relay.sweep())
        assert (await client.rest()).startswith(b"421 4.4.2 ")
        sweeping.cancel()


async def test_a_deadline_over_tls_is_told_over_tls(tmp_path: Path, pki: Pki) -> None:
    listener = Listener(tls=Tls.STARTTLS, provider="provider")
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
        Client(relay.port) as client,
    ):
        await client.greet()
        await client.start_tls(pki.client_context())
        assert (await client.say(b"EHLO client.example\r\n")).startswith(b"250")
        relay.sweep(after=USUAL.client_command + 1)
        assert (await client.rest()).startswith(b"421 4.4.2 ")


class Clock:
    """Time that passes when told: for the client's side; the provider's octets come now or not at all."""

    def __init__(self, relay: InProcess) -> None:
        self._relay = relay
        self._ahead = 0.0
        real = relay.relay.clock
        relay.relay.clock = lambda: real() + self._ahead

    def advance(self, seconds: float) -> None:
        """Lets time pass, with a sweep every second or so as there would be."""
        for _ in range(10):
            self._ahead += seconds / 10
            now = self._relay.relay.clock()
            for session in tuple(self._relay.relay.sessions):
                session.sweep(now)


async def _say_until(client: Client, step: str) -> None:
    await client.greet()
    if step == "AUTH":
        client.send(b"AUTH PLAIN " + plain() + b"\r\n")
        return
    await client.log_in()
    if step in ("RSET", "NOOP", "QUIT"):
        client.send(step.encode() + b"\r\n")
        return
    client.send(b"MAIL FROM:<ann@acme.example>\r\n")
    if step == "MAIL":
        return
    await client.reply()
    client.send(b"RCPT TO:<kim@cust.example>\r\n")
    if step == "RCPT":
        return
    await client.reply()
    if step.startswith("BDAT"):
        client.send(b"BDAT %d" % len(HEADER) + (b" LAST" if step == "BDAT LAST" else b"") + b"\r\n" + HEADER)
        return
    client.send(b"DATA\r\n")
    if step == "end of data":
        await client.reply()
        client.send(HEADER + b".\r\n")
