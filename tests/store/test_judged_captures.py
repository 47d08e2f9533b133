"""Copies to the BCC address and forwards, proven by real signatures and a real DNS (rules.md 7.1 to 7.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dns_zone import DnsZone
from judged_log import JudgedLog, entry
from log_writer import message
from signer import Signer
from sqlalchemy import select

from engine.directory import Rule
from store import schema

ANN, KIM, NEW = "ann@acme.example", "kim@cust.example", "new@new.example"
BCC, FORWARD = "log-p1@cap.example", "fwd-p1@cap.example"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer("acme.example")


@asynccontextmanager
async def judged(opened: Any, zone: DnsZone, *, seconds: float = 5.0) -> AsyncIterator[JudgedLog]:
    """A log of a portal that logs replies only."""
    await opened.directory.set_portal("P1", rule=Rule.REPLIES_ONLY)
    log = JudgedLog(opened.database, opened.folder, nameservers=(zone.server,), seconds=seconds)
    try:
        yield log
    finally:
        await log.recorder.close()


def from_outside(content: bytes, address: str = BCC, key: str = "outside") -> Any:
    """What another mail server brought: no login, nobody but the portal was sent it."""
    return entry(key, content, source="bcc", captures=[address], reply="", host="")


def forward(content: bytes, key: str = "forward") -> Any:
    """What Ann sends to the forwarding address."""
    return entry(key, content, login=ANN, captures=[FORWARD])


def attached(*originals: bytes, subject: str = "Fwd") -> bytes:
    line = f"--{subject}\r\n".encode()
    parts = [line + b"Content-Type: message/rfc822\r\n\r\n" + each + b"\r\n" for each in originals]
    head = (
        f"From: {ANN}\r\nTo: {KIM}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@acme.example>\r\n"
        f'Date: Tue, 24 Nov 2026 12:00:00 +0100\r\nContent-Type: multipart/mixed; boundary="{subject}"\r\n\r\n'
    ).encode()
    text = line + b"Content-Type: text/plain\r\n\r\nSee below\r\n"
    return head + text + b"".join(parts) + line[:-2] + b"--\r\n"


def inline(kind: str = "text/plain", text: str | None = None) -> bytes:
    block = (
        "---------- Forwarded message ---------\r\nFrom: Kim <kim@cust.example>\r\nDate: Mon, 23 Nov 2026 at 09:30\r\n"
        "Subject: Order\r\nTo: Ann <ann@acme.example>\r\n\r\nPlease send two.\r\n"
    )
    if text is not None:
        block = text
    elif kind == "text/html":
        block = "<div>" + block.replace("<", "&lt;").replace(">", "&gt;").replace("\r\n", "<br>\r\n") + "</div>\r\n"
    return (
        f"From: {ANN}\r\nTo: {FORWARD}\r\nSubject: Fwd: Order\r\nMessage-ID: <fwd@acme.example>\r\n"
        f"Date: Tue, 24 Nov 2026 12:00:00 +0100\r\nContent-Type: {kind}; charset=utf-8\r\n\r\n{block}"
    ).encode()


async def emails(log: JudgedLog) -> list[Any]:
    async with log.database.read() as connection:
        return list((await connection.execute(select(schema.email).order_by(schema.email.c.id))).all())


def order(subject: str = "Order", author: str = KIM) -> bytes:
    return message(author, ANN, message_id=f"<{subject}@cust.example>", subject=subject, body=f"{subject}\r\n")


class TestCopiesFromOutside:
    async def test_one_that_a_signature_proves_is_logged_and_makes_contacts(self, opened: Any, signer: Signer) -> None:
        with DnsZone(signer.records) as zone:
            async with judged(opened, zone) as log:
                content = signer.sign(message(ANN, f"{KIM}, {NEW}"))
                before = await _version(log)
                (decision,) = await log.pass_by(from_outside(content))
                assert (decision.reason, decision.source) == ("bcc_address", "bcc")
                assert {each.address for each in decision.contacts} == {KIM, NEW}
                made = await opened.directory.contact("P1", NEW)
                assert made.owner == ANN
                assert await _version(log) == before + 1

    async def test_one_without_a_signature_is_not_logged(self, opened: Any, signer: Signer) -> None:
        with DnsZone(signer.records) as zone:
            async with judged(opened, zone) as log:
                (decision,) = await log.pass_by(from_outside(message(ANN, KIM)))
                assert decision.reason == "capture_sender_unverified"
                assert await emails(log) == []

    async def test_a_contact_is_made_once(self, opened: Any, signer: Signer) -> None:
        with DnsZone(signer.records) as zone:
            async with judged(opened, zone) as log:
                one, two = (
                    from_outside(signer.sign(message(ANN, NEW, message_id=f"<{n}@a>", subject=n)), key=n) for n in "ab"
                )
                first, second = await log.pass_by(one, two)
                assert [each.id for each in first.contacts] == [each.id for each in second.contacts]

    async def test_while_dns_is_silent_it_waits_and_is_logged_when_it_answers(
        self, opened: Any, signer: Signer
    ) -> None:
        with DnsZone(dict.fromkeys(signer.records, None)) as zone:
            async with judged(opened, zone, seconds=0.2) as log:
                (before,) = await log.pass_by(from_outside(signer.sign(message(ANN, KIM))))
                assert before.reason == "capture_sender_unverified"
                zone.texts.update(signer.records)
                (after,) = await log.end_waiting()
                assert after.reason == "bcc_address"
                assert len(await emails(log)) == 1

    async def test_a_forward_waits_for_dns_too(self, opened: Any, signer: Signer) -> None:
        with DnsZone(dict.fromkeys(signer.records, None)) as zone:
            async with judged(opened, zone, seconds=0.2) as log:
                (before,) = await log.pass_by(from_outside(signer.sign(attached(order("One"), order("Two"))), FORWARD))
                assert before.reason == "capture_sender_unverified"
                zone.texts.update(signer.records)
                after = await log.end_waiting()
                assert [each.reason for each in after] == ["forwarding_address"] * 2
                assert [each.subject for each in await emails(log)] == ["One", "Two"]

    async def test_dns_that_stays_silent_proves_nothing(self, opened: Any, signer: Signer) -> None:
        with DnsZone(dict.fromkeys(signer.records, None)) as zone:
            async with judged(opened, zone, seconds=0.2) as log:
                await log.pass_by(from_outside(signer.sign(message(ANN, KIM))))
                assert await log.end_waiting() == []
                assert await emails(log) == []
                assert not list((opened.folder / "waiting").glob("*"))


async def _version(log: JudgedLog) -> int:
    async with log.database.read() as connection:
        return int(await connection.scalar(select(schema.directory_version.c.version)) or 0)


class TestForwards:
    @pytest.fixture
    async def log(self, opened: Any) -> AsyncIterator[JudgedLog]:
        with DnsZone({}) as zone:
            async with judged(opened, zone) as log:
                yield log

    async def test_each_attached_original_is_an_entry_of_its_own(self, log: JudgedLog) -> None:
        decisions = await log.pass_by(forward(attached(order("One"), order("Two"))))
        assert [(each.reason, each.direction) for each in decisions] == [("forwarding_address", "incoming")] * 2
        assert [each.subject for each in await emails(log)] == ["One", "Two"]
        async with log.database.read() as connection:
            keys = (await connection.scalars(select(schema.decision.c.key))).all()
        assert list(keys) == ["forward.1", "forward.2"]

    async def test_an_attached_forward_is_logged_and_not_what_is_inside_it(self, log: JudgedLog) -> None:
        await log.pass_by(forward(attached(attached(order("Inner"), subject="Middle"))))
        assert [each.subject for each in await emails(log)] == ["Middle"]

    @pytest.mark.parametrize("kind", ["text/plain", "text/html"])
    async def test_an_inline_original_is_logged_with_a_flag(self, log: JudgedLog, kind: str) -> None:
        (decision,) = await log.pass_by(forward(inline(kind)))
        assert decision.reason == "forwarding_address"
        assert "unverified_forward" in decision.flags
        (email,) = await emails(log)
        assert (email.subject, email.__getattr__("from"), email.to) == ("Order", [KIM], [ANN])
        assert "Please send two." in email.text

    async def test_without_an_original_it_says_so(self, log: JudgedLog) -> None:
        (decision,) = await log.pass_by(forward(inline(text="Nothing to see\r\n")))
        assert decision.reason == "forward_not_parsed"
        assert await emails(log) == []

    @pytest.mark.parametrize("kind", ["text/plain", "text/html"])
    async def test_an_inline_original_that_is_too_long_is_cut_with_a_mark(self, log: JudgedLog, kind: str) -> None:
        long = "Please send two.\r\n" + "And more of it.\r\n" * 100_000
        content = inline(kind).replace(b"Please send two.", long.replace("\r\n", "<br>\r\n").encode())
        (decision,) = await log.pass_by(forward(content))
        assert sorted(decision.flags) == ["body_truncated", "unverified_forward"]
        (email,) = await emails(log)
        assert sorted(email.flags) == ["body_truncated", "unverified_forward"]
        assert email.text.startswith("Please send two.")
        assert len(email.text) > 500_000

    async def test_one_whose_text_is_whole_has_no_mark_because_the_html_beside_it_is_cut(self, log: JudgedLog) -> None:
        head, _, block = inline().partition(b"\r\n\r\n")
        head = head.replace(b"text/plain; charset=utf-8", b"multipart/alternative; boundary=A")
        rich = b"Content-Type: text/html\r\n\r\n" + b"<p>And more of it.</p>\r\n" * 60_000
        plain = b"Content-Type: text/plain\r\n\r\n" + block
        content = head + b"\r\n\r\n--A\r\n" + plain + b"\r\n--A\r\n" + rich + b"\r\n--A--\r\n"
        (decision,) = await log.pass_by(forward(content))
        assert sorted(decision.flags) == ["unverified_forward"]

    async def test_more_attached_originals_than_are_read_leave_a_word_about_the_rest(self, log: JudgedLog) -> None:
        decisions = await log.pass_by(forward(attached(*(order(f"n{number}") for number in range(101)))))
        reasons = [each.reason for each in decisions]
        assert reasons == ["forward_not_parsed"] + ["forwarding_address"] * 100
        assert len(await emails(log)) == 100

    async def test_a_redirect_counts_as_the_redirected_message(self, log: JudgedLog) -> None:
        resent = f"Resent-From: {ANN}\r\nResent-To: {FORWARD}\r\n".encode()
        (decision,) = await log.pass_by(forward(resent + order()))
        assert (decision.reason, decision.direction) == ("forwarding_address", "incoming")
        assert "unverified_forward" not in decision.flags
        assert [each.subject for each in await emails(log)] == ["Order"]

    async def test_an_original_that_was_seen_already_is_the_same_record(self, log: JudgedLog, opened: Any) -> None:
        await opened.directory.set_portal("P1", rule=Rule.ALL)
        content = order()
        await log.pass_by(entry("seen", content, source="observer", mailbox=ANN, reply="", host=""))
        await log.pass_by(forward(attached(content)))
        (email,) = await emails(log)
        assert email.reason == "received_from_contact"
        async with log.database.read() as connection:
            sources = (await connection.scalars(select(schema.capture.c.source))).all()
        assert sorted(sources) == ["forward", "observer"]
