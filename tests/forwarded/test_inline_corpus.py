"""Inline forwards as clients write them, and texts that are none: see the files in `inline/`.

A file is for a client. A case begins with "#### " and its title; then what is expected, a line each; then "---" and
the text. Adding a case needs no Python. Left out fields are expected to be empty. "␣" stands for a non-breaking space,
"⇥" for a tab. A date without offset is one whose zone the text does not say; "none" one that cannot be read for
certain. `body` is how the line begins with which the original's body begins. Cases of `none.txt` expect nothing.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.forwarded import Inline, find_inline

FOLDER = Path(__file__).parent / "inline"
LANGUAGES = (
    "English", "German", "French", "Spanish", "Italian", "Dutch", "Portuguese", "Swedish", "Danish", "Norwegian",
    "Finnish", "Polish", "Czech", "Russian", "Ukrainian", "Turkish", "Japanese", "Chinese",
)  # fmt: skip


class Case(NamedTuple):
    """One text and what is expected of it; `expected` is empty when nothing is to be found."""

    name: str
    expected: dict[str, str]
    text: str


def cases(path: Path) -> list[Case]:
    """The cases of one file."""
    found = []
    for chunk in path.read_text(encoding="utf-8").replace("␣", "\u00a0").replace("⇥", "\t").split("\n#### ")[1:]:
        head, _, text = chunk.partition("\n---\n")
        title, *lines = head.split("\n")
        expected = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
        found.append(Case(f"{path.stem}: {title}", expected, text))
    return found


FORWARDS = [case for path in sorted(FOLDER.glob("*.txt")) if path.stem != "none" for case in cases(path)]
LOOK_ALIKES = cases(FOLDER / "none.txt")


def listed(value: str) -> tuple[str, ...]:
    """Addresses of an expectation."""
    return tuple(each.strip() for each in value.split(",") if each.strip())


def written(date: datetime | None) -> str:
    """A date as expectations write it."""
    if date is None:
        return "none"
    text = date.strftime("%Y-%m-%d %H:%M:%S %z").strip()
    return text.replace(":00 ", " ") if ":00 " in text else text.removesuffix(":00")


def normal(expected: str) -> str:
    """An expected date in the one form that `written` gives."""
    if expected == "none":
        return expected
    form = "%Y-%m-%d %H:%M" + (":%S" if expected.count(":") == 2 else "") + (" %z" if expected[-5] in "+-" else "")
    return written(datetime.strptime(expected, form))


def check(case: Case, text: str, found: Inline | None) -> None:
    """Compares what was found with what the case expects."""
    assert found is not None
    assert found.author == case.expected["author"]
    assert found.to == listed(case.expected.get("to", ""))
    assert found.cc == listed(case.expected.get("cc", ""))
    assert written(found.date) == normal(case.expected["date"])
    assert found.subject == case.expected.get("subject", "")
    assert text[found.body_start :].lstrip("> \t").startswith(case.expected["body"])
    assert found.body_start == 0 or text[found.body_start - 1] == "\n"


@pytest.mark.parametrize("case", FORWARDS, ids=[case.name for case in FORWARDS])
def test_the_original_of_a_forward_is_found(case: Case) -> None:
    check(case, case.text, find_inline(case.text))


@pytest.mark.parametrize("case", FORWARDS, ids=[case.name for case in FORWARDS])
def test_line_ends_make_no_difference(case: Case) -> None:
    text = case.text.replace("\n", "\r\n")
    check(case, text, find_inline(text))


@pytest.mark.parametrize("case", FORWARDS, ids=[case.name for case in FORWARDS])
def test_quoting_the_whole_text_makes_no_difference(case: Case) -> None:
    text = "".join(f"> {line}\n" for line in case.text.split("\n"))
    check(case, text, find_inline(text))


@pytest.mark.parametrize("case", FORWARDS, ids=[case.name for case in FORWARDS])
def test_a_note_before_the_forward_makes_no_difference(case: Case) -> None:
    text = "Hello,\n\nsee below: it is from Kim.\n\n" + case.text
    check(case, text, find_inline(text))


@pytest.mark.parametrize("case", LOOK_ALIKES, ids=[case.name for case in LOOK_ALIKES])
def test_nothing_is_found_where_nothing_was_forwarded(case: Case) -> None:
    assert find_inline(case.text) is None


def test_the_corpus_is_as_large_as_it_is_said_to_be() -> None:
    assert len(FORWARDS) >= 150
    assert len(LOOK_ALIKES) >= 20


@pytest.mark.parametrize("client", ["gmail", "outlook", "outlook_on_the_web", "apple_mail", "thunderbird", "yahoo"])
def test_each_client_is_there_in_twelve_languages_and_more(client: str) -> None:
    titles = [case.name for case in FORWARDS if case.name.startswith(f"{client}: ")]
    assert len({language for language in LANGUAGES if any(language in title for title in titles)}) >= 12
