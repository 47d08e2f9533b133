"""`onrecord portal` and `onrecord rule`."""

from __future__ import annotations

from typing import Any

import pytest


def test_without_a_portal_the_list_is_empty_and_the_mend_is_named(installation: Any) -> None:
    assert installation.done("portal", "--json").json == []
    assert "onrecord portal add NAME" in installation.done("portal").error
    assert "onrecord portal add NAME" in installation.refused("user", "list")


def test_a_portal_is_added_with_all_it_may_have(installation: Any) -> None:
    words = ["--rule", "all", "--bcc-address", "log@cap.example", "--forward-address", "fwd@cap.example"]
    words += ["--subaddressed-domain", "Bücher.example", "--service-login", "crm", "--json"]
    added = installation.done("portal", "add", "P1", *words).json
    assert added["rule"] == "all"
    assert added["bcc_address"] == "log@cap.example"
    assert added["forward_address"] == "fwd@cap.example"
    assert added["subaddressed_domains"] == ["xn--bcher-kva.example"]
    assert added["service_logins"] == ["crm"]
    assert installation.done("portal", "--json").json == [added]
    assert installation.done("portal", "list", "--json").json == [added]
    assert installation.done("portal", "show", "--json").json == added


def test_a_new_portal_logs_replies_only(installation: Any) -> None:
    assert installation.done("portal", "add", "P1", "--json").json["rule"] == "replies_only"


def test_people_get_a_table(sample: Any) -> None:
    text = sample.done("portal").text
    assert "P1" in text
    assert "log-p1@cap.example" in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["add", "P1"], "there is a portal named 'P1' already; choose another name"),
        (["add", "  "], "a portal needs a name; give one"),
        (["add", "x" * 101], "101 characters"),
        (["add", "P2", "--bcc-address", "log@"], "'log@' is no e-mail address"),
        (["add", "P2", "--subaddressed-domain", "no domain"], "'no domain' is no domain; write it as example.com"),
        (["add", "P2", "--service-login", "two words"], "'two words' is no login"),
        (["show", "--portal", "P9"], "there is no portal named 'P9'; there are: P1"),
        (["set", "--forward-address", "x"], "'x' is no e-mail address"),
        (["set", "--subaddressed-domain", "cust.example"], "before the first user and contact"),
    ],
)
def test_a_refusal_names_value_and_mend(sample: Any, words: list[str], complaint: str) -> None:
    assert complaint in sample.refused("portal", *words)
    assert [each["name"] for each in sample.done("portal", "--json").json] == ["P1"]


def test_capture_addresses_are_taken_away_by_an_empty_value(sample: Any) -> None:
    changed = sample.done("portal", "set", "--bcc-address", "", "--json").json
    assert changed["bcc_address"] is None
    assert changed["forward_address"] == "fwd-p1@cap.example"


def test_service_logins_are_replaced_and_emptied(sample: Any) -> None:
    words = ("portal", "set", "--json", "--service-login")
    assert sample.done(*words, "crm", "--service-login", "mailer").json["service_logins"] == ["crm", "mailer"]
    assert sample.done("portal", "set", "--log-bulk", "--json").json["service_logins"] == ["crm", "mailer"]
    assert sample.done(*words, "").json["service_logins"] == []


@pytest.mark.parametrize(
    ("switch", "default"),
    [
        ("log_internal", False),
        ("log_bulk", True),
        ("log_calendar", True),
        ("log_auto_submitted", True),
        ("require_same_subject", False),
        ("require_authenticated_sender", False),
    ],
)
def test_each_switch_turns_and_leaves_the_others(sample: Any, switch: str, default: bool) -> None:
    before = sample.done("portal", "show", "--json").json["switches"]
    assert before[switch] is default
    option = switch.replace("_", "-")
    turned = sample.done("portal", "set", f"--no-{option}" if default else f"--{option}", "--json").json["switches"]
    assert turned == before | {switch: not default}
    back = sample.done("portal", "set", f"--{option}" if default else f"--no-{option}", "--json").json["switches"]
    assert back == before


def test_the_scope_of_never_log_is_chosen_by_name(sample: Any) -> None:
    changed = sample.done("portal", "set", "--never-log-scope", "message", "--json").json
    assert changed["switches"]["never_log_scope"] == "message"
    assert "contact" in sample.refused("portal", "set", "--never-log-scope", "all", status=2)


