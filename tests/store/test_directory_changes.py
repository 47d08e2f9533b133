"""Changing the directory: what may be held twice and what not, and how a change becomes known."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.directory import NeverLogScope, Rule, Switches
from store import schema
from store.directory import DirectoryError
from store.directory_record import checked_address

SAME_AS_KIM = ["kim@cust.example", "KIM@CUST.EXAMPLE", " kim@Cust.example "]
SAME_AS_HER_GMAIL = ["kim.k@gmail.com", "kimk@gmail.com", "k.i.m.k@googlemail.com", "KimK+news@gmail.com"]


class TestAddresses:
    @pytest.mark.parametrize("address", SAME_AS_KIM + SAME_AS_HER_GMAIL)
    async def test_an_address_is_on_one_contact_only_in_whatever_form(self, opened: Any, address: str) -> None:
        for add in (
            opened.directory.add_contact("P1", address),
            opened.directory.add_contact("P1", "new@cust.example", others=[address]),
        ):
            with pytest.raises(DirectoryError, match=r"belongs to the contact kim@cust.example already"):
                await add
        assert len(await opened.directory.contacts("P1")) == 5

    async def test_a_refused_contact_leaves_nothing_behind(self, opened: Any) -> None:
        before = [await opened.rows(table) for table in (schema.contact, schema.contact_address)]
        version = await opened.directory.version()
        with pytest.raises(DirectoryError):
            await opened.directory.add_contact("P1", "new@cust.example", others=["lee@cust.example"])
        assert [await opened.rows(table) for table in (schema.contact, schema.contact_address)] == before
        assert await opened.directory.version() == version

    async def test_international_domains_are_equal_in_both_spellings(self, opened: Any) -> None:
        await opened.directory.add_contact("P1", "kunde@bücher.example")
        with pytest.raises(DirectoryError, match="belongs to the contact"):
            await opened.directory.add_contact("P1", "kunde@xn--bcher-kva.example")
        assert (await opened.directory.contact("P1", "KUNDE@XN--BCHER-KVA.example")).name is None

    async def test_a_tag_counts_unless_the_portal_lists_the_domain(self, empty: Any) -> None:
        await empty.directory.add_portal("tags", subaddressed_domains=["Cust.Example"])
        await empty.directory.add_portal("plain")
        for portal in ("tags", "plain"):
            await empty.directory.add_contact(portal, "kim+a@cust.example")
        await empty.directory.add_contact("plain", "kim+b@cust.example")
        with pytest.raises(DirectoryError, match="belongs to the contact"):
            await empty.directory.add_contact("tags", "kim+b@cust.example")

    async def test_one_contact_may_name_one_address_twice(self, opened: Any) -> None:
        added = await opened.directory.add_contact("P1", "zoe@cust.example", others=["ZOE@cust.example", "z@x.example"])
        assert set(added.addresses) == {"zoe@cust.example", "z@x.example"}

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("Ann@ACME.example", "Ann@acme.example"),
            ("  ann@acme.example\n", "ann@acme.example"),
            ("o'neil+x@acme.example", "o'neil+x@acme.example"),
            ("jürgen@bücher.example", "jürgen@bücher.example"),
            ("a.b-c_d@sub.acme.example", "a.b-c_d@sub.acme.example"),
        ],
    )
    def test_what_people_type_is_kept_as_typed_with_its_domain_in_lower_case(self, text: str, kept: str) -> None:
        assert checked_address(text) == kept

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "ann",
            "@acme.example",
            "ann@",
            "ann@acme..example",
            "ann..a@acme.example",
            ".ann@acme.example",
            "ann@-acme.example",
            "a b@acme.example",
            "Ann <ann@acme.example>",
            "ann@acme.example, bob@acme.example",
            "ann@acme.example\r\nbcc: x@y.example",
            "ann\0@acme.example",
            f"ann@{'a' * 64}.example",
            f"ann@{'.'.join(['a' * 60] * 5)}.example",
            "ann@[127.0.0.1]",
            "ann@acme",
        ],
    )
    def test_what_is_no_address_is_refused_with_the_value(self, text: str) -> None:
        with pytest.raises(DirectoryError, match=r"is no e-mail address: .* Write it as name@domain\.") as refused:
            checked_address(text)
        assert repr(text) in str(refused.value)

    @pytest.mark.parametrize("address", ["ann@acme.example", "a.b@sub.acme.example", "x_y+z-1@acme.example"])
    def test_the_short_way_for_plain_addresses_agrees_with_the_long_one(self, address: str) -> None:
        from email_validator import validate_email

        long = validate_email(address, check_deliverability=False, test_environment=True).normalized
        assert checked_address(address) == long


class TestUsers:
    async def test_an_alias_may_be_on_two_users_and_finds_the_older(self, opened: Any) -> None:
        await opened.directory.set_user("P1", "bob@acme.example", aliases=["SALES@acme.example"])
        assert (await opened.directory.user("P1", "sales@acme.example")).account == "ann@acme.example"
        assert (await opened.directory.user("P1", "bob@acme.example")).aliases == ("SALES@acme.example",)

    @pytest.mark.parametrize("form", ["ann@acme.example", "Ann@ACME.example"])
    async def test_account_and_connected_addresses_belong_to_one_user(self, opened: Any, form: str) -> None:
        with pytest.raises(DirectoryError, match=r"is a user already|belongs to the user ann@acme.example already"):
            await opened.directory.add_user("P1", form)
        with pytest.raises(DirectoryError, match=r"belongs to the user ann@acme.example already; take it away there"):
            await opened.directory.add_user("P1", "new@acme.example", connected=[form])
        with pytest.raises(DirectoryError, match=r"belongs to the user ann@acme.example already"):
            await opened.directory.set_user("P1", "bob@acme.example", connected=["bob@acme.example", form])
        assert (await opened.directory.user("P1", "bob@acme.example")).connected == ("bob@acme.example",)
        assert len(await opened.directory.users("P1")) == 5

    async def test_a_connected_address_can_move_when_it_was_taken_away_first(self, opened: Any) -> None:
        await opened.directory.set_user("P1", "cy@acme.example", connected=["home@acme.example"])
        await opened.directory.set_user("P1", "cy@acme.example", connected=[])
        moved = await opened.directory.set_user("P1", "dee@acme.example", connected=["home@acme.example"])
        assert moved.connected == ("home@acme.example",)

    async def test_a_user_may_also_be_a_contact(self, opened: Any) -> None:
        assert (await opened.directory.contact("P1", "bob@acme.example")).name == "Bo"
        assert (await opened.directory.user("P1", "bob@acme.example")).name == "Bob"

    async def test_send_as_is_kept_by_account_and_replaced(self, opened: Any) -> None:
        granted = await opened.directory.set_user(
            "P1", "ann@acme.example", send_as=["bob@acme.example", "cy@acme.example"]
        )
        assert granted.send_as == ("bob@acme.example", "cy@acme.example")
        assert (await opened.directory.set_user("P1", "ann@acme.example", send_as=[])).send_as == ()
        added = await opened.directory.add_user("P1", "fay@acme.example", send_as=["sales@acme.example"])
        assert added.send_as == ("ann@acme.example",)


class TestPortals:
    async def test_portals_hold_the_same_people_without_meeting(self, opened: Any) -> None:
        await opened.directory.add_portal("P2")
        await opened.directory.add_user("P2", "ann@acme.example", connected=["ann@acme.example"])
        await opened.directory.add_contact("P2", "kim@cust.example", name="Other Kim")
        await opened.directory.add_never_log("P2", "x.example")
        assert (await opened.directory.contact("P1", "kim@cust.example")).name == "Kim"
        assert (await opened.directory.contact("P2", "kim@cust.example")).name == "Other Kim"
        assert await opened.directory.never_log("P1") == ["*@secret.example"]
        with pytest.raises(DirectoryError, match="is no user of P2"):
            await opened.directory.add_contact("P2", "lee@cust.example", owner="bob@acme.example")

    async def test_switches_come_back_as_they_were_set(self, opened: Any) -> None:
        switches = Switches(never_log_scope=NeverLogScope.MESSAGE, log_bulk=False, log_internal=True)
        assert (await opened.directory.set_portal("P1", switches=switches)).switches == switches
        assert (await opened.directory.set_portal("P1", rule=Rule.REPLIES_ONLY)).switches == switches

    async def test_the_same_subaddressed_domains_may_be_set_again(self, empty: Any) -> None:
        await empty.directory.add_portal("P", subaddressed_domains=["a.example"])
        await empty.directory.add_user("P", "ann@acme.example")
        await empty.directory.set_portal("P", subaddressed_domains=["A.example"])
        with pytest.raises(DirectoryError, match="before the first user and contact"):
            await empty.directory.set_portal("P", subaddressed_domains=[])


class TestVersionAndBell:
    async def test_every_change_advances_the_version_and_rings_the_bell(self, opened: Any) -> None:
        directory = opened.directory
        changes = [
            lambda: directory.add_portal("P2"),
            lambda: directory.set_portal("P1", rule=Rule.REPLIES_ONLY),
            lambda: directory.add_user("P1", "fay@acme.example"),
            lambda: directory.set_user("P1", "fay@acme.example", active=False),
            lambda: directory.add_contact("P1", "zoe@cust.example"),
            lambda: directory.add_never_log("P1", "x.example"),
            lambda: directory.remove_never_log("P1", "x.example"),
        ]
        for change in changes:
            version, rung = await directory.version(), opened.bell.read_text()
            await change()
            assert await directory.version() == version + 1
            assert opened.bell.read_text() != rung

    async def test_questions_and_refusals_leave_both_alone(self, opened: Any) -> None:
        version, rung = await opened.directory.version(), opened.bell.read_text()
        await opened.directory.portals()
        await opened.directory.users("P1")
        await opened.directory.contacts("P1")
        await opened.directory.never_log("P1")
        await opened.directory.add_never_log("P1", "*@secret.example")
        with pytest.raises(DirectoryError):
            await opened.directory.add_portal("P1")
        with pytest.raises(DirectoryError):
            await opened.directory.add_contact("P1", "kim@cust.example")
        assert await opened.directory.version() == version
        assert opened.bell.read_text() == rung

    async def test_changes_at_once_all_stand_and_all_count(self, opened: Any) -> None:
        version = await opened.directory.version()
        await asyncio.gather(*(opened.directory.add_contact("P1", f"c{n}@cust.example") for n in range(20)))
        assert await opened.directory.version() == version + 20
        assert len(await opened.directory.contacts("P1")) == 25

    async def test_the_same_contact_added_twice_at_once_stands_once(self, opened: Any) -> None:
        outcomes = await asyncio.gather(
            *(opened.directory.add_contact("P1", "zoe@cust.example") for _ in range(8)), return_exceptions=True
        )
        assert sum(isinstance(each, DirectoryError) for each in outcomes) == 7
        assert len(await opened.directory.contacts("P1")) == 6
