"""Every worked scenario (`rows.toml`) on the path that it names, and what must hold of all of them.

Rows with path R go over SMTP through a real relay to a real sink, and what is checked is what the store says
afterwards and what octets the sink got. The other paths go through the engine and the real directory.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess
from recording_provider import Received, RecordingProvider
from scenario import Expected, Mail, Row, read_rows
from smtp_client import Client
from sqlalchemy import select

import engine
from engine.capture import Capture
from engine.decision import Decision, Flag, Outcome, Reason, Source
from engine.directory import Answer
from proxy.recorder import Recorder
from store import schema
from store.database import Database
from store.directory import Directory, DirectoryError
from store.lookups import Lookups
from store.parsing import ParseLimits

ROWS = read_rows(Path(__file__).with_name("rows.toml"))
REFUSED = [row for row in ROWS if row.get("refused_by_directory")]
RELAYED = [row for row in ROWS if row.path == "R" and row not in REFUSED]
OTHERS = [row for row in ROWS if row.path != "R"]
HOME = 1  # the id of P1, which is made first
USER_UNKNOWN = b"550 5.1.1 no such person\r\n"


class _Relay(InProcess):
    """Reads content under small limits, so that rows about them need no large messages."""

    def _make_recorder(self, lookups: Lookups) -> Recorder:
        recorder = super()._make_recorder(lookups)
        recorder._parser._limits = ParseLimits(attachment=1024 * 1024, text=64 * 1024)
        return recorder


def named(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, id=row.id) for row in rows]


# -- through the relay ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", named(RELAYED))
async def test_mail_through_the_relay_is_decided_as_the_row_says(row: Row, tmp_path: Path) -> None:
    async with (
        RecordingProvider(password="secret") as provider,
        _Relay(tmp_path, [provider], sample=False) as relay,
    ):
        await row.fill(relay.directory)
        for number, step in enumerate(row.get("before", ()), start=1):
            await _happen(row, step, relay, provider, number)
        decided_before = len(await relay.decisions())
        mail = row.mail()
        for _ in range(row.get("times", 1)):
            await _submit(mail, relay, provider, row.get("reply"))
        decisions = (await relay.decisions())[decided_before:]
        for step in row.get("after", ()):
            await row.change(relay.directory, step)
        _check_decisions(row, decisions)
        await _check_log(row, relay)
        assert await relay.gaps() == []


async def _happen(
    row: Row, step: Mapping[str, Any], relay: InProcess, provider: RecordingProvider, number: int
) -> None:
    if "mail" in step:
        await _submit(row.mail(step, number=number), relay, provider, None)
        await relay.recorded()
    else:
        await row.change(relay.directory, step)


async def _submit(mail: Mail, relay: InProcess, provider: RecordingProvider, reply: str | None) -> None:
    """Sends the message, and sees that the client's octets and the provider's verdicts arrive as they are."""
    provider.verdicts = {each.encode(): USER_UNKNOWN for each in mail.refused}
    provider.replies = {"end of data": reply.encode() + b"\r\n"} if reply else {}
    taken_before = len(provider.messages)
    async with Client(relay.port) as client:
        await client.begin(mail.login)
        assert (await client.say(b"MAIL FROM:<" + mail.author.encode() + b">\r\n")).startswith(b"250")
        for recipient in mail.recipients:
            answer = await client.say(b"RCPT TO:<" + recipient.encode() + b">\r\n")
            assert answer == (USER_UNKNOWN if recipient in mail.refused else b"250 2.1.5 recipient ok\r\n")
        ended_before = sum(relay.captures.counts.values())
        answer = await client.say(b"DATA\r\n")
        if set(mail.recipients) <= set(mail.refused):
            assert answer.startswith(b"554")
            await relay.until(lambda: sum(relay.captures.counts.values()) > ended_before)
            return
        client.send(mail.content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        answer = await client.reply()
    if reply:
        assert answer == reply.encode() + b"\r\n"
        assert len(provider.messages) == taken_before
        await relay.until(lambda: sum(relay.captures.counts.values()) > ended_before)
        return
    assert answer.startswith(b"250 2.0.0 taken as")
    _check_delivery(mail, provider.messages[-1])


def _check_delivery(mail: Mail, received: Received) -> None:
    """Whatever the engine thinks of it, the provider has the very octets; a bare message gains what it lacked."""
    assert received.forward_paths == [each.encode() for each in mail.recipients if each not in mail.refused]
    if not mail.is_bare:
        assert received.content == mail.content
        return
    kept = mail.content.split(b"\r\n")
    added = [line for line in received.content.split(b"\r\n") if line not in kept]
    assert [line for line in received.content.split(b"\r\n") if line not in added] == kept
    assert {line.partition(b":")[0] for line in added} <= {b"Date", b"Message-ID"}


def _check_decisions(row: Row, rows: list[Any]) -> None:
    if row.expected.decision == "none":
        assert rows == []
        return
    assert len(rows) == row.get("times", 1)
    for each in rows:
        decision = Decision.from_json(each.value)
        assert Expected.of(decision) == row.expected
        assert (each.decision, each.reason) == (decision.outcome, decision.reason)
        assert engine.explain(decision)


async def _check_log(row: Row, relay: InProcess) -> None:
    """The records of P1 are those of the row, and no other portal has any."""
    expected = row.expected
    emails = await relay.emails()
    is_log = expected.decision == Outcome.LOG
    assert len(emails) == row.get("records", 1 if is_log else 0)
    home = await relay.directory.portal("P1")
    assert {each.portal for each in emails} <= {home.id}
    if not is_log:
        return
    email = emails[-1]
    assert (email.reason, email.direction, email.attribution) == (
        expected.reason,
        expected.direction,
        expected.attribution,
    )
    assert set(email.flags) == expected.flags | set(row.get("record_flags", ()))
    user, contact, linked = schema.user, schema.contact, schema.email_contact
    async with relay.database.read() as connection:
        account = await connection.scalar(select(user.c.account).where(user.c.id == email.user))
        wanted = select(contact.c.primary_address, linked.c.bcc).join(contact, contact.c.id == linked.c.contact)
        contacts = (await connection.execute(wanted.where(linked.c.email == email.id))).all()
        captures = (
            await connection.scalars(select(schema.capture.c.source).where(schema.capture.c.email == email.id))
        ).all()
    assert account == expected.user
    assert {primary + (" (bcc)" if bcc else "") for primary, bcc in contacts} == set(expected.contacts)
    assert captures == ["relay"] * row.get("captures", 1)
    await _check_content(row.mail(), email, relay)


async def _check_content(mail: Mail, email: Any, relay: InProcess) -> None:
    """What is kept is what was sent."""
    raw = await relay.raw(email)
    if mail.is_bare:
        assert raw.endswith(mail.content.partition(b"\r\n\r\n")[2])
        assert b"\r\nMessage-ID: <" in raw
        assert b"\r\nDate: " in raw
    else:
        assert raw == mail.content


# -- through the engine and the directory -----------------------------------------------------------------------------


class Directories:
    """Makes lookups on a directory of its own for each row; rows that ask for the same portals share one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def of(self, row: Row) -> AsyncIterator[Lookups]:
        """The lookups on the row's directory."""
        path = self._folder / (hashlib.sha256(repr(row.directory_key).encode()).hexdigest() + ".sqlite")
        is_new = not path.exists()
        database = await Database.open(f"sqlite:///{path}", migrate_first=is_new)
        bell = path.with_suffix(".bell")
        try:
            if is_new:
                await row.fill(Directory(database, bell))
            yield Lookups(database, bell)
        finally:
            await database.close()


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Directories:
    """The directories that rows ask for, each filled once."""
    return Directories(tmp_path_factory.mktemp("directories"))


