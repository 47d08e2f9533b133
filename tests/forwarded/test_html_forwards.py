"""Forwards that are HTML only, and the text that is made of HTML."""

from __future__ import annotations

from pathlib import Path

import pytest
from forward_cases import Case, cases, check
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.forwarded import find_inline, html_text
from engine.forwarded.rendering import MAX_HTML, MAX_TEXT, tokens

CASES = cases(Path(__file__).parent / "html" / "html_only.txt")
PIECES = ["<", ">", "<!--", "-->", "'", '"', "<a ", "</", "<p>", "<br>", "<style>", "&", "&#", "&#x", ";", "9", "\n"]


class Counted(str):
    """A string that counts the characters which searches in it went over."""

    looked_at = 0

    def find(self, *arguments: object) -> int:  # type: ignore[override]
        place = super().find(*arguments)  # type: ignore[arg-type]
        start = int(str(arguments[1]))
        Counted.looked_at += (place if place >= 0 else len(self)) - start + 1
        return place

    def count(self, *arguments: object) -> int:  # type: ignore[override]
        Counted.looked_at += int(str(arguments[2])) - int(str(arguments[1]))
        return super().count(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_original_is_found_in_html(case: Case) -> None:
    text = html_text(case.text)
    found = find_inline(text)
    if case.expected:
        check(case, text, found)
    else:
        assert found is None


class TestText:
    def test_blocks_become_lines_and_paragraphs_are_set_apart(self) -> None:
        assert html_text("<div>a</div><div>b<br>c</div><p>d</p>") == "a\nb\nc\n\nd\n"

    def test_space_folds_except_in_preformatted_text(self) -> None:
        assert html_text("<div> a \n  b&nbsp; c </div><pre>d\n  e</pre>") == "a b c\nd\n  e\n"

    def test_quotations_are_marked(self) -> None:
        assert html_text("a<blockquote>b<blockquote>c</blockquote></blockquote>d") == "a\n> b\n> > c\nd\n"

    def test_links_to_addresses_show_them_once(self) -> None:
        assert html_text('<a href="mailto:kim@cust.example?subject=x">Kim</a>') == "Kim <kim@cust.example>\n"
        assert html_text("<a href=mailto:kim@cust.example>kim@cust.example</a>") == "kim@cust.example\n"

    def test_other_links_are_only_their_words(self) -> None:
        assert html_text('<a href="https://cust.example/">here</a>') == "here\n"

    def test_an_attribute_may_hold_a_bracket(self) -> None:
        assert html_text('<p title="a > b">c</p>') == "\nc\n"

    def test_a_lone_bracket_is_text(self) -> None:
        assert html_text("1 < 2 and <") == "1 < 2 and <\n"

    def test_numbers_of_characters_may_be_senseless(self) -> None:
        assert html_text("&#9999999;&#0;&#xD800;&bogus;&" + "#" * 3 + "1" * 9000)

    def test_a_quote_that_is_never_closed_hides_nothing_behind_it(self) -> None:
        assert html_text('<a "><b>seen</b> and "more') == 'seen and "more\n'


class TestBounds:
    @pytest.mark.parametrize(
        "piece", ["<!--", "<a", '<a "', '<a ">', "<", "</", '"<a>"', "<p><!-- >", "<a '>", '<b "">"', "<![CDATA["]
    )
    def test_searching_takes_time_in_proportion_to_the_text(self, piece: str) -> None:
        html = Counted(piece * 20_000)
        Counted.looked_at = 0
        assert "".join(tokens(html)) == html
        assert Counted.looked_at <= 6 * len(html) + 100

    def test_the_depth_of_quotations_is_bounded(self) -> None:
        assert html_text("<blockquote>" * 100 + "x") == "> " * 20 + "x\n"

    def test_what_is_written_is_bounded(self) -> None:
        html = "<blockquote>" * 100 + "<p>" * 200_000
        assert len(html_text(html)) <= MAX_TEXT + 1000

    def test_what_is_read_is_bounded(self) -> None:
        assert "seen" not in html_text(" " * MAX_HTML + "seen")


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text())
def test_every_character_is_in_one_token_and_nothing_raises(html: str) -> None:
    assert "".join(tokens(html)) == html
    assert find_inline(html_text(html)) is None
