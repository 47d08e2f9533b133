"""The IMAP pass-through of the program as a process: slow readers, signals, certificates."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from imap_client import ImapClient
from pki import Pki
from scripted_mailbox import LOGIN, LoggedIn, ScriptedMailbox
from served import Served

from proxy.route import Tls

MIB = 1024 * 1024
SIZE = 100 * MIB
BLOCK = b"x" * 65534 + b"\r\n"
SLACK = 24 * MIB  # of allocators and TLS buffers, and of the socket buffers that the process may fill
LISTENERS = ({"kind": "imap", "tls": "implicit"},)
LONGEST = 1.0  # seconds without progress after which a side is held to have been stopped


def _serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def _serial_shown(client: ImapClient) -> int:
    shown = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).serial_number


def _replace(source: Path, target: Path) -> None:
    beside = target.with_suffix(".new")
    shutil.copyfile(source, beside)
    os.replace(beside, target)


class TestASlowReader:
    async def test_of_a_large_message_holds_the_provider_back(self, tmp_path: Path, pki: Pki) -> None:
        sent = 0

        async def fetch(connection: LoggedIn, tag: bytes) -> None:
            nonlocal sent
            connection.say(b"* 1 FETCH (BODY[] {%d}\r\n" % SIZE)
            while sent < SIZE:
                connection.say(BLOCK)
                await connection.drain()
                sent += len(BLOCK)
            connection.say(b")\r\n" + tag + b" OK done\r\n")

        async with (
            ScriptedMailbox(tls=Tls.IMPLICIT, context=pki.server_context(), answers={"FETCH": fetch}) as mailbox,
            Served(tmp_path, pki, providers=[mailbox.table(pki.ca_file)], listeners=LISTENERS) as served,
            ImapClient(served.port, context=pki.client_context()) as client,
        ):
            await client.begin(LOGIN)
            await client.command(b"a SELECT INBOX")
            before = served.resident_memory()
            client.send(b"b FETCH 1 BODY[]\r\n")
            await client.until(rb"^\* 1 FETCH")
            client.stop_reading()
            await _stopped(lambda: sent)
            assert sent < SIZE
            assert served.resident_memory() - before < SLACK
            client.start_reading()
            got = await client.tagged(b"b")
            assert got.count(b"x") == SIZE // len(BLOCK) * (len(BLOCK) - 2)
            assert got.endswith(b")\r\nb OK done\r\n")
            assert served.resident_memory() - before < SLACK

    async def test_at_the_provider_holds_the_client_back(self, tmp_path: Path, pki: Pki) -> None:
        go_on = asyncio.Event()

        async def append(connection: LoggedIn, tag: bytes) -> None:
            connection.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await go_on.wait()
            connection.reader._transport.resume_reading()  # type: ignore[attr-defined]
            content = await connection.reader.readexactly(SIZE + 2)
            assert content.count(b"x") == SIZE // len(BLOCK) * (len(BLOCK) - 2)
            connection.say(tag + b" OK done\r\n")

        async with (
            ScriptedMailbox(tls=Tls.IMPLICIT, context=pki.server_context(), answers={"APPEND": append}) as mailbox,
            Served(tmp_path, pki, providers=[mailbox.table(pki.ca_file)], listeners=LISTENERS) as served,
            ImapClient(served.port, context=pki.client_context()) as client,
        ):
            await client.begin(LOGIN)
            before = served.resident_memory()
            client.send(b"a APPEND INBOX {%d+}\r\n" % SIZE)
            taken = 0

            async def push() -> None:
                nonlocal taken
                for _ in range(SIZE // len(BLOCK)):
                    client.writer.write(BLOCK)
                    await client.writer.drain()
                    taken += len(BLOCK)
                client.writer.write(b"\r\n")

            pushing = asyncio.ensure_future(push())
            await _stopped(lambda: taken)
            assert not pushing.done()
            assert served.resident_memory() - before < SLACK
            go_on.set()
            await pushing
            assert await client.tagged(b"a") == b"a OK done\r\n"
            assert served.resident_memory() - before < SLACK


async def _stopped(progress: object) -> None:
    """Waits until what `progress` tells grows no more."""
    loop = asyncio.get_running_loop()
    last, since = -1, loop.time()
    while loop.time() - since < LONGEST:
        await asyncio.sleep(0.02)
        if progress() != last:  # type: ignore[operator]
            last, since = progress(), loop.time()  # type: ignore[operator]


class TestSigterm:
    async def test_says_bye_between_responses_and_lets_a_literal_end(self, tmp_path: Path, pki: Pki) -> None:
        go_on = asyncio.Event()

        async def fetch(connection: LoggedIn, tag: bytes) -> None:
            connection.say(b"* 1 FETCH (BODY[] {8}\r\nhalf")
            await go_on.wait()
            connection.say(b"half)\r\n" + tag + b" OK done\r\n")

        async with (
            ScriptedMailbox(answers={"FETCH": fetch}) as mailbox,
            Served(tmp_path, pki, providers=[mailbox.table()], listeners=[{"kind": "imap"}]) as served,
            ImapClient(served.port) as waiting,
            ImapClient(served.port) as idle,
            ImapClient(served.port) as busy,
        ):
            await waiting.greet()
            for each in (idle, busy):
                await each.begin(LOGIN)
            await idle.go_ahead(b"a IDLE")
            busy.send(b"a FETCH 1 BODY[]\r\n")
            await busy.until(b"half")
            ending = asyncio.ensure_future(served.terminate())
            bye = b"* BYE [UNAVAILABLE] The relay is shutting down; try again\r\n"
            assert await waiting.rest() == bye
            assert await idle.rest() == bye
            go_on.set()
            rest = await busy.rest()
            assert rest.startswith(b"half)\r\n")
            assert rest.endswith(bye)
            assert await ending == 0
            await mailbox.until(lambda: not mailbox.connections)

    async def test_waits_no_longer_than_it_may(self, tmp_path: Path, pki: Pki) -> None:
        half = b"* 1 FETCH (BODY[] {8}\r\nhalf"
        async with (
            ScriptedMailbox(answers={"FETCH": half}) as mailbox,
            Served(
                tmp_path,
                pki,
                providers=[mailbox.table()],
                listeners=[{"kind": "imap"}],
                settings={"deadlines": {"drain": 0.5}},
            ) as served,
            ImapClient(served.port) as client,
        ):
            await client.begin(LOGIN)
            client.send(b"a FETCH 1 BODY[]\r\n")
            got = await client.until(b"half")
            assert await served.terminate() == 0
            assert got + await client.rest() == half
            await mailbox.until(lambda: not mailbox.connections)


async def test_certificates_are_reloaded_at_sighup_and_open_sessions_go_on(tmp_path: Path, pki: Pki) -> None:
    mine = Pki.make(tmp_path / "mine")
    async with (
        ScriptedMailbox() as mailbox,
        Served(tmp_path, mine, providers=[mailbox.table()], listeners=LISTENERS) as served,
        ImapClient(served.port, context=mine.client_context()) as client,
    ):
        await client.begin(LOGIN)
        await client.go_ahead(b"a IDLE")
        certificate, key = mine.issue("localhost")
        _replace(certificate, mine.certificate)
        _replace(key, mine.key)
        served.hang_up()
        await served.logged("certificates reloaded")
        async with ImapClient(served.port, context=mine.client_context()) as later:
            await later.greet()
            assert _serial_shown(later) == _serial(certificate) != _serial_shown(client)
        client.send(b"DONE\r\n")
        assert await client.tagged(b"a") == b"a OK done\r\n"


@pytest.mark.parametrize("provider_tls", list(Tls))
@pytest.mark.parametrize("tls", list(Tls))
async def test_works_on_every_kind_of_leg(tmp_path: Path, pki: Pki, tls: Tls, provider_tls: Tls) -> None:
    """On the program's loop: what is sent ahead with the login is answered behind it."""
    context = pki.client_context()
    async with (
        ScriptedMailbox(tls=provider_tls, context=pki.server_context()) as mailbox,
        Served(
            tmp_path, pki, providers=[mailbox.table(pki.ca_file)], listeners=[{"kind": "imap", "tls": tls.value}]
        ) as served,
        ImapClient(served.port, context=context if tls is Tls.IMPLICIT else None) as client,
    ):
        await client.greet()
        if tls is Tls.STARTTLS:
            await client.start_tls(context)
        client.send(b'a LOGIN ann@acme.example "correct horse battery"\r\nb SELECT INBOX\r\nc LOGOUT\r\n')
        answer = await client.rest()
        assert [each for each in answer.split(b"\r\n") if each[:2] in (b"a ", b"b ", b"c ")] == [
            b"a OK in",
            b"b OK [READ-WRITE] done",
            b"c OK done",
        ]
