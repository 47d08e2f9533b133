"""Limits that end or refuse a session, each with its reply."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from in_process import InProcess
from pki import Pki
from recording_provider import RecordingProvider
from smtp_client import Client, plain

from proxy.limits import Deadlines, Limits
from proxy.route import Listener, Tls


@pytest.mark.parametrize("tls", [Tls.NONE, Tls.STARTTLS, Tls.IMPLICIT])
@pytest.mark.parametrize("limits", [Limits(connections=2), Limits(connections_per_address=2)], ids=["all", "address"])
async def test_connections(tmp_path: Path, pki: Pki, tls: Tls, limits: Limits) -> None:
    listener = Listener(tls=tls, provider="provider")
    context = pki.client_context() if tls is Tls.IMPLICIT else None
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], pki=pki, listeners=[listener], limits=limits) as relay,
        AsyncExitStack() as stack,
    ):
        for _ in range(2):
            client = await stack.enter_async_context(Client(relay.port, context=context))
            assert (await client.reply()).startswith(b"220")
        async with Client(relay.port, context=context) as one_more:
            assert await one_more.rest() == b"421 4.7.0 Too many connections; try again later\r\n"
        await client.say(b"EHLO client.example\r\n")
        assert (await client.say(b"QUIT\r\n")).startswith(b"221")
        await client.rest()
        await relay.until(lambda: len(relay.relay.sessions) == 1)
        async with Client(relay.port, context=context) as later:
            assert (await later.reply()).startswith(b"220")


@pytest.mark.parametrize("command", [b"WHAT", b"MAIL", b"EHLO", b"AUTH NOPE", b"DATA"])
async def test_bad_commands(tmp_path: Path, command: bytes) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], limits=Limits(bad_commands=3)) as relay,
        Client(relay.port) as client,
    ):
        await client.greet()
        client.send((command + b"\r\n") * 5)
        answers = (await client.rest()).splitlines()
        assert [each[:1] for each in answers] == [b"5"] * 4 + [b"4"]
        assert answers[-1] == b"421 4.7.0 Too many errors"
        await provider.until_idle()


async def test_failed_logins_are_delayed_and_counted(tmp_path: Path) -> None:
    deadlines = Deadlines(failed_login_delay=0.05, drain=1.0)
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], limits=Limits(failed_logins=2), deadlines=deadlines) as relay,
        Client(relay.port) as client,
    ):
        await client.greet()
        before = relay.relay.clock()
        assert (await client.say(b"AUTH PLAIN " + plain(password="wrong") + b"\r\n")).startswith(b"535")
        assert relay.relay.clock() - before >= 0.05
        assert (await client.say(b"AUTH PLAIN " + plain(password="wrong") + b"\r\n")).startswith(b"535")
        assert await client.rest() == b"421 4.7.0 Too many failed logins\r\n"


@pytest.mark.parametrize("excess", [0, 1])
async def test_command_lines(tmp_path: Path, excess: int) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], limits=Limits(command_line=512)) as relay,
        Client(relay.port) as client,
    ):
        await client.greet()
        room = 512 - len(b"VRFY ") + excess
        answer = await client.say(b"VRFY " + b"x" * room + b"\r\n")
        assert answer == (b"500 5.5.6 The line is too long\r\n" if excess else b"252 2.5.0 Send some mail and see\r\n")


async def test_a_limit_of_recipients_counts_each_transaction_anew(tmp_path: Path) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], limits=Limits(recipients=2)) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        for _ in range(3):
            await client.address(b"a@x.example", b"b@x.example")
            assert (await client.say(b"RCPT TO:<c@x.example>\r\n")).startswith(b"452 4.5.3 ")
            await client.say(b"DATA\r\n")
            assert (await client.say(b"Subject: x\r\n\r\n.\r\n")).startswith(b"250")
        assert [each.forward_paths for each in provider.messages] == [[b"a@x.example", b"b@x.example"]] * 3
