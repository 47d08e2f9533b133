"""From a capture address on the wire to decisions and records: copies, forwards, and who may use them (rules.md 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dns_zone import DnsZone
from in_process import InProcess
from recording_provider import RecordingProvider
from signer import Signer
from smtp_client import Client

from engine.directory import Rule
from proxy.route import Listener, ListenerKind, Tls

BCC, FORWARD = b"log-p1@cap.example", b"fwd-p1@cap.example"
LISTENERS = (Listener(tls=Tls.NONE, provider="provider"), Listener(kind=ListenerKind.CAPTURE, tls=Tls.NONE))
INLINE = b"""\
see below\r
\r
---------- Forwarded message ---------\r
From: Kim <kim@cust.example>\r
Date: Mon, 2 Feb 2026 at 09:00\r
Subject: offer\r
To: Ann <ann@acme.example>\r
\r
Dear Ann, here it is.\r
"""
ORIGINAL = b"""\
From: Kim <kim@cust.example>\r
To: ann@acme.example\r
Date: Mon, 2 Feb 2026 09:00:00 +0000\r
Message-ID: <original@cust.example>\r
Subject: offer\r
\r
Dear Ann, here it is.\r
"""
ATTACHED = (
    b"--b\r\nContent-Type: text/plain\r\n\r\nsee below\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + ORIGINAL + b"\r\n--b--\r\n"
)
MIXED = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'


def message(body: bytes = b"hello\r\n", *, to: bytes = b"new@cust.example", more: bytes = b"") -> bytes:
    """A mail of Ann's."""
    return (
        b"From: Ann <ann@acme.example>\r\nTo: " + to + b"\r\nDate: Tue, 3 Feb 2026 10:00:00 +0000\r\n"
        b"Message-ID: <1@acme.example>\r\nSubject: x\r\n" + more + b"\r\n" + body
    )  # fmt: skip


async def submitted(relay: InProcess, content: bytes, *recipients: bytes, login: str = "ann@acme.example") -> None:
    """By a mail client."""
    async with Client(relay.ports[0]) as client:
        await client.begin(login)
        assert (await client.submit(content, *recipients, sender=login.encode())).startswith(b"250")


async def brought(relay: InProcess, content: bytes, *recipients: bytes) -> None:
    """By another server."""
    async with Client(relay.ports[1]) as client:
        await client.greet()
        assert (await client.submit(content, *recipients)).startswith(b"250 2.6.0 ")


async def said(relay: InProcess) -> list[tuple[str, str, str | None]]:
    """Source, reason and user of each decision."""
    found = [each.value for each in await relay.decisions()]
    return [(each["source"], each["reason"], each["user"][1] if "user" in each else None) for each in found]


def relay_of(folder: Path, provider: RecordingProvider, **more: Any) -> InProcess:
    return InProcess(folder, [provider], listeners=LISTENERS, rule=Rule.REPLIES_ONLY, **more)


class TestACopy:
    async def test_makes_contacts_of_who_is_none(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider, relay_of(tmp_path, provider) as relay:
            await submitted(relay, message(to=b"new@cust.example, kim@cust.example"), BCC, b"hidden@cust.example")
            assert await said(relay) == [("bcc", "bcc_address", "ann@acme.example")]
            (decision,) = await relay.decisions()
            named = {address for _, address, _ in decision.value["contacts"]}
            assert named == {"kim@cust.example", "new@cust.example"}
            assert [each.forward_paths for each in provider.messages] == [[b"hidden@cust.example"]]

    @pytest.mark.parametrize(
        ("login", "reason"),
        [("dee@acme.example", "user_no_permission"), ("x@stranger.example", "capture_sender_not_user")],
    )
    async def test_of_somebody_who_may_not_is_taken_and_not_logged(
        self, tmp_path: Path, login: str, reason: str
    ) -> None:
        content = message().replace(b"ann@acme.example", login.encode())
        async with RecordingProvider() as provider, relay_of(tmp_path, provider) as relay:
            await submitted(relay, content, BCC, login=login)
            assert await relay.emails() == []
            assert [each[:2] for each in await said(relay)] == [("bcc", reason)]
            assert provider.messages == []

    async def test_that_a_login_and_a_server_bring_is_one_record(self, tmp_path: Path) -> None:
        signer = Signer("acme.example")
        with DnsZone(signer.records) as zone:
            async with RecordingProvider() as provider, relay_of(
                tmp_path, provider, nameservers=(zone.server,)
            ) as relay:  # fmt: skip
                content = message(to=b"kim@cust.example")
                await submitted(relay, content, BCC, b"kim@cust.example")
                await brought(relay, signer.sign(content), BCC)
                assert len(await relay.emails()) == 1


class TestAForward:
    @pytest.mark.parametrize(
        ("body", "more", "flag"), [(INLINE, b"", True), (ATTACHED, MIXED, False)], ids=["inline", "attached"]
    )
    async def test_logs_what_was_forwarded(self, tmp_path: Path, body: bytes, more: bytes, *, flag: bool) -> None:
        async with RecordingProvider() as provider, relay_of(tmp_path, provider) as relay:
            await submitted(relay, message(body, to=FORWARD, more=more), FORWARD)
            (email,) = await relay.emails()
            assert (email.subject, email.direction) == ("offer", "incoming")
            assert ("forward", "forwarding_address", "ann@acme.example") in await said(relay)
            assert ("unverified_forward" in email.flags) is flag
            assert provider.messages == []

    async def test_from_another_server_needs_proof(self, tmp_path: Path) -> None:
        signer = Signer("acme.example")
        content = message(ATTACHED, to=FORWARD, more=MIXED)
        with DnsZone(signer.records) as zone:
            async with RecordingProvider() as provider, relay_of(
                tmp_path, provider, nameservers=(zone.server,)
            ) as relay:  # fmt: skip
                await brought(relay, content, FORWARD)
                assert await relay.emails() == []
                assert [reason for _, reason, _ in await said(relay)] == ["capture_sender_unverified"]
                await brought(relay, signer.sign(content), FORWARD)
                (email,) = await relay.emails()
                assert await relay.raw(email) == ORIGINAL

    async def test_without_an_original_says_so(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider, relay_of(tmp_path, provider) as relay:
            await submitted(relay, message(to=FORWARD), FORWARD)
            assert await relay.emails() == []
            assert ("forward", "forward_not_parsed", "ann@acme.example") in await said(relay)
