"""TLS with our clients: injection behind STARTTLS, state carried over it, old versions, and browsers (ALPACA)."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from pathlib import Path

import pytest
from in_process import InProcess
from pki import Pki, old_client_context
from recording_provider import RecordingProvider
from rows import octets_of, rows
from smtp_client import Client, plain

from proxy.limits import Deadlines, Limits
from proxy.route import Listener, Tls

INJECTIONS = rows(__file__, "starttls_injection.txt", 1)
STARTTLS = Listener(tls=Tls.STARTTLS, provider="provider")
IMPLICIT = Listener(tls=Tls.IMPLICIT, provider="provider")
# A listener for each way that TLS begins.
WAYS = pytest.mark.parametrize("listener", [STARTTLS, IMPLICIT], ids=["starttls", "implicit"])


async def connect_securely(client: Client, listener: Listener, context: ssl.SSLContext) -> None:
    """TLS is up and nothing was said on it yet, but the greeting where it comes after."""
    if listener is STARTTLS:
        await client.greet()
        await client.start_tls(context)
    else:
        await client.handshake(context)


class TestInjection:
    @pytest.mark.parametrize("text", INJECTIONS)
    async def test_octets_behind_starttls(self, tmp_path: Path, pki: Pki, text: str) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            octets = octets_of(text)
            client.send(octets)
            answer = await client.rest()  # no reply to the command in clear, and no handshake to glue it to
            assert b"220" not in answer
            assert answer.count(b"\r\n") == (5 if octets.startswith(b"EHLO") else 0)
            await relay.until_idle()
            assert provider.commands == []

    async def test_octets_between_our_reply_and_the_handshake(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            assert (await client.say(b"STARTTLS\r\n")).startswith(b"220")
            client.send(b"EHLO injected\r\nRSET\r\n")
            await client.flush()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await client.handshake(pki.client_context())
            await relay.until_idle()
            assert provider.commands == []

    async def test_half_a_line_before_starttls_is_not_glued_to_the_first_secure_one(
        self, tmp_path: Path, pki: Pki
    ) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            client.send(b"STARTTLS\r\nEHLO evil.example")
            assert await client.rest() == b""
            assert provider.commands == []


class TestState:
    async def test_what_was_said_in_clear_is_forgotten(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            in_clear = await client.greet()
            assert b"AUTH" not in in_clear
            assert b"STARTTLS" in in_clear
            assert provider.connections == 0  # nothing of the provider's is known or shown before TLS
            await client.start_tls(pki.client_context())
            assert (await client.say(b"AUTH PLAIN " + plain() + b"\r\n")).startswith(b"503")  # no EHLO yet
            assert (await client.say(b"MAIL FROM:<a@b.example>\r\n")).startswith(b"503")
            secured = await client.say(b"EHLO client.example\r\n")
            assert b"AUTH" in secured
            assert b"STARTTLS" not in secured

    async def test_a_second_starttls(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            await client.start_tls(pki.client_context())
            assert (await client.say(b"STARTTLS\r\n")).startswith(b"503")
            await client.say(b"EHLO client.example\r\n")
            await client.log_in()
            await client.address(b"kim@cust.example")
            assert (await client.say(b"STARTTLS\r\n")).startswith(b"503")
            assert (await client.say(b"DATA\r\n")).startswith(b"354")

    async def test_starttls_takes_no_argument(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            assert (await client.say(b"STARTTLS now\r\n")).startswith(b"501")
            await client.start_tls(pki.client_context())

    @pytest.mark.parametrize(
        "command",
        [b"MAIL FROM:<a@b.example>", b"RCPT TO:<a@b.example>", b"DATA", b"BDAT 0 LAST", b"VRFY ann", b"HELP"],
    )
    async def test_before_tls_only_tls_is_to_be_had(self, tmp_path: Path, pki: Pki, command: bytes) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            assert (await client.say(command + b"\r\n")).startswith(b"530 5.7.0")
            assert provider.connections == 0

    @pytest.mark.parametrize(
        "lines",
        [
            [b"AUTH PLAIN " + plain()],
            [b"AUTH LOGIN", base64.b64encode(b"ann@acme.example"), base64.b64encode(b"secret")],
            [b"AUTH LOGIN " + base64.b64encode(b"ann@acme.example"), base64.b64encode(b"secret")],
            [b"AUTH XOAUTH2 " + base64.b64encode(b"user=ann\x01auth=Bearer secret\x01\x01")],
        ],
    )
    async def test_a_password_said_in_clear_goes_nowhere(self, tmp_path: Path, pki: Pki, lines: list[bytes]) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            for number, line in enumerate(lines):
                answer = await client.say(line + b"\r\n")
                assert answer.startswith(b"500" if number else b"530 5.7.0")
                assert line not in answer
            await client.start_tls(pki.client_context())
            assert provider.connections == 0
            shown = repr(relay.log)
            assert "secret" not in shown
            assert not [line for line in lines if line.decode().rpartition(" ")[2] in shown]

    async def test_a_failed_handshake_ends_the_session(self, tmp_path: Path, pki: Pki) -> None:
        """There is no way back to clear."""
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            assert (await client.say(b"STARTTLS\r\n")).startswith(b"220")
            client.send(b"\x16\x03\x01\x00\x05hello" + b"\r\nEHLO x\r\n" * 20)
            answer = await client.rest()
            assert b"250" not in answer
            assert b"EHLO" not in answer
            await relay.until_idle()

    async def test_a_handshake_that_does_not_go_on_ends_in_time(self, tmp_path: Path, pki: Pki) -> None:
        deadlines = Deadlines(tls_handshake=0.2, failed_login_delay=0.0, drain=1.0)
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[STARTTLS, IMPLICIT], deadlines=deadlines) as relay,
            Client(relay.ports[0]) as client,
            Client(relay.ports[1]) as mute,
        ):
            await client.greet()
            assert (await client.say(b"STARTTLS\r\n")).startswith(b"220")
            client.send(b"\x16\x03")
            mute.send(b"\x16")
            assert await client.rest() == b""
            assert await mute.rest() == b""
            await relay.until_idle()
            assert relay.relay.census.total() == 0


class TestTls:
    @WAYS
    async def test_older_than_1_2_is_refused(self, tmp_path: Path, pki: Pki, listener: Listener) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
            Client(relay.port) as client,
        ):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connect_securely(client, listener, old_client_context())
            await relay.until_idle()

    @WAYS
    @pytest.mark.parametrize("cipher", ["RC4", "3DES", "eNULL", "aNULL", "EXP", "LOW", "MD5", "SEED", "IDEA"])
    async def test_weak_ciphers_are_not_spoken(self, tmp_path: Path, pki: Pki, listener: Listener, cipher: str) -> None:
        context = pki.client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.set_ciphers(cipher + ":@SECLEVEL=0")
        except ssl.SSLError:
            context = None  # OpenSSL knows no such cipher any more, so neither side can
        if context is None:
            offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).get_ciphers()
            assert not [each for each in offered if cipher in each["name"]]
            return
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
            Client(relay.port) as client,
        ):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connect_securely(client, listener, context)

    @WAYS
    @pytest.mark.parametrize("name", ["localhost", "localhost.", "unknown.example", "x" * 60 + ".example", "127.0.0.1"])
    async def test_any_server_name_gets_a_certificate(
        self, tmp_path: Path, pki: Pki, listener: Listener, name: str
    ) -> None:
        """What the name should have been is for the client to judge; quirk_trailing_dot for one is Outlook's."""
        context = pki.client_context()
        context.check_hostname = False
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
            Client(relay.port, server_name=name) as client,
        ):
            await connect_securely(client, listener, context)
            assert (await client.greet() if listener is IMPLICIT else await client.say(b"EHLO x\r\n")).startswith(
                b"250"
            )

    @WAYS
    async def test_a_client_certificate_is_neither_asked_for_nor_minded(
        self, tmp_path: Path, pki: Pki, listener: Listener
    ) -> None:
        context = pki.client_context()
        context.load_cert_chain(*pki.issue("client.example"))
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
            Client(relay.port) as client,
        ):
            await connect_securely(client, listener, context)
            if listener is IMPLICIT:
                await client.greet()
            assert (await client.say(b"MAIL FROM:<a@b.example>\r\n"))[:1] == b"5"  # it is no login

    @WAYS
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_sessions_are_not_resumed(
        self, tmp_path: Path, pki: Pki, listener: Listener, version: ssl.TLSVersion
    ) -> None:
        """A ticket would carry a session from one server name's certificate to another's."""
        context = pki.client_context()
        context.minimum_version = context.maximum_version = version
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
        ):
            reused = await asyncio.to_thread(_resume, relay.port, listener, context)
            assert reused is False

    @WAYS
    @pytest.mark.parametrize("protocols", [["http/1.1"], ["h2"], ["h2", "http/1.1"], ["smtp", "http/1.1"]])
    async def test_a_browser_hears_nothing(
        self, tmp_path: Path, pki: Pki, listener: Listener, protocols: list[str]
    ) -> None:
        context = pki.client_context()
        context.set_alpn_protocols(protocols)
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
            Client(relay.port) as client,
        ):
            await connect_securely(client, listener, context)
            client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nEHLO x\r\n")
            assert await client.rest() == b""
            assert provider.commands == []

    @WAYS
    async def test_other_protocols_are_no_trouble(self, tmp_path: Path, pki: Pki, listener: Listener) -> None:
        context = pki.client_context()
        context.set_alpn_protocols(["smtp", "submissions"])
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
            Client(relay.port) as client,
        ):
            await connect_securely(client, listener, context)
            if listener is IMPLICIT:
                await client.reply()
            assert (await client.say(b"EHLO x.example\r\n")).startswith(b"250")

    async def test_http_in_clear_where_tls_should_begin(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[IMPLICIT]) as relay,
            Client(relay.port) as client,
        ):
            client.send(b"GET /reflect HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await client.rest()
            assert b"220" not in answer
            assert b"reflect" not in answer


class TestEarlyTalk:
    """RFC 5321 §4.3.1: who speaks before the greeting is no mail client, or not alone."""

    async def test_before_the_greeting(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], opens=False) as relay,
            Client(relay.port) as client,  # it waits in the backlog of the socket
        ):
            client.send(b"EHLO x.example\r\nMAIL FROM:<a@b.example>\r\n")
            await client.flush()
            await relay.open()
            answer = await client.rest()
            assert answer.startswith(b"554 5.5.0 ")
            assert answer.count(b"\r\n") == 1
            assert provider.connections == 0

    async def test_a_gibibyte_before_the_handshake_is_not_kept(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[IMPLICIT], limits=Limits()) as relay,
            Client(relay.port) as client,
        ):
            client.send(b"x" * 8 * 1024 * 1024)
            assert b"220" not in await client.rest()
            await relay.until_idle()


def _resume(port: int, listener: Listener, context: ssl.SSLContext) -> bool:
    """Whether a second connection takes up the session of the first. Blocking sockets: asyncio hides sessions."""
    session = None
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            if listener is STARTTLS:
                for said in (b"EHLO x.example\r\n", b"STARTTLS\r\n"):
                    raw.recv(1000)
                    raw.sendall(said)
                while not raw.recv(1000).startswith(b"220"):
                    pass
            with context.wrap_socket(raw, server_hostname="localhost", session=session) as secure:
                secure.sendall(b"NOOP\r\n")
                secure.recv(1000)
                session, reused = secure.session, bool(secure.session_reused)
    return reused
