"""docs/rules.md says what the code does: the same codes, numbers that exist, and examples that come out so."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import pytest
from people import ANN, BCC, USERS, answer, mail, portal, relayed, seen, thread

from engine import decide, explain
from engine.address import MAX_ADDRESS, MAX_ADDRESSES
from engine.capture import Folder
from engine.decision import Attribution, Flag, Reason, Source
from engine.directory import NeverLogScope, Rule, Switches
from engine.message import MAX_PARENTS
from engine.never_log import compile_entries

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "rules.md").read_text("utf-8")
LATER = "not part of this version"
SECTIONS = {
    1: 0, 2: 4, 3: 10, 4: 6, 5: 4, 6: 4, 7: 5, 8: 5, 9: 0,
}  # fmt: skip
CODE = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")
CITATION = re.compile(r"[Rr]ules\.md,? (?:sections? )?((?:\d(?:\.\d)?(?:, | and | to )?)+)")
SWITCHES = Switches.__dataclass_fields__
CONTACTS = {
    "kim": "kim@cust.example",
    "lee": "lee@cust.example",
    "max": "max@other.example",
    "nia": "nia@other.example",
}
NAMES = {user.account.partition("@")[0]: user.account for user in USERS} | CONTACTS


def table(head: str) -> dict[str, list[str]]:
    """The rows of all tables whose first column is called `head`, by what stands in it."""
    rows: dict[str, list[str]] = {}
    for block in re.findall(rf"^ *\| {head} \|.*\n((?: *\|.*\n)+)", DOCUMENT, re.MULTILINE):
        for line in block.splitlines()[1:]:
            first, *rest = (cell.strip() for cell in line.strip().strip("|").split(" | "))
            key = f"{first}, {rest[0]}" if head == "message" else first  # an example may stand under both rules
            assert key not in rows, f"{first} stands twice in the tables of {head}"
            rows[key] = rest
    return rows


def codes(head: str) -> set[str]:
    return {each.strip("`") for each in table(head)}


@pytest.mark.parametrize(
    ("head", "values"),
    [
        ("rule", Rule),
        ("reason", Reason),
        ("flag", Flag),
        ("attribution", Attribution),
        ("source", Source),
        ("switch", SWITCHES),
    ],
)
def test_the_table_has_every_code_and_no_other(head: str, values: Iterable[str]) -> None:
    assert codes(head) == set(values)


def test_no_code_is_named_that_does_not_exist() -> None:
    enumerations: tuple[type[StrEnum], ...] = (Rule, Reason, Flag, Attribution, Source, NeverLogScope)
    known = {str(value) for each in enumerations for value in each} | set(SWITCHES)
    assert set(CODE.findall(DOCUMENT)) <= known


def test_switches_stand_as_the_portal_has_them_at_first() -> None:
    words = {True: "on", False: "off"}
    for name, (at_first, _) in table("switch").items():
        default = getattr(Switches(), name.strip("`"))
        assert at_first.strip("`") == words.get(default, default)


def test_every_rule_has_its_number() -> None:
    for section, rules in SECTIONS.items():
        assert f"\n## {section} " in DOCUMENT
        numbers = re.findall(rf"^\*\*({section}\.\d+)", DOCUMENT, re.MULTILINE)
        assert numbers == [f"{section}.{number}" for number in range(1, rules + 1)]


def test_every_number_that_the_code_cites_exists() -> None:
    exists = {str(section) for section in SECTIONS}
    exists |= {f"{section}.{number}" for section, rules in SECTIONS.items() for number in range(1, rules + 1)}
    cited: set[str] = set()
    for folder in ("engine", "proxy", "store", "onrecord"):
        for path in (ROOT / folder).rglob("*.py"):
            for numbers in CITATION.findall(path.read_text("utf-8")):
                cited |= set(re.findall(r"\d(?:\.\d)?", numbers))
    assert "3.1" in cited
    assert cited <= exists


def test_rules_in_the_tables_exist() -> None:
    for head in ("reason", "flag", "attribution"):
        for *_, rules in table(head).values():
            for number in rules.split(", "):
                assert f"\n**{number}" in DOCUMENT or f"\n## {number} " in DOCUMENT


def test_what_is_said_to_be_missing_is_what_no_scenario_shows() -> None:
    rows = tomllib.loads((ROOT / "tests" / "scenarios" / "rows.toml").read_text("utf-8"))["row"]
    shown = {row["reason"] for row in rows if "reason" in row}
    missing = {code.strip("`") for code, cells in table("reason").items() if LATER in " ".join(cells)}
    assert missing == set(Reason) - shown


def test_the_order_of_reasons_ends_with_those_that_are_missing() -> None:
    cells = [" ".join(each) for each in table("reason").values()]
    skipped = cells[[*table("reason")].index("`not_delivered`") :]
    first_missing = next((place for place, each in enumerate(skipped) if LATER in each), len(skipped))
    assert all(LATER in each for each in skipped[first_missing:])


def test_the_forms_of_an_entry_cover_what_is_said() -> None:
    for forms, (covers, not_covered) in table("entry").items():
        for form in re.findall(r"`(.+?)`", forms):
            listed = compile_entries((form,))
            assert not listed.covers(not_covered.strip("`")), form
            assert "that" in covers or "subdomains" in covers
    assert len(table("entry")) == 3


def test_limits_stand_as_they_are() -> None:
    assert f"longer than {MAX_ADDRESS} characters" in DOCUMENT
    assert f"field {MAX_ADDRESSES} addresses count" in DOCUMENT
    assert MAX_PARENTS == 100
    assert "nearest hundred count" in DOCUMENT


@pytest.mark.parametrize(("message", "cells"), table("message").items(), ids=lambda each: str(each)[:60])
def test_the_example_comes_out_as_it_is_told(message: str, cells: list[str]) -> None:
    rule, sentence = cells
    match = re.fullmatch(r"(login|mailbox) (\w+): (\w+) to (.+?)(, copied|, answering|, filed)?, `\w+`", message)
    assert match is not None
    to = [NAMES[each] for each in match[4].split(", ")]
    captures = [BCC] if match[5] == ", copied" else []
    folder = Folder.LOG if match[5] == ", filed" else None
    is_login = match[1] == "login"
    capture = relayed(NAMES[match[2]], *to, captures=captures) if is_login else seen(NAMES[match[2]], folder=folder)
    known = thread(ANN) if match[5] == ", answering" else None
    decision = decide(capture, mail(NAMES[match[3]], *to), answer(portal(Rule(rule.strip("`"))), thread=known))
    assert explain(decision) == sentence
