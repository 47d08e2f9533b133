"""`onrecord email ...` and `onrecord audit`: changes by hand stick, and the trail says who made them."""

from __future__ import annotations

from typing import Any

import pytest
from log_writer import message

from engine.decision import Source


def log(sample: Any, *contents: bytes, **more: Any) -> None:
    """Lets messages pass by."""

    async def work(directory: Any, writer: Any) -> None:
        for content in contents:
            await writer.passes(content, **more)

    sample.work(work)


def emails(sample: Any, *words: str) -> list[dict[str, Any]]:
    return sample.done("emails", "--json", *words).json


def trail(sample: Any) -> list[dict[str, Any]]:
    return sample.done("audit", "--json").json


class TestSticking:
    def test_a_reassigned_email_keeps_its_user_when_it_is_captured_again(self, sample: Any) -> None:
        log(sample, message())
        assert "bob@acme.example" in sample.done("email", "reassign", "1", "bob@acme.example").text
        log(sample, message(), key="again", source=Source.OBSERVER)
        (email,) = emails(sample)
        assert email["user"] == "bob@acme.example"
        assert len(email["captures"]) == 2

    def test_a_contact_that_was_unlinked_does_not_come_back_with_a_capture(self, sample: Any) -> None:
        log(sample, message(to="kim@cust.example, lee@cust.example"))
        sample.done("email", "unlink", "1", "kim.k@gmail.com")
        log(sample, message(to="kim@cust.example, lee@cust.example"), key="again", source=Source.OBSERVER)
        assert emails(sample)[0]["contacts"] == ["lee@cust.example"]
        assert emails(sample, "--contact", "kim@cust.example") == []
        assert len(emails(sample, "--contact", "lee@cust.example")) == 1

    def test_a_contact_that_was_added_stays_and_one_that_was_unlinked_can_be_added(self, sample: Any) -> None:
        log(sample, message())
        sample.done("email", "add-contact", "1", "max@other.example")
        sample.done("email", "unlink", "1", "kim@cust.example")
        sample.done("email", "add-contact", "1", "kim@cust.example")
        log(sample, message(), key="again", source=Source.OBSERVER)
        assert emails(sample)[0]["contacts"] == ["kim@cust.example", "max@other.example"]

    def test_a_deleted_email_is_gone_and_a_capture_does_not_bring_it_back(self, sample: Any) -> None:
        log(sample, message(body="The secret plan\r\n"))
        sample.done("email", "delete", "1")
        log(sample, message(body="The secret plan\r\n"), key="again", source=Source.OBSERVER)
        assert emails(sample) == []
        assert "no logged email" in sample.run("show", "1").error
        told = sample.done("explain", "1@acme.example").text
        assert "Logged: " in told
        assert "The record (email 1) was deleted at " in told
        assert b"secret plan" not in (sample.folder / "onrecord.sqlite").read_bytes()

    def test_content_that_another_email_has_too_is_kept(self, sample: Any) -> None:
        mime = "MIME-Version: 1.0\r\nContent-Type: application/pdf; name=offer.pdf\r\n"
        first = message(more=mime, body="the same file\r\n")
        second = message(more=mime, body="the same file\r\n", message_id="<2@acme.example>", subject="Again")
        log(sample, first, second)
        sample.done("email", "delete", "1")
        assert sample.done("show", "2", "--raw").raw == second
        assert sample.work(parts) == 2  # of the message and of its file
        sample.done("email", "delete", "2")
        assert sample.work(parts) == 0


async def parts(directory: Any, writer: Any) -> int:
    """How many parts of content there are."""
    from sqlalchemy import func, select

    from store import schema

    async with directory._database.read() as connection:
        return int(await connection.scalar(select(func.count()).select_from(schema.content_part)) or 0)


class TestThreads:
    def test_a_stopped_thread_is_not_logged_until_it_is_resumed(self, sample: Any) -> None:
        log(sample, message())
        sample.done("email", "stop-thread", "1")
        sample.done("email", "stop-thread", "1")
        more = "In-Reply-To: <1@acme.example>\r\n"
        log(sample, message(message_id="<2@acme.example>", more=more), key="stopped")
        assert [each["id"] for each in emails(sample)] == [1]
        assert "nothing more of this thread" in sample.done("explain", "2@acme.example").text
        sample.done("email", "resume-thread", "1")
        log(sample, message(message_id="<3@acme.example>", body="Third\r\n", more=more), key="resumed")
        assert len(emails(sample)) == 2
        assert [each["action"] for each in trail(sample)[:2]] == ["email.resume_thread", "email.stop_thread"]


