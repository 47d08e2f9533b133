"""Every worked scenario (`rows.toml`) on the path that it names, and what must hold of all of them.

Mail that clients send (R) goes over SMTP through a real relay to a real provider, mail that other servers bring to
capture addresses (B) over SMTP to the listener for them. What mailboxes, gateways and journals show (M, G, X), and what
is asked for by name (L), is put into the spool, as those who watch or fetch it do. From there all of it goes through
the real recorder into a real store, and what is checked is what the store says afterwards, and what octets the provider
got.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from database_template import database_template
from dns_zone import DnsZone
from in_process import HASH_KEY, InProcess
from recording_provider import Received, RecordingProvider
from scenario import DNS_RECORDS, SOURCES, Expected, Mail, Row, read_rows
from smtp_client import Client
from sqlalchemy import select

import engine
from engine.capture import Capture
from engine.decision import Attribution, Decision, Flag, Outcome, Reason
from engine.directory import Answer
from proxy.recorder import Recorder
from proxy.route import Listener, ListenerKind, Tls
from store import schema
from store.corrections import Corrections
from store.database import Database
from store.directory import Directory, DirectoryError
from store.entry import Entry, EntryKind
from store.erasure import Erasure
from store.lookups import Lookups
from store.parsing import ParseLimits

ROWS = read_rows(Path(__file__).with_name("rows.toml"))
REFUSED = [row for row in ROWS if row.get("refused_by_directory")]
DECIDED = [row for row in ROWS if row not in REFUSED]
HOME = 1  # the id of P1, which is made first
USER_UNKNOWN = b"550 5.1.1 no such person\r\n"
LISTENERS = (Listener(tls=Tls.NONE, provider="provider"), Listener(kind=ListenerKind.CAPTURE, tls=Tls.NONE))


@pytest.fixture(scope="module")
def zone() -> Iterator[DnsZone]:
    """A DNS that knows the keys of all who sign in the rows."""
    with DnsZone({}) as zone:
        zone.texts = DNS_RECORDS
        yield zone


class _Relay(InProcess):
    """Reads content under small limits, so that rows about them need no large messages."""

    def __init__(self, folder: Path, provider: RecordingProvider, zone: DnsZone) -> None:
        super().__init__(folder, [provider], sample=False, listeners=LISTENERS, nameservers=(zone.server,))

    def _make_recorder(self, lookups: Lookups) -> Recorder:
        recorder = super()._make_recorder(lookups)
        recorder._parser._limits = ParseLimits(attachment=1024 * 1024, text=64 * 1024)
        return recorder


def named(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, id=row.id) for row in rows]


# -- the whole way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", named(DECIDED))
async def test_the_message_is_decided_as_the_row_says(row: Row, tmp_path: Path, zone: DnsZone) -> None:
    async with RecordingProvider(password="secret") as provider, _Relay(tmp_path, provider, zone) as relay:
        await row.fill(relay.directory)
        people = await _contacts(relay)
        for number, step in enumerate(row.get("before", ()), start=1):
            await _happen(row, step, relay, provider, number, people)
        mail = row.mail()
        found: list[Any] = []
        for _ in range(row.get("times", 1)):
            found += await _pass(mail, relay, provider, row.get("reply"))
        if "at_first" in row.values:
            assert [each.reason for each in found] == [row.get("at_first")] * len(found)
        for number, step in enumerate(row.get("after", ()), start=100):
            await _happen(row, step, relay, provider, number, people)
        keys = {each.key for each in found}
        _check_decisions(row, [each for each in await relay.decisions() if each.key in keys])
        await _check_log(row, relay)
        expected = (row.expected, *row.also)
        assert await _contacts(relay) == people | {
            one for each in expected if each.decision == "log" for one in _plain(each)
        }
        assert await relay.gaps() == []


def _plain(expected: Expected) -> set[str]:
    return {each.removesuffix(" (bcc)") for each in expected.contacts}


async def _contacts(relay: InProcess) -> set[str]:
    """The contacts of P1 by primary address."""
    return {each.primary for each in await relay.directory.contacts("P1")}


async def _happen(
    row: Row, step: Mapping[str, Any], relay: InProcess, provider: RecordingProvider, number: int, people: set[str]
) -> None:
    """One step of a row, and what it does to the contacts, `people`."""
    if "mail" in step:
        found = await _pass(row.mail(step, number=number), relay, provider, step.get("reply"))
        if "reason" in step:
            assert [each.reason for each in found] == [step["reason"]]
        return
    match step:
        case {"erase": address}:
            erasure = Erasure(relay.database, relay.directory, HASH_KEY)
            await erasure.erase(await relay.directory.portal("P1"), row.address(address))
            people.remove(row.address(address))
        case {"stop": True}:
            await Corrections(relay.database, relay.directory).stop_thread((await relay.emails())[-1].id)
        case {"deleted": _}:
            pass  # nobody who fills the spool sees it; `tests/watching` lets a client do it
        case _:
            await row.change(relay.directory, step)
            people |= {step["contact"]} if "contact" in step else set()


async def _pass(mail: Mail, relay: InProcess, provider: RecordingProvider, reply: str | None) -> list[Any]:
    """Lets the message take its path; the decisions on it."""
    known = {each.key for each in await relay.decisions()}
    if mail.path == "R":
        await _submit(mail, relay, provider, reply)
    elif mail.path == "B":
        await _bring(mail, relay)
    else:
        for mailbox in mail.mailboxes or (None,):
            await _show(mail, mailbox, relay)
    return [each for each in await relay.decisions() if each.key not in known]


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
        for address in mail.capture_addresses:
            assert (await client.say(b"RCPT TO:<" + address.encode() + b">\r\n")).startswith(b"250 ")
        ended_before = sum(relay.captures.counts.values())
        if mail.gives_up is not None:
            if mail.gives_up == "leaves":
                client.writer.close()
            else:
                await client.say(mail.gives_up.encode() + b"\r\n")
            await relay.until(lambda: sum(relay.captures.counts.values()) > ended_before)
            return
        answer = await client.say(b"DATA\r\n")
        if set(mail.recipients) <= set(mail.refused) and not mail.capture_addresses:
            assert answer.startswith(b"554")
            await relay.until(lambda: sum(relay.captures.counts.values()) > ended_before)
            return
        client.send(_mail_data(mail))
        answer = await client.reply()
    if reply and not reply.startswith("250"):
        assert answer == reply.encode() + b"\r\n"
        assert len(provider.messages) == taken_before
        await relay.until(lambda: sum(relay.captures.counts.values()) > ended_before)
        return
    if not set(mail.recipients) - set(mail.refused):
        assert answer == b"250 2.6.0 Taken for the log\r\n"
        assert len(provider.messages) == taken_before
        return
    if reply:
        assert answer == reply.encode() + b"\r\n"
        return
    assert answer.startswith(b"250 2.0.0 taken as")
    _check_delivery(mail, provider.messages[-1])


async def _bring(mail: Mail, relay: InProcess) -> None:
    """Another server brings the message for capture addresses."""
    async with Client(relay.ports[1]) as client:
        await client.greet()
        addresses = [each.encode() for each in mail.capture_addresses]
        answer = await client.submit(_mail_data(mail).removesuffix(b".\r\n"), *addresses, sender=mail.author.encode())
        assert answer == b"250 2.6.0 Taken for the log\r\n"


async def _show(mail: Mail, mailbox: str | None, relay: InProcess) -> None:
    """The message as it is seen by somebody who watches a mailbox, a gateway or a journal."""
    envelope = [
        {"address": each, "accepted": each not in mail.refused, "reply": ""}
        for each in (mail.recipients if mail.has_envelope else ())
    ]
    facts = {
        "source": SOURCES[mail.path],
        "session": None,
        "login": None,
        "mailbox": mailbox,
        "folder": mail.folder,
        "recipients": envelope,
        "captures": list(mail.capture_addresses),
        "decisions": None,
    }
    entry = Entry(
        key=relay.captures.new_key(),
        at=time.time() - 60 * mail.minutes_ago,
        kind=EntryKind.MESSAGE,
        facts=facts,
        content=mail.content,
    )
    troubles: list[Exception | None] = []
    relay.spool.put(entry, troubles.append)
    await relay.until(lambda: bool(troubles))
    assert troubles == [None]


def _mail_data(mail: Mail) -> bytes:
    return mail.content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


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
    """P1 decides as the row says, each time that the message is seen; others only where the row says so."""
    for each in rows:
        decision = Decision.from_json(each.value)
        assert (each.decision, each.reason) == (decision.outcome, decision.reason)
        assert _is_plain_sentence(engine.explain(decision)), engine.explain(decision)
    found = [Expected.of(Decision.from_json(each.value)) for each in rows if each.portal == HOME]
    elsewhere = [Expected.of(Decision.from_json(each.value)) for each in rows if each.portal != HOME]
    assert elsewhere == ([row.expect(row.get("elsewhere"))] if row.get("elsewhere") else [])
    if row.expected.decision == "none":
        assert found == []
        return
    times = row.get("times", 1) * max(1, len(row.mail().mailboxes))
    assert found == [row.expected, *row.also] * times


def _is_plain_sentence(text: str) -> bool:
    is_one = re.fullmatch(r"(Logged|Not logged): [^{}\n]+[a-z]\.", text) is not None
    return is_one and not any(each in text for each in ("None", "_", "  ", ". "))


async def _check_log(row: Row, relay: InProcess) -> None:
    """The records of P1 are those of the row, and no other portal has any."""
    expected = row.expected
    emails = await relay.emails()
    is_log = expected.decision == Outcome.LOG
    logs = [each for each in (expected, *row.also) if each.decision == Outcome.LOG]
    assert len(emails) == row.get("records", len(logs))
    assert {each.portal for each in emails} <= {HOME}
    if not is_log:
        return
    email = await _record_of(row, relay, emails)
    assert (email.reason, email.direction, email.attribution) == (
        row.get("record_reason", expected.reason),
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
    assert sorted(captures) == sorted(_expected_captures(row))
    if "date" in row.values:
        assert email.date == row.get("date").timestamp()
    await _check_content(row.mail(), email, relay)


async def _record_of(row: Row, relay: InProcess, emails: Sequence[Any]) -> Any:
    """The record that the row's message went to."""
    wanted = [row.mail().content, *row.mail().originals]
    for email in emails:
        if await relay.raw(email) in wanted:
            return email
    return emails[-1]


