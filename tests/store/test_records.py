"""Records: whose content counts, which captures are one message, and what stays (rules.md section 6)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from judged_log import BEGIN, JudgedLog, entry, seen_in
from log_writer import message
from sqlalchemy import select

from engine.directory import Switches
from store import schema
from store.directory import Directory

ANN, KIM = "ann@acme.example", "kim@cust.example"
BCC, FORWARD = "log-p1@cap.example", "fwd-p1@cap.example"


@pytest_asyncio.fixture
async def log(opened: Any) -> AsyncIterator[JudgedLog]:
    judged = JudgedLog(opened.database, opened.folder)
    yield judged
    await judged.recorder.close()


async def rows(log: JudgedLog, table: Any) -> list[Any]:
    async with log.database.read() as connection:
        return list((await connection.execute(select(table))).all())


def copies() -> dict[str, Any]:
    """A message as the relay took it, and copies with another id and with another text, which only it connects."""
    original = message(message_id="<sent@a>")
    return {
        "relay": entry("relay", original, login=ANN, to=[KIM], at=BEGIN + 3),
        "rewritten": seen_in(ANN, "rewritten", message(message_id="<other@a>"), at=BEGIN + 1),
        "changed": seen_in(ANN, "changed", message(message_id="<sent@a>", body="Changed\r\n"), at=BEGIN + 2),
    }


@pytest.mark.parametrize("order", list(itertools.permutations(("relay", "rewritten", "changed"))))
@pytest.mark.parametrize("together", [True, False])
async def test_records_that_turn_out_to_be_one_message_are_united(
    log: JudgedLog, order: tuple[str, ...], together: bool
) -> None:
    found = [copies()[name] for name in order]
    for batch in [found] if together else [[each] for each in found]:
        await log.pass_by(*batch)
    (email,) = await rows(log, schema.email)
    assert {each.key for each in await rows(log, schema.capture)} == {"relay", "rewritten", "changed"}
    assert {each.msg_id for each in await rows(log, schema.email_id)} == {"sent@a", "other@a", None}
    assert (email.text, email.message_id, email.at) == ("Hello\r\n", "sent@a", BEGIN + 1)
    assert email.thread == email.id
    assert {each.email for each in await rows(log, schema.decision)} == {email.id}


@pytest.mark.parametrize("order", list(itertools.permutations(("relay", "changed"))))
async def test_the_content_of_the_path_that_alters_least_is_kept(log: JudgedLog, order: tuple[str, ...]) -> None:
    """Whichever came first."""
    for name in order:
        await log.pass_by(copies()[name])
    (email,) = await rows(log, schema.email)
    assert email.text == "Hello\r\n"


@pytest.mark.parametrize("is_seen_first", [True, False])
async def test_a_copy_under_the_id_that_the_provider_gave_is_the_same_record(
    log: JudgedLog, is_seen_first: bool
) -> None:
    """Even when it changed the text, as Exchange does."""
    reply = "250 2.6.0 <given@outlook.example> [InternalId=1] Queued mail for delivery"
    both = [
        entry("relay", message(), login=ANN, to=[KIM], reply=reply),
        seen_in(ANN, "copy", message(message_id="<given@outlook.example>", body="Rendered anew\r\n")),
    ]
    for each in reversed(both) if is_seen_first else both:
        await log.pass_by(each)
    assert len(await rows(log, schema.email)) == 1


@pytest.mark.parametrize("other", [{"subject": "Another"}, {"sender": "bob@acme.example"}], ids=["subject", "author"])
async def test_a_reused_id_is_said_of_every_message_that_has_it(log: JudgedLog, other: dict[str, str]) -> None:
    await log.pass_by(entry("one", message(), login=ANN, to=[KIM]))
    await log.pass_by(entry("two", message(**other), login=other.get("sender", ANN), to=[KIM]))
    found = await rows(log, schema.email)
    assert [each.flags for each in found] == [["message_id_reused"], ["message_id_reused"]]


async def test_a_copy_makes_a_contact_and_tells_the_directory(log: JudgedLog, opened: Any) -> None:
    (before,) = await rows(log, schema.directory_version)
    await log.pass_by(entry("bcc", message(ANN, "New@New.example"), login=ANN, to=["New@New.example"], captures=[BCC]))
    directory: Directory = opened.directory
    contact = await directory.contact("P1", "new@new.example")
    assert (contact.primary, contact.owner) == ("New@New.example", ANN)
    (after,) = await rows(log, schema.directory_version)
    assert after.version == before.version + 1
    (linked,) = await rows(log, schema.email_contact)
    assert linked.contact == contact.id


@pytest.mark.parametrize("order", list(itertools.permutations(("ann", "bob", "ann again"))))
@pytest.mark.parametrize("together", [True, False])
async def test_a_contact_of_several_users_copies_belongs_to_who_sent_the_first(
    log: JudgedLog, opened: Any, order: tuple[str, ...], together: bool
) -> None:
    """Whichever was recorded first; one that was there before any of them is not touched."""
    bob, new = "bob@acme.example", "new@new.example"
    found = {
        "ann": entry("ann", message(ANN, new), login=ANN, to=[new], captures=[BCC], at=BEGIN + 2),
        "bob": entry("bob", message(bob, f"{new}, {KIM}"), login=bob, to=[new, KIM], captures=[BCC], at=BEGIN + 1),
        "ann again": entry("ann again", message(ANN, new), login=ANN, to=[new], captures=[BCC], at=BEGIN + 3),
    }
    for batch in [list(order)] if together else [[name] for name in order]:
        await log.pass_by(*(found[name] for name in batch))
    assert (await opened.directory.contact("P1", new)).owner == bob
    assert (await opened.directory.contact("P1", KIM)).owner == ANN


@pytest.mark.parametrize("makes", [True, False])
async def test_a_forward_claims_a_contact_only_where_forwards_make_contacts(
    log: JudgedLog, opened: Any, makes: bool
) -> None:
    await opened.directory.set_portal("P1", switches=Switches(forward_creates_contacts=makes))
    bob, new = "bob@acme.example", "new@new.example"
    await log.pass_by(entry("ann", message(ANN, new), login=ANN, to=[new], captures=[BCC], at=BEGIN + 2))
    original = message(new, bob, message_id="<o@new.example>").decode()
    fields = "Content-Type: multipart/mixed; boundary=x\r\n"
    body = f"--x\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--x--\r\n"
    content = message(bob, FORWARD, message_id="<f@acme.example>", more=fields, body=body)
    decisions = await log.pass_by(entry("bob", content, login=bob, captures=[FORWARD], at=BEGIN + 1))
    assert [each.reason for each in decisions] == ["forwarding_address"]
    assert (await opened.directory.contact("P1", new)).owner == (bob if makes else ANN)


async def test_what_was_changed_by_hand_stays(log: JudgedLog, opened: Any) -> None:
    """A user that was reassigned and a contact that was unlinked, against a capture that comes later."""
    await log.pass_by(copies()["changed"])
    bob = (await opened.directory.user("P1", "bob@acme.example")).id
    async with log.database.write() as connection:
        await connection.execute(schema.email.update().values(user=bob, is_reassigned=True))
        await connection.execute(schema.email_contact.update().values(is_unlinked=True))
    await log.pass_by(copies()["relay"])
    await log.pass_by(copies()["rewritten"])
    (email,) = await rows(log, schema.email)
    assert (email.user, email.is_reassigned) == (bob, True)
    (linked,) = await rows(log, schema.email_contact)
    assert linked.is_unlinked


@pytest.mark.parametrize("order", list(itertools.permutations(("rewritten", "changed"))))
async def test_a_deleted_message_is_not_brought_back(log: JudgedLog, opened: Any, order: tuple[str, ...]) -> None:
    """Not by another capture, nor by one that unites it with a record that was not deleted."""
    from store.forgetting import forget_content

    deleted, left = order
    await log.pass_by(copies()[deleted])
    async with log.database.write() as connection:
        await forget_content(connection, [1])
    await log.pass_by(copies()[left])
    assert len(await rows(log, schema.email)) == 2
    await log.pass_by(copies()["relay"])
    (email,) = await rows(log, schema.email)
    assert email.deleted_at is not None
    assert (email.text, email.subject, email.content) == ("", "", None)
    assert await rows(log, schema.content_part) == []
    assert await rows(log, schema.email_recipient) == []


async def test_a_stranger_who_becomes_known_in_the_thread_is_logged_as_such(log: JudgedLog) -> None:
    """The first answer was logged to the contacts of the thread, before the copy named the sender."""
    new = "new@new.example"
    root = message(ANN, f"{KIM}, {new}", message_id="<root@a>")
    reply = message(new, ANN, message_id="<reply@new>", subject="Re: Offer", more="In-Reply-To: <root@a>\r\n")
    await log.pass_by(entry("root", root, login=ANN, to=[KIM, new]))
    (before,) = await log.pass_by(seen_in(ANN, "reply", reply))
    assert "unmatched_sender" in before.flags
    assert [each.address for each in before.contacts] == [KIM]
    _, after = await log.pass_by(entry("bcc", root, login=ANN, captures=[BCC]))
    assert "unmatched_sender" not in after.flags
    assert [each.address for each in after.contacts] == [new]
    answer = next(each for each in await rows(log, schema.email) if each.direction == "incoming")
    linked = {each.contact for each in await rows(log, schema.email_contact) if each.email == answer.id}
    assert linked == {each.id for each in after.contacts}
    assert "unmatched_sender" not in answer.flags


@pytest.mark.parametrize("together", [True, False])
async def test_the_same_words_submitted_twice_under_two_ids_are_two_messages(log: JudgedLog, together: bool) -> None:
    """A script that mails in a loop, and within one second: each 250 has its record."""
    sent = [entry(f"relay{n}", message(message_id=f"<sent{n}@a>"), login=ANN, to=[KIM], at=BEGIN + n) for n in range(3)]
    again = entry("again", message(message_id="<sent1@a>"), login=ANN, to=[KIM], at=BEGIN + 5)
    copy = seen_in(ANN, "copy", message(message_id="<other@a>"), at=BEGIN + 6)
    found = [*sent, again, copy]
    for batch in [found] if together else [[each] for each in found]:
        await log.pass_by(*batch)
    emails = {each.message_id: each.id for each in await rows(log, schema.email)}
    assert set(emails) == {"sent0@a", "sent1@a", "sent2@a"}
    captures = {each.key: each.email for each in await rows(log, schema.capture)}
    assert captures["again"] == emails["sent1@a"]
    assert captures["copy"] in emails.values()


TWINS = ("one", "two", "copy", "given")


@pytest.mark.parametrize("order", list(itertools.permutations(TWINS)))
@pytest.mark.parametrize("together", [True, False])
async def test_copies_of_the_same_words_belong_to_the_submission_whose_id_they_bear(
    log: JudgedLog, opened: Any, order: tuple[str, ...], together: bool
) -> None:
    """Also when they came before it: a message that was sent must not be lost in another one."""
    reply = "250 2.6.0 <given@outlook.example> [InternalId=1] Queued mail for delivery"
    found = {
        "one": entry("one", message(message_id="<one@a>"), login=ANN, to=[KIM], at=BEGIN + 1),
        "two": entry("two", message(message_id="<two@a>"), login=ANN, to=[KIM, "lee@cust.example"], reply=reply),
        "copy": seen_in(ANN, "copy", message(message_id="<one@a>"), at=BEGIN + 2),
        "given": seen_in(ANN, "given", message(message_id="<given@outlook.example>"), at=BEGIN + 3),
    }
    for batch in [list(order)] if together else [[name] for name in order]:
        await log.pass_by(*(found[name] for name in batch))
    emails = {each.message_id: each.id for each in await rows(log, schema.email)}
    assert set(emails) == {"one@a", "two@a"}
    captures = {each.key: each.email for each in await rows(log, schema.capture)}
    one, two = emails["one@a"], emails["two@a"]
    assert captures == {"one": one, "copy": one, "two": two, "given": two}
    assert captures == {each.key: each.email for each in await rows(log, schema.decision)}
    ids = {(each.msg_id, each.email) for each in await rows(log, schema.email_id) if each.msg_id}
    assert ids == {("one@a", one), ("two@a", two), ("given@outlook.example", two)}
    kim, lee = [(await opened.directory.contact("P1", each)).id for each in (KIM, "lee@cust.example")]
    linked = {(each.email, each.contact) for each in await rows(log, schema.email_contact)}
    assert linked == {(one, kim), (two, kim), (two, lee)}
    assert all(each.flags == [] for each in await rows(log, schema.email))