class TestAudit:
    def test_a_change_is_written_with_who_when_before_and_after(self, sample: Any) -> None:
        log(sample, message())
        sample.done("email", "reassign", "1", "bob@acme.example", "--as", "Grace")
        entry = trail(sample)[0]
        assert (entry["who"], entry["action"], entry["subject"]) == ("Grace", "email.reassign", "email 1")
        assert (entry["before"], entry["after"]) == ({"user": "ann@acme.example"}, {"user": "bob@acme.example"})
        assert entry["portal"] == "P1"
        assert entry["at"].endswith("Z")

    def test_without_a_name_it_is_the_login_name(self, sample: Any) -> None:
        import os
        import pwd

        sample.done("contact", "add", "zoe@cust.example")
        assert trail(sample)[0]["who"] == pwd.getpwuid(os.getuid()).pw_name

    @pytest.mark.parametrize(
        ("words", "action", "subject"),
        [
            (["portal", "add", "P2"], "portal.add", "P2"),
            (["rule", "set", "replies_only"], "portal.set", "P1"),
            (["portal", "set", "--log-internal"], "portal.set", "P1"),
            (["portal", "rotate-address", "bcc"], "portal.set", "P1"),
            (["user", "add", "zoe@acme.example"], "user.add", "zoe@acme.example"),
            (["user", "set", "ann@acme.example", "--inactive"], "user.set", "ann@acme.example"),
            (["contact", "add", "zoe@cust.example"], "contact.add", "zoe@cust.example"),
            (["never-log", "add", "cust.example"], "never_log.add", "*@cust.example"),
            (["never-log", "remove", "secret.example"], "never_log.remove", "*@secret.example"),
        ],
    )
    def test_every_change_of_the_directory_is_written(
        self, sample: Any, words: list[str], action: str, subject: str
    ) -> None:
        before = len(trail(sample))
        sample.done("--as", "Grace", *words)
        entries = trail(sample)
        assert len(entries) == before + 1
        assert (entries[0]["who"], entries[0]["action"], entries[0]["subject"]) == ("Grace", action, subject)

    def test_what_changes_nothing_is_not_written(self, sample: Any) -> None:
        log(sample, message())
        before = len(trail(sample))
        sample.done("rule", "set", "all")
        sample.done("user", "set", "ann@acme.example", "--active")
        sample.done("email", "add-contact", "1", "kim@cust.example")
        sample.done("email", "resume-thread", "1")
        assert len(trail(sample)) == before

    def test_an_import_is_one_entry_a_batch(self, sample: Any) -> None:
        (sample.folder / "c.csv").write_text("email\nzoe@cust.example\nyan@cust.example\n")
        sample.done("contact", "import", str(sample.folder / "c.csv"))
        assert (trail(sample)[0]["action"], trail(sample)[0]["after"]) == ("contact.import", {"contacts": 2})

    def test_people_get_a_table_of_one_portal_or_of_all(self, sample: Any) -> None:
        sample.done("portal", "add", "P2")
        assert "portal.add" in sample.done("audit", "--portal", "P2").text
        assert len(sample.done("audit", "--portal", "P2", "--json").json) == 1
        assert len(sample.done("audit", "--limit", "3", "--json").json) == 3


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["reassign", "9", "bob@acme.example"], "there is no logged email with the id 9"),
        (["reassign", "1", "kim@cust.example"], "is no user of P1"),
        (["unlink", "1", "max@other.example"], "email 1 is not with the contact max@other.example"),
        (["unlink", "1", "x@stranger.example"], "is on no contact of P1"),
        (["add-contact", "1", "x@stranger.example"], "is on no contact of P1"),
        (["delete", "9"], "there is no logged email with the id 9"),
        (["stop-thread", "9"], "there is no logged email with the id 9"),
        (["resume-thread", "9"], "there is no logged email with the id 9"),
    ],
)
def test_a_refusal_names_value_and_mend_and_writes_nothing(sample: Any, words: list[str], complaint: str) -> None:
    log(sample, message())
    before = len(trail(sample))
    assert complaint in sample.refused("email", *words)
    assert len(trail(sample)) == before


def test_a_deleted_email_can_be_changed_no_more(sample: Any) -> None:
    log(sample, message())
    sample.done("email", "delete", "1")
    assert "was deleted" in sample.refused("email", "reassign", "1", "bob@acme.example")
    assert "was deleted" in sample.refused("email", "delete", "1")


def test_contacts_and_users_of_another_portal_cannot_be_used(sample: Any) -> None:
    log(sample, message())
    sample.done("portal", "add", "P2")
    sample.done("user", "add", "zoe@acme.example", "--portal", "P2")
    sample.done("contact", "add", "zoe@cust.example", "--portal", "P2")
    assert "is no user of P1" in sample.refused("email", "reassign", "1", "zoe@acme.example")
    assert "is on no contact of P1" in sample.refused("email", "add-contact", "1", "zoe@cust.example")
