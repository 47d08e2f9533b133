"""Writing the log: one message is one record, whatever is repeated, and gaps close."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import replace
from typing import Any

import pytest
from log_writer import LogWriter, message
from sqlalchemy.exc import IntegrityError

from engine.decision import Outcome, Reason, Source
from store import schema
from store.entry import EntryKind
from store.recording import Batch, Settled

TABLES = [
    schema.email,
    schema.email_key,
    schema.email_id,
    schema.email_parent,
    schema.email_contact,
    schema.email_recipient,
    schema.capture,
    schema.attachment,
    schema.content_part,
    schema.decision,
    schema.decision_hash,
    schema.gap,
]


async def everything(opened: Any) -> list[list[Any]]:
    return [await opened.rows(table) for table in TABLES]


async def counts(opened: Any) -> tuple[int, int, int]:
    """Emails, captures, decisions."""
    emails, captures, decisions = [
        await opened.rows(table) for table in (schema.email, schema.capture, schema.decision)
    ]
    return len(emails), len(captures), len(decisions)


class TestRepetition:
    async def test_the_same_batch_twice_changes_nothing_but_the_position(self, opened: Any) -> None:
        writer: LogWriter = opened.writer
        one, parts_one = await writer.settle(message(message_id="<1@a>"), key="one")
        two, parts_two = await writer.settle(message(to="x@stranger.example", message_id="<2@a>"), key="two")
        three, parts_three = await writer.settle(message(message_id="<3@a>"), key="three", kind=EntryKind.GAP)
        batch = Batch(spool="w/1", position=3, settled=[one, two, three])
        parts = [*parts_one, *parts_two, *parts_three]
        assert len(await writer.recording.record(batch, parts)) == 3
        before = await everything(opened)
        assert await writer.recording.record(batch, parts) == []
        assert await everything(opened) == before
        assert await writer.recording.position("w/1") == 3

    async def test_one_entry_twice_in_a_batch_counts_once(self, opened: Any) -> None:
        settled, parts = await opened.writer.settle(message(), key="one")
        assert len(await opened.writer.record([settled, settled], parts)) == 1
        assert await counts(opened) == (1, 1, 1)

    async def test_a_batch_that_overlaps_an_earlier_one_adds_what_is_new(self, opened: Any) -> None:
        contents = [message(message_id=f"<{n}@a>", subject=f"Offer {n}") for n in range(4)]
        entries = [await opened.writer.settle(each, key=f"k{n}") for n, each in enumerate(contents)]
        for some in (entries[:3], entries[1:]):
            await opened.writer.record([each for each, _ in some], [part for _, parts in some for part in parts])
        assert await counts(opened) == (4, 4, 4)

    async def test_a_batch_that_fails_leaves_neither_records_nor_position(self, opened: Any) -> None:
        settled, parts = await opened.writer.settle(message(), key="one")
        broken = replace(settled, parsed=settled.parsed | {"attachments": [{"size": 1}]})
        before = await everything(opened)
        with pytest.raises(IntegrityError):
            await opened.writer.recording.record(Batch(spool="w/1", position=9, settled=[broken]), parts)
        assert await everything(opened) == before
        assert await opened.writer.recording.position("w/1") == 0

    async def test_positions_are_kept_apart_and_forgotten(self, opened: Any) -> None:
        recording = opened.writer.recording
        await recording.record(Batch(spool="w/1", position=5, settled=[]), [])
        await recording.record(Batch(spool="w/2", position=7, settled=[]), [])
        assert [await recording.position(name) for name in ("w/1", "w/2", "w/3")] == [5, 7, 0]
        await recording.forget("w/1")
        assert [await recording.position(name) for name in ("w/1", "w/2")] == [0, 7]

    async def test_parts_kept_twice_are_kept_once(self, opened: Any) -> None:
        part = (await opened.portal(), "a" * 64, 0, b"octets")
        await opened.writer.recording.keep([part])
        await opened.writer.recording.keep([part, part])
        assert len(await opened.rows(schema.content_part)) == 1


class TestOneMessageOneRecord:
    async def test_captures_of_one_message_are_merged_within_a_batch_and_across(self, opened: Any) -> None:
        writer = opened.writer
        first, parts = await writer.settle(message(), key="a")
        second, _ = await writer.settle(message(), key="b", source=Source.OBSERVER)
        await writer.record([first, second], parts)
        await writer.passes(message(), key="c", source=Source.GATEWAY)
        assert await counts(opened) == (1, 3, 3)
        assert [each.source for each in await opened.rows(schema.capture)] == ["relay", "observer", "gateway"]

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    async def test_any_order_and_any_batches_give_the_same_record(self, opened: Any, order: tuple[int, ...]) -> None:
        writer = opened.writer
        entries = [await writer.settle(message(), key=f"k{n}", at=1000.0 + n) for n in range(3)]
        for number in order:
            settled, parts = entries[number]
            await writer.record([settled], parts)
        (email,) = await opened.rows(schema.email)
        assert (email.direction, email.reason, email.attribution) == ("outgoing", "sent_to_contact", "author")
        assert len(await opened.rows(schema.capture)) == 3
        (contact,) = await opened.rows(schema.email_contact)
        assert not contact.bcc

    async def test_a_changed_body_footer_is_still_the_same_message(self, opened: Any) -> None:
        await opened.writer.passes(message(), key="a")
        await opened.writer.passes(message(body="Hello\r\n-- \r\nScanned by the list\r\n"), key="b")
        assert await counts(opened) == (1, 2, 2)

    async def test_an_id_reused_for_other_content_is_a_record_of_its_own_with_a_flag(self, opened: Any) -> None:
        await opened.writer.passes(message(subject="One"), key="a")
        await opened.writer.passes(message(subject="Two"), key="b")
        one, two = await opened.rows(schema.email)
        assert (one.subject, one.flags) == ("One", ["message_id_reused"])
        assert (two.subject, two.flags) == ("Two", ["message_id_reused"])
        await opened.writer.passes(message(subject="Two"), key="c")
        assert await counts(opened) == (2, 3, 3)

    async def test_an_id_reused_within_one_batch_is_told_apart_too(self, opened: Any) -> None:
        one, parts_one = await opened.writer.settle(message(subject="One"), key="a")
        two, parts_two = await opened.writer.settle(message(subject="Two"), key="b")
        await opened.writer.record([one, two], [*parts_one, *parts_two])
        assert [(each.subject, each.flags) for each in await opened.rows(schema.email)] == [
            ("One", ["message_id_reused"]),
            ("Two", ["message_id_reused"]),
        ]

    async def test_a_stranger_with_the_same_id_cannot_keep_a_message_from_the_log(self, opened: Any) -> None:
        await opened.writer.passes(message("bob@acme.example"), login="bob@acme.example", key="a")
        await opened.writer.passes(message("ann@acme.example"), key="b")
        bob, ann = await opened.rows(schema.email)
        assert (bob.flags, ann.flags) == (["message_id_reused"], ["message_id_reused"])

    async def test_without_an_id_the_fingerprint_tells_messages_apart(self, opened: Any) -> None:
        for key, body in (("a", "One\r\n"), ("b", "One\r\n"), ("c", "Two\r\n")):
            await opened.writer.passes(message(message_id=None, body=body), key=key)
        assert await counts(opened) == (2, 3, 3)

    async def test_one_message_of_two_portals_is_a_record_in_each(self, opened: Any) -> None:
        await opened.directory.add_portal("P2")
        await opened.directory.set_portal("P2", rule="all")
        await opened.directory.add_user("P2", "ann@acme.example", connected=["ann@acme.example"])
        await opened.directory.add_contact("P2", "kim@cust.example")
        content = message()
        await opened.writer.passes(content, key="a")
        await opened.writer.passes(content, key="b")
        assert await counts(opened) == (2, 4, 4)
        for name in ("P1", "P2"):
            (email,) = await opened.reading.emails(await opened.portal(name))
            assert b"".join([part async for part in opened.reading.content(email.id)]) == content

    async def test_a_message_is_of_the_thread_of_its_logged_parent(self, opened: Any) -> None:
        writer = opened.writer
        await writer.passes(message(message_id="<root@a>"))
        await writer.passes(message(message_id="<other@a>", subject="Other"))
        root, other = await opened.rows(schema.email)
        assert (root.thread, other.thread) == (root.id, other.id)
        more = "In-Reply-To: <unknown@a>\r\nReferences: <root@a> <unknown@a>\r\n"
        await writer.passes(message(message_id="<reply@a>", subject="Reply", more=more))
        root, other, reply = await opened.rows(schema.email)
        assert (root.thread, other.thread, reply.thread) == (root.id, other.id, root.id)

    async def test_a_message_that_answers_two_threads_makes_one_of_them(self, opened: Any) -> None:
        writer = opened.writer
        for name in ("one", "two", "apart"):
            await writer.passes(message(message_id=f"<{name}@a>", subject=name))
        more = "References: <two@a> <one@a>\r\n"
        await writer.passes(message(message_id="<reply@a>", subject="Reply", more=more))
        one, two, apart, reply = await opened.rows(schema.email)
        assert (one.thread, two.thread, reply.thread) == (one.id, one.id, one.id)
        assert apart.thread == apart.id

    async def test_a_reply_in_the_same_batch_finds_its_parent(self, opened: Any) -> None:
        root, parts = await opened.writer.settle(message(message_id="<root@a>"), key="a")
        more = "In-Reply-To: <root@a>\r\n"
        content = message(message_id="<reply@a>", subject="Reply", more=more)
        reply, more_parts = await opened.writer.settle(content, key="b")
        await opened.writer.record([root, reply], [*parts, *more_parts])
        first, second = await opened.rows(schema.email)
        assert second.thread == first.id


class TestDecisionsAndGaps:
    async def test_a_skip_keeps_no_content_and_no_subject(self, opened: Any) -> None:
        content = message(to="x@stranger.example", subject="Secret plan", body="Nothing for you\r\n")
        (decision,) = await opened.writer.passes(content)
        assert decision.reason is Reason.NO_EXISTING_CONTACT
        assert await counts(opened) == (0, 0, 1)
        assert await opened.rows(schema.content_part) == []
        assert "Secret" not in str(await everything(opened))
        assert "stranger" not in str(await everything(opened))

    async def test_a_gap_is_no_decision_and_is_closed_by_its_message(self, opened: Any) -> None:
        await opened.writer.passes(message(), key="gap", kind=EntryKind.GAP)
        (gap,) = await opened.rows(schema.gap)
        assert (gap.kind, gap.cause, gap.closed_at) == ("capture_failed", "OSError", None)
        assert await counts(opened) == (0, 0, 0)
        await opened.writer.passes(message(message_id="<other@a>"), key="other")
        assert (await opened.rows(schema.gap))[0].closed_at is None
        await opened.writer.passes(message(), key="message")
        assert (await opened.rows(schema.gap))[0].closed_at is not None

    async def test_a_message_that_is_skipped_closes_no_gap(self, opened: Any) -> None:
        await opened.writer.passes(message(), key="gap", kind=EntryKind.GAP)
        await opened.writer.passes(message(), key="skip", recipients=["x@stranger.example"])
        assert (await opened.rows(schema.gap))[0].closed_at is None

    async def test_old_skips_are_pruned_and_logs_and_young_skips_stay(self, opened: Any) -> None:
        now = time.time()
        for number in range(5):
            content = message(to="x@stranger.example", message_id=f"<old{number}@a>")
            await opened.writer.passes(content, at=now - 31 * 86400)
        await opened.writer.passes(message(to="x@stranger.example", message_id="<young@a>"), at=now - 29 * 86400)
        await opened.writer.passes(message(message_id="<logged@a>"), at=now - 400 * 86400)
        assert await opened.writer.recording.prune(older_than=now - 30 * 86400) == 5
        assert await opened.writer.recording.prune(older_than=now - 30 * 86400) == 0
        left = await opened.rows(schema.decision)
        assert sorted(each.decision for each in left) == [Outcome.LOG, Outcome.SKIP]
        hashes = {each.decision for each in await opened.rows(schema.decision_hash)}
        assert hashes == {each.id for each in left}
        assert len(await opened.rows(schema.email)) == 1

    async def test_pruning_goes_in_bounded_steps(self, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.recording.PRUNE_ROWS", 3)
        for number in range(7):
            await opened.writer.passes(message(to="x@y.example", message_id=f"<{number}@a>"), at=1000.0)
        steps = [await opened.writer.recording.prune(older_than=2000.0) for _ in range(4)]
        assert steps == [3, 3, 1, 0]

    async def test_a_contact_in_the_envelope_only_is_marked_and_the_envelope_kept_apart(self, opened: Any) -> None:
        await opened.writer.passes(message(), recipients=["kim@cust.example", "lee@cust.example"])
        marks = {each.contact: each.bcc for each in await opened.rows(schema.email_contact)}
        kim = await opened.directory.contact("P1", "kim@cust.example")
        lee = await opened.directory.contact("P1", "lee@cust.example")
        assert marks == {kim.id: False, lee.id: True}
        assert {each.address for each in await opened.rows(schema.email_recipient)} == {
            "kim@cust.example",
            "lee@cust.example",
        }


async def test_a_random_history_recorded_with_crashes_is_what_it_is_without(opened: Any) -> None:
    """Entries come in any grouping, again and again from any earlier position, as after crashes of the recorder."""
    chance = random.Random(2026)
    entries: list[tuple[Settled, Any]] = []
    for number in range(60):
        kind = chance.choice([EntryKind.MESSAGE, EntryKind.MESSAGE, EntryKind.MESSAGE, EntryKind.GAP])
        to = chance.choice(["kim@cust.example", "lee@cust.example", "x@stranger.example"])
        name = chance.randrange(25)
        content = message(to=to, message_id=f"<{name}@a>", subject=chance.choice("AB"), body=f"{name}\r\n")
        entries.append(await opened.writer.settle(content, key=f"k{number}", at=1000.0 + number, kind=kind))
    position = 0
    while position < len(entries):
        end = min(len(entries), position + chance.randrange(1, 12))
        settled = [each for each, _ in entries[position:end]]
        parts = [part for _, some in entries[position:end] for part in some]
        await opened.writer.recording.record(Batch(spool="w/1", position=end, settled=settled), parts)
        position = max(0, end - chance.randrange(0, 8)) if chance.random() < 0.4 and end < len(entries) else end
    logged = [
        each
        for each, _ in entries
        if each.entry.kind is EntryKind.MESSAGE and any(one.outcome is Outcome.LOG for one in each.decisions)
    ]
    parsed = [each.parsed for each in logged]
    distinct = {(each["message_id"], each["subject"]) for each in parsed if each is not None}
    emails, captures, decisions = await counts(opened)
    assert emails == len(distinct)
    assert captures == len(logged)
    assert decisions == sum(each.entry.kind is not EntryKind.GAP for each, _ in entries)
    assert len(await opened.rows(schema.gap)) == sum(each.entry.kind is EntryKind.GAP for each, _ in entries)


async def test_readers_go_on_while_a_batch_is_recorded(opened: Any) -> None:
    settled, parts = await opened.writer.settle(message(), key="a")
    portal = await opened.portal()
    async with opened.database.write():
        recorded = asyncio.ensure_future(opened.writer.record([settled], parts))
        assert await opened.reading.emails(portal) == []
    await recorded
    assert len(await opened.reading.emails(portal)) == 1
