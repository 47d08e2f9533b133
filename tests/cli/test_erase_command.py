"""`onrecord erase contact`: nothing that names the person is left, and it does not come back by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from log_writer import message

from engine.decision import Source

MIME = (
    "MIME-Version: 1.0\r\nContent-Type: text/plain; name=kim.txt\r\n"
    "Content-Disposition: attachment; filename=kim.txt\r\n"
)


def log(sample: Any, *contents: bytes, **more: Any) -> None:
    async def work(directory: Any, writer: Any) -> None:
        for content in contents:
            await writer.passes(content, **more)

    sample.work(work)


def octets(sample: Any) -> bytes:
    """The database with all that lies beside it."""
    return b"".join(path.read_bytes() for path in sorted(Path(sample.folder).glob("onrecord.sqlite*")))


def fill(sample: Any) -> None:
    """Emails to Kim alone by several paths, skipped ones, and changes by hand that name Kim."""
    log(
        sample,
        message(body="Dear kim@cust.example\r\n"),
        message(to="Kim.K@gmail.com", message_id="<kim@cust.example-2>", subject="For kim@cust.example", more=MIME),
    )
    log(sample, message(body="Dear kim@cust.example\r\n"), key="again", source=Source.OBSERVER)
    sample.done("email", "unlink", "1", "kim@cust.example")
    sample.done("email", "add-contact", "1", "kim@cust.example")
    sample.done("rule", "set", "replies_only")
    log(sample, message(message_id="<3@acme.example>", subject="Skipped"), key="skipped")
    sample.done("rule", "set", "all")


def test_no_octet_of_the_address_is_left_in_the_database(sample: Any) -> None:
    fill(sample)
    assert b"kim@cust.example" in octets(sample)
    report = sample.done("erase", "contact", "kim@cust.example", "--json").json
    left = octets(sample).lower()
    for spelling in (b"kim@cust.example", b"kim.k@gmail.com", b"kimk@gmail.com"):
        assert spelling not in left
    assert report["is_rewritten"]
    assert report["addresses"] == 2
    assert report["associations_removed"] == 2
    assert report["emails_redacted"] == [1, 2]
    assert report["emails_kept"] == []
    assert report["decisions_redacted"] == 4
    assert report["audit_entries_redacted"] >= 3
    assert sample.done("emails", "--json").json == []


def test_the_report_is_readable_and_the_trail_names_nobody(sample: Any) -> None:
    fill(sample)
    text = sample.done("erase", "contact", "kim.k@gmail.com", "--as", "Grace").text
    assert "emails redacted" in text
    entry = sample.done("audit", "--json").json[0]
    assert (entry["who"], entry["action"]) == ("Grace", "contact.erase")
    assert "kim" not in str(entry)


def test_an_email_with_another_contact_stays_without_the_erased_one(sample: Any) -> None:
    to = "kim@cust.example, lee@cust.example"
    log(sample, message(to=to, body="Hello kim@cust.example and xkim@cust.example.org\r\n"))
    report = sample.done("erase", "contact", "kim@cust.example", "--json").json
    assert report["emails_redacted"] == []
    assert report["emails_kept"] == [1]
    (email,) = sample.done("emails", "--json").json
    assert email["contacts"] == ["lee@cust.example"]
    assert email["to"] == ["(erased)", "lee@cust.example"]
    text = sample.done("show", "1").text
    assert "Hello (erased) and xkim@cust.example.org" in text
    assert b" kim@cust.example" not in octets(sample)


def test_content_that_others_use_is_kept(sample: Any) -> None:
    first = message(more=MIME)
    second = message(to="lee@cust.example", message_id="<2@acme.example>", more=MIME)
    log(sample, first, second)
    sample.done("erase", "contact", "kim@cust.example")
    assert sample.done("show", "2", "--raw").raw == second


class TestComingBack:
    def test_an_administrator_must_say_that_it_is_meant(self, sample: Any) -> None:
        sample.done("erase", "contact", "kim@cust.example")
        assert "add --again" in sample.refused("contact", "add", "KIM@cust.example")
        assert "add --again" in sample.refused("contact", "add", "new@cust.example", "--other", "kimk@googlemail.com")
        sample.done("contact", "add", "kim@cust.example", "--again")
        assert sample.done("contact", "show", "kim@cust.example", "--json").json["owner"] is None
        log(sample, message())
        assert sample.done("emails", "--json").json[0]["contacts"] == ["kim@cust.example"]

    def test_an_import_is_refused(self, sample: Any) -> None:
        sample.done("erase", "contact", "kim@cust.example")
        (sample.folder / "c.csv").write_text("email\nkim@cust.example\nzoe@cust.example\n")
        outcome = sample.done("contact", "import", str(sample.folder / "c.csv"))
        assert "1 imported, 0 already there, 1 refused" in outcome.text
        assert "was erased" in outcome.error

    def test_a_decision_that_was_made_before_names_nobody_when_it_is_recorded_after(self, sample: Any) -> None:
        async def work(directory: Any, writer: Any) -> Any:
            from store.erasure import Erasure

            alone = await writer.settle(message())
            both = await writer.settle(
                message(to="kim@cust.example, lee@cust.example", message_id="<2@acme.example>"), key="both"
            )
            home = await directory.portal("P1")
            directory._hash_key = lambda: b"k" * 32
            await Erasure(directory._database, directory, b"k" * 32).erase(home, "kim@cust.example")
            found = []
            for settled, parts in (alone, both):
                found += await writer.record([settled], parts)
            return found

        alone, both = sample.work(work)
        assert (alone.outcome, alone.reason) == ("skip", "erased_address")
        assert [each.address for each in both.contacts] == ["lee@cust.example"]
        assert [each["contacts"] for each in sample.done("emails", "--json").json] == [["lee@cust.example"]]

    def test_a_copy_that_was_decided_before_makes_no_contact_after(self, sample: Any) -> None:
        """The log of a relay that was busy: the copy was decided when the address was nobody's."""

        async def work(directory: Any, writer: Any) -> Any:
            from dataclasses import replace

            from store.erasure import Erasure

            settled, parts = await writer.settle(message(to="lee@cust.example"))
            directory._hash_key = lambda: b"k" * 32
            await directory.add_contact("P1", "new@cust.example")
            await Erasure(directory._database, directory, b"k" * 32).erase(
                await directory.portal("P1"), "new@cust.example"
            )
            only = replace(settled.decisions[0], contacts=(), creates=("New@cust.example",))
            also = replace(settled.decisions[0], creates=("New@cust.example",))
            found = await writer.record([replace(settled, decisions=(only,))], parts)
            entry = replace(settled.entry, key="also")
            return found + await writer.record([replace(settled, entry=entry, decisions=(also,))], parts)

        only, also = sample.work(work)
        assert (only.outcome, only.reason) == ("skip", "erased_address")
        assert [each.address for each in also.contacts] == ["lee@cust.example"]
        assert "is on no contact" in sample.refused("contact", "show", "new@cust.example")

    def test_no_other_contact_gets_the_number_of_an_erased_one(self, sample: Any) -> None:
        sample.done("contact", "add", "last@cust.example")
        erased = sample.done("contact", "show", "last@cust.example", "--json").json["id"]
        sample.done("erase", "contact", "last@cust.example")
        sample.done("contact", "add", "next@cust.example")
        assert sample.done("contact", "show", "next@cust.example", "--json").json["id"] > erased


