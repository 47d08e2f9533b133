"""The life of a session that passes through: either side dies, reads slowly, or says nothing for long."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest
from imap_client import ImapClient
from in_process_mailbox import InProcessMailbox
from pki import Pki
from scripted_mailbox import LOGIN, Answer, LoggedIn, ScriptedMailbox

from proxy.limits import Deadlines
from proxy.route import Tls

HALF = b"* 1 FETCH (BODY[] {1000}\r\n" + b"x" * 400
IDLE_SECONDS = Deadlines().mailbox_idle


class TestTheProvider:
    @pytest.mark.parametrize("how", ["closes", "resets"])
    async def test_that_dies_within_a_literal_leaves_the_client_what_came(
        self, tmp_path: Path, pki: Pki, how: str
    ) -> None:
        async def die(connection: LoggedIn, tag: bytes) -> None:
            connection.say(HALF)
            await connection.drain()
            await asyncio.sleep(0)
            if how == "closes":
                connection.hang_up()
            else:
                await connection.reader.readline()  # what the client says once it has seen the half
                connection.reset()

        async with (
            ScriptedMailbox(answers={"FETCH": die}) as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.begin(LOGIN)
            await client.command(b"a SELECT INBOX")
            client.send(b"b FETCH 1 BODY[]\r\n")
            got = await client.until(rb"x{400}")
            client.send(b"c NOOP\r\n")
            assert got + await client.rest() == HALF
            await relay.until_idle()

    async def test_that_says_bye_is_heard_to_the_end(self, tmp_path: Path, pki: Pki) -> None:
        async def leave(connection: LoggedIn, tag: bytes) -> None:
            connection.say(b"* BYE going down\r\n")
            connection.hang_up()

        async with (
            ScriptedMailbox(answers={"NOOP": leave}) as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.begin(LOGIN)
            client.send(b"a NOOP\r\n")
            assert await client.rest() == b"* BYE going down\r\n"
            await relay.until_idle()

    async def test_that_dies_before_the_login_is_told_of(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.greet()
            mailbox.connections[0].hang_up()
            assert await client.rest() == b"* BYE [UNAVAILABLE] The mail provider closed the connection\r\n"
            await relay.until_idle()

    @pytest.mark.parametrize(
        "answers",
        [
            {"greeting": b"* PREAUTH come in\r\n"},
            {"greeting": b"* BYE go away\r\n"},
            {"greeting": b"220 mail.example ESMTP\r\n"},
            {"STARTTLS": b"%tag OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nx OK injected\r\n"},
            {"STARTTLS": b"%tag OK begin\r\n* OK half a li"},
            {"STARTTLS": b"%tag NO not today\r\n"},
            {"STARTTLS": b"%tag BAD what\r\n"},
        ],
        ids=["PREAUTH", "BYE", "SMTP", "injected", "half injected", "NO", "BAD"],
    )
    async def test_that_cannot_be_trusted_gets_no_login(
        self, tmp_path: Path, pki: Pki, answers: dict[str, Answer]
    ) -> None:
        """TLS comes first on this route, and what is said in clear before it or behind its beginning ends the dial."""
        async with (
            ScriptedMailbox(tls=Tls.STARTTLS, context=pki.server_context(), answers=answers) as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            client.send(b"a LOGIN ann@acme.example secret\r\n")
            answer = await client.rest()
            assert answer.startswith(b"* BYE [UNAVAILABLE] ")
            assert b"injected" not in answer
            assert not any(b"secret" in each for each in mailbox.lines)
            await relay.until_idle()

    async def test_that_shows_the_wrong_certificate_gets_no_login(self, tmp_path: Path, pki: Pki) -> None:
        context = pki.server_context(*pki.issue("other.example"))
        async with (
            ScriptedMailbox(tls=Tls.IMPLICIT, context=context) as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            client.send(b"a LOGIN ann@acme.example secret\r\n")
            assert (await client.rest()).startswith(b"* BYE ")
            assert mailbox.lines == []


class TestTheClient:
    @pytest.mark.parametrize("how", ["closes", "resets"])
    @pytest.mark.parametrize("state", ["before the login", "after it", "in IDLE", "within a literal"])
    async def test_that_dies_takes_the_providers_connection_along(
        self, tmp_path: Path, pki: Pki, state: str, how: str
    ) -> None:
        async with ScriptedMailbox() as mailbox, InProcessMailbox(tmp_path, mailbox, pki=pki) as relay:
            async with ImapClient(relay.port) as client:
                await client.greet()
                if state != "before the login":
                    await client.enter(LOGIN)
                if state == "in IDLE":
                    await client.go_ahead(b"a IDLE")
                if state == "within a literal":
                    client.send(b"a APPEND INBOX {1000+}\r\nhalf\r\n")
                    await mailbox.until(lambda: b"half\r\n" in mailbox.lines)
                assert len(mailbox.connections) == 1
                client.writer.close() if how == "closes" else client.reset()
                await mailbox.until(lambda: not mailbox.connections)
            await relay.until_idle()

    async def test_that_leaves_at_once_has_still_said_what_it_said(self, tmp_path: Path, pki: Pki) -> None:
        """Whoever closes right behind its last command means that command."""
        async with ScriptedMailbox() as mailbox, InProcessMailbox(tmp_path, mailbox, pki=pki) as relay:
            async with ImapClient(relay.port) as client:
                await client.begin(LOGIN)
                client.send(b"a STORE 1 +FLAGS (\\Seen)\r\n")
                client.writer.close()
                await mailbox.until(lambda: b"a STORE 1 +FLAGS (\\Seen)\r\n" in mailbox.lines)
            await relay.until_idle()


class TestSilence:
    async def test_a_session_in_idle_lives_across_a_sweep_and_not_for_ever(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            ScriptedMailbox() as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.begin(LOGIN)
            await client.go_ahead(b"a IDLE")
            relay.sweep(after=IDLE_SECONDS - 60)
            mailbox.connections[0].say(b"* 2 EXISTS\r\n")
            assert await client.until(rb"^\* 2 EXISTS\r\n") == b"* 2 EXISTS\r\n"
            client.send(b"DONE\r\n")
            assert await client.tagged(b"a") == b"a OK done\r\n"
            relay.sweep(after=IDLE_SECONDS + 60)
            assert await client.rest() == b"* BYE Nobody has said anything for too long\r\n"
            await mailbox.until(lambda: not mailbox.connections)
            await relay.until_idle()

    async def test_within_a_literal_ends_the_session_without_a_word_of_ours(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            ScriptedMailbox(answers={"FETCH": HALF}) as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.begin(LOGIN)
            client.send(b"a FETCH 1 BODY[]\r\n")
            got = await client.until(rb"x{400}")
            relay.sweep(after=IDLE_SECONDS + 60)
            assert got + await client.rest() == HALF
            await relay.until_idle()

    @pytest.mark.parametrize("said", [b"", b"a LOGIN ann", b"a LOGIN {5}\r\nan", b"a AUTHENTICATE PLAIN\r\n"])
    async def test_of_a_client_before_the_login_is_short(self, tmp_path: Path, pki: Pki, said: bytes) -> None:
        async with (
            ScriptedMailbox(answers={"AUTHENTICATE": b"+ \r\n"}) as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.greet()
            client.send(said)
            if said.endswith(b"\r\n"):
                await client.until(rb"^\+ \r\n")
            relay.sweep(after=relay.deadlines.client_command - 1)
            assert len(relay.relay.sessions) == 1
            relay.sweep(after=relay.deadlines.client_command + 1)
            assert b"* BYE Timed out waiting for the client\r\n" in await client.rest()
            await relay.until_idle()

    async def test_of_a_provider_that_is_asked_for_a_login_is_told_of(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            ScriptedMailbox(answers={"LOGIN": b""}) as mailbox,
            InProcessMailbox(tmp_path, mailbox, pki=pki) as relay,
            ImapClient(relay.port) as client,
        ):
            await client.greet()
            client.send(b"a LOGIN ann@acme.example x\r\n")
            await mailbox.until(lambda: bool(mailbox.lines))
            relay.sweep(after=relay.deadlines.provider_command + 1)
            answer = await client.rest()
            assert answer.startswith(b"a NO [UNAVAILABLE] ")
            assert b"\r\n* BYE [UNAVAILABLE] " in answer
            await relay.until_idle()


@pytest.mark.parametrize("end", ["LOGOUT", "the provider closes", "the client resets", "before the login"])
async def test_a_session_that_is_over_is_in_nobodys_memory(tmp_path: Path, pki: Pki, end: str) -> None:
    """However it ends, it goes without a search for cycles of references."""
    async with ScriptedMailbox() as mailbox, InProcessMailbox(tmp_path, mailbox, pki=pki) as relay:
        gc.collect()
        gc.disable()
        try:
            async with ImapClient(relay.port) as client:
                await client.greet()
                (session,) = (weakref.ref(each) for each in relay.relay.sessions)
                if end != "before the login":
                    await client.enter(LOGIN)
                relay.sweep(after=1)
                if end == "LOGOUT":
                    await client.command(b"a LOGOUT")
                    await client.rest()
                elif end == "the provider closes":
                    mailbox.connections[0].hang_up()
                    await client.rest()
                elif end == "the client resets":
                    client.reset()
            await relay.until_idle()
            await relay.until(lambda: session() is None)
        finally:
            gc.enable()
