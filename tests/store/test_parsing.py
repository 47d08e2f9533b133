"""Reading whole messages as strangers write them: what is understood, what is kept all the same, and where it ends."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.fingerprint import essence, id_key
from store.parsing import ParseLimits, parse, split, unstuff

HEAD = (
    b"From: Ann <ann@acme.example>\r\nTo: kim@cust.example\r\nSubject: Offer\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <1@acme.example>\r\n"
)


def parsed(octets: bytes, limits: ParseLimits | None = None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The result and the content kept, by hash. What is true of every result is asserted here."""
    parts: dict[str, dict[int, bytes]] = {}
    unpack = zstandard.ZstdDecompressor().decompress

    def keep(digest: str, number: int, part: bytes) -> None:
        parts.setdefault(digest, {})[number] = unpack(part, max_output_size=1024 * 1024)

    result = parse(octets, keep, limits or ParseLimits())
    kept = {digest: b"".join(some[number] for number in sorted(some)) for digest, some in parts.items()}
    assert kept[result["content"]] == octets
    assert result["size"] == len(octets)
    assert all(hashlib.sha256(content).hexdigest() == digest for digest, content in kept.items())
    text = json.dumps(result, ensure_ascii=False)
    text.encode("utf-8")
    assert "\0" not in text
    assert json.loads(text) == result
    return result, kept


def multipart(*parts: bytes, kind: bytes = b"mixed") -> bytes:
    middle = b"".join(b"--=b\r\n" + part + b"\r\n" for part in parts)
    return (
        HEAD
        + b"MIME-Version: 1.0\r\nContent-Type: multipart/"
        + kind
        + b'; boundary="=b"\r\n\r\n'
        + middle
        + b"--=b--\r\n"
    )


def text_part(octets: bytes, charset: bytes = b"utf-8", encoding: bytes = b"8bit") -> bytes:
    return (
        b"Content-Type: text/plain; charset="
        + charset
        + b"\r\nContent-Transfer-Encoding: "
        + encoding
        + b"\r\n\r\n"
        + octets
    )


