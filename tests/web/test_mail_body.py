"""Mail as documents: what is kept so that mail can be read, what goes, and what a browser would make of the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser_view import breaches, elements, mail_elements
from hypothesis import given
from hypothesis import strategies as st

from onrecord.web import mail_body, mail_sieve
from onrecord.web.mail_body import (
    DOCUMENT_POLICY,
    FRAME_HEADERS,
    FRAME_SANDBOX,
    MAX_HTML,
    MAX_TEXT,
    NotShown,
    safe_document,
    text_document,
)

HOSTILE = [
    line.encode("utf-8").decode("unicode_escape") if "\\" in line else line
    for line in (Path(__file__).parent / "hostile_html.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
REAL_PIECES = st.sampled_from(HOSTILE)
MARKUP = st.sampled_from((
    *("<", ">", "</", "/>", "<!--", "-->", "--!>", "]]>", "<![CDATA[", '"', "'", "`", "=", " ", "\n", "\0", "&", ";"),
    *("<svg>", "</svg>", "<math>", "<mtext>", "<mglyph>", "<style>", "</style>", "<title>", "</title>", "<table>"),
    *("<template>", "<noscript>", "</noscript>", "<xmp>", "<plaintext>", "<select>", "<form>", "</form>", "<iframe>"),
    *("<p>", "</p>", "<a ", "<b>", "<img ", "src=", "href=", "style=", "onerror=", "title=", "javascript:", "http://x"),
    *("url(", "background:", "color:red", "expression(", "\\", "/*", "*/", "&lt;", "&quot;", "&#x3c;", "<script>"),
))  # fmt: skip


def body_of(document: str) -> str:
    """What is between our own body tags."""
    return document.partition('<body dir="auto">')[2].removesuffix("</body></html>\n")


def shown(html: str) -> str:
    """The body of the document for `html`."""
    return body_of(safe_document(html).html)


def test_there_are_enough_vectors() -> None:
    assert len(HOSTILE) > 150
    assert len(set(HOSTILE)) == len(HOSTILE)


@pytest.mark.parametrize("html", HOSTILE)
@pytest.mark.parametrize("around", ("{}", "<table><tr><td>{}", "<p>before{}after</p>", "<svg>{}", "<b><i>{}</table>"))
def test_hostile_html_leaves_nothing_that_runs_or_fetches(html: str, around: str) -> None:
    document = safe_document(around.replace("{}", html)).html
    assert breaches(document) == []
    assert breaches(safe_document(body_of(document)).html) == []  # nothing comes to life when it is read once more


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_html_as_text_is_text(text: str) -> None:
    document = text_document(text).html
    assert breaches(document) == []
    assert {each.tag.rpartition("}")[2] for each in mail_elements(document, scripting=True)} <= {"div", "a"}


@given(st.lists(st.one_of(MARKUP, REAL_PIECES, st.text(max_size=8)), max_size=30).map("".join))
def test_no_html_has_anything_in_its_document_that_is_not_listed(html: str) -> None:
    document = safe_document(html).html
    assert breaches(document) == []


@given(st.lists(st.one_of(MARKUP, st.text(max_size=8)), max_size=30).map("".join))
def test_no_style_keeps_anything_but_plain_values(style: str) -> None:
    quoted = style.replace("&", "&amp;").replace('"', "&quot;")
    assert breaches(safe_document(f'<p style="color:red;{quoted}">x</p><p style="{quoted};color:red">y').html) == []


@given(st.text())
def test_the_text_of_a_text_document_is_the_text(text: str) -> None:
    document = text_document(text).html
    assert breaches(document) == []
    seen = "".join("".join(each.itertext()) for each in elements(document, scripting=True) if each.tag.endswith("}div"))
    expected = mail_body.CONTROLS.sub("\ufffd", re.sub(r"\r\n?", "\n", text)) + "\n"
    assert seen == expected


class TestTheOracle:
    """A judge that condemns nothing would pass everything."""

    @pytest.mark.parametrize(
        "body",
        (
            "<script>alert(1)</script>",
            "<img src=x>",
            "<img alt=x onerror=alert(1)>",
            "<p style='background:url(//x)'>x",
            "<p style='position:fixed'>x",
            "<a href='javascript:x' rel='noopener noreferrer nofollow' target=_blank>x",
            "<a href='https://ok.example/'>x",
            "<svg></svg>",
            "<noscript><p></noscript>",
            "<!-- x -->",
        ),
    )
    def test_it_condemns_what_is_harmful(self, body: str) -> None:
        document = safe_document("<p>x</p>").html
        assert breaches(document) == []
        assert breaches(document.replace("<p>x</p>", body)) != []


class TestWhatIsKept:
    def test_text_tables_colours_and_lists(self) -> None:
        html = (
            '<table width="600" cellpadding="4" bgcolor="#eeeeee"><tbody><tr><td align="center" colspan="2">'
            '<p style="color:#333;padding:0 4px;font-weight:bold">Dear <b>Kim</b></p>'
            '<ul type="disc"><li>one</li></ul><ol start="3"><li>three</li></ol></td></tr></tbody></table>'
        )
        assert shown(html) == html

    def test_links_go_out_in_a_tab_of_their_own_and_say_nothing_of_where_they_come_from(self) -> None:
        link = mail_elements(safe_document('<a href="https://ok.example/a?b=1&amp;c=%20">x</a>').html, scripting=True)[
            0
        ]
        assert link.attrib == {
            "href": "https://ok.example/a?b=1&c=%20",
            "rel": "noopener noreferrer nofollow",
            "target": "_blank",
        }

    def test_an_address_is_a_link_without_what_is_to_be_written_to_it(self) -> None:
        assert 'href="mailto:kim@cust.example"' in shown('<a href="mailto:kim@cust.example?subject=x&attach=/y">x</a>')

    def test_a_link_that_is_broken_over_lines_is_one(self) -> None:
        assert 'href="https://ok.example/abc"' in shown('<a href="\n https://ok.example/\r\nabc\n">x</a>')

    def test_a_picture_leaves_its_text(self) -> None:
        assert shown('<img src="cid:1" alt="Our logo" width="9">') == '<img alt="Our logo">'

    def test_what_is_important_stays_without_saying_so(self) -> None:
        assert shown('<p style="COLOR: Red !important; margin: 0 auto">x</p>') == (
            '<p style="color:Red;margin:0 auto">x</p>'
        )

    def test_text_in_elements_that_go_stays(self) -> None:
        assert shown("<form><label>Name</label><o:p>x</o:p></form><main>y</main>") == "Namex" + "y"

    @pytest.mark.parametrize("tag", ("script", "style", "title", "textarea", "noscript", "template", "svg", "iframe"))
    def test_what_is_no_text_of_the_mail_goes_whole(self, tag: str) -> None:
        assert shown(f"<p>x</p><{tag}>.a b</{tag}><p>y</p>") == "<p>x</p><p>y</p>"

    def test_a_title_on_a_link_goes_for_it_can_lie(self) -> None:
        assert "bank" not in shown('<a href="https://evil.example/" title="https://bank.example/">x</a>')


class TestWhatIsTold:
    @pytest.mark.parametrize(
        ("html", "remote", "embedded"),
        (
            ("<p>x <a href=https://ok.example/>y</a>", 0, 0),
            ("<img src=https://e.example/><img src=//e.example/x><img src=x.gif>", 3, 0),
            ("<img src=cid:1 alt=x><img src='data:image/gif;base64,R0lG'>", 0, 2),
            (
                "<img srcset='https://e.example/1 1x'><table background=http://e.example/><td background=//e.example>",
                3,
                0,
            ),
            ("<video poster=https://e.example/p><source src=//e.example/v></video>", 2, 0),
            ("<iframe src=https://e.example/></iframe><object data=https://e.example/>x</object>", 2, 0),
            ("<link rel=stylesheet href=https://e.example/x.css>", 1, 0),
            ("<svg><image href=https://e.example/ /></svg>", 1, 0),
            ("<p style=\"background:url('https://e.example/')\">x</p>", 1, 0),
            ("<style>@import '//e.example/x'; p{background:url( https://e.example/ )}</style>", 2, 0),
            ("<img src=''><img src='#x'><img src=javascript:alert(1)>", 0, 0),
        ),
    )
    def test_how_much_was_left_out(self, html: str, remote: int, embedded: int) -> None:
        document = safe_document(html)
        assert (document.remote, document.embedded) == (remote, embedded)
        assert document.note is None


class TestTheDocument:
    def test_it_forbids_all_but_its_own_styles_before_anything_else(self) -> None:
        for document in (safe_document("<p>x").html, text_document("x").html):
            policy = elements(document, scripting=True)[3]
            assert policy.attrib == {"http-equiv": "Content-Security-Policy", "content": DOCUMENT_POLICY}
            assert document.index("Content-Security-Policy") < document.index("<style>")

    def test_names_in_links_are_not_looked_up_ahead(self) -> None:
        assert '<meta http-equiv="x-dns-prefetch-control" content="off">' in safe_document("<p>x").html
        assert FRAME_HEADERS["X-DNS-Prefetch-Control"] == "off"

    def test_neither_policy_nor_frame_gives_scripts_an_origin_or_forms(self) -> None:
        policy = FRAME_HEADERS["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert f"sandbox {FRAME_SANDBOX}" in policy
        for each in ("script", "same-origin", "forms", "top-navigation", "img-src", "font-src", "connect-src"):
            assert each not in policy

    def test_its_own_styles_fetch_nothing(self) -> None:
        for style in (mail_body.MAIL_STYLE, mail_body.TEXT_STYLE):
            assert "url" not in style
            assert "@" not in style


class TestBounds:
    def test_html_that_is_too_large_is_not_parsed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mail_body, "sanitised", None)
        with pytest.raises(NotShown, match="too large"):
            safe_document("x" * (MAX_HTML + 1))

    def test_html_that_becomes_too_large_is_not_shown(self) -> None:
        with pytest.raises(NotShown, match="becomes too large"):
            safe_document("<a>x" * 100_000)

    def test_html_that_is_nested_too_deeply_is_not_shown(self) -> None:
        depth = mail_body.MAX_NESTING
        assert mail_sieve.nesting(shown("<div>" * depth + "x<br><img>")) == depth
        with pytest.raises(NotShown, match="nested too deeply"):
            safe_document("<div>" * (depth + 1) + "x")

    def test_a_fault_shows_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(html: str) -> str:
            raise ValueError(html)

        monkeypatch.setattr(mail_body, "sanitised", broken)
        with pytest.raises(ValueError, match="<p>"):
            safe_document("<p>")

    def test_long_styles_and_addresses_are_cut_or_dropped(self) -> None:
        assert shown(f'<p style="{"color:red;" * 10_000}">x</p>').count("color:red") == mail_sieve.MAX_STYLE // 10
        assert "href" not in shown(f'<a href="https://ok.example/{"a" * mail_sieve.MAX_ADDRESS}">x</a>')

    @pytest.mark.parametrize("unit", ("url(", "url( ' ", "@import ", "<style>", "style='", "a:b;", "https://", "<a "))
    def test_what_repeats_is_read_in_one_pass(self, unit: str) -> None:
        """Each takes minutes where reading starts anew at each."""
        html = unit * (200_000 // len(unit))
        assert breaches(safe_document(html).html) == []


class TestText:
    def test_line_ends_and_spaces_stay(self) -> None:
        assert body_of(text_document("a\r\n  b\rc").html) == '<div dir="auto">a\n  b\nc\n</div>'

    def test_quotations_are_marked_and_keep_their_signs(self) -> None:
        assert body_of(text_document("Yes.\n> Do you?\n>> Perhaps\nKim").html) == (
            '<div dir="auto">Yes.\n</div><div class="quoted" dir="auto">&gt; Do you?\n&gt;&gt; Perhaps\n</div>'
            '<div dir="auto">Kim\n</div>'
        )

    @pytest.mark.parametrize(
        ("text", "links"),
        (
            ("see https://ok.example/a?b=1&c=2.", ["https://ok.example/a?b=1&c=2"]),
            ("(https://ok.example/a_(b))", ["https://ok.example/a_(b)"]),
            ("<https://ok.example/>, 'http://ok.example'", ["https://ok.example/", "http://ok.example"]),
            ("HTTPS://OK.example/X!", ["HTTPS://OK.example/X"]),
            ("https://", []),
            ("http://... javascript:alert(1) www.ok.example ftp://ok.example a@ok.example xhttps://ok.example", []),
            ('https://ok.example/"onclick="x', ["https://ok.example/"]),
            ("https://ok.example\\@evil.example", ["https://ok.example"]),
        ),
    )
    def test_what_begins_like_an_address_is_a_link(self, text: str, links: list[str]) -> None:
        found = [each.get("href") for each in mail_elements(text_document(text).html, scripting=True)]
        assert [each for each in found if each] == links

    def test_links_are_bounded(self) -> None:
        assert text_document("http://a " * 5000).html.count("<a ") == mail_body.MAX_LINKS

    def test_a_text_that_is_too_large_is_shown_in_part(self) -> None:
        document = text_document("x" * (MAX_TEXT + 1))
        assert document.note == "the text is shown in part"
        assert document.html.count("x" * MAX_TEXT) == 1

    def test_more_changes_between_quotation_and_answer_than_anybody_writes_are_not_marked(self) -> None:
        document = text_document(">a\nb\n" * mail_body.MAX_GROUPS).html
        assert document.count("<div") == 1
        assert document.count("&gt;a\nb\n") == mail_body.MAX_GROUPS

    @pytest.mark.parametrize("unit", (">\n\n", "http://a)", "https://", ">\n", "http://x" + ")" * 900 + " ", "\r"))
    def test_hostile_text_is_read_in_one_pass(self, unit: str) -> None:
        assert body_of(text_document(unit * (MAX_TEXT // len(unit))).html)
