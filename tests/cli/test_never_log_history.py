"""`onrecord never-log add --apply-to-history`: first how much, then only when somebody wants it."""

from __future__ import annotations

from typing import Any

import pytest
from log_writer import message


@pytest.fixture
def history(sample: Any) -> Any:
    """Emails to Kim; to Kim and Lee; to Max and a stranger; one of Bob's to Kim."""

    async def work(directory: Any, writer: Any) -> None:
        for number, to in enumerate(
            ("kim@cust.example", "kim.k@gmail.com, lee@cust.example", "max@other.example, x@stranger.example"), 1
        ):
            await writer.passes(message(to=to, message_id=f"<{number}@acme.example>", subject=f"Offer {number}"))
        await writer.passes(
            message("bob@acme.example", message_id="<4@acme.example>", subject="Offer 4"), login="bob@acme.example"
        )

    sample.work(work)
    return sample


def contacts(installation: Any) -> dict[int, list[str]]:
    return {each["id"]: each["contacts"] for each in installation.done("emails", "--json").json}


BEFORE = {
    1: ["kim@cust.example"],
    2: ["kim@cust.example", "lee@cust.example"],
    3: ["max@other.example"],
    4: ["kim@cust.example"],
}


def test_without_a_yes_it_says_how_much_and_changes_nothing(history: Any) -> None:
    outcome = history.run("never-log", "add", "kim@cust.example", "--apply-to-history")
    assert outcome.status == 1
    assert "emails to be deleted: 2" in outcome.text
    assert "emails to be taken away from a contact: 1" in outcome.text
    assert "--yes" in outcome.error
    assert contacts(history) == BEFORE
    assert history.done("never-log", "list", "--json").json == ["*@secret.example"]


def test_records_of_covered_contacts_alone_are_deleted_and_others_lose_them(history: Any) -> None:
    history.done("never-log", "add", "kim@cust.example", "--apply-to-history", "--yes")
    assert contacts(history) == {2: ["lee@cust.example"], 3: ["max@other.example"]}
    assert "kim@cust.example" in history.done("never-log", "list", "--json").json
    trail = history.done("audit", "--json").json
    assert [(each["action"], each["subject"]) for each in trail[:4]] == [
        ("email.unlink", "email 2"),
        ("email.delete", "email 4"),
        ("email.delete", "email 1"),
        ("never_log.add", "kim@cust.example"),
    ]


def test_a_domain_covers_the_address_in_use_only(history: Any) -> None:
    history.done("never-log", "add", "cust.example", "--apply-to-history", "--yes")
    assert contacts(history) == {2: ["kim@cust.example"], 3: ["max@other.example"]}


def test_a_personal_entry_concerns_the_records_of_that_user_only(history: Any) -> None:
    history.done("never-log", "add", "kim@cust.example", "--user", "bob@acme.example", "--apply-to-history", "--yes")
    assert contacts(history) == {key: value for key, value in BEFORE.items() if key != 4}


def test_under_the_message_scope_one_covered_party_is_enough(history: Any) -> None:
    history.done("portal", "set", "--never-log-scope", "message")
    history.done("never-log", "add", "stranger.example", "--apply-to-history", "--yes")
    history.done("never-log", "add", "lee@cust.example", "--apply-to-history", "--yes")
    assert contacts(history) == {1: BEFORE[1], 4: BEFORE[4]}


def test_under_the_contact_scope_a_covered_stranger_changes_nothing(history: Any) -> None:
    history.done("never-log", "add", "stranger.example", "--apply-to-history", "--yes")
    assert contacts(history) == BEFORE


def test_without_the_option_what_is_logged_stays(history: Any) -> None:
    history.done("never-log", "add", "kim@cust.example")
    assert contacts(history) == BEFORE


def test_an_entry_of_no_form_is_refused_before_anything_is_counted(history: Any) -> None:
    assert "is no Never Log entry" in history.refused("never-log", "add", "a b", "--apply-to-history", "--yes")
