"""Downloads: names that a mail may give, and header fields that make a browser save and never show."""

from __future__ import annotations

import re
import unicodedata
from email.message import EmailMessage
from email.policy import HTTP
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord.web.downloads import MAX_NAME, download_headers, harmless_name, harmless_type, message_headers

DISPOSITION = re.compile(r"attachment; filename=\"([ !#-\[\]-~]+)\"; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]+)")


def names(headers: dict[str, str]) -> tuple[str, str]:
    """The name in ASCII, and the other."""
    match = DISPOSITION.fullmatch(headers["Content-Disposition"])
    assert match, headers["Content-Disposition"]
    return match[1], unquote(match[2], errors="strict")


@pytest.mark.parametrize(
    ("name", "harmless"),
    (
        ("offer.pdf", "offer.pdf"),
        ("Größe und Preis.pdf", "Größe und Preis.pdf"),
        ("報告書.docx", "報告書.docx"),
        ("../../etc/cron.d/x", "x"),
        ("..\\..\\x", "x"),
        ("/abs", "abs"),
        ("C:\\x", "x"),
        ("C:x", "C_x"),
        ("x.txt:stream", "x.txt_stream"),
        ("a\x00.txt", "a.txt"),
        ("a\r\nX-Evil: 1.txt", "a X-Evil_ 1.txt"),
        ("con", "_con"),
        ("CON.txt", "_CON.txt"),
        ("com1 .txt", "_com1 .txt"),
        ("COM¹.txt", "_COM¹.txt"),
        ("ＮＵＬ", "_ＮＵＬ"),
        ("console", "console"),
        ("a...", "a"),
        (" . a . ", "a"),
        (".htaccess", "htaccess"),
        ("\u202egnp.exe", "gnp.exe"),
        ("a\u200b\u2066\ufeffb\u2069.txt", "ab.txt"),
        ("invoice.pdf" + " " * 200 + ".exe", "invoice.pdf .exe"),
        ("..%2f..%2fx", "%2f..%2fx"),
        ("．．／x", "．．_x"),
        ("-rf", "_rf"),
        ("~root", "_root"),
        ('"><script>.txt', "___script_.txt"),
        ("a/", "a"),
        ("", "attachment"),
        ("...", "attachment"),
        ("/", "attachment"),
        ("\u202e\x00", "attachment"),
        ("\ud800.txt", "txt"),
    ),
)
def test_names(name: str, harmless: str) -> None:
    assert harmless_name(name) == harmless
    assert names(download_headers(name=name, kind="image/png"))[1] == harmless


@pytest.mark.parametrize("name", ("x" * 5120, "x" * 5120 + ".pdf", "ü" * 5120 + ".pdf", "x." * 2560, "." * 5120 + "x"))
def test_long_names_are_cut_and_keep_a_short_extension(name: str) -> None:
    cut = harmless_name(name)
    assert len(cut.encode()) <= MAX_NAME
    assert cut.endswith(".pdf") == name.endswith(".pdf")


def test_what_browsers_decode_in_the_plain_name_is_not_in_it() -> None:
    plain, full = names(download_headers(name="..%2f..%2fx", kind=""))
    assert plain == "_2f.._2fx"
    assert full == "%2f..%2fx"


def test_the_plain_name_is_harmless_where_it_becomes_another() -> None:
    assert names(download_headers(name="ＣＯＮ", kind=""))[0] == "_CON"
    assert names(download_headers(name="Préfixe é.pdf", kind=""))[0] == "Prefixe e.pdf"


def test_two_attachments_of_one_name_are_told_apart_by_nothing_here() -> None:
    assert download_headers(name="a.txt", kind="") == download_headers(name="a.txt", kind="")


@given(st.text(), st.text())
def test_no_name_and_no_type_makes_a_header_field_that_is_not_one(name: str, kind: str) -> None:
    headers = download_headers(name=name, kind=kind)
    for value in headers.values():
        assert re.fullmatch(r"[ -~]+", value)
    for each in names(headers):
        assert each == harmless_name(each)
        assert 0 < len(each.encode()) <= MAX_NAME
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f\x7f]', each)
        assert each.strip(" .") == each
        assert all(unicodedata.category(character) not in ("Cc", "Cf", "Cs") for character in each)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_a_parser_of_header_fields_reads_the_name_that_was_meant(name: str) -> None:
    message = EmailMessage(policy=HTTP)
    message["Content-Disposition"] = download_headers(name=name, kind="")["Content-Disposition"].split("; filename*")[0]
    assert message.get_content_disposition() == "attachment"
    assert message.get_filename() == names(download_headers(name=name, kind=""))[0]


@pytest.mark.parametrize(
    "kind",
    (
        *(
            "text/html",
            "TEXT/HTML; charset=utf-7",
            "application/xhtml+xml",
            "image/svg+xml",
            "text/xml",
            "application/xml",
        ),
        *("text/javascript", "application/javascript", "application/ecmascript", "text/css", "text/calendar"),
        *("application/pdf+xml", "multipart/x-mixed-replace", "message/rfc822", "application/x-shockwave-flash"),
        *("text/vtt", "application/wasm", "", "text", "image/png, text/html", "image/png\r\nX-Evil: 1", "a\x00b/c"),
    ),
)
def test_types_that_a_browser_could_run_are_octets(kind: str) -> None:
    assert harmless_type(kind) == "application/octet-stream"


def test_other_types_stay_without_their_parameters() -> None:
    assert harmless_type("Image/PNG; name=x") == "image/png"
    assert harmless_type("application/pdf") == "application/pdf"


def test_a_download_is_never_shown_guessed_or_run() -> None:
    for headers in (download_headers(name="x.html", kind="text/html"), message_headers(name="x")):
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"].startswith("attachment;")
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"].split("; ")
        assert "default-src 'none'" in policy
        assert "sandbox" in policy


@pytest.mark.parametrize(
    ("subject", "name"),
    (
        ("Re: Offer 1/2", "Re_ Offer 1_2.eml"),
        ("", "message.eml"),
        ("../..", "_.eml"),
        ("nul", "_nul.eml"),
    ),
)
def test_a_message_is_named_by_its_subject(subject: str, name: str) -> None:
    assert names(message_headers(name=subject))[1] == name


def test_a_message_with_a_long_subject_keeps_its_extension() -> None:
    assert names(message_headers(name="é" * 5000))[1].endswith("é.eml")
