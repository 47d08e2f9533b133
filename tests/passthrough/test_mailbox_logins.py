"""Who may come in by IMAP: TLS first, known users, failed logins, and too many connections."""

from __future__ import annotations

import base64
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from debian_peers import PASSWORD
from imap_client import ImapClient, plain_response
from in_process_mailbox import InProcessMailbox
from pki import Pki
from scripted_mailbox import LOGIN, ScriptedMailbox

from proxy.limits import Deadlines, Limits
from proxy.route import Tls

INJECTED = {
    "a command": b"b NOOP\r\n",
    "a login": b"b LOGIN u p\r\n",
    "half a line": b"b LOG",
    "one octet": b"b",
    "64 KiB": b"b NOOP\r\n" * 8192,
}


class TestBeforeTls:
    @pytest.mark.parametrize(
        "line",
        [
            b"a LOGIN ann@acme.example " + base64.b64encode(PASSWORD.encode()),
            b"a AUTHENTICATE PLAIN " + plain_response(LOGIN),
            b"a AUTHENTICATE PLAIN",
            b"a AUTHENTICATE XOAUTH2 " + plain_response(LOGIN),
        ],
    )
    async def test_a_login_in_clear_is_refused_and_goes_nowhere(self, tmp_path: Path, pki: Pki, line: bytes) -> None:
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki, tls=Tls.STARTTLS) as relay,
            ImapClient(relay.port) as client,
        ):
            assert b" LOGINDISABLED" in await client.greet()
            assert b" LOGINDISABLED" in await client.command(b"c CAPABILITY")
            assert (await client.command(line)).startswith(b"a NO [PRIVACYREQUIRED] ")
            assert (mailbox.lines, mailbox.opened) == ([], 0)
            assert line.split(b" ")[-1].decode() not in repr(relay.log)

    @pytest.mark.parametrize("injected", list(INJECTED.values()), ids=list(INJECTED))
    async def test_octets_behind_starttls_end_the_session(self, tmp_path: Path, pki: Pki, injected: bytes) -> None:
        """CVE-2011-0411: in the same segment, and between our answer and the handshake."""
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki, tls=Tls.STARTTLS) as relay,
        ):
            async with ImapClient(relay.port) as client:
                await client.greet()
                client.send(b"a STARTTLS\r\n" + injected)
                assert await client.rest() == b""
            async with ImapClient(relay.port) as client:
                await client.greet()
                assert (await client.command(b"a STARTTLS")).startswith(b"a OK")
                client.send(injected)
                with pytest.raises((ssl.SSLError, ConnectionError, TimeoutError)):
                    await client.handshake(pki.client_context())
            await relay.until_idle()
            assert (mailbox.lines, mailbox.opened) == ([], 0)

    async def test_nothing_said_in_clear_counts_afterwards(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki, tls=Tls.STARTTLS) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.greet()
            await client.command(b'a ID ("name" "in clear")')
            await client.start_tls(pki.client_context())
            told = await client.command(b"b CAPABILITY")
            assert b"AUTH=PLAIN" in told
            assert b"LOGINDISABLED" not in told
            assert b"STARTTLS" not in told
            assert (await client.command(b"c STARTTLS")).startswith(b"c BAD")
            assert b"login OK" in await client.enter(LOGIN)
            assert not any(b"in clear" in each for each in mailbox.lines)

    async def test_a_handshake_that_fails_ends_the_session(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki, tls=Tls.STARTTLS) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.greet()
            with pytest.raises(ssl.SSLError):
                await client.start_tls(ssl.create_default_context())
            await relay.until_idle()
            assert mailbox.opened == 0

    @pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
    async def test_a_browser_hears_nothing(self, tmp_path: Path, pki: Pki, tls: Tls) -> None:
        """ALPACA: what speaks HTTP in TLS gets no word that it could take for an answer."""
        context = pki.client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki, tls=tls) as relay,
            ImapClient(relay.port, context=context if tls is Tls.IMPLICIT else None) as client,
        ):
            if tls is Tls.STARTTLS:
                await client.greet()
                await client.start_tls(context)
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await client.rest() == b""
            assert mailbox.lines == []

    @pytest.mark.parametrize("verb", [b"GET", b"POST"])
    async def test_http_in_clear_is_shown_the_door_and_hears_no_echo(
        self, tmp_path: Path, pki: Pki, verb: bytes
    ) -> None:
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki, tls=Tls.STARTTLS) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.greet()
            client.send(verb + b" /<script> HTTP/1.1\r\nHost: x\r\n\r\na LOGIN u p\r\n")
            answer = await client.rest()
            assert answer.startswith(b"* BYE")
            assert b"script" not in answer
            assert answer.count(b"\r\n") == 1


