"""What the scanner promises of any text: no exception, work in proportion, tables that do not contradict each other."""

from __future__ import annotations

from datetime import timedelta, timezone
from pathlib import Path

import pytest
from forward_cases import Case, cases
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.forwarded import find_inline
from engine.forwarded.inline import scan
from engine.forwarded.labels import FIELDS, LABELS, Field, normalised
from engine.forwarded.lines import MAX_BLOCK, MAX_SEARCH, Lines
from engine.forwarded.separators import SEPARATORS, words_of

FOLDER = Path(__file__).parent / "inline"
FORWARDS = [case for path in sorted(FOLDER.glob("*.txt")) if path.stem != "none" for case in cases(path)]
FORWARD = """---------- Forwarded message ---------
From: Kim Carter <kim@cust.example>
Date: Mon, 3 Mar 2025 at 10:12
Subject: Quote
To: Ann Alder <ann@acme.example>

Dear Ann,
"""
STEPS_PER_LINE = 8
HOSTILE = {
    "labels without end": "From: a@b.example\n",
    "labels and empty lines": "From: a@b.example\n\n",
    "a field and an empty line, again": "Date: 2025-03-03 10:12\n\nFrom: x\n\n",
    "fields that continue": "From: a@b.example\nx\nx\nDate: 1\n\n",
    "separators": "---------- Forwarded message ---------\n",
    "separators and empty lines": "---------- Forwarded message ---------\n\n\n",
    "words of separators": "Begin forwarded message:\n\n\n\nx\n",
    "glued separators": "----- Forwarded Message ----- From: x\n",
    "glued separators with brackets": "----- Forwarded Message ----- From: >>>>>>>>>>\n",
    "empty lines": "\n",
    "quoting": "> > > > > >\n",
    "deep quoting": ">" * 200 + "From: x\n",
    "rules": "________________\n",
    "rules and labels": "____\nDate: x\n",
    "attributions": "On 3 March 2025 kim@cust.example wrote:\n",
    "unknown labels": "Oorka: a@b.example\n",
    "unknown labels in paragraphs": "\nOorka: a@b.example\nAnzi: x\nTemo: 10:12\n",
    "a long list": "To: a@b.example,\n a@b.example,\n a@b.example,\n\n",
    "long subjects": "Subject: " + "x" * 70 + "\nx\n\n",
    "separators and fields that say nothing": "Begin forwarded message:\nReply-To: x\n",
    "fields that say nothing, in paragraphs": "Date: 2025-03-03 10:12\n\nReply-To: x\n\n",
    "dashes": "-" * 500 + "\n",
}


def steps(text: str) -> tuple[int, int]:
    """Looks at lines that a scan takes, and how many lines it had."""
    lines = Lines(text)
    scan(lines)
    return lines.steps, text[:MAX_SEARCH].count("\n") + 1


