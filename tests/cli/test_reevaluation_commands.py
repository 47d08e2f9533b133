"""`onrecord preview` and `onrecord reevaluate`: today's rules over the decisions that were kept."""

from __future__ import annotations

import time
from typing import Any

import pytest
from log_writer import message

from engine.decision import Source

DAY = 86400.0


def mail(number: int, *, sender: str = "ann@acme.example", to: str = "kim@cust.example", more: str = "") -> bytes:
    return message(sender, to, message_id=f"<{number}@acme.example>", subject=f"Offer {number}", more=more)


def passes(sample: Any, *contents: bytes, **more: Any) -> None:
    async def work(directory: Any, writer: Any) -> None:
        for number, content in enumerate(contents):
            await writer.passes(content, key=f"{time.time_ns()}-{number}", **more)

    sample.work(work)


def preview(sample: Any, rule: str, *words: str) -> dict[str, Any]:
    value: dict[str, Any] = sample.done("preview", "--rule", rule, "--json", *words).json
    return value


@pytest.fixture
def replies_only(sample: Any) -> Any:
    """Three messages that the rule keeps from the log: Ann's two to Kim and to Lee, Bob's to Kim; and one to nobody."""
    sample.done("rule", "set", "replies_only")
    passes(sample, mail(1), mail(2, to="lee@cust.example"), mail(9, to="x@stranger.example"))
    passes(sample, mail(3, sender="bob@acme.example"), login="bob@acme.example")
    return sample


class TestPreview:
    def test_it_counts_what_all_would_log_by_contact_and_user(self, replies_only: Any) -> None:
        value = preview(replies_only, "all")
        assert value["decisions"] == 4
        assert value["would_be_logged"] == 3
        assert value["in_the_log"] == 0
        assert value["contacts"] == [
            {"contact": "kim@cust.example", "emails": 2},
            {"contact": "lee@cust.example", "emails": 1},
        ]
        assert value["users"] == [{"user": "ann@acme.example", "emails": 2}, {"user": "bob@acme.example", "emails": 1}]

    def test_nothing_is_changed_by_it(self, replies_only: Any) -> None:
        preview(replies_only, "all")
        assert replies_only.done("rule", "show", "--json").json["rule"] == "replies_only"
        assert replies_only.done("emails", "--json").json == []

    def test_what_is_logged_is_counted_and_so_is_what_replies_only_would_leave_out(self, sample: Any) -> None:
        passes(sample, mail(1))
        assert (preview(sample, "all")["in_the_log"], preview(sample, "all")["would_be_logged"]) == (1, 0)
        assert preview(sample, "replies_only")["no_longer_logged"] == 1

    def test_it_is_what_the_rule_would_have_logged(self, sample: Any, replies_only: Any) -> None:
        """The same messages under the rule itself: as many records."""
        value = preview(replies_only, "all")
        sample.done("rule", "set", "all")
        passes(sample, mail(11), mail(12, to="lee@cust.example"), mail(19, to="x@stranger.example"))
        passes(sample, mail(13, sender="bob@acme.example"), login="bob@acme.example")
        assert len(sample.done("emails", "--json").json) == value["would_be_logged"]

    def test_a_contact_made_since_is_found_by_the_hash_of_its_address(self, replies_only: Any) -> None:
        replies_only.done("contact", "add", "X@stranger.example")
        value = preview(replies_only, "all")
        assert {"contact": "X@stranger.example", "emails": 1} in value["contacts"]
        assert value["would_be_logged"] == 4

    def test_lists_switches_and_users_count_as_they_are_today(self, replies_only: Any) -> None:
        replies_only.done("never-log", "add", "lee@cust.example")
        assert preview(replies_only, "all")["would_be_logged"] == 2
        replies_only.done("never-log", "add", "kim@cust.example", "--user", "bob@acme.example")
        assert preview(replies_only, "all")["would_be_logged"] == 1
        replies_only.done("user", "set", "ann@acme.example", "--inactive")
        assert preview(replies_only, "all")["would_be_logged"] == 0

    def test_what_never_log_or_a_user_barred_counts_once_the_bar_is_gone(self, sample: Any) -> None:
        sample.done("never-log", "add", "kim@cust.example")
        passes(sample, mail(1))
        passes(sample, mail(2, sender="dee@acme.example", to="lee@cust.example"), login="dee@acme.example")
        assert preview(sample, "all")["would_be_logged"] == 0
        sample.done("never-log", "remove", "kim@cust.example")
        assert preview(sample, "all")["would_be_logged"] == 1
        sample.done("user", "set", "dee@acme.example", "--personal-email-access")
        assert preview(sample, "all")["would_be_logged"] == 2

    def test_older_decisions_are_left_out(self, sample: Any) -> None:
        sample.done("rule", "set", "replies_only")
        passes(sample, mail(1), at=time.time() - 5 * DAY)
        assert preview(sample, "all", "--days", "4")["decisions"] == 0
        assert preview(sample, "all", "--days", "6")["would_be_logged"] == 1

    def test_a_period_longer_than_decisions_are_kept_is_said(self, sample: Any) -> None:
        assert "keep_skipped_days" in sample.done("preview", "--rule", "all", "--days", "90").error

    def test_a_reply_counts_under_replies_only_once_what_it_answers_is_logged(self, sample: Any) -> None:
        sample.done("rule", "set", "replies_only")
        answer = mail(5, sender="kim@cust.example", to="ann@acme.example", more="In-Reply-To: <1@acme.example>\r\n")
        passes(sample, answer, login=None, mailbox="ann@acme.example", source=Source.OBSERVER)
        assert preview(sample, "replies_only")["would_be_logged"] == 0
        sample.done("rule", "set", "all")
        passes(sample, mail(1))
        sample.done("rule", "set", "replies_only")
        value = preview(sample, "replies_only")
        assert value["would_be_logged"] == 1
        assert value["users"] == [{"user": "ann@acme.example", "emails": 1}]

    def test_people_get_tables(self, replies_only: Any) -> None:
        text = replies_only.done("preview", "--rule", "all").text
        assert "kim@cust.example" in text
        assert "not logged, and would be" in text


