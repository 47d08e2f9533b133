"""Retention of records: what is old goes whole, in bounded steps, and takes along the content that nobody else uses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess
from log_writer import LogWriter, message
from recording_provider import RecordingProvider

from proxy.recorder import RecorderOptions
from store import forgetting, schema

DAY = 86400.0
NOW = 1_800_000_000.0
MIME = "MIME-Version: 1.0\r\nContent-Type: application/pdf; name=offer.pdf\r\n"
OF_EMAILS = (
    schema.email, schema.email_key, schema.email_id, schema.email_parent, schema.email_contact, schema.email_recipient,
    schema.capture, schema.attachment, schema.content_part, schema.decision, schema.decision_hash,
    schema.stopped_thread,
)  # fmt: skip


def offer(number: int, *, body: str = "", more: str = "") -> bytes:
    return message(
        message_id=f"<{number}@acme.example>",
        subject=f"Offer {number}",
        body=body or f"Hello {number}\r\n",
        more=f"{more}References: <{number - 1}@acme.example>\r\n",
    )


async def log(opened: Any, *ages: float, **more: Any) -> None:
    """One message captured so many days ago, for each of `ages`."""
    for number, age in enumerate(ages, 1):
        await opened.writer.passes(offer(number, **more), at=NOW - age * DAY)


async def test_what_is_older_goes_with_all_that_belongs_to_it(opened: Any) -> None:
    await log(opened, 40, 20, more=MIME)
    assert await opened.writer.recording.prune_emails(older_than=NOW - 30 * DAY) == 1
    assert [row.id for row in await opened.rows(schema.email)] == [2]
    for table in OF_EMAILS[1:]:
        if "email" in table.c:
            assert {row.email for row in await opened.rows(table)} <= {2}, table.name
    assert await opened.writer.recording.prune_emails(older_than=NOW - 10 * DAY) == 1
    for table in OF_EMAILS:
        assert await opened.rows(table) == [], table.name


async def test_content_that_a_younger_record_uses_stays(opened: Any) -> None:
    await log(opened, 40, 20, more=MIME, body="the same file\r\n")
    before = {row.hash for row in await opened.rows(schema.content_part)}
    await opened.writer.recording.prune_emails(older_than=NOW - 30 * DAY)
    after = {row.hash for row in await opened.rows(schema.content_part)}
    (attachment,) = await opened.rows(schema.attachment)
    assert attachment.content in after
    assert len(before - after) == 1


async def test_no_step_removes_more_than_its_bound_and_the_oldest_go_first(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "FORGET_ROWS", 2)
    await log(opened, 41, 43, 42, 44, 45)
    removed = []
    while number := await opened.writer.recording.prune_emails(older_than=NOW - 30 * DAY):
        removed.append((number, sorted(row.id for row in await opened.rows(schema.email))))
    assert removed == [(2, [1, 2, 3]), (2, [1]), (1, [])]


async def test_records_that_were_deleted_by_hand_go_as_well(opened: Any) -> None:
    from store.corrections import Corrections

    await log(opened, 40)
    await Corrections(opened.database, opened.directory).delete(1)
    assert await opened.writer.recording.prune_emails(older_than=NOW - 30 * DAY) == 1
    assert await opened.rows(schema.email) == []


async def test_every_portal_is_pruned(opened: Any) -> None:
    await opened.directory.add_portal("P2", rule="all")
    await opened.directory.add_user("P2", "ann@acme.example", connected=["ann@acme.example"])
    await opened.directory.add_contact("P2", "kim@cust.example")
    await log(opened, 40)
    assert len(await opened.rows(schema.email)) == 2
    while await opened.writer.recording.prune_emails(older_than=NOW - 30 * DAY):
        pass
    assert await opened.rows(schema.email) == []


async def test_a_removed_record_does_not_give_its_number_away(opened: Any) -> None:
    await log(opened, 40)
    await opened.writer.recording.prune_emails(older_than=NOW - 30 * DAY)
    await opened.writer.passes(offer(7), at=NOW, key="seventh")
    assert [row.id for row in await opened.rows(schema.email)] == [2]


async def test_the_recorder_removes_old_records_only_where_it_is_told_to(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as node:
        writer = LogWriter(node.database, tmp_path / "directory.bell", b"k" * 32)
        for number, age in ((1, 40), (2, 20)):
            await writer.passes(offer(number), at=time.time() - age * DAY)
        recorder = node._recorder
        for options, left in ((RecorderOptions(), [1, 2]), (RecorderOptions(keep_emails_days=30), [2])):
            recorder._options = options
            await recorder._prune()
            assert [row.id for row in await node.emails()] == left