async def _answers(lookups: Lookups, capture: Capture, mail: Mail) -> tuple[Answer, ...]:
    asked = engine.question(capture, engine.read(mail.header_section))
    if asked.login is None and capture.recipients:  # at a gateway the recipient chooses the portal
        asked = replace(asked, login=capture.recipients[0])
    return await lookups.ask(asked)


async def _decide(lookups: Lookups, capture: Capture, mail: Mail) -> tuple[Decision, ...]:
    message = engine.read(mail.header_section)
    return engine.decide_each(capture, message, await _answers(lookups, capture, mail))


@pytest.mark.parametrize("row", named(OTHERS))
async def test_mail_seen_elsewhere_is_decided_as_the_row_says(row: Row, directories: Directories) -> None:
    async with directories.of(row) as lookups:
        for capture in row.captures():
            decisions = await _decide(lookups, capture, row.mail())
            assert [Expected.of(each) for each in decisions] == [row.expected]


@pytest.mark.parametrize("row", named(REFUSED))
async def test_the_directory_refuses_what_the_row_says(row: Row, directories: Directories) -> None:
    with pytest.raises(DirectoryError, match=row.get("refused_by_directory")):
        async with directories.of(row):
            pass


# -- what must hold of all of them ------------------------------------------------------------------------------------