def _expected_captures(row: Row) -> list[str]:
    """The sources by which the record was seen; else those of the row's path."""
    mail = row.mail()
    default = [str(SOURCES[mail.path])] * (row.get("times", 1) * max(1, len(mail.mailboxes)))
    return list(row.get("captures", default))


async def _check_content(mail: Mail, email: Any, relay: InProcess) -> None:
    """What is kept is what was sent; of a forward, what was forwarded."""
    raw = await relay.raw(email)
    if email.reason == Reason.FORWARDING_ADDRESS:
        assert not mail.originals or raw in mail.originals
    elif mail.is_bare and mail.path == "R":
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
        if is_new:
            shutil.copyfile(await database_template(None), path)
        database = await Database.open(f"sqlite:///{path}", migrate_first=False)
        bell = path.with_suffix(".bell")
        try:
            if is_new:
                await row.fill(Directory(database, bell))
            yield Lookups(database, bell, HASH_KEY)
        finally:
            await database.close()


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Directories:
    """The directories that rows ask for, each filled once."""
    return Directories(tmp_path_factory.mktemp("directories"))


async def _answers(lookups: Lookups, capture: Capture, mail: Mail) -> tuple[Answer, ...]:
    return await lookups.ask(engine.question(capture, engine.read(mail.header_section)))


