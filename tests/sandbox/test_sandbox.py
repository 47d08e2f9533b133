"""The sandbox as somebody uses it who tries onrecord for the first time."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import smtplib
import ssl
import sys
from pathlib import Path

import aioimaplib
import httpx
import pytest
from sandbox_process import SandboxProcess, free_port_base

MAIL = """\
From: {sender}\r
To: {recipient}\r
Subject: Offer\r
Date: Tue, 24 Nov 2026 10:00:00 +0000\r
Message-ID: <{name}@acme.example>\r
\r
Hello\r
"""


def mail(sender: str, recipient: str, name: str) -> bytes:
    return MAIL.format(sender=sender, recipient=recipient, name=name).encode()


def send(sandbox: SandboxProcess, sender: str, recipient: str, message: bytes, *, implicit: bool = True) -> None:
    """Sends through the relay as `sender`, its certificate verified."""
    context = ssl.create_default_context(cafile=str(sandbox.folder / "certs/ca.pem"))
    if implicit:
        with smtplib.SMTP_SSL("localhost", sandbox.base + 65, context=context) as client:
            client.login(sender, "sandbox")
            client.sendmail(sender, [recipient], message)
    else:
        with smtplib.SMTP("localhost", sandbox.base + 87) as client:
            client.starttls(context=context)
            client.login(sender, "sandbox")
            client.sendmail(sender, [recipient], message)


async def read(sandbox: SandboxProcess, account: str, folder: str) -> list[bytes]:
    """All messages of one mailbox, by IMAP."""
    client = aioimaplib.IMAP4("127.0.0.1", sandbox.base + 2)
    await client.wait_hello_from_server()
    assert (await client.login(account, "sandbox")).result == "OK"
    status, lines = await client.select(folder)
    assert status == "OK", lines
    found = await client.uid("fetch", "1:*", "(BODY.PEEK[])")
    await client.logout()
    return [bytes(each) for each in found.lines if isinstance(each, bytearray)]


async def onrecord(sandbox: SandboxProcess, *words: str) -> object:
    """What a command prints as JSON, on the sandbox's settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "onrecord", "-c", str(sandbox.folder / "onrecord.toml"), *words, "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output)


@pytest.fixture
async def sandbox(tmp_path: Path):  # type: ignore[no-untyped-def]
    async with SandboxProcess(tmp_path / "data", free_port_base()) as process:
        yield process


