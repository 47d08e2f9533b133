"""Notices to users whose capture was refused, to a real SMTP server (rules.md 7.2)."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from pki import Pki
from recording_provider import PASSWORD, RecordingProvider, Tls
from sample import sample_directory
from served import Served
from structlog.testing import capture_logs

import engine
from certs import client_context
from engine.decision import Decision, Outcome, Reason, Source, UserRef
from proxy.notices import NoticeOptions, Notices
from proxy.sasl import Secret
from store.database import Database
from store.directory import Directory
from store.notice_record import NoticeRecord

FROM_DEE = b"From: dee@acme.example\r\nTo: kim@cust.example\r\nSubject: Buy this http://evil.example\r\n"


def skip(reason: Reason = Reason.USER_NO_PERMISSION, source: Source = Source.BCC, **more: Any) -> Decision:
    return Decision(portal=1, source=source, outcome=Outcome.SKIP, reason=reason, **more)


class Sending:
    """Notices to a recording provider, with a clock that stands still until it is moved."""

    def __init__(self, notices: Notices, now: list[float]) -> None:
        self.notices = notices
        self.now = now

    async def consider(
        self, decision: Decision, header: bytes = FROM_DEE, *, reverse_path: str = "dee@acme.example"
    ) -> None:
        """One decision; what comes of it is done when this returns."""
        self.notices.consider(decision, engine.read(header), reverse_path, 1_795_514_400.0)
        await self.notices.finish(20.0)


@asynccontextmanager
async def sending(folder: Path, provider: RecordingProvider, **more: Any) -> AsyncIterator[Sending]:
    database = await Database.open(f"sqlite:///{folder / 'onrecord.sqlite'}")
    await sample_directory(Directory(database, folder / "bell"))
    context = more.pop("context", None)
    options = NoticeOptions(
        **{"host": "localhost", "port": provider.port, "tls": Tls.NONE, "sender": "log@acme.example"}
        | {"username": "log@acme.example"}
        | more
    )
    now = [1_795_514_400.0]
    notices = Notices(
        options, NoticeRecord(database), password=Secret(PASSWORD.encode()), context=context, clock=lambda: now[0]
    )
    task = asyncio.create_task(notices.run())
    try:
        yield Sending(notices, now)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()


def read(provider: RecordingProvider) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(provider.messages[-1].content, policy=policy.default))


async def test_a_notice_is_automatic_mail_with_the_null_reverse_path_to_the_account(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, sending(tmp_path, provider) as sends:
        await sends.consider(skip())
        (received,) = provider.messages
        assert received.reverse_path == b""
        assert received.forward_paths == [b"dee@acme.example"]
        notice = read(provider)
        assert notice["Auto-Submitted"] == "auto-replied"
        assert (notice["From"], notice["To"]) == ("log@acme.example", "dee@acme.example")
        assert "you have not given access to personal email" in notice.get_content()


async def test_a_notice_quotes_nothing_of_the_message(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, sending(tmp_path, provider) as sends:
        await sends.consider(skip())
        assert b"evil" not in provider.messages[0].content
        assert b"kim@" not in provider.messages[0].content


@pytest.mark.parametrize(
    "reason",
    [
        Reason.CAPTURE_SENDER_UNVERIFIED,
        Reason.USER_NO_PERMISSION,
        Reason.FORWARD_NOT_PARSED,
        Reason.ALL_CONTACTS_NEVER_LOG,
        Reason.ERASED_ADDRESS,
    ],
)
@pytest.mark.parametrize("source", [Source.BCC, Source.FORWARD])
async def test_each_refusal_is_told(tmp_path: Path, reason: Reason, source: Source) -> None:
    async with RecordingProvider() as provider, sending(tmp_path, provider) as sends:
        await sends.consider(skip(reason, source))
        assert len(provider.messages) == 1


async def test_a_notice_goes_to_the_account_and_not_to_the_address_that_was_used(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, sending(tmp_path, provider) as sends:
        await sends.consider(skip(Reason.CAPTURE_SENDER_UNVERIFIED), b"From: Sales@acme.example\r\n")
        assert provider.messages[0].forward_paths == [b"ann@acme.example"]


async def test_a_user_is_told_once_an_hour_and_another_one_all_the_same(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, sending(tmp_path, provider) as sends:
        for _ in range(3):
            await sends.consider(skip())
        await sends.consider(skip(user=UserRef(id=1, address="ann@acme.example")))
        assert [each.forward_paths for each in provider.messages] == [[b"dee@acme.example"], [b"ann@acme.example"]]
        sends.now[0] += 3599
        await sends.consider(skip())
        assert len(provider.messages) == 2
        sends.now[0] += 1
        await sends.consider(skip())
        assert len(provider.messages) == 3


async def test_the_hour_is_kept_by_the_store_and_not_by_the_process(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path / 'onrecord.sqlite'}")
    await sample_directory(Directory(database, tmp_path / "bell"))
    assert await NoticeRecord(database).claim(1, 100.0, seconds=3600)
    assert not await NoticeRecord(database).claim(1, 3699.0, seconds=3600)
    assert await NoticeRecord(database).claim(1, 3700.0, seconds=3600)
    await database.close()


@pytest.mark.parametrize(
    ("decision", "header", "reverse_path"),
    [
        (skip(), FROM_DEE + b"Auto-Submitted: auto-replied\r\n", "dee@acme.example"),
        (skip(), FROM_DEE + b"Precedence: Bulk\r\n", "dee@acme.example"),
        (skip(), FROM_DEE + b"List-Id: <l.example>\r\n", "dee@acme.example"),
        (skip(), FROM_DEE, ""),
        (skip(source=Source.RELAY), FROM_DEE, "dee@acme.example"),
        (skip(Reason.CAPTURE_SENDER_NOT_USER), FROM_DEE, "dee@acme.example"),
        (skip(Reason.MODE_REPLIES_ONLY), FROM_DEE, "dee@acme.example"),
        (skip(), b"From: x@stranger.example\r\n", "x@stranger.example"),
        (skip(), b"From: kim@cust.example\r\n", "kim@cust.example"),
        (skip(), b"From: eve@acme.example\r\n", "eve@acme.example"),
        (skip(), b"From: ann@acme.example, dee@acme.example\r\n", "dee@acme.example"),
        (skip(), b"", "dee@acme.example"),
    ],
    ids=[
        "automatic", "bulk", "list", "null reverse-path", "no capture address", "no user", "another reason",
        "a stranger", "a contact", "an inactive user", "two users", "nobody",
    ],
)  # fmt: skip
async def test_nobody_is_told(tmp_path: Path, decision: Decision, header: bytes, reverse_path: str) -> None:
    async with RecordingProvider() as provider, sending(tmp_path, provider) as sends:
        await sends.consider(decision, header, reverse_path=reverse_path)
        assert provider.connections == 0


async def test_auto_submitted_no_is_a_persons_mail(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, sending(tmp_path, provider) as sends:
        await sends.consider(skip(), FROM_DEE + b"Auto-Submitted: No\r\n")
        assert len(provider.messages) == 1


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
async def test_the_server_is_verified(tmp_path: Path, pki: Pki, tls: Tls) -> None:
    async with RecordingProvider(tls=tls, context=pki.server_context()) as provider:
        async with sending(tmp_path, provider, tls=tls, context=client_context(pki.ca_file)) as sends:
            await sends.consider(skip())
            assert len(provider.messages) == 1
            assert provider.logins == ["log@acme.example"]
        other = tmp_path / "other"
        other.mkdir()
        async with sending(other, provider, tls=tls, context=client_context(None)) as sends:
            with capture_logs() as logs:
                await sends.consider(skip())
            assert [each["event"] for each in logs] == ["a notice could not be sent"]
            assert len(provider.messages) == 1
            assert PASSWORD not in str(logs)


async def test_a_server_that_refuses_is_logged_and_the_next_notice_is_sent(tmp_path: Path) -> None:
    verdicts = {b"dee@acme.example": b"550 5.1.1 nobody\r\n"}
    async with RecordingProvider(verdicts=verdicts) as provider, sending(tmp_path, provider) as sends:
        with capture_logs() as logs:
            await sends.consider(skip())
        assert [(each["event"], each["cause"]) for each in logs] == [
            ("a notice could not be sent", "SMTPRecipientsRefused")
        ]
        await sends.consider(skip(user=UserRef(id=1, address="ann@acme.example")))
        assert [each.forward_paths for each in provider.messages] == [[b"ann@acme.example"]]


async def test_the_running_program_tells_a_user_without_permission_once(tmp_path: Path, pki: Pki) -> None:
    password = tmp_path / "notices.password"
    password.write_text(f"{PASSWORD}\n")
    async with RecordingProvider() as provider, RecordingProvider() as sink:
        notices = {
            "host": "localhost",
            "port": sink.port,
            "tls": "none",
            "username": "log@acme.example",
            "password_file": password,
            "sender": "log@acme.example",
        }
        async with Served(tmp_path, pki, providers=[provider], settings={"notices": notices}) as served:
            await asyncio.to_thread(_send_copies, served.port)
            await served.drained()
            await sink.until(lambda: bool(sink.messages))
            await served.terminate()
        assert [each.forward_paths for each in sink.messages] == [[b"dee@acme.example"]]
        assert len(provider.messages) == 2


def _send_copies(port: int) -> None:
    """Two messages of Dee's with a copy to the BCC address of the portal."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("dee@acme.example", PASSWORD)
        for number in (1, 2):
            content = FROM_DEE + f"Message-ID: <{number}@acme.example>\r\n\r\nHello {number}\r\n".encode()
            client.sendmail("dee@acme.example", ["kim@cust.example", "log-p1@cap.example"], content)