class TestReevaluate:
    def test_without_yes_it_only_says_what_would_be(self, replies_only: Any) -> None:
        replies_only.done("rule", "set", "all")
        outcome = replies_only.done("reevaluate")
        assert "not logged, and would be" in outcome.text
        assert "--yes" in outcome.error
        assert replies_only.done("reevaluate", "--json").json["done"] is None
        assert replies_only.done("emails", "--json").json == []

    def test_what_is_not_at_hand_is_listed_with_hash_time_and_user(self, replies_only: Any) -> None:
        replies_only.done("rule", "set", "all")
        done = replies_only.done("reevaluate", "--yes", "--json").json["done"]
        assert done["recorded"] == []
        assert len(done["missing"]) == 3
        first = done["missing"][0]
        assert first["user"] == "ann@acme.example"
        assert first["contacts"] == ["kim@cust.example"]
        assert all(len(each) == 64 for each in first["hashes"])
        assert "not at hand" in replies_only.done("reevaluate", "--yes").text

    def test_a_message_that_is_in_the_log_by_another_way_is_joined_with_its_contacts(self, sample: Any) -> None:
        both = mail(1, to="kim@cust.example, lee@cust.example")
        sample.done("never-log", "add", "kim@cust.example")
        sample.done("never-log", "add", "lee@cust.example")
        passes(sample, both)
        sample.done("never-log", "remove", "lee@cust.example")
        passes(sample, both, source=Source.OBSERVER)
        assert sample.done("emails", "--json").json[0]["contacts"] == ["lee@cust.example"]
        sample.done("never-log", "remove", "kim@cust.example")
        done = sample.done("reevaluate", "--yes", "--json").json["done"]
        assert [each["email"] for each in done["recorded"]] == [1]
        assert sample.done("emails", "--json").json[0]["contacts"] == ["kim@cust.example", "lee@cust.example"]
        assert sample.done("audit", "--json").json[0]["action"] == "email.reevaluate"
        assert sample.done("reevaluate", "--json").json["would_be_logged"] == 0

    def test_an_email_of_the_log_is_given_to_contacts_made_since(self, sample: Any) -> None:
        passes(
            sample,
            mail(1, to="kim@cust.example, X@stranger.example, ann@acme.example"),
            recipients=["kim@cust.example", "x@stranger.example", "y@stranger.example", "z@stranger.example"],
        )
        for name in ("x", "y", "z"):
            sample.done("contact", "add", f"{name}@stranger.example")
        sample.done("contact", "add", "ann@acme.example")
        sample.done("never-log", "add", "z@stranger.example")
        value = preview(sample, "all")
        assert (value["in_the_log"], value["would_be_logged"], value["further_contacts"]) == (1, 0, 2)
        assert preview(sample, "replies_only")["further_contacts"] == 0
        done = sample.done("reevaluate", "--yes", "--json").json["done"]
        assert done["further_contacts"] == 2
        (email,) = sample.done("emails", "--json").json
        assert email["contacts"] == ["kim@cust.example", "x@stranger.example", "y@stranger.example"]
        assert sample.done("reevaluate", "--json").json["further_contacts"] == 0
        sample.done("email", "unlink", "1", "x@stranger.example")
        assert sample.done("reevaluate", "--json").json["further_contacts"] == 0

    def test_a_message_that_waits_is_handed_to_the_recorder(self, sample: Any) -> None:
        sample.done("rule", "set", "replies_only")

        async def work(directory: Any, writer: Any) -> None:
            answer = mail(5, sender="kim@cust.example", to="ann@acme.example", more="In-Reply-To: <1@acme.example>\r\n")
            settled, parts = await writer.settle(
                answer, login=None, mailbox="ann@acme.example", key="waits", source=Source.OBSERVER
            )
            from dataclasses import replace

            portal = settled.decisions[0].portal
            await writer.record([replace(settled, waits={portal: frozenset({"0" * 64})})], parts)

        sample.work(work)
        sample.done("rule", "set", "all")
        done = sample.done("reevaluate", "--yes", "--json").json["done"]
        assert len(done["waiting"]) == 1
        assert done["missing"] == []

        async def due(directory: Any, writer: Any) -> list[Any]:
            return [each.entry.key for each in await writer.waiting.due(0.0, limit=10)]

        assert sample.work(due) == ["waits"]