class TestWork:
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_a_line_is_looked_at_a_few_times_whatever_it_says(self, kind: str) -> None:
        for times in (100, 1000, 10_000):
            looks, lines = steps(HOSTILE[kind] * times)
            assert looks <= STEPS_PER_LINE * lines + 50

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(sorted(HOSTILE.values())), max_size=300).map("".join))
    def test_mixtures_are_no_worse(self, text: str) -> None:
        looks, lines = steps(text)
        assert looks <= STEPS_PER_LINE * lines + 50

    def test_a_block_is_looked_for_in_the_beginning_only(self) -> None:
        note = "x" * 79 + "\n"
        assert find_inline(note * (MAX_SEARCH // 80 - 1) + "\n" + FORWARD) is not None
        assert find_inline(note * (MAX_SEARCH // 80 + 1) + "\n" + FORWARD) is None
        looks, _ = steps(note * (10 * MAX_SEARCH // 80))
        assert looks <= MAX_SEARCH // 80 * STEPS_PER_LINE

    def test_what_is_behind_the_window_is_not_even_cut_into_lines(self) -> None:
        lines = Lines("x\n" * 1_000_000)
        assert lines.at((MAX_SEARCH + MAX_BLOCK) // 2 - 1) is not None
        assert lines.at((MAX_SEARCH + MAX_BLOCK) // 2 + 1) is None

    def test_thousands_of_recipients_are_read_up_to_a_bound(self) -> None:
        to = ",\n ".join(f"n{number}@cust.example" for number in range(3000))
        found = find_inline(FORWARD.replace("Ann Alder <ann@acme.example>", to))
        assert found is not None
        assert len(found.to) == 2000

    def test_a_line_without_end_is_survived(self) -> None:
        assert find_inline("From: " + "a@b.example " * 100_000) is None
        assert find_inline("-" * 1_000_000) is None
        assert find_inline("> " * 500_000) is None


class TestAnyText:
    @settings(deadline=None)
    @given(st.text())
    def test_no_text_raises(self, text: str) -> None:
        find_inline(text)

    @settings(deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                ["From: ", "Von: ", "Date: ", "3 March 2025 10:12", "To: ", "Subject: ", "a@b.example", "<", ">", "\n",
                 "\n\n", "> ", "---------- Forwarded message ---------", "Begin forwarded message:", "wrote:", "x", ",",
                 "*", "\u00a0", "----- Forwarded Message ----- ", "On 3 March 2025 "]
            ),
            max_size=40,
        ).map("".join)
    )  # fmt: skip
    def test_no_text_of_the_scanners_own_words_raises(self, text: str) -> None:
        found = find_inline(text)
        if found is not None:
            assert 0 <= found.body_start <= len(text)
            assert found.author in text

    @settings(deadline=None)
    @given(st.sampled_from(FORWARDS), st.lists(st.sampled_from("abc .,!?äж日\n:-@019/*_()"), max_size=60).map("".join))
    def test_a_note_before_the_forward_changes_nothing(self, case: Case, note: str) -> None:
        alone, behind = find_inline(case.text), find_inline(f"{note}\n\n{case.text}")
        assert alone is not None
        assert behind is not None
        assert behind.body_start == alone.body_start + len(note) + 2
        assert (behind.author, behind.to, behind.cc, behind.date, behind.subject, behind.client) == (
            alone.author, alone.to, alone.cc, alone.date, alone.subject, alone.client
        )  # fmt: skip

    @settings(deadline=None)
    @given(st.sampled_from(FORWARDS), st.sampled_from([">", "> ", ">> ", "  ", "\t", "> > "]))
    def test_quoting_the_whole_text_changes_nothing(self, case: Case, mark: str) -> None:
        quoted = "".join(f"{mark}{line}\n" for line in case.text.split("\n"))
        alone, found = find_inline(case.text), find_inline(quoted)
        assert alone is not None
        assert found is not None
        assert (found.author, found.to, found.cc, found.date, found.subject) == (
            alone.author, alone.to, alone.cc, alone.date, alone.subject
        )  # fmt: skip

    @settings(deadline=None)
    @given(st.sampled_from(FORWARDS), st.text())
    def test_what_comes_behind_the_body_changes_nothing(self, case: Case, more: str) -> None:
        assert find_inline(f"{case.text}\nx\n{more}") == find_inline(case.text)

    @settings(deadline=None)
    @given(st.sampled_from(FORWARDS), st.integers(min_value=0))
    def test_a_text_cut_anywhere_gives_no_other_author(self, case: Case, end: int) -> None:
        found = find_inline(case.text[: end % len(case.text)])
        assert found is None or case.expected["author"].startswith(found.author)


class TestZone:
    def test_a_date_without_zone_gets_that_of_the_forward(self) -> None:
        zone = timezone(timedelta(hours=1))
        found = find_inline(FORWARD, zone=zone)
        assert found is not None
        assert found.date is not None
        assert found.date.utcoffset() == timedelta(hours=1)

    def test_a_date_with_zone_keeps_it(self) -> None:
        text = FORWARD.replace("at 10:12", "at 10:12 GMT-3")
        found = find_inline(text, zone=timezone(timedelta(hours=1)))
        assert found is not None
        assert found.date is not None
        assert found.date.utcoffset() == timedelta(hours=-3)


class TestTables:
    def test_a_label_means_one_field_in_all_languages(self) -> None:
        for (language, field), labels in LABELS.items():
            for label in labels:
                assert FIELDS[normalised(label)] is field, (language, label)

    def test_every_language_has_a_label_for_each_field(self) -> None:
        wanted = {Field.AUTHOR, Field.TO, Field.CC, Field.DATE, Field.SUBJECT}
        for language in {language for language, _ in LABELS}:
            assert wanted <= {field for each, field in LABELS if each == language}

    def test_separators_are_found_whatever_is_drawn_around_them(self) -> None:
        for words in SEPARATORS:
            assert words_of(f"-------- {words} --------") == words
            assert words_of(f"> *{words}*:") == words