class TestUnderstood:
    def test_a_plain_message(self) -> None:
        result, kept = parsed(HEAD + b"\r\nHello Kim\r\n")
        assert result["text"] == "Hello Kim\r\n"
        assert result["html"] == ""
        assert result["attachments"] == []
        assert result["flags"] == []
        assert result["subject"] == "Offer"
        assert result["message_id"] == "1@acme.example"
        assert id_key("1@acme.example", essence(engine.read(HEAD))) in result["keys"]
        assert (result["from"], result["to"], result["cc"]) == (["ann@acme.example"], ["kim@cust.example"], [])
        assert len(kept) == 1

    def test_text_html_and_attachments_of_nested_parts(self) -> None:
        inner = (
            b'Content-Type: multipart/alternative; boundary="in"\r\n\r\n'
            b"--in\r\n" + text_part(b"Gr\xfc\xdfe", b"iso-8859-1") + b"\r\n"
            b"--in\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            b"<b>Gr=C3=BC=C3=9Fe</b>\r\n--in--\r\n"
        )
        pdf = (
            b"Content-Type: application/pdf\r\nContent-Disposition: attachment;\r\n"
            b" filename*=utf-8''Angebot%20%E2%82%AC.pdf\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8gd29ybGQ=\r\n"
        )
        result, kept = parsed(multipart(inner, pdf))
        assert result["text"] == "Grüße"
        assert result["html"].strip() == "<b>Grüße</b>"
        (attachment,) = result["attachments"]
        assert (attachment["name"], attachment["type"], attachment["size"]) == ("Angebot €.pdf", "application/pdf", 11)
        assert kept[attachment["content"]] == b"Hello world"

    @pytest.mark.parametrize(
        ("parameter", "name"),
        [
            (b'filename="a b.txt"', "a b.txt"),
            (b"filename==?utf-8?b?w7wudHh0?=", "ü.txt"),
            (b'filename*0="long "; filename*1="name.txt"', "long name.txt"),
            (b"filename*=iso-8859-1''%fc.txt", "ü.txt"),
            (b'filename="../../etc/passwd"', "../../etc/passwd"),
            (b'filename="C:\\\\x\\\\y.txt"', "C:\\x\\y.txt"),
        ],
    )
    def test_the_names_of_attachments(self, parameter: bytes, name: str) -> None:
        part = b"Content-Type: application/octet-stream\r\nContent-Disposition: attachment; " + parameter + b"\r\n\r\nx"
        (attachment,) = parsed(multipart(part))[0]["attachments"]
        assert attachment["name"] == name

    def test_an_attached_message_is_one_attachment(self) -> None:
        inner = b"Content-Type: message/rfc822\r\n\r\n" + multipart(text_part(b"inside"), text_part(b"more")).replace(
            b"=b", b"=c"
        )
        result, _ = parsed(multipart(text_part(b"outside"), inner))
        assert result["text"] == "outside"
        assert [each["type"] for each in result["attachments"]] == ["message/rfc822"]

    def test_text_that_is_attached_is_no_text_of_the_message(self) -> None:
        part = b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nlog line"
        result, _ = parsed(multipart(text_part(b"see the log"), part))
        assert result["text"] == "see the log"
        assert len(result["attachments"]) == 1

    def test_calendar_and_automatic_mail_is_flagged(self) -> None:
        part = b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR"
        assert parsed(multipart(text_part(b"come"), part, kind=b"alternative"))[0]["flags"] == ["calendar"]
        assert parsed(b"Auto-Submitted: auto-replied\r\n" + HEAD + b"\r\nout")[0]["flags"] == ["auto_submitted"]

    def test_equal_attachments_are_kept_once(self) -> None:
        part = b"Content-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA"
        result, kept = parsed(multipart(part, part))
        assert len(result["attachments"]) == 2
        assert len(kept) == 2


