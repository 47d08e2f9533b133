"""The program as a process: certificates that change, signals, and limits over all of its relay processes."""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
import socket
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography import x509
from pki import Pki
from recording_provider import Conversation, RecordingProvider, Tls
from served import Served
from smtp_client import Client, plain

HEADER = (
    b"From: ann@acme.example\r\nTo: kim@cust.example\r\nSubject: x\r\nDate: x\r\nMessage-ID: <%s@acme.example>\r\n\r\n"
)
BOTH = ({"tls": "starttls"}, {"tls": "implicit"})


def serial_of(client: Client) -> int:
    """Which certificate the relay has shown."""
    shown = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).serial_number


def serial_in(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


async def serial_shown(port: int, pki: Pki, name: str = "localhost") -> int:
    context = pki.client_context()
    context.check_hostname = False
    async with Client(port, context=context, server_name=name) as client:
        await client.reply()
        return serial_of(client)


def replace_file(source: Path, target: Path) -> None:
    """As certificate programs do it: a new file takes the place of the old one."""
    beside = target.with_suffix(".new")
    shutil.copyfile(source, beside)
    os.replace(beside, target)


class TestSubmission:
    @pytest.mark.parametrize("provider_tls", list(Tls))
    @pytest.mark.parametrize("listener", [0, 1], ids=["starttls", "implicit"])
    async def test_works_on_every_kind_of_leg(self, tmp_path: Path, pki: Pki, provider_tls: Tls, listener: int) -> None:
        async with (
            RecordingProvider(tls=provider_tls, context=pki.server_context()) as provider,
            Served(tmp_path, pki, providers=[provider], listeners=BOTH) as served,
            Client(served.ports[listener], context=pki.client_context() if listener else None) as client,
        ):
            await client.greet()
            if not listener:
                await client.start_tls(pki.client_context())
                await client.say(b"EHLO client.example\r\n")
            await client.log_in()
            message = HEADER % b"1" + b"x" * 200_000 + b"\r\n"
            assert await client.submit(message) == b"250 2.0.0 taken as 1\r\n"
            assert [each.mail_data for each in provider.messages] == [message]
            await served.drained()
            assert served.rows("select count(*) from email") == [(1,)]

    async def test_octets_behind_starttls_end_the_session_on_the_programs_loop(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], listeners=BOTH) as served,
        ):
            async with Client(served.port) as client:
                await client.greet()
                client.send(b"STARTTLS\r\nEHLO injected\r\n")
                assert await client.rest() == b""
            async with Client(served.port) as client:
                await client.greet()
                assert (await client.say(b"STARTTLS\r\n")).startswith(b"220")
                client.send(b"EHLO injected\r\n")
                await client.flush()
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await client.handshake(pki.client_context())
            assert provider.commands == []

    async def test_a_browser_hears_nothing_on_the_programs_loop(self, tmp_path: Path, pki: Pki) -> None:
        context = pki.client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], listeners=BOTH) as served,
        ):
            async with Client(served.ports[1], context=context) as client:
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                assert await client.rest() == b""
            async with Client(served.ports[0]) as client:
                await client.greet()
                await client.start_tls(context)
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                assert await client.rest() == b""


class TestCertificates:
    async def test_are_chosen_by_server_name(self, tmp_path: Path, pki: Pki) -> None:
        one, wild = pki.issue("one.example"), pki.issue("*.wild.example")
        pairs = [(pki.certificate, pki.key), one, wild]
        settings = {"tls": {"certificates": [{"certificate": cert, "key": key} for cert, key in pairs]}}
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], listeners=[{"tls": "implicit"}], settings=settings) as served,
        ):
            for name, (certificate, _) in {
                "localhost": pairs[0],
                "one.example": one,
                "ONE.example.": one,
                "a.wild.example": wild,
                "a.b.wild.example": pairs[0],
                "wild.example": pairs[0],
                "unknown.example": pairs[0],
            }.items():
                assert await serial_shown(served.port, pki, name) == serial_in(certificate), name

    async def test_are_reloaded_at_sighup_and_open_connections_go_on(self, tmp_path: Path, pki: Pki) -> None:
        mine = Pki.make(tmp_path / "mine")
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, mine, providers=[provider], listeners=[{"tls": "implicit"}]) as served,
            Client(served.port, context=mine.client_context()) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            await client.say(b"DATA\r\n")
            client.send(HEADER % b"1")
            certificate, key = mine.issue("localhost")
            replace_file(certificate, mine.certificate)
            replace_file(key, mine.key)
            served.hang_up()
            await served.logged("certificates reloaded")
            assert await serial_shown(served.port, mine) == serial_in(certificate)
            assert (await client.say(b".\r\n")).startswith(b"250")
            assert (await client.submit(HEADER % b"2")).startswith(b"250")

    @pytest.mark.parametrize("trouble", ["garbage", "another's key", "expired", "missing"])
    async def test_that_are_broken_are_refused_and_the_old_ones_stay(
        self, tmp_path: Path, pki: Pki, trouble: str
    ) -> None:
        mine = Pki.make(tmp_path / "mine")
        before = serial_in(mine.certificate)
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, mine, providers=[provider], listeners=[{"tls": "implicit"}]) as served,
        ):
            if trouble == "garbage":
                mine.certificate.write_text("no certificate\n")
            elif trouble == "another's key":
                replace_file(mine.issue("localhost")[1], mine.key)
            elif trouble == "expired":
                yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
                certificate, key = mine.issue_specially("localhost", not_after=yesterday)
                replace_file(certificate, mine.certificate)
                replace_file(key, mine.key)
            else:
                mine.key.unlink()
            served.hang_up()
            await served.logged("the certificates stay as they were")
            assert str(mine.certificate) in served.log_text()
            assert await serial_shown(served.port, mine) == before
            certificate, key = mine.issue("localhost")
            replace_file(certificate, mine.certificate)
            replace_file(key, mine.key)
            served.hang_up()
            await served.logged("certificates reloaded")
            assert await serial_shown(served.port, mine) == serial_in(certificate)

    async def test_are_reloaded_when_their_files_change(self, tmp_path: Path, pki: Pki) -> None:
        mine = Pki.make(tmp_path / "mine")
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, mine, providers=[provider], listeners=[{"tls": "implicit"}]) as served,
        ):
            certificate, key = mine.issue("localhost")
            replace_file(certificate, mine.certificate)
            replace_file(key, mine.key)
            await served.logged("certificates reloaded")
            assert await serial_shown(served.port, mine) == serial_in(certificate)


