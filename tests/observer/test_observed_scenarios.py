"""The worked scenarios (`tests/scenarios/rows.toml`) whose message lies in a mailbox, each over real IMAP.

One Dovecot keeps the mailboxes. Our own client observes those that a row names, or a client reads them through us.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from debian_peers import need
from dns_zone import DnsZone
from kept_mailboxes import KeptMailboxes, Observers, Readers, RelayAndPassthrough
from mailbox_rows import MailboxRow, mailboxes_of, named, names_mailbox, was_earlier, why_not
from pki import Pki
from recording_provider import RecordingProvider
from scenario import DNS_RECORDS, Row, read_rows

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="module")]

ROWS = [row for row in read_rows(Path(__file__).parents[1] / "scenarios" / "rows.toml") if names_mailbox(row)]
OBSERVED = [row for row in ROWS if why_not(row) is None]
READ = [row for row in OBSERVED if not was_earlier(row)]


@pytest.fixture(scope="module")
def zone() -> Iterator[DnsZone]:
    """A DNS that knows the keys of all who sign in the rows."""
    with DnsZone({}) as zone:
        zone.texts = DNS_RECORDS
        yield zone


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dovecot(pki: Pki) -> AsyncIterator[KeptMailboxes]:
    need("dovecot", "doveadm", "/usr/lib/dovecot/imap", root=True)
    async with KeptMailboxes(pki) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def kept(dovecot: KeptMailboxes) -> KeptMailboxes:
    """The mailboxes, empty."""
    await dovecot.empty()
    return dovecot


@pytest.mark.parametrize("row", named(OBSERVED))
async def test_what_is_observed_is_decided_as_the_row_says(
    row: Row, kept: KeptMailboxes, tmp_path: Path, zone: DnsZone
) -> None:
    async with (
        RecordingProvider() as provider,
        RelayAndPassthrough(tmp_path, provider, kept, zone.server) as node,
    ):
        await row.fill(node.directory)
        minutes_ago = row.get("minutes_ago", 0.0)
        async with Observers.started(node, kept, mailboxes_of(row), minutes_ago=minutes_ago) as observers:
            await MailboxRow(row, node, provider, observers).play()


@pytest.mark.parametrize("row", named(READ))
async def test_what_is_read_through_us_is_decided_as_the_row_says(
    row: Row, kept: KeptMailboxes, tmp_path: Path, zone: DnsZone
) -> None:
    async with (
        RecordingProvider() as provider,
        RelayAndPassthrough(tmp_path, provider, kept, zone.server) as node,
    ):
        await row.fill(node.directory)
        await MailboxRow(row, node, provider, Readers(node, kept)).play()


async def test_no_other_row_is_left_out() -> None:
    assert {row.values["id"]: why for row in ROWS if (why := why_not(row)) is not None} == {
        "21": "nobody who reads a mailbox knows an envelope",
        "60i": "it is asked for by name",
    }
    assert [row.values["id"] for row in OBSERVED if row not in READ] == ["48", "132"]
