"""The engine's questions, answered from memory and from the database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from sample import sample_directory
from sqlalchemy import event

from engine.directory import NeverLogScope, Question, Rule, Switches
from store.database import Database, StoreUnavailable, migrate
from store.directory import Directory
from store.lookups import Lookups

HASH_KEY = b"k" * 32


def question(*addresses: str, login: str | None = "ann@acme.example") -> Question:
    return Question(login=login, addresses=frozenset(addresses))


class Queries:
    """Counts the statements that a database is asked."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        event.listen(database.pool.sync_engine, "before_cursor_execute", self._counted)

    def _counted(self, *_: Any) -> None:
        self.count += 1


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0)


def _refuse(*_: Any) -> None:
    raise StoreUnavailable("away")


async def test_an_answer_holds_users_contacts_owners_and_the_portal(opened: Any) -> None:
    await opened.directory.set_user("P1", "ann@acme.example", send_as=["bob@acme.example"])
    await opened.directory.add_never_log("P1", "max@other.example", user="ann@acme.example")
    await opened.directory.set_portal("P1", switches=Switches(never_log_scope=NeverLogScope.MESSAGE))
    asked = question("Kim.K@googlemail.com", "ANN@acme.example", "sales@acme.example", "x@stranger.example")
    (answer,) = await opened.lookups().ask(asked)
    assert answer.portal.name == "P1"
    assert answer.portal.rule is Rule.ALL
    assert answer.portal.never_log == ("*@secret.example",)
    assert answer.portal.capture_addresses == ("log-p1@cap.example", "fwd-p1@cap.example")
    assert answer.portal.switches.never_log_scope is NeverLogScope.MESSAGE
    assert answer.users.keys() == {"ann@acme.example", "sales@acme.example"}
    (ann,) = answer.users["ann@acme.example"]
    assert ann.aliases == {"sales@acme.example"}
    assert ann.connected == {"ann@acme.example"}
    assert ann.never_log == ("max@other.example",)
    assert len(ann.send_as) == 1
    (kim,) = answer.contacts["kimk@gmail.com"]
    assert kim.primary == "kim@cust.example"
    assert answer.owners[kim.owner].account == "ann@acme.example"
    assert "x@stranger.example" not in answer.contacts


async def test_an_alias_of_two_users_gives_both(opened: Any) -> None:
    await opened.directory.set_user("P1", "bob@acme.example", aliases=["sales@acme.example"])
    (answer,) = await opened.lookups().ask(question("sales@acme.example"))
    assert [each.account for each in answer.users["sales@acme.example"]] == ["ann@acme.example", "bob@acme.example"]


@pytest.mark.parametrize("login", [None, "nobody@acme.example", "kim@cust.example", ""])
async def test_a_login_of_nobody_concerns_no_portal(opened: Any, login: str | None) -> None:
    assert await opened.lookups().ask(question("kim@cust.example", login=login)) == ()


async def test_a_service_login_belongs_to_its_portal(opened: Any) -> None:
    await opened.directory.set_portal("P1", service_logins=["CRM"])
    (answer,) = await opened.lookups().ask(question("kim@cust.example", login="crm"))
    assert answer.portal.name == "P1"


async def test_portals_do_not_meet(opened: Any) -> None:
    directory = opened.directory
    await directory.add_portal("P2")
    await directory.add_user("P2", "ann@acme.example", connected=["ann@acme.example"])
    await directory.add_contact("P2", "zoe@cust.example")
    await directory.add_never_log("P2", "lee@cust.example")
    await directory.add_portal("P3")
    await directory.add_user("P3", "zed@acme.example")
    await directory.add_contact("P3", "kim@cust.example")
    everybody = question("kim@cust.example", "zoe@cust.example", "bob@acme.example", "zed@acme.example")
    answers = {each.portal.name: each for each in await opened.lookups().ask(everybody)}
    assert answers.keys() == {"P1", "P2"}
    assert answers["P1"].contacts.keys() == {"kim@cust.example", "bob@acme.example"}
    assert answers["P2"].contacts.keys() == {"zoe@cust.example"}
    assert answers["P1"].users.keys() == {"bob@acme.example"}
    assert answers["P2"].users == {}
    assert answers["P1"].portal.never_log == ("*@secret.example",)
    assert answers["P2"].portal.never_log == ("lee@cust.example",)


