"""Attribution, row by row (`attribution.toml`, docs/rules.md section 5), and what must hold of any message."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import BOB, KIM, LEE, MAX, NIA, USERS, answer, mail, portal, relayed

from engine.attribution import Attributed, attribute_incoming, attribute_outgoing
from engine.capture import Capture
from engine.decision import Attribution, Source
from engine.directory import User
from engine.never_log import compile_entries
from engine.parties import Parties

ROWS = tomllib.loads(Path(__file__).with_name("attribution.toml").read_text("utf-8"))["row"]
SENDERS = {"kim": KIM, "lee": LEE, "max": MAX, "nia": NIA}
BY_NAME = {user.account.partition("@")[0]: user for user in USERS}


def _full(name: str) -> str:
    return name if "@" in name else f"{name}@acme.example"


def _all(value: str | list[str]) -> list[str]:
    return [_full(each) for each in ([value] if isinstance(value, str) else value)]


def _users(changes: dict[str, dict[str, Any]]) -> dict[str, User]:
    """The users by name, as the row wants them."""
    people = dict(BY_NAME)
    for name, fields in changes.items():
        made = dict(fields)
        if "send_as" in made:
            made["send_as"] = frozenset(BY_NAME[other].id for other in made["send_as"])
        if "aliases" in made:
            made["aliases"] = frozenset(_all(made["aliases"]))
        if "never_log" in made:
            made["never_log"] = tuple(made["never_log"])
        people[name] = replace(people[name], **made)
    return people


def _attribute(row: dict[str, Any]) -> Attributed | None:
    people = _users(row.get("users", {}))
    said = answer(portal(service_logins=frozenset(_all(row.get("services", [])))), users=list(people.values()))
    capture = Capture(
        source=Source.RELAY if "login" in row else Source.OBSERVER,
        recipients=tuple(_all(row["envelope"])) if "envelope" in row else None,
        login=_full(row["login"]) if "login" in row else None,
        mailbox=_full(row["mailbox"]) if "mailbox" in row else None,
    )
    message = mail(", ".join(_all(row["from"])), *_all(row.get("to", [])), cc=_all(row.get("cc", [])))
    found = Parties.of(capture, message, said)
    if "sender" not in row:
        return attribute_outgoing(found)
    sender = SENDERS[row["sender"]]
    blocking = frozenset(each.id for each in people.values() if compile_entries(each.never_log).covers(sender.primary))
    eligible = [
        each
        for each in found.all_users()
        if each.active and each.personal_email_access and found.belongs_to(each) and each.id not in blocking
    ]
    parent = people[row["parent"]] if "parent" in row else None
    return attribute_incoming(found, sender, eligible, blocking=blocking, parent=parent)


@pytest.mark.parametrize("row", ROWS, ids=[row["rule"] for row in ROWS])
def test_the_row_is_attributed_as_the_rules_say(row: dict[str, Any]) -> None:
    found = _attribute(row)
    if not row["user"]:
        assert found is None
        return
    assert found is not None
    assert found.user.account == _full(row["user"])
    assert found.attribution == row["attribution"]
    assert found.flags == frozenset(row.get("flags", []))


def test_the_rows_show_every_attribution() -> None:
    by_forwarding = {Attribution.FORWARDER}  # tests/engine/test_explicit.py
    assert {row["attribution"] for row in ROWS if row["user"]} == set(Attribution) - by_forwarding


class TestNoClaimIsBelieved:
    """Rules.md 5.1: attribution must not be forgeable."""

    addresses = st.sampled_from(
        [user.account for user in USERS] + ["sales@acme.example", "kim@cust.example", "x@x.example"]
    )

    @given(
        login=st.sampled_from(USERS),
        authors=st.lists(addresses, min_size=1, max_size=3),
        grants=st.sets(st.integers(1, 5)),
    )
    def test_a_login_speaks_for_itself_and_for_whom_it_may_send_as(
        self, login: User, authors: list[str], grants: set[int]
    ) -> None:
        sender = replace(login, send_as=frozenset(grants))
        said = answer(users=[sender])
        capture = relayed(login.account, "kim@cust.example")
        found = attribute_outgoing(Parties.of(capture, mail(", ".join(authors), "kim@cust.example"), said))
        assert found is not None
        assert found.user.id == login.id or found.user.id in grants

    @given(
        fields=st.dictionaries(
            st.sampled_from(
                ["Sender", "Reply_To", "Authentication_Results", "X_Original_From", "Resent_From", "DKIM_Signature"]
            ),
            st.sampled_from(
                ["bob@acme.example", "mx.acme.example; dmarc=pass header.from=acme.example", "Bob <bob@acme.example>"]
            ),
        )
    )
    def test_no_other_field_changes_the_user(self, fields: dict[str, str]) -> None:
        capture = relayed("ann@acme.example", "kim@cust.example")
        message = mail(BOB.account, "kim@cust.example", **fields)
        plain = mail(BOB.account, "kim@cust.example")
        assert attribute_outgoing(Parties.of(capture, message, answer())) == attribute_outgoing(
            Parties.of(capture, plain, answer())
        )
