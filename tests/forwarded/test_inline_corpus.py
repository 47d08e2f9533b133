"""Inline forwards as clients write them, and texts that are none: the files in `inline/` (see `forward_cases`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from forward_cases import Case, cases, check

from engine.forwarded import find_inline

FOLDER = Path(__file__).parent / "inline"
LANGUAGES = (
    "English", "German", "French", "Spanish", "Italian", "Dutch", "Portuguese", "Swedish", "Danish", "Norwegian",
    "Finnish", "Polish", "Czech", "Russian", "Ukrainian", "Turkish", "Japanese", "Chinese",
)  # fmt: skip
CLIENTS = {
    "gmail": "Gmail", "outlook": "Outlook", "outlook_on_the_web": "Outlook", "apple_mail": "Apple Mail",
    "thunderbird": "Thunderbird", "yahoo": "Yahoo",
}  # fmt: skip
FORWARDS = [case for path in sorted(FOLDER.glob("*.txt")) if path.stem != "none" for case in cases(path)]
LOOK_ALIKES = cases(FOLDER / "none.txt")


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


@pytest.mark.parametrize(
    "case", [case for case in FORWARDS if case.name.split(":")[0] in CLIENTS], ids=lambda case: case.name
)
def test_the_client_is_told_by_its_layout(case: Case) -> None:
    found = find_inline(case.text)
    assert found is not None
    assert found.client == CLIENTS[case.name.split(":")[0]]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_is_there_in_twelve_languages_and_more(client: str) -> None:
    titles = [case.name for case in FORWARDS if case.name.startswith(f"{client}: ")]
    assert len({language for language in LANGUAGES if any(language in title for title in titles)}) >= 12