class TestSigterm:
    async def test_lets_a_transaction_end(self, tmp_path: Path, pki: Pki) -> None:
        """RFC 5321 §3.8: idle sessions are told at once, a message that has begun is seen through."""
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider]) as served,
            Client(served.port) as idle,
            Client(served.port) as busy,
            Client(served.port) as begun,
        ):
            await idle.begin()
            for each in (busy, begun):
                await each.begin()
                await each.address(b"kim@cust.example")
            await busy.say(b"DATA\r\n")
            busy.send(HEADER % b"1")
            ending = asyncio.ensure_future(served.terminate())
            assert (await idle.rest()).startswith(b"421 4.3.2 ")
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", served.port), timeout=5).close()
            assert (await begun.say(b"DATA\r\n")).startswith(b"354")
            for each, number in ((busy, b""), (begun, HEADER % b"2")):
                assert (await each.say(number + b".\r\n")).startswith(b"250")
                assert (await each.rest()).startswith(b"421 4.3.2 ")
            assert await ending == 0
            assert len(provider.messages) == 2
            assert served.rows("select count(*) from email") == [(2,)]

    async def test_waits_no_longer_than_it_may(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], settings={"deadlines": {"drain": 0.5}}) as served,
            Client(served.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            await client.say(b"DATA\r\n")
            client.send(HEADER % b"1" + b"half")
            assert await served.terminate() == 0
            assert await client.rest() == b""
            await provider.until_idle()
            assert provider.messages == []


class TestSeveralRelayProcesses:
    async def test_share_ports_and_limits(self, tmp_path: Path, pki: Pki) -> None:
        settings = {"workers": 2, "limits": {"connections_per_address": 6}}
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], settings=settings) as served,
        ):
            await served.recorder()  # the last of them has begun
            assert len(served.relays()) == 2
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(Client(served.port)) for _ in range(12)]
                greetings = [await each.reply() for each in clients]
            assert [each[:3] for each in greetings].count(b"220") == 6
            assert [each[:9] for each in greetings].count(b"421 4.7.0") == 6


async def test_no_secret_reaches_the_program_log_at_debug(tmp_path: Path, pki: Pki) -> None:
    secret = "correct-horse-battery"

    def spoil(conversation: Conversation, line: bytes) -> bytes:
        return b"no reply \x00 at all\r\n"

    async with (
        RecordingProvider(password=secret, replies={"NOOP": spoil}) as provider,
        Served(tmp_path, pki, providers=[provider], settings={"log": {"level": "debug"}}) as served,
    ):
        async with Client(served.port) as client:
            await client.greet()
            await client.say(b"AUTH PLAIN " + plain(password="wrong-" + secret) + b"\r\n")
            await client.say(b"AUTH PLAIN " + plain(password=secret) + b"\r\n")
            client.send(secret.encode() + b"\r\nNOOP\r\n")
            await client.rest()
        await served.logged("provider lost")
        shown = served.log_text()
        assert secret not in shown
        assert plain(password=secret).decode() not in shown
        for each in (served.pid, *served.children()):
            assert secret.encode() not in Path(f"/proc/{each}/cmdline").read_bytes()
            assert secret.encode() not in Path(f"/proc/{each}/environ").read_bytes()