class TestBroken:
    @pytest.mark.parametrize(
        "octets",
        [
            b"",
            b"\r\n",
            b"\r\n\r\n",
            b"no header at all",
            b"\r\nbody only",
            b"Subject: no end of the header section",
            b"\x00\xff\xfe" * 100,
            b": empty name\r\n\r\nx",
            b"From ann@acme.example Tue Nov 24\r\n" + HEAD + b"\r\nmbox",
            HEAD.replace(b"\r\n", b"\n") + b"\nbare line feeds\n",
            HEAD + b"Content-Type: multipart/mixed\r\n\r\nno boundary",
            HEAD + b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\nx\r\n----',
            HEAD + b'Content-Type: multipart/mixed; boundary="a"\r\n\r\n--a\r\nnever closed',
            HEAD + b'Content-Type: multipart/mixed; boundary="a"\r\n\r\n--ab\r\n\r\nx\r\n--a\r\n\r\ny\r\n--a--',
            HEAD + b"Content-Type: ;;;==\r\n\r\nx",
            HEAD + b"Content-Type: text/plain; charset\r\n\r\nx",
            HEAD + b"Content-Type: text/plain; charset=\xff\r\n\r\nx",
            HEAD + b"Content-Type: TEXT/HTML; charset=nonsense\r\n\r\n<p>\xe4",
            HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n!!! no base64 ===",
            HEAD + b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\r\nbroken",
            HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=ZZ=\r\n=",
            b"From: =?utf-8?b?!!!?= <a@b.example>\r\n\r\nx",
            b"From: <<<<>>>>,,,;;; :::\r\nTo: \xff\xfe\r\nDate: Tue, 99 Foo 999999999 99:99:99\r\n\r\nx",
            b"Date: Tue, 24 Nov 2026 10:00:00 +9999\r\nMessage-ID: <>\r\n\r\nx",
            b"Subject: \xd8\x00\xd8\r\nFrom: a\x00b@c.example\r\n\r\n\x00",
            b"get_payload: x\r\n__init__: y\r\nas_bytes: z\r\n\r\nx",
            b"Content-Type: message/rfc822\r\n\r\n",
            b"Content-Type: message/delivery-status\r\n\r\nA: b\r\n\r\nC: d\r\n",
            b"Content-Type: message/partial; id=x; number=1\r\n\r\nx",
            b"Content-Type: text/plain; name*0*=utf-8''%ff; name*1=x; name*=y\r\n\r\nx",
        ],
    )
    def test_no_broken_message_raises_or_loses_an_octet(self, octets: bytes) -> None:
        parsed(octets)

    @pytest.mark.parametrize(
        "charset",
        [
            b"idna",
            b"punycode",
            b"unicode_escape",
            b"uu",
            b"zip",
            b"bz2",
            b"hex",
            b"rot13",
            b"base64",
            b"../x",
            b"undefined",
            b"mbcs",
            b"utf-7",
            b"x" * 5000,
        ],
    )
    def test_a_charset_that_is_no_charset_costs_no_text(self, charset: bytes) -> None:
        result, _ = parsed(multipart(text_part(b"Hello", charset)))
        assert "Hello" in result["text"]
        assert "trouble" not in result

    @pytest.mark.parametrize(
        "charset", [b"punycode", b"Punycode-", b"_punycode", b'"idna."', b'"Unicode Escape"', b"_raw+unicode-escape"]
    )
    def test_a_slow_or_unsafe_codec_is_not_used_under_any_spelling(self, charset: bytes) -> None:
        result, _ = parsed(multipart(text_part(b"xn--a\\x41-aa", charset)))
        assert result["text"] == "xn--a\\x41-aa"

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=400))
    def test_octets_of_any_kind(self, octets: bytes) -> None:
        parsed(octets)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    HEAD,
                    b"\r\n",
                    b"\r\n\r\n",
                    b"--a\r\n",
                    b"--a--\r\n",
                    b"--\r\n",
                    b"Content-Type: multipart/mixed; boundary=a\r\n",
                    b"Content-Type: message/rfc822\r\n",
                    b"Content-Type: text/plain; charset=utf-16\r\n",
                    b"Content-Transfer-Encoding: base64\r\n",
                    b"Content-Transfer-Encoding: uuencode\r\n",
                    b"Content-Disposition: attachment; filename*0*=x''%; filename*1*=%ff\r\n",
                    b"=?utf-8?q?=ff?=",
                    b"\xff\x00",
                    b" folded\r\n",
                    b"x" * 80,
                ]
            ),
            max_size=25,
        )
    )
    def test_pieces_of_mail_in_any_order(self, pieces: list[bytes]) -> None:
        parsed(b"".join(pieces))