ENTRIES = [
    "*@cust.example",
    "kim@cust.example",
    "kim.k@gmail.com",
    "*@other.example",
    "example",
    "*.example",
    "*@acme.example",
]


def _capture_of(row: Row, mail: Mail) -> Capture:
    if row.path != "R":
        return row.captures()[0]
    accepted = tuple(each for each in mail.recipients if each not in mail.refused)
    return Capture(source=Source.RELAY, login=mail.login, recipients=accepted, refused=mail.refused)


@pytest.mark.parametrize("row", named([row for row in ROWS if row not in REFUSED]))
async def test_a_never_log_entry_adds_no_record_to_any_row(row: Row, directories: Directories) -> None:
    mail = row.mail()
    capture, message = _capture_of(row, mail), engine.read(mail.header_section)
    async with directories.of(row) as lookups:
        answers = await _answers(lookups, capture, mail)
    logged = _logged(engine.decide_each(capture, message, answers))
    for entry in ENTRIES:
        portals = (replace(each.portal, never_log=(*each.portal.never_log, entry)) for each in answers)
        answers = tuple(replace(each, portal=portal) for each, portal in zip(answers, portals, strict=True))
        after = _logged(engine.decide_each(capture, message, answers))
        assert after <= logged
        logged = after


def _logged(decisions: tuple[Decision, ...]) -> set[int]:
    return {contact.id for each in decisions if each.outcome is Outcome.LOG for contact in each.contacts}


@pytest.mark.parametrize("row", named([row for row in ROWS if row not in REFUSED]))
async def test_no_row_says_anything_about_another_portal(row: Row, directories: Directories) -> None:
    mail = row.mail()
    async with directories.of(row) as lookups:
        decisions = await _decide(lookups, _capture_of(row, mail), mail)
    assert {each.portal for each in decisions} <= {HOME}


def test_the_rows_show_every_reason_that_mail_can_have_now() -> None:
    shown = {row.get("reason") for row in ROWS}
    explicit = {"bcc_address", "forwarding_address", "manual_log"}
    of_captures = {"capture_sender_not_user", "capture_sender_unverified", "forward_not_parsed", "erased_address"}
    of_threads = {"reply_to_logged", "pending_parent"}
    of_mailboxes = {"draft", "spam_folder"}
    missing = set(Reason) - shown - explicit - of_captures - of_threads - of_mailboxes
    assert missing == set()


def test_the_rows_use_known_flags_only() -> None:
    assert {flag for row in ROWS for key in ("flags", "record_flags") for flag in row.get(key, ())} <= set(Flag)