async def _decide(lookups: Lookups, capture: Capture, mail: Mail) -> tuple[Decision, ...]:
    message = engine.read(mail.header_section)
    return engine.decide_each(capture, message, await _answers(lookups, capture, mail))


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


@pytest.mark.parametrize("row", named(DECIDED))
async def test_a_never_log_entry_adds_no_record_to_any_row(row: Row, directories: Directories) -> None:
    mail = row.mail()
    capture, message = mail.captures()[0], engine.read(mail.header_section)
    async with directories.of(row) as lookups:
        answers = await _answers(lookups, capture, mail)
    logged = _logged(engine.decide_each(capture, message, answers))
    for entry in ENTRIES:
        portals = (replace(each.portal, never_log=(*each.portal.never_log, entry)) for each in answers)
        answers = tuple(replace(each, portal=portal) for each, portal in zip(answers, portals, strict=True))
        after = _logged(engine.decide_each(capture, message, answers))
        assert after <= logged
        logged = after


def _logged(decisions: tuple[Decision, ...]) -> set[int | str]:
    logs = [each for each in decisions if each.outcome is Outcome.LOG]
    return {one for each in logs for one in (*(contact.id for contact in each.contacts), *each.creates)}


@pytest.mark.parametrize("row", named(DECIDED))
async def test_no_row_says_anything_about_another_portal(row: Row, directories: Directories) -> None:
    mail = row.mail()
    async with directories.of(row) as lookups:
        decisions = await _decide(lookups, mail.captures()[0], mail)
    assert {each.portal for each in decisions if each.outcome is Outcome.LOG} <= {HOME}


def test_the_rows_show_every_reason() -> None:
    assert {row.get("reason") for row in ROWS} - {None} == set(Reason)


def test_the_rows_show_every_attribution() -> None:
    assert {row.get("attribution") for row in ROWS} - {None} == set(Attribution)


def test_the_rows_use_known_flags_only() -> None:
    assert {flag for row in ROWS for key in ("flags", "record_flags") for flag in row.get(key, ())} <= set(Flag)