class TestLimits:
    def test_an_attachment_over_the_limit_is_dropped_with_a_mark_and_the_message_kept(self) -> None:
        part = b"Content-Type: application/pdf; name=big.pdf\r\n\r\n" + b"x" * 1001
        small = b"Content-Type: application/pdf; name=small.pdf\r\n\r\n" + b"x" * 1000
        result, kept = parsed(multipart(text_part(b"see"), part, small), ParseLimits(attachment=1000))
        assert result["flags"] == ["attachment_too_large"]
        assert [(each["name"], each["size"], each["content"] is None) for each in result["attachments"]] == [
            ("big.pdf", 1001, True),
            ("small.pdf", 1000, False),
        ]
        assert result["text"] == "see"
        assert len(kept) == 2

    def test_a_text_over_the_limit_is_cut_with_a_mark(self) -> None:
        result, _ = parsed(HEAD + b"\r\n" + b"y" * 1001, ParseLimits(text=1000))
        assert result["text"] == "y" * 1000
        assert result["flags"] == ["body_truncated"]
        assert parsed(HEAD + b"\r\n" + b"y" * 1000, ParseLimits(text=1000))[0]["flags"] == []

    def test_more_parts_than_the_limit_are_not_read_and_the_message_is_kept(self) -> None:
        result, _ = parsed(multipart(*[text_part(b"x")] * 11), ParseLimits(parts=10))
        assert result["flags"] == ["unparsed"]
        assert result["trouble"] == "too many parts"
        assert parsed(multipart(*[text_part(b"x")] * 10), ParseLimits(parts=10))[0]["flags"] == []

    def test_nesting_over_the_limit_is_not_tried(self) -> None:
        deep = HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 101 + HEAD + b"\r\nx"
        result, _ = parsed(deep)
        assert (result["flags"], result["trouble"]) == (["unparsed"], "nested too deeply")

    def test_the_parser_ends_lines_at_a_bare_carriage_return_and_so_do_the_limits(self) -> None:
        deep = HEAD.replace(b"\r\n", b"\r") + b"Content-Type: message/rfc822\r\r" * 101 + b"x"
        assert parsed(deep)[0]["trouble"] == "nested too deeply"
        marks = HEAD + b"\r\n" + b"--x\r" * 100_001
        assert parsed(marks)[0]["trouble"] == "too many parts"

    @pytest.mark.parametrize("line_end", [b"\r\n ", b"\n\t", b"\r ", b""])
    def test_parameters_that_would_take_long_to_read_are_not_read(self, line_end: bytes) -> None:
        field = b'Content-Type: text/plain; a="' + (b'\\";' * 10 + line_end) * 1000 + b'"\r\n'
        assert parsed(HEAD + field + b"\r\nx")[0]["trouble"] == "parameters too long"
        part = b"Content-Disposition: attachment; filename=" + b"x" * 1000 + b"\r\n\r\nx"
        assert parsed(multipart(*[part] * 1000))[0]["trouble"] == "parameters too long"
        assert parsed(multipart(*[part] * 500))[0]["flags"] == []

    def test_names_are_cut_to_what_the_table_takes(self) -> None:
        part = (
            b"Content-Type: application/" + b"t" * 500 + b"\r\nContent-Disposition: attachment; filename=" + b"n" * 5000
        )
        (attachment,) = parsed(multipart(part + b"\r\n\r\nx"))[0]["attachments"]
        assert len(attachment["name"]) <= 255
        assert len(attachment["type"]) <= 200


class TestUnstuffing:
    @pytest.mark.parametrize(
        ("stuffed", "plain"),
        [
            (b"", b""),
            (b"..\r\n", b".\r\n"),
            (b".x\r\n..\r\n...\r\n", b"x\r\n.\r\n..\r\n"),
            (b"a\r\n..b\r\nc.\r\n", b"a\r\n.b\r\nc.\r\n"),
            (b"a.\r\n.\xff", b"a.\r\n\xff"),
        ],
    )
    def test_a_leading_dot_of_each_line_goes(self, stuffed: bytes, plain: bytes) -> None:
        assert unstuff(stuffed) == plain

    @given(st.lists(st.sampled_from([b".", b"..", b"", b"x", b".x", b"x."])))
    def test_it_undoes_what_a_client_does(self, lines: list[bytes]) -> None:
        plain = b"".join(line + b"\r\n" for line in lines)
        stuffed = b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines)
        assert unstuff(stuffed) == plain


@pytest.mark.parametrize(
    ("octets", "section", "body"),
    [
        (b"A: b\r\n\r\nx", b"A: b\r\n", b"x"),
        (b"A: b\r\n\r\n", b"A: b\r\n", b""),
        (b"A: b\r\n", b"A: b\r\n", b""),
        (b"\r\nx", b"", b"x"),
        (b"", b"", b""),
        (b"A: b\r\n\r\nx\r\n\r\ny", b"A: b\r\n", b"x\r\n\r\ny"),
    ],
)
def test_the_first_empty_line_ends_the_header_section(octets: bytes, section: bytes, body: bytes) -> None:
    assert split(octets) == (section, body)