async def test_a_subaddressed_domain_counts_in_its_portal_only(empty: Any) -> None:
    directory = empty.directory
    await directory.add_portal("plain")
    await directory.add_portal("tags", subaddressed_domains=["cust.example"])
    for portal in ("plain", "tags"):
        await directory.add_user(portal, "ann@acme.example")
        await directory.add_contact(portal, "kim@cust.example")
    answers = {each.portal.name: each for each in await empty.lookups().ask(question("kim+x@cust.example"))}
    assert answers["plain"].contacts == {}
    assert answers["tags"].contacts.keys() == {"kim@cust.example"}


class TestCache:
    async def test_an_answer_is_at_hand_once_it_was_asked_also_that_there_is_none(self, opened: Any) -> None:
        lookups = opened.lookups()
        asked = question("kim@cust.example", "x@stranger.example")
        assert lookups.answer(asked) is None
        answer = await lookups.ask(asked)
        queries = Queries(opened.database)
        assert lookups.answer(asked) == answer
        assert lookups.answer(question("x@stranger.example")) is not None
        assert lookups.answer(question("lee@cust.example")) is None
        assert queries.count == 0

    async def test_the_bell_makes_it_forget_at_once(self, opened: Any) -> None:
        lookups = opened.lookups()
        asked = question("zoe@cust.example")
        await lookups.ask(asked)
        assert lookups.answer(asked) is not None
        await opened.directory.add_contact("P1", "zoe@cust.example")
        assert lookups.answer(asked) is None
        (answer,) = await lookups.ask(asked)
        assert answer.contacts.keys() == {"zoe@cust.example"}
        assert lookups.answer(asked) == (answer,)

    async def test_a_change_whose_bell_was_not_heard_is_seen_by_its_version(self, opened: Any) -> None:
        lookups = opened.lookups()
        now = 1000.0
        lookups._clock = lambda: now
        asked = question("zoe@cust.example")
        await lookups.ask(asked)
        elsewhere = Directory(opened.database, opened.folder / "bell of another machine")
        await elsewhere.add_contact("P1", "zoe@cust.example")
        assert lookups.answer(asked) is not None, "nothing can be known of it yet"
        now += 1.01
        assert lookups.answer(asked) is None
        (answer,) = await lookups.ask(asked)
        assert answer.contacts.keys() == {"zoe@cust.example"}

    async def test_the_version_is_looked_at_again_before_anybody_has_to_wait_for_it(self, opened: Any) -> None:
        lookups = opened.lookups()
        now = 1000.0
        lookups._clock = lambda: now
        asked = question("zoe@cust.example")
        await lookups.ask(asked)
        now += 0.6
        queries = Queries(opened.database)
        assert lookups.answer(asked) is not None
        assert lookups.answer(asked) is not None
        await _until(lambda: queries.count == 1)
        now += 0.6
        await _until(lambda: lookups.answer(asked) is not None)
        assert queries.count == 1, "one look for all that asked"

    async def test_a_store_that_is_away_makes_answers_too_old_not_wrong(self, opened: Any) -> None:
        lookups = opened.lookups()
        now = 1000.0
        lookups._clock = lambda: now
        asked = question("zoe@cust.example")
        await lookups.ask(asked)
        event.listen(opened.database.pool.sync_engine, "before_cursor_execute", _refuse)
        now += 0.6
        assert lookups.answer(asked) is not None
        with pytest.raises(StoreUnavailable):
            await lookups.ask(asked)
        assert lookups.answer(asked) is not None
        now += 0.6
        assert lookups.answer(asked) is None

    async def test_what_has_not_changed_stays_at_hand_when_the_version_was_looked_at_again(self, opened: Any) -> None:
        lookups = opened.lookups()
        now = 1000.0
        lookups._clock = lambda: now
        await lookups.ask(question("kim@cust.example", "lee@cust.example"))
        now += 10
        queries = Queries(opened.database)
        await lookups.ask(question("kim@cust.example"))
        assert queries.count == 1, "only the version"
        assert lookups.answer(question("lee@cust.example")) is not None

    @pytest.mark.parametrize(
        "change",
        [
            lambda directory: directory.set_portal("P1", rule=Rule.REPLIES_ONLY),
            lambda directory: directory.set_user("P1", "ann@acme.example", active=False),
            lambda directory: directory.set_user("P1", "ann@acme.example", send_as=["bob@acme.example"]),
            lambda directory: directory.add_never_log("P1", "kim@cust.example"),
            lambda directory: directory.add_never_log("P1", "kim@cust.example", user="ann@acme.example"),
        ],
    )
    async def test_every_kind_of_change_is_in_the_next_answer(self, opened: Any, change: Any) -> None:
        lookups = opened.lookups()
        asked = question("kim@cust.example", "ann@acme.example")
        before = await lookups.ask(asked)
        await change(opened.directory)
        after = await lookups.ask(asked)
        assert after != before
        assert after == await opened.lookups().ask(asked)

    async def test_a_bell_that_was_removed_is_noticed_too(self, opened: Any) -> None:
        lookups = opened.lookups()
        await lookups.ask(question())
        os.unlink(opened.bell)
        assert lookups.answer(question()) is None
        await lookups.ask(question())
        assert lookups.answer(question()) is not None

    async def test_the_cache_stays_bounded(self, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.lookups.CACHED_ADDRESSES", 50)
        lookups = opened.lookups()
        for number in range(300):
            await lookups.ask(question(f"x{number}@stranger.example"))
        assert lookups._cache is not None
        assert len(lookups._cache.addresses) <= 50
        (answer,) = await lookups.ask(question("kim@cust.example", "x1@stranger.example"))
        assert answer.contacts.keys() == {"kim@cust.example"}

    async def test_a_question_with_more_addresses_than_the_cache_holds_is_answered(
        self, opened: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("store.lookups.CACHED_ADDRESSES", 10)
        many = [f"x{number}@stranger.example" for number in range(1200)]
        lookups = opened.lookups()
        (answer,) = await lookups.ask(question("kim@cust.example", *many))
        assert answer.contacts.keys() == {"kim@cust.example"}


class TestGathering:
    async def test_questions_of_one_turn_share_their_queries(self, opened: Any) -> None:
        lookups, queries = opened.lookups(), Queries(opened.database)
        await lookups.ask(question("kim@cust.example"))
        alone = queries.count
        other, queries = opened.lookups(), Queries(opened.database)
        asked = [question("kim@cust.example", f"x{number}@stranger.example") for number in range(100)]
        answers = await asyncio.gather(*(other.ask(each) for each in asked))
        assert queries.count == alone
        assert all(answer[0].contacts.keys() == {"kim@cust.example"} for answer in answers)

    async def test_the_same_question_asked_twice_gets_one_answer(self, opened: Any) -> None:
        lookups = opened.lookups()
        first, second = await asyncio.gather(
            lookups.ask(question("kim@cust.example")), lookups.ask(question("kim@cust.example"))
        )
        assert first == second

    async def test_a_question_while_others_are_being_answered_is_answered_too(self, opened: Any) -> None:
        lookups = opened.lookups()
        waiting = []
        for number in range(20):
            waiting.append(asyncio.ensure_future(lookups.ask(question(f"x{number}@stranger.example"))))
            await asyncio.sleep(0)
        assert len(await asyncio.gather(*waiting)) == 20

    async def test_an_asker_that_gives_up_does_not_disturb_the_others(self, opened: Any) -> None:
        lookups = opened.lookups()
        asked = question("kim@cust.example")
        impatient, patient = (asyncio.ensure_future(lookups.ask(asked)) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        (answer,) = await patient
        assert answer.contacts.keys() == {"kim@cust.example"}
        with pytest.raises(asyncio.CancelledError):
            await impatient

    async def test_a_store_that_is_away_is_told_to_everybody_and_asked_again_later(self, opened: Any) -> None:
        folder = opened.folder / "not mounted"
        url = f"sqlite:///{folder / 'store.sqlite'}"
        database = await Database.open(url, migrate_first=False)
        lookups = Lookups(database, opened.bell, HASH_KEY)
        outcomes = await asyncio.gather(
            *(lookups.ask(question(f"x{number}@stranger.example")) for number in range(5)), return_exceptions=True
        )
        assert [type(each) for each in outcomes] == [StoreUnavailable] * 5
        await asyncio.to_thread(migrate, url)
        await sample_directory(Directory(database, opened.bell))
        (answer,) = await lookups.ask(question("kim@cust.example"))
        assert answer.portal.name == "P1"
        await database.close()

    async def test_what_is_asked_for_somebody_who_is_gone_is_waited_for_at_the_end(self, opened: Any) -> None:
        lookups, queries = opened.lookups(), Queries(opened.database)
        asking = asyncio.create_task(lookups.ask(question("kim@cust.example")))
        await _until(lambda: queries.count > 0)
        asking.cancel()
        await asyncio.wait((asking,))
        await lookups.settle()
        assert not lookups._is_gathering()
        assert lookups.answer(question("kim@cust.example")) is not None
        await lookups.settle()