def test_erasing_again_finishes_what_was_left_and_an_unknown_address_is_refused(sample: Any) -> None:
    sample.done("erase", "contact", "kim@cust.example")
    again = sample.done("erase", "contact", "kim@cust.example", "--json").json
    assert not again["was_known"]
    assert "is on no contact of P1" in sample.refused("erase", "contact", "x@stranger.example")


def test_what_names_the_address_for_another_reason_is_kept_and_reported(sample: Any) -> None:
    sample.done("never-log", "add", "kim@cust.example")
    report = sample.done("erase", "contact", "kim@cust.example", "--json").json
    assert report["never_log_entries_kept"] == ["kim@cust.example"]
    report = sample.done("erase", "contact", "bob@acme.example", "--json").json
    assert report["user_addresses_kept"] > 0
    assert sample.done("user", "show", "bob@acme.example", "--json").json["active"]


@pytest.mark.parametrize("address", ["jos\u00e9@cust.example", "kim@b\u00fccher.example"])
def test_an_address_beyond_ascii_is_erased_too(sample: Any, address: str) -> None:
    sample.done("contact", "add", address)
    log(sample, message(to=address))
    assert len(sample.done("emails", "--json").json) == 1
    sample.done("erase", "contact", address)
    left = octets(sample)
    assert address.encode() not in left
    assert address.encode("ascii", "backslashreplace") not in left
    assert sample.done("emails", "--json").json == []


def test_nothing_of_another_portal_is_touched(sample: Any) -> None:
    sample.done("portal", "add", "P2", "--rule", "all")
    sample.done("contact", "add", "kim@cust.example", "--portal", "P2")
    sample.done("erase", "contact", "kim@cust.example", "--portal", "P1")
    assert sample.done("contact", "show", "kim@cust.example", "--portal", "P2", "--json").json["primary"]