class TestMail:
    async def test_mail_to_a_contact_arrives_unaltered_and_is_logged(self, sandbox: SandboxProcess) -> None:
        message = mail("ann@acme.example", "kim@cust.example", "offer")
        await asyncio.to_thread(send, sandbox, "ann@acme.example", "kim@cust.example", message)
        assert "Logged: ann@acme.example sent it to kim@cust.example" in await sandbox.line("relay: Logged: ")
        assert await read(sandbox, "kim@cust.example", "INBOX") == [message]
        assert await read(sandbox, "ann@acme.example", "Sent") == [message]
        emails = await onrecord(sandbox, "emails")
        assert isinstance(emails, list)
        assert [(each["message_id"], each["contacts"], each["user"]) for each in emails] == [
            ("offer@acme.example", ["kim@cust.example"], "ann@acme.example")
        ]

    async def test_what_is_logged_shows_in_the_pages(self, sandbox: SandboxProcess) -> None:
        """As the guide says: its address, its login, its password. The cookie is read by hand: it is for browsers."""
        guide = "\n".join(sandbox.lines)
        address, login, password = re.search(
            r"In the browser: (\S+)\n  sign in as (\S+), password (.+)", guide
        ).groups()  # type: ignore[union-attr]
        await asyncio.to_thread(
            send, sandbox, "ann@acme.example", "kim@cust.example", mail("ann@acme.example", "kim@cust.example", "offer")
        )
        await sandbox.line("relay: Logged: ")
        async with httpx.AsyncClient(base_url=address, headers={"origin": address}) as client:
            answer = await client.post("/sign-in", data={"login": login, "password": password})
            assert answer.status_code == 303
            cookie = answer.headers["set-cookie"].partition(";")[0]
            text = (await client.get("/portals/P1", headers={"cookie": cookie})).text
            assert "kim@cust.example" in text
            assert "sent_to_contact" in text

    async def test_mail_to_a_stranger_goes_out_and_is_not_logged(self, sandbox: SandboxProcess) -> None:
        message = mail("ann@acme.example", "x@stranger.example", "private")
        await asyncio.to_thread(send, sandbox, "ann@acme.example", "x@stranger.example", message, implicit=False)
        assert "Not logged: nobody it was sent to" in await sandbox.line("ogged: ")
        assert await onrecord(sandbox, "emails") == []

    async def test_the_other_side_answers_without_the_relay(self, sandbox: SandboxProcess) -> None:
        def answer() -> None:
            with smtplib.SMTP("127.0.0.1", sandbox.base + 1) as client:
                client.sendmail("kim@cust.example", ["sales@acme.example"], mail("kim@cust.example", "ann", "answer"))
                with pytest.raises(smtplib.SMTPRecipientsRefused):
                    client.sendmail("kim@cust.example", ["x@stranger.example"], b"Subject: relayed\r\n\r\n")

        await asyncio.to_thread(answer)
        assert len(await read(sandbox, "ann@acme.example", "INBOX")) == 1

    async def test_what_a_user_reads_through_the_relay_is_logged(self, sandbox: SandboxProcess) -> None:
        message = mail("kim@cust.example", "ann@acme.example", "answer")

        def answer() -> None:
            with smtplib.SMTP("127.0.0.1", sandbox.base + 1) as client:
                client.sendmail("kim@cust.example", ["ann@acme.example"], message)

        await asyncio.to_thread(answer)
        context = ssl.create_default_context(cafile=str(sandbox.folder / "certs/ca.pem"))
        client = aioimaplib.IMAP4_SSL("localhost", sandbox.base + 93, ssl_context=context)
        await client.wait_hello_from_server()
        for _ in range(2):  # reading it again changes nothing
            assert (await client.login("ann@acme.example", "sandbox")).result == "OK"
            await client.select("INBOX")
            found = await client.uid("fetch", "1:*", "(BODY.PEEK[])")
            assert [bytes(each) for each in found.lines if isinstance(each, bytearray)] == [message]
            await client.logout()
            client = aioimaplib.IMAP4_SSL("localhost", sandbox.base + 93, ssl_context=context)
            await client.wait_hello_from_server()
        assert "Logged: kim@cust.example sent it" in await sandbox.line("imap_proxy: Logged: ")
        [logged] = await onrecord(sandbox, "emails")  # type: ignore[misc]
        assert (logged["direction"], logged["user"]) == ("incoming", "ann@acme.example")
        sources = [each["source"] for each in logged["captures"]]
        assert sorted(set(sources) | {"observer"}) == ["imap_proxy", "observer"]  # which may have seen it by now
        assert len(sources) == len(set(sources))
        assert (await client.login("ann@acme.example", "guess")).result == "NO"

    async def test_a_wrong_password_is_refused_by_the_provider(self, sandbox: SandboxProcess) -> None:
        def log_in() -> None:
            context = ssl.create_default_context(cafile=str(sandbox.folder / "certs/ca.pem"))
            with smtplib.SMTP_SSL("localhost", sandbox.base + 65, context=context) as client:
                with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
                    client.login("ann@acme.example", "guess")
                assert caught.value.smtp_code == 535

        await asyncio.to_thread(log_in)


class TestProcess:
    async def test_a_restart_finds_mail_and_log_again_and_fresh_begins_anew(self, tmp_path: Path) -> None:
        folder, base = tmp_path / "data", free_port_base()
        message = mail("ann@acme.example", "kim@cust.example", "kept")
        async with SandboxProcess(folder, base) as sandbox:
            await asyncio.to_thread(send, sandbox, "ann@acme.example", "kim@cust.example", message)
            await sandbox.line("Logged: ")
        async with SandboxProcess(folder, base) as sandbox:
            assert await read(sandbox, "kim@cust.example", "INBOX") == [message]
            assert len(await onrecord(sandbox, "emails")) == 1  # type: ignore[arg-type]
        async with SandboxProcess(folder, base, "--fresh") as sandbox:
            assert await read(sandbox, "kim@cust.example", "INBOX") == []
            assert await onrecord(sandbox, "emails") == []

    async def test_ctrl_c_ends_it_cleanly(self, tmp_path: Path) -> None:
        async with SandboxProcess(tmp_path / "data", free_port_base()) as sandbox:
            assert await sandbox.end(signal.SIGINT) == 0
            assert not any("Traceback" in line for line in sandbox.lines)

    async def test_other_ports_get_other_settings_and_the_log_stays(self, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        async with SandboxProcess(folder, free_port_base()):
            pass
        base = free_port_base()
        async with SandboxProcess(folder, base):
            assert f"port = {base + 87}" in (folder / "onrecord.toml").read_text()

    async def test_a_folder_with_other_things_is_never_touched(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("ten years of work")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "onrecord", "sandbox", "--fresh", "--port-base", str(free_port_base()), "--data", str(tmp_path)),
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaint = await process.communicate()
        assert process.returncode == 1
        assert b"give an empty folder with --data" in complaint
        assert (tmp_path / "thesis.txt").exists()

    async def test_a_port_that_is_taken_is_told_with_its_number(self, tmp_path: Path) -> None:
        base = free_port_base()
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", base + 1)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "onrecord", "sandbox", "--port-base", str(base), "--data", str(tmp_path / "data")),
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"NO_COLOR": "1"},
        )
        _, complaint = await process.communicate()
        server.close()
        assert process.returncode == 1
        assert f"127.0.0.1:{base + 1}".encode() in complaint
