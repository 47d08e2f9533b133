"""The parties of a message: who wrote it, who got it, and whose connected mail it is."""

from __future__ import annotations

import pytest
from people import ANN, BO, BOB, CY, DEE, EVE, KIM, answer, changed, mail, parties, portal, relayed, seen

from engine.capture import Capture
from engine.decision import Source
from engine.directory import Contact


class TestWho:
    def test_addresses_are_canonical_and_in_header_order(self) -> None:
        found = parties(seen("ann@acme.example"), mail("Kim@Cust.example", "Ann@acme.example", cc=["B@X.example"]))
        assert found.authors == ("kim@cust.example",)
        assert found.headers == ("ann@acme.example", "b@x.example")
        assert found.written["kim@cust.example"] == "Kim@Cust.example"

    def test_an_address_named_twice_counts_once(self) -> None:
        found = parties(seen("ann@acme.example"), mail("k@x.example", "ann@acme.example", cc=["Ann@Acme.example"]))
        assert found.headers == ("ann@acme.example",)

    def test_capture_addresses_are_nobody(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", "log-p1@cap.example")
        found = parties(relayed("ann@acme.example", "kim@cust.example", "log-p1@cap.example"), message)
        assert found.headers == found.envelope == ("kim@cust.example",)

    def test_a_refused_recipient_is_nobody(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example", "lee@cust.example")
        capture = relayed("ann@acme.example", "lee@cust.example", refused=["Kim@cust.example"])
        found = parties(capture, message)
        assert found.headers == found.envelope == ("lee@cust.example",)
        assert "kim@cust.example" not in found.everybody

    def test_a_recipient_who_was_refused_once_and_accepted_once_got_it(self) -> None:
        capture = relayed("ann@acme.example", "kim@cust.example", refused=["KIM@cust.example"])
        assert parties(capture, mail("ann@acme.example", "kim@cust.example")).headers == ("kim@cust.example",)

    def test_the_envelope_says_who_got_it_where_there_is_one(self) -> None:
        message = mail("ann@acme.example", "kim@cust.example")
        assert parties(relayed("ann@acme.example", "b@x.example"), message).recipients == ("b@x.example",)
        assert parties(seen("ann@acme.example"), message).recipients == ("kim@cust.example",)

    def test_tags_are_ignored_in_the_domains_of_the_portal(self) -> None:
        said = answer(portal(subaddressed_domains=frozenset(("cust.example",))))
        found = parties(seen("ann@acme.example"), mail("kim+news@cust.example", "ann@acme.example"), said)
        assert found.authors == ("kim@cust.example",)

    def test_all_users_come_authors_first_and_each_once(self) -> None:
        message = mail("bob@acme.example", "cy@acme.example", "sales@acme.example")
        found = parties(relayed("dee@acme.example", "ann@acme.example"), message)
        assert [each.id for each in found.all_users()] == [BOB.id, CY.id, ANN.id, DEE.id]


class TestContacts:
    def test_any_address_of_a_contact_finds_it(self) -> None:
        found = parties(seen("ann@acme.example"), mail("kim.k@gmail.com", "ann@acme.example"))
        assert found.contact("kimk@gmail.com") == KIM

    def test_a_user_who_is_also_a_contact_acts_as_user(self) -> None:
        found = parties(seen("ann@acme.example"), mail("bob@acme.example", "ann@acme.example"))
        assert found.contact("bob@acme.example") is None
        assert found.record("bob@acme.example") == BO

    def test_of_two_contacts_with_one_address_the_oldest_counts(self) -> None:
        older, younger = (
            Contact(id=number, primary=f"{number}@x.example", addresses=frozenset(("k@x.example",)))
            for number in (7, 8)
        )
        message = mail("k@x.example", "ann@acme.example")
        found = parties(seen("ann@acme.example"), message, answer(contacts=[younger, older]))
        assert found.contact("k@x.example") == older
        assert found.is_ambiguous("k@x.example")


class TestInternal:
    @pytest.mark.parametrize(
        ("author", "to", "is_internal"),
        [
            ("ann@acme.example", ["bob@acme.example"], True),
            ("ann@acme.example", ["bob@acme.example", "cy@acme.example"], True),
            ("ann@acme.example", ["bob@acme.example", "log-p1@cap.example"], True),
            ("ann@acme.example", ["bob@acme.example", "kim@cust.example"], False),
            ("ann@acme.example", ["log-p1@cap.example"], False),
            ("ann@acme.example", [], False),
            ("x@x.example", ["bob@acme.example"], False),
        ],
    )
    def test_a_message_is_internal_when_every_party_is_a_user(
        self, author: str, to: list[str], is_internal: bool
    ) -> None:
        assert parties(seen("ann@acme.example"), mail(author, *to)).is_internal() is is_internal

    def test_a_blind_copy_to_an_outsider_is_not_internal(self) -> None:
        message = mail("ann@acme.example", "bob@acme.example")
        assert not parties(relayed("ann@acme.example", "bob@acme.example", "kim@cust.example"), message).is_internal()

    def test_a_refused_outsider_does_not_make_it_external(self) -> None:
        message = mail("ann@acme.example", "bob@acme.example", "kim@cust.example")
        capture = relayed("ann@acme.example", "bob@acme.example", refused=["kim@cust.example"])
        assert parties(capture, message).is_internal()


class TestConnectedMail:
    """Rules.md 3.1: to whose connected mail a message belongs."""

    GATEWAY = Capture(source=Source.GATEWAY, recipients=("x@x.example",))

    @pytest.mark.parametrize("place", ["From", "To", "Cc"])
    @pytest.mark.parametrize("address", ["ann@acme.example", "sales@acme.example"])
    def test_a_connected_address_or_an_alias_among_the_parties(self, place: str, address: str) -> None:
        message = mail(
            address if place == "From" else "kim@cust.example",
            address if place == "To" else "x@x.example",
            cc=[address] if place == "Cc" else (),
        )
        assert parties(self.GATEWAY, message).belongs_to(ANN)

    def test_the_login_or_the_mailbox_of_a_connected_address(self) -> None:
        message = mail("kim@cust.example", "list@x.example")
        assert parties(seen("ann@acme.example"), message).belongs_to(ANN)
        assert parties(relayed("ann@acme.example", "x@x.example"), message).belongs_to(ANN)
        assert not parties(seen("bob@acme.example"), message).belongs_to(ANN)

    def test_an_envelope_recipient(self) -> None:
        capture = Capture(source=Source.GATEWAY, recipients=("ann@acme.example",))
        assert parties(capture, mail("kim@cust.example", "list@x.example")).belongs_to(ANN)

    def test_an_account_address_that_is_not_connected_does_not_count(self) -> None:
        assert not parties(seen("cy@acme.example"), mail("kim@cust.example", "cy@acme.example")).belongs_to(CY)
        elsewhere = changed(ANN, connected=frozenset(("ann@home.example",)), aliases=frozenset())
        assert not parties(self.GATEWAY, mail("kim@cust.example", "ann@acme.example")).belongs_to(elsewhere)

    def test_an_alias_counts_only_for_who_has_a_connected_address(self) -> None:
        alone = changed(CY, aliases=frozenset(("help@acme.example",)))
        message = mail("kim@cust.example", "help@acme.example")
        assert not parties(self.GATEWAY, message).belongs_to(alone)
        connected = changed(alone, connected=frozenset(("cy@home.example",)))
        assert parties(self.GATEWAY, message).belongs_to(connected)

    def test_the_mailbox_of_an_alias_is_not_a_connected_one(self) -> None:
        assert not parties(seen("sales@acme.example"), mail("kim@cust.example", "x@x.example")).belongs_to(ANN)

    def test_permission_is_not_asked_here(self) -> None:
        assert parties(seen("dee@acme.example"), mail("kim@cust.example")).belongs_to(DEE)
        assert parties(seen("eve@acme.example"), mail("kim@cust.example")).belongs_to(EVE)