class TestLogins:
    async def test_failed_ones_are_delayed_and_counted(self, tmp_path: Path, pki: Pki) -> None:
        deadlines = Deadlines(failed_login_delay=0.05, drain=1.0)
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki, deadlines=deadlines, limits=Limits(failed_logins=2)) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.greet()
            before = relay.relay.clock()
            wrong = b"login NO [AUTHENTICATIONFAILED] wrong\r\n"
            assert await client.enter(LOGIN, "wrong") == wrong
            assert relay.relay.clock() - before >= 0.05
            assert await client.enter(LOGIN, "wrong") == wrong
            assert await client.rest() == b"* BYE Too many failed logins\r\n"
            await mailbox.until(lambda: not mailbox.connections)
            await relay.until_idle()

    @pytest.mark.parametrize("command", ["LOGIN", "AUTHENTICATE"])
    @pytest.mark.parametrize(("login", "is_known"), [(LOGIN, True), ("stranger@acme.example", False)])
    async def test_those_of_nobody_we_know_go_nowhere_where_only_users_may(
        self, tmp_path: Path, pki: Pki, command: str, login: str, is_known: bool
    ) -> None:
        line = {
            "LOGIN": f'a LOGIN {login} "{PASSWORD}"'.encode(),
            "AUTHENTICATE": b"a AUTHENTICATE PLAIN " + plain_response(login),
        }[command]
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki, known_users_only=True) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.greet()
            answer = await client.command(line)
            assert answer.startswith(b"a OK" if is_known else b"a NO [AUTHENTICATIONFAILED]")
            assert any(each.startswith(b"a ") for each in mailbox.lines) == is_known

    async def test_no_secret_reaches_the_log(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
        ):
            async with ImapClient(relay.port) as client:
                await client.greet()
                await client.enter(LOGIN, "wrong-secret")
                await client.command(b"wrong-secret")
                await client.enter(LOGIN)
                mailbox.connections[0].reset()
                await client.rest()
            await relay.until_idle()
            assert "secret" not in repr(relay.log)
            assert PASSWORD not in repr(relay.log)


@pytest.mark.parametrize("tls", [Tls.NONE, Tls.STARTTLS, Tls.IMPLICIT])
@pytest.mark.parametrize("limits", [Limits(connections=2), Limits(connections_per_address=2)], ids=["all", "address"])
async def test_too_many_connections_are_turned_away(tmp_path: Path, pki: Pki, tls: Tls, limits: Limits) -> None:
    context = pki.client_context() if tls is Tls.IMPLICIT else None
    async with (
        ScriptedMailbox() as mailbox,
        InProcessMailbox(tmp_path, mailbox, pki=pki, tls=tls, limits=limits) as relay,
        AsyncExitStack() as stack,
    ):
        for _ in range(2):
            client = await stack.enter_async_context(ImapClient(relay.port, context=context))
            assert (await client.greet()).startswith(b"* OK")
        async with ImapClient(relay.port, context=context) as one_more:
            assert await one_more.rest() == b"* BYE [LIMIT] Too many connections; try again later\r\n"
        await client.command(b"a LOGOUT")
        await client.rest()
        await relay.until(lambda: len(relay.relay.sessions) == 1)
        async with ImapClient(relay.port, context=context) as later:
            assert (await later.greet()).startswith(b"* OK")
