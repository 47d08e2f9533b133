"""Asking the log: filters, order, content put together again, and portals that do not meet."""

from __future__ import annotations

import os
from typing import Any

import pytest
from log_writer import message

from store.reading import bare_message_id


async def content_of(opened: Any, email: int) -> bytes:
    return b"".join([octets async for octets in opened.reading.content(email)])


@pytest.mark.parametrize("text", ["a@b", "<a@b>", "  <a@b>\n", "< a@b >"])
def test_an_id_may_be_pasted_with_its_brackets(text: str) -> None:
    assert bare_message_id(text) == "a@b"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b".\r\n",
        b"\xff\x00\xfe",
        os.urandom(1024 * 1024),
        b"x" * (1024 * 1024),
        b"y" * (3 * 1024 * 1024 + 7),
    ],
    ids=["nothing", "an empty line", "a dot", "octets", "1 MiB of chance", "1 MiB", "3 MiB and some"],
)
async def test_content_is_put_together_octet_by_octet_in_bounded_pieces(opened: Any, body: bytes) -> None:
    whole = message(body="") + body
    await opened.writer.passes(whole)
    (email,) = await opened.reading.emails(await opened.portal())
    pieces = [octets async for octets in opened.reading.content(email.id)]
    assert b"".join(pieces) == whole
    assert max(map(len, pieces)) <= 1024 * 1024
    assert email.size == len(whole)


async def test_content_of_no_email_is_empty(opened: Any) -> None:
    assert await content_of(opened, 7) == b""


async def test_filters_join_and_the_limit_comes_last(opened: Any) -> None:
    reading, portal = opened.reading, await opened.portal()
    for number in range(6):
        sender = ("ann@acme.example", "bob@acme.example")[number % 2]
        to = ("kim@cust.example", "lee@cust.example", "kim.k@gmail.com")[number % 3]
        await opened.writer.passes(message(sender, to, message_id=f"<{number}>"), login=sender, at=1000.0 + number)
    kim = (await opened.directory.contact("P1", "kim@cust.example")).id
    ann = (await opened.directory.user("P1", "ann@acme.example")).id

    async def found(**filters: Any) -> list[str]:
        return [each.message_id for each in await reading.emails(portal, **filters)]

    assert await found() == ["5", "4", "3", "2", "1", "0"]
    assert await found(contact=kim) == ["5", "3", "2", "0"]
    assert await found(user=ann) == ["4", "2", "0"]
    assert await found(contact=kim, user=ann) == ["2", "0"]
    assert await found(since=1003.0) == ["5", "4", "3"]
    assert await found(direction="outgoing", limit=2) == ["5", "4"]
    assert await found(direction="incoming") == []
    assert await found(contact=kim, user=ann, since=1001.0, limit=5) == ["2"]


async def test_many_emails_are_listed_with_each_its_own_details(opened: Any) -> None:
    entries = []
    for number in range(620):
        to = "kim@cust.example, lee@cust.example" if number % 2 else "lee@cust.example"
        content = message(to=to, message_id=f"<{number}>", subject=f"Offer {number}")
        entries.append(await opened.writer.settle(content, key=f"k{number}"))
    await opened.writer.record([each for each, _ in entries], [part for _, parts in entries for part in parts])
    listed = await opened.reading.emails(await opened.portal())
    assert len(listed) == 620
    for each in listed:
        odd = int(each.message_id) % 2
        assert each.contacts == (("kim@cust.example", "lee@cust.example") if odd else ("lee@cust.example",))
        assert [capture.source for capture in each.captures] == ["relay"]


async def test_portals_do_not_meet(opened: Any) -> None:
    await opened.writer.passes(message(), key="a")
    await opened.writer.passes(message(to="x@stranger.example", message_id="<skip@a>"), key="b")
    await opened.directory.add_portal("P2")
    other, reading = await opened.portal("P2"), opened.reading
    assert await reading.emails(other) == []
    assert await reading.email(1, portal=other) is None
    assert await reading.decisions(other) == []
    assert await reading.decisions(other, message_id="skip@a") == []
    assert (await reading.explain(other, "1@acme.example")).is_empty
    assert (await reading.email(1)).portal == "P1"


async def test_an_explanation_finds_a_message_by_any_of_its_ids(opened: Any) -> None:
    from sqlalchemy import insert

    from store import schema
    from store.hashes import keyed_hash

    await opened.writer.passes(message())
    portal = await opened.portal()
    async with opened.database.write() as connection:
        hash_ = keyed_hash(b"k" * 32, "rewritten@provider.example")
        row = {"portal": portal, "hash": hash_, "msg_id": "rewritten@provider.example", "email": 1}
        await connection.execute(insert(schema.email_id).values(**row))
    found = await opened.reading.explain(portal, "<rewritten@provider.example>")
    assert [each.id for each in found.emails] == [1]
    assert [each.email for each in found.decisions] == [1]


async def test_a_renamed_contact_is_shown_by_todays_address_and_decided_by_the_one_of_then(opened: Any) -> None:
    from sqlalchemy import update

    from store import schema

    await opened.writer.passes(message())
    async with opened.database.write() as connection:
        table = schema.contact
        named = update(table).where(table.c.primary_address == "kim@cust.example")
        await connection.execute(named.values(primary_address="kim.k@gmail.com"))
    portal = await opened.portal()
    (email,) = await opened.reading.emails(portal)
    (decision,) = await opened.reading.decisions(portal)
    assert email.contacts == ("kim.k@gmail.com",)
    assert [each.address for each in decision.value.contacts] == ["kim@cust.example"]
