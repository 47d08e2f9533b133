"""`onrecord user`."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_user_is_added_with_all_it_may_have(sample: Any) -> None:
    words = ["--name", "Fay", "--alias", "office@acme.example", "--alias", "post@acme.example"]
    words += ["--connected", "fay@acme.example", "--connected", "fay@home.example", "--send-as", "ann@acme.example"]
    added = sample.done("user", "add", "fay@acme.example", *words, "--json").json
    assert added == {
        "id": added["id"],
        "portal": "P1",
        "account": "fay@acme.example",
        "name": "Fay",
        "aliases": ["office@acme.example", "post@acme.example"],
        "connected": ["fay@acme.example", "fay@home.example"],
        "send_as": ["ann@acme.example"],
        "personal_email_access": True,
        "active": True,
    }
    assert sample.done("user", "show", "post@acme.example", "--json").json == added
    assert "fay@home.example" in sample.done("user", "show", "fay@acme.example").text


def test_the_list_holds_every_user_by_account(sample: Any) -> None:
    listed = sample.done("user", "list", "--json").json
    assert [each["account"].partition("@")[0] for each in listed] == ["ann", "bob", "cy", "dee", "eve"]
    assert [each["personal_email_access"] for each in listed] == [True, True, True, False, True]
    assert [each["active"] for each in listed] == [True, True, True, True, False]
    assert "sales@acme.example" in sample.done("user", "list").text


def test_an_empty_list_says_how_to_add_one(installation: Any) -> None:
    installation.done("portal", "add", "P1")
    assert "onrecord user add" in installation.done("user", "list").error


def test_set_changes_what_is_named_and_leaves_the_rest(sample: Any) -> None:
    before = sample.done("user", "show", "ann@acme.example", "--json").json
    changed = sample.done("user", "set", "ann@acme.example", "--inactive", "--json").json
    assert changed == before | {"active": False}
    changed = sample.done("user", "set", "ann@acme.example", "--no-personal-email-access", "--json").json
    assert changed == before | {"active": False, "personal_email_access": False}
    words = ["--active", "--personal-email-access", "--name", "Ann A."]
    assert sample.done("user", "set", "ann@acme.example", *words, "--json").json == before | {"name": "Ann A."}


def test_lists_are_replaced_and_emptied(sample: Any) -> None:
    words = ("user", "set", "ann@acme.example", "--json")
    assert sample.done(*words, "--alias", "a@acme.example").json["aliases"] == ["a@acme.example"]
    assert sample.done(*words, "--alias", "").json["aliases"] == []
    assert sample.done(*words, "--connected", "").json["connected"] == []
    assert sample.done(*words, "--send-as", "bob@acme.example").json["send_as"] == ["bob@acme.example"]
    assert sample.done(*words, "--send-as", "").json["send_as"] == []
    assert sample.done(*words, "--name", "").json["name"] is None


def test_an_alias_may_be_on_two_users(sample: Any) -> None:
    changed = sample.done("user", "set", "bob@acme.example", "--alias", "sales@acme.example", "--json").json
    assert changed["aliases"] == ["sales@acme.example"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["add", "ann@acme.example"], "ann@acme.example is a user already; change it with: onrecord user set"),
        (["add", "ANN@acme.example"], "belongs to the user ann@acme.example already"),
        (["add", "no address"], "'no address' is no e-mail address"),
        (["add", "fay@acme.example", "--alias", "x@"], "'x@' is no e-mail address"),
        (["add", "fay@acme.example", "--connected", "bob@acme.example"], "belongs to the user bob@acme.example"),
        (["add", "fay@acme.example", "--send-as", "x@y.example"], "'x@y.example' is no user of P1"),
        (["add", "fay@acme.example", "--name", "a\x1b[2Jb"], "control characters"),
        (["show", "fay@acme.example"], "'fay@acme.example' is no user of P1; see: onrecord user list"),
        (["set", "fay@acme.example", "--active"], "'fay@acme.example' is no user of P1"),
        (["set", "ann@acme.example", "--connected", "Bob@Acme.Example"], "take it away there first"),
    ],
)
def test_a_refusal_names_value_and_mend_and_changes_nothing(sample: Any, words: list[str], complaint: str) -> None:
    before = sample.done("user", "list", "--json").json
    assert complaint in sample.refused("user", *words)
    assert sample.done("user", "list", "--json").json == before


def test_a_user_without_an_account_is_a_wrong_line(sample: Any) -> None:
    assert "ACCOUNT" in sample.refused("user", "add", status=2)
