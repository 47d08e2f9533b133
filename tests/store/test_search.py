"""Searching the log: which words find a message, in whose log, in what order, and when they find it no more."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from log_writer import message
from sqlalchemy import delete, update

from engine.decision import Source
from store import schema
from store.corrections import Corrections
from store.erasure import Erasure
from store.search import Excerpt, Search, settle
from store.search_words import QueryRefused, words_wanted

HASH_KEY = b"k" * 32
HTML_ONLY = 'MIME-Version: 1.0\r\nContent-Type: text/html; charset="utf-8"\r\n'
TEXT = 'MIME-Version: 1.0\r\nContent-Type: text/plain; charset="utf-8"\r\n'
WITH_FILE = (
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n",
    "--b\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n"
    "--b\r\nContent-Type: application/pdf; name=Quotation-2026.pdf\r\n\r\n%PDF\r\n--b--\r\n",
)


async def log(opened: Any, number: int, body: str = "Hello\r\n", **more: Any) -> None:
    await opened.writer.passes(
        message(
            message_id=f"<{number}@acme.example>", body=body, subject=more.pop("subject", f"Mail {number}"), **more
        ),
        at=1000.0 + number,
    )


async def found(opened: Any, words: str, **more: Any) -> list[str]:
    """The Message-IDs, up to the @."""
    rows = await Search(opened.database).emails(await opened.portal(), words, **{"limit": 50, **more})
    return [each.email.message_id.partition("@")[0] for each in rows]


def marked(excerpt: Excerpt) -> list[str]:
    return [text for text, is_word in excerpt if is_word]


@pytest.mark.parametrize(
    ("words", "is_found"),
    [
        ("harbour", True),
        ("HARBOUR", True),
        ("harbour light", True),
        ("light harbour", True),
        ('"harbour light"', True),
        ('"light harbour"', False),
        ("harb", False),
        ("harb*", True),
        ("harbour -light", False),
        ("harbour -dark", True),
        ("harbour, light!", True),
        ("cafe", True),
        ("CAFÉ", True),
        ("straße", True),
        ("Ключ", True),
        ("ключ", True),
        ("kim@cust.example", True),
        ("cust.example", True),
        ("harbour OR nothing", False),
        ("harbour AND light", False),
        ("subject:harbour", False),
        ("harbour NEAR(light)", False),
        ('harbour "light', True),
        ('"harbour"light"', True),
        ("harbour '; drop table email; --", False),
        ("\ue0001 harbour", True),
        ("\ue0002 harbour", False),
        ("p1", False),
        ("1", False),
    ],
)
async def test_words_as_people_type_them(opened: Any, words: str, is_found: bool) -> None:
    await log(opened, 1, "The harbour light is near the Café in the Straße. Ключ.\r\n", more=TEXT, subject="Ships")
    assert (await found(opened, words) == ["1"]) is is_found


@pytest.mark.parametrize("words", ["", "   ", "-harbour", "!!! ...", '""', "-", "*", "ab*", "x" * 301, "a " * 21])
def test_what_cannot_be_searched_for_is_refused_and_says_what_to_do(words: str) -> None:
    with pytest.raises(QueryRefused, match=r"[Ww]rite at (least|most)"):
        words_wanted(words)


@pytest.mark.parametrize(
    ("words", "subject", "excerpt"),
    [("anchor", ["anchor"], []), ("buoy", [], ["buoy"]), ("anchor buoy", ["anchor"], ["buoy"]), ("lee", [], ["lee"])],
)
async def test_it_is_shown_where_the_words_are(opened: Any, words: str, subject: list[str], excerpt: list[str]) -> None:
    await log(opened, 1, f"{'much before it ' * 50}the buoy lies{' and much behind it' * 50}\r\n", subject="An anchor",
              to="kim@cust.example, lee@cust.example")  # fmt: skip
    (one,) = await Search(opened.database).emails(await opened.portal(), words, limit=5)
    assert (marked(one.subject), marked(one.excerpt)) == (subject, excerpt)
    assert "".join(text for text, _ in one.subject) == "An anchor"
    assert len("".join(text for text, _ in one.excerpt)) < 300


async def test_mail_that_is_html_alone_is_found_by_what_is_read_and_not_by_its_markup(opened: Any) -> None:
    html = "<html><head><style>.lantern{color:red}</style></head><body><p>The <b>light</b>house</p></body></html>\r\n"
    await log(opened, 1, html, more=HTML_ONLY)
    assert await found(opened, "lighthouse") == ["1"]
    for markup in ("lantern", "color", "body", "b"):
        assert await found(opened, markup) == []


async def test_names_of_attachments_are_found(opened: Any) -> None:
    await log(opened, 1, WITH_FILE[1], more=WITH_FILE[0])
    (one,) = await Search(opened.database).emails(await opened.portal(), "quotation", limit=5)
    assert marked(one.excerpt) == ["Quotation"]


async def test_who_was_only_bccd_is_no_word_of_the_mail(opened: Any) -> None:
    await opened.writer.passes(message(), recipients=["kim@cust.example", "lee@cust.example"])
    assert await found(opened, "kim") == ["1"]
    assert await found(opened, "lee") == []


async def test_pages_follow_each_other_and_mail_that_arrives_meanwhile_moves_none(opened: Any) -> None:
    for number in range(1, 8):
        await log(opened, number, "pilot\r\n" if number != 4 else "other\r\n")
    search, portal = Search(opened.database), await opened.portal()
    first = await search.emails(portal, "pilot", limit=3)
    await log(opened, 8, "pilot\r\n")
    second = await search.emails(portal, "pilot", limit=3, before=first[-1].email.id)
    rest = await search.emails(portal, "pilot", limit=3, before=second[-1].email.id)
    assert [each.email.message_id[0] for each in (*first, *second, *rest)] == ["7", "6", "5", "3", "2", "1"]


@pytest.mark.parametrize("few", [0, 100])
async def test_filters_join(opened: Any, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr("store.search.FEW", few)
    for number in range(1, 7):
        await log(opened, number, "tide\r\n", to=("kim@cust.example", "lee@cust.example")[number % 2])
    lee = (await opened.directory.contact("P1", "lee@cust.example")).id
    ann = (await opened.directory.user("P1", "ann@acme.example")).id
    assert await found(opened, "tide", contact=lee) == ["5", "3", "1"]
    assert await found(opened, "tide", contact=lee, limit=2) == ["5", "3"]
    assert await found(opened, "tide", contact=lee, since=1003.0) == ["5", "3"]
    assert await found(opened, "tide", user=ann, direction="outgoing") == ["6", "5", "4", "3", "2", "1"]
    assert await found(opened, "tide", user=ann + 1) == []
    assert await found(opened, "tide", direction="incoming") == []


async def test_a_contact_that_was_taken_off_a_mail_does_not_lead_to_it(opened: Any) -> None:
    await log(opened, 1, "reef\r\n")
    kim = (await opened.directory.contact("P1", "kim@cust.example")).id
    await Corrections(opened.database, opened.directory).unlink(1, "kim@cust.example")
    assert await found(opened, "reef") == ["1"]
    assert await found(opened, "reef", contact=kim) == []


async def test_portals_find_their_own(opened: Any) -> None:
    await log(opened, 1, "shoal\r\n")
    await opened.directory.add_portal("P2")
    assert await Search(opened.database).emails(await opened.portal("P2"), "shoal", limit=5) == []


async def test_a_better_copy_changes_what_is_found(opened: Any) -> None:
    altered = message(message_id="<1@acme.example>", body="Hello\r\n--\r\nfooter\r\n")
    await opened.writer.passes(altered, source=Source.OBSERVER, mailbox="ann@acme.example", login=None)
    assert await found(opened, "footer") == ["1"]
    await opened.writer.passes(message(message_id="<1@acme.example>"))
    assert (await found(opened, "footer"), await found(opened, "hello")) == ([], ["1"])


async def test_deleted_mail_is_found_no_more_and_its_words_leave_the_file(opened: Any) -> None:
    await log(opened, 1, "xylophone\r\n")
    await log(opened, 2, "other\r\n")
    await Corrections(opened.database, opened.directory).delete(1)
    assert await found(opened, "xylophone") == []
    await settle(opened.database)
    assert not _is_in_index(opened, b"xylophone")
    assert await found(opened, "other") == ["2"]


async def test_an_erased_contact_is_in_no_index(opened: Any) -> None:
    await log(opened, 1, "To kim@cust.example: zugzwang\r\n")
    await log(opened, 2, "zwischenzug, says kim@cust.example\r\n", to="kim@cust.example, lee@cust.example")
    assert _is_in_index(opened, b"zugzwang")
    home = await opened.directory.portal("P1")
    report = await Erasure(opened.database, opened.directory, HASH_KEY).erase(home, "kim@cust.example")
    assert report.is_rewritten
    assert not _is_in_index(opened, b"zugzwang")
    assert await found(opened, "zwischenzug") == ["2"]
    assert await found(opened, "kim") == []
    assert await opened.directory.contacts_like("P1", "kim", limit=5) == []
    _is_sound(opened)


async def test_the_index_is_as_the_log_is_after_any_change(opened: Any) -> None:
    for number in range(1, 40):
        await log(opened, number, f"word{number} and more\r\n")
    async with opened.database.write() as connection:
        await connection.execute(update(schema.email).where(schema.email.c.id % 3 == 0).values(subject="changed"))
        await connection.execute(update(schema.email).values(flags=["calendar"]))
    await opened.writer.recording.prune_emails(older_than=1020.0)
    _is_sound(opened)
    assert await found(opened, "changed") == ["39", "36", "33", "30", "27", "24", "21"]
    assert await found(opened, "word5") == []


def _is_sound(opened: Any) -> None:
    """FTS5 compares the index with the text itself, and raises."""
    with sqlite3.connect(opened.folder / "store.sqlite") as connection:
        connection.execute("insert into email_words (email_words, rank) values ('integrity-check', 1)")
        connection.execute("insert into contact_words (contact_words, rank) values ('integrity-check', 1)")
    connection.close()


def _is_in_index(opened: Any, word: bytes) -> bool:
    with sqlite3.connect(opened.folder / "store.sqlite") as connection:
        blocks = b"".join(block for (block,) in connection.execute("select block from email_words_data"))
    connection.close()
    return word[2:] in blocks  # the index leaves out what neighbours begin with


class TestContacts:
    @pytest.mark.parametrize(
        ("typed", "primaries"),
        [
            ("kim", ["kim@cust.example"]),
            ("KI", ["kim@cust.example"]),
            ("im", []),
            ("cust.ex", ["kim@cust.example", "lee@cust.example"]),
            ("lee@cust", ["lee@cust.example"]),
            ("gmail", ["kim@cust.example"]),
            ("kim pia", []),
            ('"kim', ["kim@cust.example"]),
            ("@", []),
            ("", None),
        ],
    )
    async def test_are_found_by_how_words_begin(self, opened: Any, typed: str, primaries: list[str] | None) -> None:
        everyone = [each.primary for each in await opened.directory.contacts("P1")]
        rows = [each.primary for each in await opened.directory.contacts_like("P1", typed, limit=50)]
        assert rows == (sorted(everyone) if primaries is None else primaries)

    async def test_are_found_by_their_names_of_today(self, opened: Any) -> None:
        await opened.directory.add_contact("P1", "zoe@cust.example", name="Zoë Öttinger")
        for typed in ("zoe", "Zoë", "ott", "öt zo"):
            assert [each.primary for each in await opened.directory.contacts_like("P1", typed, limit=5)] == [
                "zoe@cust.example"
            ]
        async with opened.database.write() as connection:
            mine = schema.contact.c.primary_address == "zoe@cust.example"
            await connection.execute(update(schema.contact).where(mine).values(name="Renamed"))
        assert await opened.directory.contacts_like("P1", "ottinger", limit=5) == []
        assert len(await opened.directory.contacts_like("P1", "ren", limit=5)) == 1

    async def test_are_found_no_more_once_their_address_is_gone(self, opened: Any) -> None:
        async with opened.database.write() as connection:
            held = schema.contact_address
            await connection.execute(delete(held).where(held.c.written == "kim.k@gmail.com"))
        assert await opened.directory.contacts_like("P1", "gmail", limit=5) == []
        assert len(await opened.directory.contacts_like("P1", "kim", limit=5)) == 1
