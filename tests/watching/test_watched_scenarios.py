"""The worked scenarios (`tests/scenarios/rows.toml`) whose message is seen in a mailbox, each read there through us."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dns_zone import DnsZone
from in_process import HASH_KEY, InProcess
from mailbox_session import MailboxSession
from recording_provider import RecordingProvider
from scenario import DNS_RECORDS, Expected, Mail, Row, read_rows
from smtp_client import Client
from sqlalchemy import select

from engine.decision import Decision
from store import schema
from store.corrections import Corrections
from store.erasure import Erasure

ROWS = read_rows(Path(__file__).parents[1] / "scenarios" / "rows.toml")
HOME = 1
UIDS = itertools.count(1)
USES = {None: "INBOX", "drafts": "Drafts", "junk": "Junk", "trash": "Trash", "log": "INBOX.Log to CRM"}


def steps_of(row: Row) -> list[Mapping[str, Any]]:
    return [*row.get("before", ()), *row.get("after", ())]


def can_be_read(row: Row) -> bool:
    """Whether all that happens is mail sent or read now; nobody who reads a mailbox knows an envelope."""
    mails = [row.values, *(step for step in steps_of(row) if "mail" in step)]
    special = ("envelope", "minutes_ago", "reply", "refused")
    plain = not any(key in each for each in mails for key in special) and "at_first" not in row.values
    return row.path == "M" and plain and all(each.get("path", "M") in ("R", "M") for each in mails)


READ = [pytest.param(row, id=row.id) for row in ROWS if not row.get("refused_by_directory") and can_be_read(row)]


@pytest.fixture(scope="module")
def zone() -> Iterator[DnsZone]:
    """A DNS that knows the keys of all who sign in the rows."""
    with DnsZone({}) as zone:
        zone.texts = DNS_RECORDS
        yield zone


@pytest.mark.parametrize("row", READ)
async def test_the_message_is_decided_as_the_row_says(row: Row, tmp_path: Path, zone: DnsZone) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], sample=False, nameservers=(zone.server,)) as node,
    ):
        await row.fill(node.directory)
        for number, step in enumerate(row.get("before", ()), start=1):
            await happen(row, step, node, number)
        found = await passed(row.mail(), node)
        for number, step in enumerate(row.get("after", ()), start=100):
            await happen(row, step, node, number)
        keys = {each.key for each in found}
        await settled(node)
        decisions = [each for each in await node.decisions() if each.key in keys and each.portal == HOME]
        expected = row.expected
        times = max(1, len(row.mail().mailboxes))
        assert [Expected.of(Decision.from_json(each.value)) for each in decisions] == (
            [expected] * times if expected.decision != "none" else []
        )
        by_hand = row.path == "M" and row.get("folder") == "log"
        assert {each.source for each in decisions} <= {"manual" if by_hand else "imap_proxy"}
        emails = await node.emails()
        assert len(emails) == row.get("records", int(expected.decision == "log"))
        if expected.decision == "log":
            await check_record(row, node, decisions)


async def check_record(row: Row, node: InProcess, decisions: list[Any]) -> None:
    expected, (record,) = row.expected, {each.email for each in decisions}
    (email,) = [each for each in await node.emails() if each.id == record]
    assert (email.reason, email.direction, email.attribution) == (
        row.get("record_reason", expected.reason), expected.direction, expected.attribution
    )  # fmt: skip
    assert set(email.flags) == expected.flags | set(row.get("record_flags", ()))
    async with node.database.read() as connection:
        account = await connection.scalar(select(schema.user.c.account).where(schema.user.c.id == email.user))
        wanted = select(schema.capture.c.source).where(schema.capture.c.email == email.id)
        captures = (await connection.scalars(wanted)).all()
    assert account == expected.user
    default = ["observer"] * max(1, len(row.mail().mailboxes))
    assert sorted(captures) == sorted(each.replace("observer", "imap_proxy") for each in row.get("captures", default))


async def settled(node: InProcess) -> None:
    await node.until(lambda: not node.captures.watched.messages)
    await node.recorded()


async def happen(row: Row, step: Mapping[str, Any], node: InProcess, number: int) -> None:
    """One step of a row."""
    match step:
        case {"mail": _}:
            found = await passed(row.mail(step, number=number), node)
            if "reason" in step:
                assert [each.reason for each in found] == [step["reason"]]
        case {"erase": address}:
            erasure = Erasure(node.database, node.directory, HASH_KEY)
            await erasure.erase(await node.directory.portal("P1"), row.address(address))
        case {"stop": True}:
            await Corrections(node.database, node.directory).stop_thread((await node.emails())[-1].id)
        case {"deleted": name}:
            session = MailboxSession(node.captures, row.address(name))
            session.select()
            session.delete_all()
            session.close()
        case _:
            await row.change(node.directory, step)


async def passed(mail: Mail, node: InProcess) -> list[Any]:
    """Lets the message be sent or read; the decisions on it."""
    known = {each.key for each in await node.decisions()}
    if mail.path == "R":
        async with Client(node.port) as client:
            await client.begin(mail.login)
            recipients = [each.encode() for each in (*mail.recipients, *mail.capture_addresses)]
            content = mail.content.replace(b"\r\n.", b"\r\n..")
            assert (await client.submit(content, *recipients, sender=mail.author.encode())).startswith(b"250")
    for mailbox in mail.mailboxes:
        session = MailboxSession(node.captures, mailbox)
        session.select(USES[mail.folder])
        session.fetch(next(UIDS), mail.content)
        session.close()
    await settled(node)
    return [each for each in await node.decisions() if each.key not in known]
