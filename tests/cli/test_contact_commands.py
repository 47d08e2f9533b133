"""`onrecord contact add|list|show` and `onrecord never-log`."""

from __future__ import annotations

from typing import Any

import pytest

from store.contact_rows import insert_contact


def test_a_contact_is_added_with_all_it_may_have(sample: Any) -> None:
    words = ["--other", "zoe@home.example", "--name", "Zoe", "--owner", "sales@acme.example", "--json"]
    added = sample.done("contact", "add", "Zoe@Cust.Example", *words).json
    assert added["primary"] == "Zoe@cust.example"
    assert added["addresses"] == ["Zoe@cust.example", "zoe@home.example"]
    assert added["name"] == "Zoe"
    assert added["owner"] == "ann@acme.example"
    assert sample.done("contact", "show", "ZOE@home.example", "--json").json == added
    assert "zoe@home.example" in sample.done("contact", "show", "zoe@cust.example").text


def test_the_list_holds_every_contact_the_oldest_first(sample: Any) -> None:
    listed = sample.done("contact", "list", "--json").json
    assert [each["name"] for each in listed] == ["Kim", "Lee", "Max", "Nia", "Bo"]
    assert listed[0]["addresses"] == ["kim@cust.example", "kim.k@gmail.com"]
    assert [each["name"] for each in sample.done("contact", "list", "--limit", "2", "--json").json] == ["Kim", "Lee"]
    assert "kim.k@gmail.com" in sample.done("contact", "list").text


def test_a_list_longer_than_a_page_is_whole(installation: Any) -> None:
    installation.done("portal", "add", "P1")

    async def fill(directory: Any, _: Any) -> None:
        home = await directory.portal("P1")
        async with directory.change() as connection:
            for number in range(1203):
                await insert_contact(connection, home, f"c{number}@cust.example")

    installation.work(fill)
    listed = installation.done("contact", "list", "--json").json
    assert [each["primary"] for each in listed] == [f"c{number}@cust.example" for number in range(1203)]
    assert len(installation.done("contact", "list", "--limit", "1100", "--json").json) == 1100


def test_an_empty_list_says_how_to_add_one(installation: Any) -> None:
    installation.done("portal", "add", "P1")
    assert installation.done("contact", "list", "--json").json == []
    assert "onrecord contact import" in installation.done("contact", "list").error


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["add", "kim@cust.example"], "kim@cust.example belongs to the contact kim@cust.example already"),
        (["add", "k.im.k+x@googlemail.com"], "kim.k@gmail.com belongs to the contact kim@cust.example already"),
        (["add", "zoe@cust.example", "--other", "LEE@cust.example"], "belongs to the contact lee@cust.example"),
        (["add", "zoe"], "'zoe' is no e-mail address"),
        (["add", "zoe@cust.example", "--owner", "x@y.example"], "the owner 'x@y.example' is no user of P1"),
        (["add", "zoe@cust.example", "--name", "z" * 201], "201 characters"),
        (["show", "zoe@cust.example"], "'zoe@cust.example' is on no contact of P1; see: onrecord contact list"),
    ],
)
def test_a_refusal_names_value_and_mend_and_changes_nothing(sample: Any, words: list[str], complaint: str) -> None:
    before = sample.done("contact", "list", "--json").json
    assert complaint in sample.refused("contact", *words)
    assert sample.done("contact", "list", "--json").json == before


def test_what_is_written_in_a_table_cannot_steer_the_terminal(sample: Any) -> None:
    async def smuggle(directory: Any, _: Any) -> None:
        from sqlalchemy import update

        from store import schema

        async with directory.change() as connection:
            name = "Kim\x1b]0;owned\x07 \x9b2J\u202etxt [red]x[/red]"
            await connection.execute(update(schema.contact).where(schema.contact.c.id == 1).values(name=name))

    sample.work(smuggle)
    for words in (["contact", "list"], ["contact", "show", "kim@cust.example"], ["contact", "list", "--json"]):
        text = sample.done(*words).text
        assert "\x1b" not in text
        assert "\x9b" not in text
        assert "\u202e" not in text
        assert "[red]x[/red]" in text
    assert "\x1b]0;owned" in sample.done("contact", "list", "--json").json[0]["name"]


class TestNeverLog:
    @pytest.mark.parametrize(
        ("entry", "spelt"),
        [
            ("Kim@Cust.Example", "kim@cust.example"),
            ("cust.example", "*@cust.example"),
            ("@cust.example", "*@cust.example"),
            ("*@cust.example", "*@cust.example"),
            ("*.cust.example", "*@*.cust.example"),
            ("*@*.cust.example", "*@*.cust.example"),
            ("bücher.example", "*@xn--bcher-kva.example"),
        ],
    )
    def test_each_form_is_added_once_and_removed_in_any_spelling(self, sample: Any, entry: str, spelt: str) -> None:
        for _ in range(2):
            assert spelt in sample.done("never-log", "add", entry).text
        assert sample.done("never-log", "list", "--json").json == sorted([spelt, "*@secret.example"])
        assert spelt in sample.done("never-log", "list").text
        assert spelt in sample.done("never-log", "remove", entry).text
        assert sample.done("never-log", "list", "--json").json == ["*@secret.example"]

    def test_a_users_own_list_is_apart(self, sample: Any) -> None:
        sample.done("never-log", "add", "max@other.example", "--user", "ann@acme.example")
        assert sample.done("never-log", "list", "--json").json == ["*@secret.example"]
        assert sample.done("never-log", "list", "--user", "sales@acme.example", "--json").json == ["max@other.example"]
        assert sample.done("never-log", "list", "--user", "bob@acme.example", "--json").json == []
        assert "not on the list" in sample.refused("never-log", "remove", "max@other.example")
        sample.done("never-log", "remove", "max@other.example", "--user", "ann@acme.example")
        assert sample.done("never-log", "list", "--user", "ann@acme.example", "--json").json == []

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["add", "a b@c.example"], "'a b@c.example' is no Never Log entry; write a@b, b, @b, *@b, *.b or *@*.b"),
            (["add", "kim@*"], "'kim@*' is no Never Log entry"),
            (["add", ""], "'' is no Never Log entry"),
            (["remove", "kim@cust.example"], "kim@cust.example is not on the list; see: onrecord never-log list"),
            (["add", "x.example", "--user", "kim@cust.example"], "'kim@cust.example' is no user of P1"),
        ],
    )
    def test_a_refusal_names_value_and_mend(self, sample: Any, words: list[str], complaint: str) -> None:
        assert complaint in sample.refused("never-log", *words)
        assert sample.done("never-log", "list", "--json").json == ["*@secret.example"]

    def test_an_empty_list_says_how_to_add_to_it(self, sample: Any) -> None:
        sample.done("never-log", "remove", "secret.example")
        assert "onrecord never-log add" in sample.done("never-log", "list").error
