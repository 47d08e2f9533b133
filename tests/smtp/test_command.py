"""Command lines are read so strictly that no two servers can read them differently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.smtp.command import BadCommand, Chunk, Command, MailPath, parse_chunk, parse_command, parse_path

GOOD_PATHS = [
    (b"MAIL FROM:<ann@ours.example>", b"ann@ours.example", None),
    (b"mail from:<ann@ours.example>", b"ann@ours.example", None),
    (b"MAIL FROM:<>", b"", None),
    (b"MAIL FROM:<> SIZE=10", b"", 10),
    (b"MAIL FROM: <ann@ours.example>", b"ann@ours.example", None),  # quirk_space_before_path
    (b"MAIL FROM:<ann@ours.example>  BODY=8BITMIME  size=99999 ", b"ann@ours.example", 99999),
    (b"MAIL FROM:<ann@ours.example> SIZE=1 SMTPUTF8", b"ann@ours.example", 1),
    (b"MAIL FROM:<ann@ours.example> AUTH=<> RET=HDRS ENVID=a+2Bb", b"ann@ours.example", None),
    (b"MAIL FROM:<ann@ours.example> XSIZE=5", b"ann@ours.example", None),
    (b"MAIL FROM:<zo\xc3\xab@ours.example> X=\xc3\xab", b"zo\xc3\xab@ours.example", None),
    (b"RCPT TO:<kim@cust.example>", b"kim@cust.example", None),
    (b"RCPT TO:<Postmaster>", b"Postmaster", None),
    (b'RCPT TO:<"kim > lee"@cust.example>', b'"kim > lee"@cust.example', None),
    (b'RCPT TO:<"kim\\"<\\\\"@cust.example>', b'"kim\\"<\\\\"@cust.example', None),
    (b"RCPT TO:<@a.example,@b.example:kim@cust.example>", b"@a.example,@b.example:kim@cust.example", None),
    (b"RCPT TO:<kim@[IPv6:2001:db8::1]> NOTIFY=NEVER ORCPT=rfc822;kim@x", b"kim@[IPv6:2001:db8::1]", None),
    (b"RCPT TO:<kim%x.example@cust.example>", b"kim%x.example@cust.example", None),
]
BAD_PATHS = [
    b"MAIL", b"MAIL ann@ours.example", b"MAIL FROM", b"MAIL FROM:", b"MAIL FROM:ann@ours.example", b"MAIL FROM:<ann",
    b"MAIL FROM:<ann>x", b"MAIL FROM:<a><b>", b"MAIL FROM:<<a>>", b"MAIL FROM:<a b@x>", b"MAIL FROM:<a\tb@x>",
    b"MAIL FROM:  <a@x>", b"MAIL FROM :<a@x>", b"MAIL TO:<a@x>", b"RCPT FROM:<a@x>", b"MAIL FROM:<a@x>SIZE=1",
    b"MAIL FROM:<a@x> =1", b"MAIL FROM:<a@x> SIZE=", b"MAIL FROM:<a@x> SIZE==1", b"MAIL FROM:<a@x> -A=1",
    b"MAIL FROM:<a@x> A=\x01", b"MAIL FROM:<a@x> A=b\x7f", b"MAIL FROM:<a@x>, RCPT TO:<b@x>", b'MAIL FROM:<"a@x>',
    b'MAIL FROM:<"a\x01"@x>', b"RCPT TO:<a@x> <b@x>", b"RCPT TO:<a\x08@x>", b"MAIL FROM:<a@x>\tSIZE=1",
    b"MAIL FROM:<a@x> A=b\x0bRCPT",
]  # fmt: skip
# Lines that are two lines to somebody (CVE-2023-51764 and its kin, for commands).
TORN = [
    b"MAIL FROM:<a@b>\n", b"EHLO x\rMAIL FROM:<a@b>\r\n", b"NOOP\n", b"NOOP\r\r\n", b"\rNOOP\r\n",
    b"NOOP\0\r\n", b"NO\0OP\r\n", b"\n", b"RSET\n", b"MAIL FROM:<a\r@b>\r\n", b"\0\r\n", b"NOOP \r \r\n",
]  # fmt: skip


def command(text: bytes) -> Command:
    return parse_command(text + b"\r\n")


class TestLine:
    @pytest.mark.parametrize(
        ("line", "verb", "argument"),
        [
            (b"NOOP\r\n", b"NOOP", b""),
            (b"noop  text \t\r\n", b"NOOP", b"text"),
            (b"\r\n", b"", b""),
            (b" NOOP\r\n", b"", b"NOOP"),
            (b"MAIL\tFROM:<>\r\n", b"MAIL\tFROM:<>", b""),
            (b"\xff\xfe\r\n", b"\xff\xfe", b""),
        ],
    )
    def test_is_split_into_verb_and_argument(self, line: bytes, verb: bytes, argument: bytes) -> None:
        assert parse_command(line) == Command(verb, argument, line)

    @pytest.mark.parametrize("line", TORN)
    def test_that_somebody_may_read_as_two_ends_the_session(self, line: bytes) -> None:
        with pytest.raises(BadCommand) as raised:
            parse_command(line)
        assert raised.value.code == 500
        assert raised.value.closes

    @given(st.binary(max_size=60).filter(lambda octets: b"\n" not in octets))
    def test_that_passes_is_one_line_to_everybody(self, octets: bytes) -> None:
        try:
            parsed = parse_command(octets + b"\r\n")
        except BadCommand:
            return
        assert parsed.line == octets + b"\r\n"
        assert not set(octets) & set(b"\r\n\0")

    def test_is_not_shown_where_a_command_is_printed(self) -> None:
        parsed = command(b"AUTH PLAIN AGFubgBzZXNhbWU=")
        assert "AGFubgBzZXNhbWU=" not in repr(parsed) + str(parsed)
        assert "AUTH" in repr(parsed)


class TestPath:
    @pytest.mark.parametrize(("text", "path", "size"), GOOD_PATHS)
    def test_is_read_without_its_brackets(self, text: bytes, path: bytes, size: int | None) -> None:
        found = parse_path(command(text))
        assert found == MailPath(path, size, found.parameters)
        assert text.strip().endswith(found.parameters)

    @pytest.mark.parametrize("text", BAD_PATHS)
    def test_that_does_not_end_where_it_seems_to_is_refused(self, text: bytes) -> None:
        with pytest.raises(BadCommand) as raised:
            parse_path(command(text))
        assert raised.value.code == 501
        assert not raised.value.closes
        assert "@" not in raised.value.text, "a reply must not repeat what the client said"

    @given(st.binary(max_size=60))
    def test_holds_no_bracket_space_or_control_outside_of_quotes(self, octets: bytes) -> None:
        try:
            path = parse_path(command(b"RCPT TO:" + octets)).path
        except BadCommand:
            return
        assert not any(octet < 32 or octet == 127 for octet in path)
        if b'"' not in path:
            assert not set(path) & set(b"<> ")


class TestChunk:
    @pytest.mark.parametrize(
        ("text", "chunk"),
        [
            (b"BDAT 0", Chunk(0, False)),
            (b"bdat 10 last", Chunk(10, True)),
            (b"BDAT 0 LAST", Chunk(0, True)),
            (b"BDAT 18446744073709551616", Chunk(18446744073709551616, False)),
            (b"BDAT 007  LAST ", Chunk(7, True)),
        ],
    )
    def test_is_a_size_and_whether_it_is_the_last(self, text: bytes, chunk: Chunk) -> None:
        assert parse_chunk(command(text)) == chunk

    @pytest.mark.parametrize(
        "argument",
        [b"", b"x", b"-1", b"+1", b"1.5", b"0x10", b"5LAST", b"5 FIRST", b"5 LAST x", b"LAST", b"1" * 21, b"5\tLAST",
         "٣".encode()],
    )  # fmt: skip
    def test_of_a_size_that_cannot_be_read_ends_the_session(self, argument: bytes) -> None:
        with pytest.raises(BadCommand) as raised:
            parse_chunk(command(b"BDAT " + argument))
        assert raised.value.code == 501
        assert raised.value.closes