def test_the_rule_is_shown_and_set(sample: Any) -> None:
    assert "Log all emails" in sample.done("rule", "show").text
    assert "Log replies only" in sample.done("rule", "set", "replies_only").text
    assert sample.done("rule", "show", "--json").json["rule"] == "replies_only"
    assert sample.done("rule", "set", "all", "--json").json["rule"] == "all"


def test_an_unknown_rule_is_a_wrong_line_and_names_those_there_are(sample: Any) -> None:
    complaint = sample.refused("rule", "set", "everything", status=2)
    assert "'everything'" in complaint
    assert "replies_only" in complaint
    assert sample.done("rule", "show", "--json").json["rule"] == "all"


def test_where_there_are_several_portals_one_must_be_named(sample: Any) -> None:
    sample.done("portal", "add", "P2")
    for words in (["rule", "show"], ["user", "list"], ["contact", "list"], ["never-log", "list"], ["emails"]):
        assert "say which with --portal: P1, P2" in sample.refused(*words)
        sample.done(*words, "--portal", "P2")


def test_what_one_portal_holds_is_not_in_another(sample: Any) -> None:
    sample.done("portal", "add", "P2")
    assert sample.done("user", "list", "--portal", "P2", "--json").json == []
    assert sample.done("contact", "list", "--portal", "P2", "--json").json == []
    assert sample.done("never-log", "list", "--portal", "P2", "--json").json == []
    sample.done("user", "add", "ann@acme.example", "--portal", "P2")
    sample.done("contact", "add", "kim@cust.example", "--portal", "P2")
    assert "is no user of P2" in sample.refused("user", "show", "bob@acme.example", "--portal", "P2")


def test_servers_whose_results_count_are_set_and_taken_away(sample: Any) -> None:
    changed = sample.done("portal", "set", "--authserv-id", "MX.acme.example", "--authserv-id", "mx2", "--json").json
    assert changed["authserv_ids"] == ["mx.acme.example", "mx2"]
    assert "mx.acme.example" in sample.done("portal", "show").text
    assert sample.done("portal", "set", "--authserv-id", "", "--json").json["authserv_ids"] == []
    assert "is no authserv-id" in sample.refused("portal", "set", "--authserv-id", "two words")


def test_every_switch_of_the_engine_can_be_turned(sample: Any) -> None:
    from dataclasses import fields

    from engine.directory import Switches

    for each in fields(Switches):
        option = f"--{each.name.replace('_', '-')}"
        if each.name == "never_log_scope":
            changed = sample.done("portal", "set", option, "message", "--json").json["switches"]
            assert changed[each.name] == "message"
            continue
        for words, value in ((option, True), (option.replace("--", "--no-", 1), False)):
            assert sample.done("portal", "set", words, "--json").json["switches"][each.name] is value


@pytest.mark.parametrize("kind", ["bcc", "forward"])
def test_a_capture_address_is_made_anew_under_the_same_name_and_domain(sample: Any, kind: str) -> None:
    key = f"{kind}_address"
    before = sample.done("portal", "show", "--json").json[key]
    first = sample.done("portal", "rotate-address", kind).text.strip()
    second = sample.done("portal", "rotate-address", kind, "--json").json[key]
    local, _, domain = before.partition("@")
    assert len({before, first, second}) == 3
    for address in (first, second):
        assert address.startswith(f"{local}-")
        assert address.endswith(f"@{domain}")
        assert len(address) == len(before) + 17
    assert sample.done("portal", "show", "--json").json[key] == second


def test_an_address_that_was_made_anew_is_no_capture_address_any_more(sample: Any) -> None:
    async def is_capture_address(address: str) -> Any:
        from store.lookups import Lookups

        async def work(directory: Any, writer: Any) -> Any:
            from engine.directory import Question

            lookups = Lookups(directory._database, directory._bell, b"k" * 32)
            await lookups.ask(Question(login="ann@acme.example", addresses=frozenset()))
            before = lookups.is_capture_address(address)
            await directory.rotate_address("P1", "bcc")
            at_once = lookups.is_capture_address(address)
            await lookups.ask(Question(login="ann@acme.example", addresses=frozenset()))
            return before, at_once, lookups.is_capture_address(address)

        return work

    import asyncio

    before, at_once, later = sample.work(asyncio.run(is_capture_address("log-p1@cap.example")))
    assert before is True
    assert at_once is None  # to be asked, and not to be taken from memory
    assert later is False


def test_a_portal_without_the_address_says_how_to_set_one(sample: Any) -> None:
    sample.done("portal", "set", "--bcc-address", "")
    assert "--bcc-address ADDRESS" in sample.refused("portal", "rotate-address", "bcc")
