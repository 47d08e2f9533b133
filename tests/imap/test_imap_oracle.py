"""What we read is what imap-codec reads, a parser that is not ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_codec import CommandCodec, DecodeError, DecodeLiteralFound, ResponseCodec
from imap_stage import Watcher
from octets import cut

from proxy.imap.command import parse_command
from proxy.imap.framing import Reader, command_limit, literal_of
from proxy.imap.passage import Passage

SAID = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12).map(str.encode)
ATOM = st.text(st.sampled_from("abcXYZ019.@-_~!#$&'+,/:;=?^`|"), min_size=1, max_size=12).map(str.encode)


def quoted(octets: bytes) -> bytes:
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def literal(octets: bytes) -> bytes:
    return b"{%d+}\r\n" % len(octets) + octets


STRING = st.one_of(SAID.map(quoted), SAID.map(literal))
ASTRING = st.one_of(STRING, ATOM)


class TestCommands:
    @given(ASTRING, ASTRING)
    def test_name_and_password_are_read_as_imap_codec_reads_them(self, name: bytes, password: bytes) -> None:
        octets = b"a1 LOGIN " + name + b" " + password + b"\r\n"
        rest, theirs = CommandCodec.decode(octets)
        assert rest == b""
        body = theirs.as_dict()["body"]["Login"]
        reader = Reader(command_limit, lambda text, _: literal_of(text))
        reader.feed(octets)
        parts = reader.take()
        assert parts is not None
        command = parse_command(parts)
        arguments = command.arguments()
        assert command.tag.decode() == theirs.as_dict()["tag"]
        assert arguments.take() == string_of(body["username"])
        assert arguments.take() == string_of(body["password"])
        assert arguments.is_end

    @given(
        st.sampled_from([b"a LOGIN ", b"a APPEND x ", b"a SELECT ", b"a LOGIN x "]),
        st.integers(0, 2**32 - 1),
        st.sampled_from([b"", b"+"]),
    )
    def test_literals_are_announced_where_imap_codec_finds_them(self, start: bytes, size: int, plus: bytes) -> None:
        text = start + b"{%d%s}\r\n" % (size, plus)
        with pytest.raises(DecodeLiteralFound) as found:
            CommandCodec.decode(text)
        theirs: dict[str, Any] = found.value.args[0]
        ours = literal_of(text)
        assert ours is not None
        assert (ours.size, ours.is_synchronising) == (theirs["length"], theirs["mode"] == "Sync")


FLAG = st.sampled_from([b"\\Seen", b"\\Draft", b"$x", b"Work"])
NSTRING = st.one_of(SAID.map(quoted), SAID.map(lambda octets: b"{%d}\r\n" % len(octets) + octets), st.just(b"NIL"))
MESSAGE = st.sampled_from(
    [b"From: kim@cust.example\r\n\r\nHi\r\n", b"From: eve@x.example\r\n\r\n) UID 7 BODY[] {3}\r\n", b"\r\n", b"{5}\r\n"]
).map(lambda octets: b"{%d}\r\n" % len(octets) + octets)
ENVELOPE = st.tuples(NSTRING, NSTRING).map(
    lambda two: b"ENVELOPE (" + two[0] + b" " + two[1] + b" NIL NIL NIL NIL NIL NIL NIL NIL)"
)
ITEM = st.one_of(
    st.integers(1, 9).map(lambda uid: b"UID %d" % uid),
    st.lists(FLAG, max_size=2).map(lambda flags: b"FLAGS (" + b" ".join(flags) + b")"),
    ENVELOPE,
    st.tuples(st.sampled_from([b"BODY[]", b"RFC822"]), st.one_of(MESSAGE, MESSAGE, NSTRING)).map(b" ".join),
    NSTRING.map(lambda octets: b'BODY[HEADER.FIELDS ("UID" FROM)] ' + octets),
    NSTRING.map(lambda octets: b"BODY[1] " + octets),
    st.integers(0, 99).map(lambda size: b"RFC822.SIZE %d" % size),
)
FETCH = st.lists(ITEM, min_size=1, max_size=6, unique_by=lambda item: item.split(b" ")[0]).map(
    lambda items: b"* 1 FETCH (" + b" ".join(items) + b")\r\n"
)
OTHER = st.sampled_from(
    [b"* OK Hello {5}\r\n", b"* 3 EXISTS\r\n", b"* SEARCH 1 2\r\n", b"* CAPABILITY IMAP4rev1 X\r\n", b"+ go {3}\r\n",
     b"a9 OK Done {7}\r\n", b'* LIST () "/" {6}\r\n{1}\r\nx\r\n', b"* BAD What? BODY[] {3}\r\n"]
)  # fmt: skip


class TestResponses:
    @given(st.lists(st.one_of(FETCH, FETCH, OTHER), max_size=5), st.lists(st.integers(0, 1 << 16), max_size=8))
    def test_the_tap_sees_the_messages_that_imap_codec_sees(self, responses: list[bytes], places: list[int]) -> None:
        watcher = Watcher()
        gone = bytearray()
        passage = Passage(gone.extend, lambda octets: None, watcher, capabilities=frozenset(), header_limit=4096)
        passage.client_octets(b"a1 SELECT INBOX\r\n")
        passage.provider_octets(b"* OK [UIDVALIDITY 7]\r\na1 OK Done\r\n")
        gone.clear()
        stream = b"".join(responses)
        for chunk in cut(stream, places):
            passage.provider_octets(chunk)
        assert gone == stream
        assert watcher.breaches == []
        assert [each for each in watcher.events if each.startswith("seen")] == seen_by_imap_codec(stream)
        assert passage.is_between_responses


def string_of(value: dict[str, Any]) -> bytes:
    if "Atom" in value:
        return str(value["Atom"]).encode()
    string = value["String"]
    return bytes(string["Literal"]["data"]) if "Literal" in string else str(string["Quoted"]).encode()


def seen_by_imap_codec(stream: bytes) -> list[str]:
    """Messages, as the watcher of the tests writes them, of every response in turn."""
    found = []
    rest = stream
    while rest:
        try:
            rest, response = ResponseCodec.decode(rest)
        except DecodeError as error:
            raise AssertionError(f"imap-codec cannot read {rest!r}") from error
        data = response.as_dict().get("Data")
        if isinstance(data, dict) and "Fetch" in data:
            found += messages_of(data["Fetch"]["items"])
    return found


def messages_of(items: list[dict[str, Any]]) -> list[str]:
    """At most one: the first item that is a whole message in a literal."""
    uid, flags, message = None, "?", None
    for item in items:
        match item:
            case {"Uid": value}:
                uid = value
            case {"Flags": values}:
                flags = f"({' '.join(sorted({flag_of(each['Flag']) for each in values}))})"
            case {"BodyExt": {"section": None, "origin": None, "data": {"Literal": {"data": octets}}}}:
                message = message or bytes(octets)
            case {"Rfc822": {"Literal": {"data": octets}}}:
                message = message or bytes(octets)
    if message is None:
        return []
    kept = "kept" if b"kim@cust.example" in message else "not wanted"
    return [f"seen in INBOX/7 {uid} {flags} {len(message)} octets, {kept}"]


def flag_of(value: Any) -> str:
    return str(value["Keyword"]).lower() if isinstance(value, dict) else f"\\{value.lower()}"
