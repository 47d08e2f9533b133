"""Threads of the log: what joins, over which ids, and what it costs (rules.md section 4)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from judged_log import BEGIN, HASH_KEY, JudgedLog, entry, seen_in
from log_writer import message
from sqlalchemy import event, select

from engine.decision import Decision, Flag
from engine.directory import Rule, Switches
from store import schema
from store.corrections import Corrections
from store.hashes import keyed_hash
from store.threads import MAX_LEVELS, find_thread

ANN, KIM, STRANGER = "ann@acme.example", "kim@cust.example", "x@stranger.example"
BCC = "log-p1@cap.example"


class Queries:
    """Counts the statements that a database is asked."""

    def __init__(self, database: Any) -> None:
        self.count = 0
        event.listen(database.pool.sync_engine, "before_cursor_execute", self._counted)

    def _counted(self, *_: Any) -> None:
        self.count += 1


@pytest_asyncio.fixture
async def log(opened: Any) -> AsyncIterator[JudgedLog]:
    """The log of a portal that logs replies only."""
    await opened.directory.set_portal("P1", rule=Rule.REPLIES_ONLY)
    judged = JudgedLog(opened.database, opened.folder)
    yield judged
    await judged.recorder.close()


def sent(key: str = "root", *, id_: str = "root@acme.example", logged: bool = True, **more: Any) -> Any:
    """Ann writes to Kim, with a copy to the BCC address when it is to be logged."""
    to, fields = more.pop("to", KIM), more.pop("fields", "")
    content = message(ANN, to, message_id=f"<{id_}>", subject=more.pop("subject", "Offer"), more=fields)
    return entry(key, content, login=ANN, to=[to], captures=[BCC] if logged else [], **more)


def reply(
    key: str = "reply",
    *,
    author: str = KIM,
    answers: str = "root@acme.example",
    field: str = "In-Reply-To",
    **more: Any,
) -> Any:
    subject = more.pop("subject", "Re: Offer")
    fields = f"{field}: <{answers}>\r\n"
    content = message(author, ANN, message_id=f"<{key}@cust.example>", subject=subject, more=fields, body=f"{key}\r\n")
    return seen_in(ANN, key, content, **more)


async def emails(log: JudgedLog) -> list[Any]:
    async with log.database.read() as connection:
        return list((await connection.execute(select(schema.email).order_by(schema.email.c.id))).all())


async def reason(log: JudgedLog, key: str = "reply") -> str | None:
    table = schema.decision
    async with log.database.read() as connection:
        found: str | None = await connection.scalar(select(table.c.reason).where(table.c.key == key))
    return found


async def decisions(log: JudgedLog) -> dict[str, Decision]:
    table = schema.decision
    async with log.database.read() as connection:
        rows = await connection.execute(select(table.c.key, table.c.value))
        return {key: Decision.from_json(value) for key, value in rows}


class TestJoining:
    async def test_an_answer_to_what_was_logged_is_logged_in_its_thread(self, log: JudgedLog) -> None:
        await log.pass_by(sent())
        (decision,) = await log.pass_by(reply())
        assert (decision.reason, decision.attribution) == ("reply_to_logged", "parent")
        root, answer = await emails(log)
        assert answer.thread == root.thread

    async def test_over_a_message_that_was_not_logged_the_thread_goes_on(self, log: JudgedLog) -> None:
        await log.pass_by(sent())
        between = sent("between", id_="b@acme.example", logged=False, fields="References: <root@acme.example>\r\n")
        (skipped,) = await log.pass_by(between)
        assert skipped.reason == "mode_replies_only"
        (decision,) = await log.pass_by(reply(answers="b@acme.example"))
        assert decision.reason == "reply_to_logged"
        root, answer = await emails(log)
        assert answer.thread == root.thread

    @pytest.mark.parametrize("order", list(itertools.permutations(("a", "b", "between"))))
    async def test_a_message_that_is_not_logged_makes_no_thread_of_two_that_it_names(
        self, log: JudgedLog, opened: Any, order: tuple[str, ...]
    ) -> None:
        """Anybody can send one, and so put a thread under what was said of another: that it is stopped."""
        fields = "References: <a@acme.example> <b@acme.example>\r\n"
        between = message(STRANGER, ANN, message_id="<between@x>", more=fields)
        found = {
            "a": sent("a", id_="a@acme.example", to="lee@cust.example"),
            "b": sent("b", id_="b@acme.example"),
            "between": seen_in(ANN, "between", between),
        }
        for name in order:
            await log.pass_by(found[name])
        assert len({each.thread for each in await emails(log)}) == 2
        (first,) = [each for each in await emails(log) if "lee@cust.example" in each.to]
        await Corrections(opened.database, opened.directory).stop_thread(first.id)
        (decision,) = await log.pass_by(reply(answers="b@acme.example"))
        assert decision.reason == "reply_to_logged"

    @pytest.mark.parametrize("order", list(itertools.permutations(("a", "b", "between", "reply"))))
    async def test_a_logged_answer_to_it_does(self, log: JudgedLog, order: tuple[str, ...]) -> None:
        fields = "References: <a@acme.example> <b@acme.example>\r\n"
        found = {
            "a": sent("a", id_="a@acme.example", to="lee@cust.example"),
            "b": sent("b", id_="b@acme.example"),
            "between": sent("between", id_="between@acme.example", logged=False, fields=fields),
            "reply": reply(answers="between@acme.example"),
        }
        for name in order:
            await log.pass_by(found[name])
        assert await reason(log) == "reply_to_logged"
        assert len({each.thread for each in await emails(log)}) == 1

    @pytest.mark.parametrize(
        ("host", "final", "given"),
        [
            (
                "smtp.office365.com",
                "250 2.6.0 <AM0PR01@eur.prod.outlook.com> [InternalId=1, Hostname=x] Queued mail for delivery",
                "AM0PR01@eur.prod.outlook.com",
            ),
            (
                "email-smtp.eu-west-1.amazonaws.com",
                "250 Ok 0102018f1a2b3c4d-01234567-89ab-cdef-0123-456789abcdef-000000",
                "0102018f1a2b3c4d-01234567-89ab-cdef-0123-456789abcdef-000000@eu-west-1.amazonses.com",
            ),
        ],
        ids=["Exchange", "Amazon SES"],
    )
    async def test_an_answer_to_the_id_that_the_provider_gave_joins(
        self, log: JudgedLog, host: str, final: str, given: str
    ) -> None:
        await log.pass_by(sent(host=host, reply=final))
        (decision,) = await log.pass_by(reply(answers=given))
        assert decision.reason == "reply_to_logged"

    async def test_an_answer_to_the_id_of_the_sent_copy_joins(self, log: JudgedLog) -> None:
        await log.pass_by(sent())
        await log.pass_by(seen_in(ANN, "copy", message(ANN, KIM, message_id="<copy@acme.example>", body="Changed\r\n")))
        assert await reason(log, "copy") == "mode_replies_only"
        (decision,) = await log.pass_by(reply(answers="copy@acme.example"))
        assert decision.reason == "reply_to_logged"

    async def test_a_stranger_who_answers_directly_is_logged_to_the_contacts_of_the_thread(
        self, log: JudgedLog
    ) -> None:
        await log.pass_by(sent())
        (decision,) = await log.pass_by(reply(author=STRANGER))
        assert decision.reason == "reply_to_logged"
        assert "unmatched_sender" in decision.flags
        assert [each.address for each in decision.contacts] == [KIM]

    async def test_a_stranger_who_only_refers_to_it_has_proven_nothing(self, log: JudgedLog) -> None:
        await log.pass_by(sent())
        (decision,) = await log.pass_by(reply(author=STRANGER, field="References"))
        assert decision.reason == "thread_unproven"

    async def test_another_subject_ends_the_thread_where_the_portal_says_so(self, log: JudgedLog, opened: Any) -> None:
        await opened.directory.set_portal("P1", switches=Switches(require_same_subject=True))
        await log.pass_by(sent())
        (same,) = await log.pass_by(reply("same"))
        (other,) = await log.pass_by(reply("other", subject="Something else"))
        assert (same.reason, other.reason) == ("reply_to_logged", "thread_unproven")

    async def test_portals_do_not_meet(self, log: JudgedLog, opened: Any) -> None:
        await opened.directory.add_portal("P2", rule=Rule.REPLIES_ONLY)
        pia = "pia@beta.example"
        await opened.directory.add_user("P2", pia, connected=[pia], personal_email_access=True)
        await opened.directory.add_contact("P2", KIM)
        await log.pass_by(sent())
        content = message(KIM, pia, message_id="<r@cust.example>", more="In-Reply-To: <root@acme.example>\r\n")
        (decision,) = await log.pass_by(seen_in(pia, "reply", content))
        assert decision.reason == "pending_parent"
        (decision,) = await log.end_waiting()
        assert decision.reason == "thread_unproven"


DEEPEST = MAX_LEVELS - 1  # messages in a row that were not logged; the last level is the logged one
PLACES = range(DEEPEST + 2)
ORDERS = {
    "as sent": [*PLACES],
    "backwards": [*reversed(PLACES)],
    "both ends first": [0, DEEPEST + 1, *PLACES[1:-1]],
    "the first last": [*PLACES[1:], 0],
    "from the middle": sorted(PLACES, key=lambda place: abs(place - DEEPEST // 2)),
    "to the middle": sorted(PLACES, key=lambda place: -abs(place - DEEPEST // 2)),
    "the even ones first": sorted(PLACES, key=lambda place: place % 2),
}


@pytest.mark.parametrize("order", list(ORDERS.values()), ids=list(ORDERS))
async def test_seven_messages_in_a_row_that_were_not_logged_lead_to_the_thread_in_any_order(
    log: JudgedLog, order: list[int]
) -> None:
    def mail(place: int) -> Any:
        if place > DEEPEST:
            return reply(answers=f"{DEEPEST}@acme.example")
        fields = f"In-Reply-To: <{place - 1}@acme.example>\r\n" if place else ""
        return sent(f"sent{place}", id_=f"{place}@acme.example", logged=place == 0, fields=fields)

    for place in order:
        await log.pass_by(mail(place))
    assert await reason(log) == "reply_to_logged"
    first, second = await emails(log)
    assert first.thread == second.thread


class TestWaiting:
    """Rules.md 4.5."""

    async def test_an_answer_that_came_first_is_logged_when_its_parent_is(self, log: JudgedLog) -> None:
        (before,) = await log.pass_by(reply())
        assert before.reason == "pending_parent"
        bcc, after = await log.pass_by(sent())
        assert (bcc.reason, after.reason) == ("bcc_address", "reply_to_logged")
        answer, root = sorted(await emails(log), key=lambda each: each.direction)
        assert answer.thread == root.thread
        assert await log.end_waiting() == []

    @pytest.mark.parametrize("order", list(itertools.permutations(("root", "other", "reply"))))
    async def test_a_contact_who_refers_to_a_thread_may_still_become_one_of_its_contacts(
        self, log: JudgedLog, order: tuple[str, ...]
    ) -> None:
        """Kim refers to what Ann wrote to Lee, and Ann writes to Kim in that thread, too."""
        found = {
            "root": sent(to="lee@cust.example"),
            "other": sent("other", id_="other@acme.example", fields="References: <root@acme.example>\r\n"),
            "reply": reply(field="References"),
        }
        for name in order:
            await log.pass_by(found[name])
        assert await reason(log) == "reply_to_logged"
        assert len({each.thread for each in await emails(log)}) == 1

    @pytest.mark.parametrize("order", list(itertools.permutations(("root", "kim", "lee"))))
    async def test_of_two_answers_the_earlier_makes_its_author_a_contact_of_the_thread(
        self, log: JudgedLog, order: tuple[str, ...]
    ) -> None:
        """Not each the other's, which would depend on which was recorded first."""
        lee, max_ = "lee@cust.example", "max@other.example"
        found = {
            "root": sent(to=max_),
            "kim": reply("kim", at=BEGIN + 1),
            "lee": reply("lee", author=lee, at=BEGIN + 2),
        }
        for name in order:
            await log.pass_by(found[name])
        await log.end_waiting()
        said = await decisions(log)
        assert Flag.UNMATCHED_SENDER in said["kim"].flags & said["lee"].flags
        assert {each.address for each in said["kim"].contacts} == {KIM, max_}
        assert {each.address for each in said["lee"].contacts} == {lee, KIM, max_}

    async def test_who_answered_once_is_a_contact_of_the_thread_from_then_on(self, log: JudgedLog) -> None:
        await log.pass_by(sent(to="lee@cust.example"), reply(at=BEGIN + 1))
        await log.pass_by(reply("again", field="References", subject="Re: Offer, once more", at=BEGIN + 2))
        said = await decisions(log)
        assert Flag.UNMATCHED_SENDER in said["reply"].flags
        assert said["again"].reason == "reply_to_logged"
        assert Flag.UNMATCHED_SENDER not in said["again"].flags

    async def test_a_contact_who_never_becomes_one_of_the_thread_has_proven_nothing(self, log: JudgedLog) -> None:
        await log.pass_by(sent(to="lee@cust.example"), reply(field="References"))
        assert await reason(log) == "pending_parent"
        (decision,) = await log.end_waiting()
        assert decision.reason == "thread_unproven"

    async def test_after_the_window_it_is_unproven_and_nothing_of_it_is_left(self, log: JudgedLog, opened: Any) -> None:
        content = message(
            KIM, ANN, subject="Plan", body="Secret words\r\n", more="In-Reply-To: <root@acme.example>\r\n"
        )
        await log.pass_by(seen_in(ANN, "reply", content))
        assert _found(opened.folder, b"Secret words")
        (decision,) = await log.end_waiting()
        assert decision.reason == "thread_unproven"
        assert not _found(opened.folder, b"Secret words")
        assert not _found(opened.folder / "waiting", b"")
        await log.pass_by(sent())
        assert await reason(log) == "thread_unproven"

    async def test_time_counts_from_the_capture_on(self, log: JudgedLog) -> None:
        await log.pass_by(reply(at=BEGIN - 899))
        assert await reason(log) == "pending_parent"
        await log.pass_by(reply("late", at=BEGIN - 901))
        assert await reason(log, "late") == "thread_unproven"

    async def test_messages_that_answer_each_other_do_not_keep_the_recorder(self, log: JudgedLog) -> None:
        one = reply("one", answers="two@cust.example", author=STRANGER)
        two = reply("two", answers="one@cust.example", author=STRANGER)
        await log.pass_by(one, two)
        await log.end_waiting()
        assert {await reason(log, "one"), await reason(log, "two")} == {"no_existing_contact"}


