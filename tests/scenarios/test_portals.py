"""Nothing passes from one portal to another, however their addresses are spelt (rules.md 1, 2).

Two portals have the same people under equal canonical forms, and each has its own idea of which domains are
subaddressed. What one of them answers and decides must be what it would be if the other did not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import HASH_KEY
from people import mail

import engine
from engine.address import canonical
from engine.capture import Capture
from engine.decision import Decision, Source
from engine.directory import Answer, Rule
from engine.message import Message
from store.database import Database
from store.directory import Directory
from store.lookups import Lookups

PORTALS = {
    "P1": {
        "ann@acme.example": ["bob@acme.example", "k.i.m@gmail.com", "lee+a@cust.example", "kunde@bücher.example"],
        "joint@acme.example": [],
    },
    "P2": {
        "bob@acme.example": [
            "ann@acme.example",
            "kim@googlemail.com",
            "lee@cust.example",
            "Kunde@bücher.example",
        ],
        "joint@beta.example": [],
    },
}
SUBADDRESSED = {"P1": [], "P2": ["cust.example", "acme.example"]}
SPELLINGS = [
    "ann@acme.example", "Ann+x@ACME.example", "bob@acme.example", "bob+y@acme.example", "joint@acme.example",
    "joint@beta.example", "kim@gmail.com", "K.I.M+z@googlemail.com", "lee@cust.example", "LEE+a@cust.example",
    "lee+b@cust.example", "kunde@BÜCHER.example", "kunde@xn--bcher-kva.example", "x@x.example",
    "log@cap.example", "log2@cap.example",
]  # fmt: skip


@dataclass(frozen=True)
class _World:
    """Look-ups on a directory of both portals, and on directories of one each."""

    runner: asyncio.Runner
    both: Lookups
    alone: dict[str, Lookups]
    databases: tuple[Database, ...]

    def answers(self, lookups: Lookups, capture: Capture, message: Message) -> dict[str, Answer]:
        """By the name of the portal."""
        found = self.runner.run(lookups.ask(engine.question(capture, message)))
        return {each.portal.name: each for each in found}


async def _open(path: Path, names: list[str]) -> tuple[Database, Lookups]:
    database = await Database.open(f"sqlite:///{path}")
    directory = Directory(database, path.with_suffix(".bell"))
    for name in names:
        address = "log@cap.example" if name == "P1" else "log2@cap.example"
        await directory.add_portal(name, rule=Rule.ALL, bcc_address=address, subaddressed_domains=SUBADDRESSED[name])
        for account, contacts in PORTALS[name].items():
            await directory.add_user(name, account, connected=[account], personal_email_access=True)
            for primary in contacts:
                await directory.add_contact(name, primary, owner=account)
    return database, Lookups(database, path.with_suffix(".bell"), HASH_KEY)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_World]:
    folder = tmp_path_factory.mktemp("portals")
    with asyncio.Runner() as runner:
        first, both = runner.run(_open(folder / "both.sqlite", ["P1", "P2"]))
        second, one = runner.run(_open(folder / "one.sqlite", ["P1"]))
        third, other = runner.run(_open(folder / "other.sqlite", ["P2"]))
        yield _World(runner, both, {"P1": one, "P2": other}, (first, second, third))
        for database in (first, second, third):
            runner.run(database.close())


addresses = st.sampled_from(SPELLINGS)
messages = st.builds(
    lambda author, to, cc: mail(author, *to, cc=cc),
    addresses,
    st.lists(addresses, max_size=2),
    st.lists(addresses, max_size=2),
)
captures = st.one_of(
    st.builds(
        lambda login, recipients, copies: Capture(
            source=Source.RELAY, login=login, recipients=tuple(recipients), capture_addresses=frozenset(copies)
        ),
        addresses,
        st.lists(addresses, max_size=2),
        st.sampled_from([(), ("log@cap.example",), ("log2@cap.example",), ("log@cap.example", "log2@cap.example")]),
    ),
    st.builds(lambda mailbox: Capture(source=Source.OBSERVER, mailbox=mailbox), addresses),
    st.builds(
        lambda recipients: Capture(source=Source.GATEWAY, recipients=tuple(recipients)),
        st.lists(addresses, min_size=1, max_size=3),
    ),
)


def _without_ids(decision: Decision) -> tuple[object, ...]:
    """The decision in words: ids are those of a database."""
    return (
        decision.outcome,
        decision.reason,
        decision.direction,
        [(each.address, each.bcc) for each in decision.contacts],
        decision.user.address if decision.user else None,
        decision.attribution,
        decision.flags,
        decision.creates,
    )


@given(captures, messages)
def test_a_portal_decides_as_if_it_were_alone(world: _World, capture: Capture, message: Message) -> None:
    both = world.answers(world.both, capture, message)
    for name, lookups in world.alone.items():
        alone = world.answers(lookups, capture, message)
        assert alone.keys() == both.keys() & {name}
        if name in alone:
            decided, wanted = (engine.decide(capture, message, each[name]) for each in (both, alone))
            assert _without_ids(decided) == _without_ids(wanted)


@given(captures, messages)
def test_an_answer_names_people_of_its_own_portal_only(world: _World, capture: Capture, message: Message) -> None:
    for name, answer in world.answers(world.both, capture, message).items():
        users, contacts = PORTALS[name].keys(), {each for some in PORTALS[name].values() for each in some}
        assert {user.account for some in answer.users.values() for user in some} <= users
        assert {user.account for user in answer.owners.values()} <= users
        assert {one.primary for some in answer.contacts.values() for one in some} <= contacts


@given(addresses, addresses)
def test_equal_forms_in_one_portal_may_be_two_people_in_another(world: _World, one: str, other: str) -> None:
    capture = Capture(source=Source.GATEWAY, recipients=("joint@acme.example", "joint@beta.example"))
    found = world.answers(world.both, capture, mail(one, other))
    assert found.keys() == {"P1", "P2"}
    for name, answer in found.items():
        forms = [canonical(each, frozenset(SUBADDRESSED[name])) for each in (one, other)]
        held = [{each.id for each in answer.contacts.get(form, ())} for form in forms]
        assert forms[0] != forms[1] or held[0] == held[1]
        assert forms[0] == forms[1] or not held[0] & held[1]
