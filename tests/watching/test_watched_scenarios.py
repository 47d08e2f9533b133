"""The worked scenarios (`tests/scenarios/rows.toml`) whose message is seen in a mailbox, each read there through us."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dns_zone import DnsZone
from in_process import InProcess
from mailbox_rows import MailboxRow, named, names_mailbox, was_earlier, why_not
from mailbox_session import MailboxSession
from recording_provider import RecordingProvider
from scenario import DNS_RECORDS, Mail, Row, read_rows

from engine.decision import Source

ROWS = [row for row in read_rows(Path(__file__).parents[1] / "scenarios" / "rows.toml") if names_mailbox(row)]
USES = {None: "INBOX", "drafts": "Drafts", "junk": "Junk", "trash": "Trash", "log": "INBOX.Log to CRM"}


def why_not_now(row: Row) -> str | None:
    """Why a client that reads a mailbox now cannot play the row."""
    return "it was seen earlier" if was_earlier(row) else why_not(row)


@pytest.fixture(scope="module")
def zone() -> Iterator[DnsZone]:
    """A DNS that knows the keys of all who sign in the rows."""
    with DnsZone({}) as zone:
        zone.texts = DNS_RECORDS
        yield zone


@dataclass
class Sessions:
    """Clients that read mailboxes; the wires are lists. Implements `mailbox_rows.Watcher`."""

    node: InProcess
    source: Source = Source.IMAP_PROXY
    uids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def looks_into(self, folder: str | None) -> bool:
        return True

    async def show(self, mail: Mail, mailbox: str) -> None:
        session = MailboxSession(self.node.captures, mailbox)
        session.select(USES[mail.folder])
        session.fetch(next(self.uids), mail.content)
        session.close()
        await self.node.until(lambda: not self.node.captures.watched.messages)

    async def delete_all(self, mailbox: str) -> None:
        session = MailboxSession(self.node.captures, mailbox)
        session.select()
        session.delete_all()
        session.close()


@pytest.mark.parametrize("row", named([row for row in ROWS if why_not_now(row) is None]))
async def test_the_message_is_decided_as_the_row_says(row: Row, tmp_path: Path, zone: DnsZone) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], sample=False, nameservers=(zone.server,)) as node,
    ):
        await row.fill(node.directory)
        await MailboxRow(row, node, provider, Sessions(node)).play()


def test_no_other_row_is_left_out() -> None:
    assert {row.values["id"]: why for row in ROWS if (why := why_not_now(row)) is not None} == {
        "21": "nobody who reads a mailbox knows an envelope",
        "48": "it was seen earlier",
        "132": "it was seen earlier",
        "60i": "it is asked for by name",
    }