def _found(folder: Path, octets: bytes) -> bool:
    return any(octets in path.read_bytes() for path in folder.rglob("*") if path.is_file())


class TestCost:
    async def test_ten_thousand_references_are_looked_for_in_few_statements(self, log: JudgedLog) -> None:
        await log.pass_by(sent())
        many = " ".join(f"<{number}@else.example>" for number in range(10_000))
        fields = f"References: {many} <root@acme.example>\r\n"
        queries = Queries(log.database)
        (decision,) = await log.pass_by(seen_in(ANN, "reply", message(KIM, ANN, message_id="<r@c>", more=fields)))
        assert decision.reason == "reply_to_logged"
        assert queries.count < 100

    async def test_a_search_asks_a_bounded_number_of_questions(self, log: JudgedLog, opened: Any) -> None:
        portal = await opened.portal()
        rows = [
            {"portal": portal, "hash": keyed_hash(HASH_KEY, f"{n}@x"), "other": keyed_hash(HASH_KEY, f"{n + 1}@x")}
            | {"place": 0, "is_same": False, "at": BEGIN}
            for n in range(50)
        ]
        async with log.database.write() as connection:
            await connection.execute(schema.unlogged.insert(), rows)
        queries = Queries(log.database)
        async with log.database.read() as connection:
            found = await find_thread(connection, HASH_KEY, portal, ["0@x"], ["0@x"])
        assert len(found.missing) == MAX_LEVELS
        assert queries.count <= 4 * MAX_LEVELS + 2

    async def test_a_batch_takes_as_many_statements_as_one_message(self, opened: Any) -> None:
        """With answers in it that find their parents."""
        writer = opened.writer
        counts = []
        for size in (1, 50):
            await writer.passes(message(message_id=f"<before{size}@a>", subject=f"Before {size}"))
            entries = []
            for number in range(size):
                name = f"{size}.{number}"
                content = message(message_id=f"<{name}@a>", subject=name, more="References: <root@a>\r\n")
                entries.append(await writer.settle(content, key=name))
            queries = Queries(opened.database)
            await writer.record([each for each, _ in entries], [part for _, parts in entries for part in parts])
            counts.append(queries.count)
        assert counts[1] <= counts[0] + 4
        assert counts[0] <= 40
