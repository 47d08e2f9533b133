"""Whatever both sides say, it passes, cut in any way, with the same events; and only what has to be is altered."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imap_stage import Watch, Watcher
from octets import cut

from proxy.imap.capability import may_be_capability, withhold
from proxy.imap.mailbox import decode_name
from proxy.imap.passage import Passage
from proxy.imap.tap import Tap
from proxy.imap.watch import Why

KIM = b"From: kim@cust.example\r\n\r\nHi\r\n"
CLIENT = st.sampled_from(
    [
        b"a SELECT INBOX\r\n", b"b SELECT {4+}\r\nWork\r\n", b"c UNSELECT\r\n", b"d FETCH 1 BODY[]<0.10>\r\n",
        b"e APPEND Sent {30+}\r\n" + KIM + b"\r\n", b"f APPEND Sent (\\Draft) {30}\r\n", KIM + b"\r\n", b"g IDLE\r\n",
        b"DONE\r\n", b'h UID MOVE 5 "Log to CRM"\r\n', b"i APPEND Sent CATENATE (TEXT {30+}\r\n" + KIM + b")\r\n",
        b"j SEARCH ((((((\r\n", b"k NOOP\r\n", b"a NOOP\r\n", b"l APPEND Sent {5000+}\r\n", b'm FETCH 1 "x {3}\r\n',
    ]
)  # fmt: skip
PROVIDER = st.sampled_from(
    [
        b"a OK [READ-WRITE] Done\r\n", b"b OK Done\r\n", b"c OK Done\r\n", b"d OK Done\r\n",
        b"f OK [APPENDUID 8 9] Done\r\n",
        b"e OK [APPENDUID 8 9] Done\r\n", b"f NO Full\r\n", b"+ go\r\n", b"+ idling\r\n", b"g OK Done\r\n",
        b"k OK {3}\r\n",
        b"* OK [COPYUID 9 5 1]\r\n", b"h OK Moved\r\n", b"* OK [UIDVALIDITY 7]\r\n", b"* 3 EXISTS\r\n",
        b"i OK Done\r\n",
        b"* 1 FETCH (UID 5 BODY[] {30}\r\n" + KIM + b")\r\n", b"* 1 FETCH (BODY[]<0> {10}\r\nFrom: kim@ UID 6)\r\n",
        b"* 1 FETCH (UID 6 BODY[]<0> {10}\r\nFrom: kim@)\r\n",
        b"* 1 FETCH (UID 6 BODY[]<10> {20}\r\n" + KIM[10:] + b")\r\n",
        b"* 1 FETCH (UID 5 BODY[HEADER] {26}\r\n" + KIM[:26] + b")\r\n", b"* 1 EXPUNGE\r\n",
        b"* 1 FETCH (RFC822.TEXT {4}\r\n" + KIM[26:] + b")\r\n",
        b"* 1 FETCH (BODY[HEADER] {26}\r\n" + KIM[:26] + b" BODY[TEXT] {4}\r\nHi\r\n)\r\n",
        b'* LIST (\\Drafts) "/" Work\r\n',
        b"* 1 FETCH (UID 5 BODY[] {4000}\r\n", b"* BYE\r\n", b"a BAD\r\n",
    ]
)  # fmt: skip
TURNS = st.lists(
    st.one_of(
        st.tuples(st.just("client"), st.one_of(CLIENT, CLIENT, st.binary(max_size=8))),
        st.tuples(st.just("provider"), st.one_of(PROVIDER, PROVIDER, st.binary(max_size=8))),
    ),
    max_size=25,
)
CAPABILITIES = st.sampled_from([frozenset({b"LITERAL+"}), frozenset({b"IMAP4REV2"}), frozenset()])


class Stand:
    """A passage, and what went on to either side."""

    def __init__(self, capabilities: frozenset[bytes] = frozenset({b"LITERAL+"})) -> None:
        self.client = bytearray()
        self.provider = bytearray()
        self.watcher = Watcher()
        self.passage = Passage(
            self.client.extend, self.provider.extend, self.watcher, capabilities=capabilities, header_limit=4096
        )

    def say(self, side: str, octets: bytes) -> None:
        (self.passage.client_octets if side == "client" else self.passage.provider_octets)(octets)


@given(TURNS, CAPABILITIES, st.lists(st.integers(0, 1 << 16), max_size=8))
@settings(max_examples=400)
def test_whatever_is_said_passes_unaltered_and_tells_the_same_however_it_is_cut(
    turns: list[tuple[str, bytes]], capabilities: frozenset[bytes], places: list[int]
) -> None:
    whole, pieces = Stand(capabilities), Stand(capabilities)
    for side, octets in turns:
        whole.say(side, octets)
        for piece in cut(octets, places):
            pieces.say(side, piece)
    for stand in (whole, pieces):
        stand.passage.client_lost()
        stand.passage.provider_lost()
        assert stand.client == b"".join(octets for side, octets in turns if side == "provider")
        assert stand.provider == b"".join(octets for side, octets in turns if side == "client")
        assert stand.watcher.breaches == []
        assert all(watch.is_over for watch in stand.watcher.watches)
    assert pieces.watcher.events == whole.watcher.events
    assert pieces.watcher.messages == whole.watcher.messages


@given(st.lists(st.sampled_from([b"COMPRESS=DEFLATE", b"IDLE", b"STARTTLS", b"AUTH=X-PLUS", b"AUTH=PLAIN", b"{3}"])))
def test_what_is_withheld_is_withheld_and_nothing_else(words: list[bytes]) -> None:
    kept = [word for word in words if word in (b"IDLE", b"AUTH=PLAIN", b"{3}")]
    for start, end in ((b"* CAPABILITY", b"\r\n"), (b"a1 OK [CAPABILITY", b"] IDLE COMPRESS=DEFLATE\r\n")):
        line = b" ".join([start, *words]) + end
        assert withhold(line) == b" ".join([start, *kept]) + end
        assert all(may_be_capability(line[:size]) for size in range(len(line)))


@given(st.binary(max_size=60))
def test_a_line_that_lists_no_capabilities_is_not_touched(line: bytes) -> None:
    line = line.replace(b"CAPABILITY", b"")
    assert withhold(line) is line or b"CAPABILITY" in line.upper()


def test_only_the_messages_that_are_wanted_are_kept() -> None:
    stand = Stand()
    stand.say("client", b"a SELECT INBOX\r\n")
    stand.say("provider", b"* OK [UIDVALIDITY 7]\r\na OK\r\n")
    body = b"x" * 100000
    message = KIM + body
    for uid, octets in ((5, message), (6, message.replace(b"kim@cust", b"eve@cust"))):
        stand.say("provider", b"* 1 FETCH (UID %d BODY[] {%d}\r\n" % (uid, len(octets)))
        for start in range(0, len(octets), 1000):
            stand.say("provider", octets[start : start + 1000])
        stand.say("provider", b")\r\n")
    assert stand.watcher.messages == [message]
    assert [len(watch.kept) for watch in stand.watcher.watches] == [len(message), 0]


def test_what_is_too_long_to_be_withheld_is_altered_however_it_is_cut_or_not_at_all() -> None:
    octets = b"a COMPRESS DEFLATE" + b"x" * 9000 + b"\r\nb COMPRESS DEFLATE\r\n"
    for places in ([], [1], [5000], [9010, 9019]):
        stand = Stand()
        for piece in cut(octets, places):
            stand.say("client", piece)
        assert stand.provider == octets[:-10] + b"\r\n"


def test_a_message_that_is_saved_is_judged_before_the_provider_answers() -> None:
    stand = Stand()
    stand.say("client", b"e APPEND Sent {16+}\r\nSubject: no end\n\r\n")
    (watch,) = stand.watcher.watches
    assert watch.section is not None
    assert not watch.is_over


def test_no_more_commands_are_followed_than_are_reasonable() -> None:
    stand = Stand()
    for number in range(150):
        stand.say("client", b"t%d SELECT INBOX\r\n" % number)
    assert stand.watcher.events == [f"unobservable: {Why.TOO_MANY_COMMANDS}"] * 50
    stand.say("provider", b"".join(b"t%d OK Done\r\n" % number for number in range(150)))
    stand.say("client", b"a SELECT Work\r\n")
    stand.say("provider", b"a OK Done\r\n* 1 FETCH (UID 5 BODY[] {30}\r\n" + KIM + b")\r\n")
    assert stand.watcher.events[-1] == "seen in Work/None 5 ? 30 octets, kept"


def test_few_messages_are_put_together_at_a_time() -> None:
    stand = Stand()
    stand.say("client", b"a SELECT INBOX\r\n")
    stand.say("provider", b"* OK [UIDVALIDITY 7]\r\na OK\r\n")
    for uid in range(20):
        stand.say("provider", b"* 1 FETCH (UID %d BODY[]<0> {10}\r\nFrom: kim@)\r\n" % uid)
    assert sum(not watch.is_over for watch in stand.watcher.watches) == 8
    assert stand.watcher.events == ["discarded", f"unobservable: {Why.PARTIAL_INCOMPLETE}"] * 12


def test_a_watcher_that_fails_in_the_middle_of_a_message_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Watch, octets: bytes) -> bool:
        raise OSError("disk full")

    monkeypatch.setattr(Watch, "content", fail)
    stand = Stand()
    stand.say("client", b"e APPEND Sent {30+}\r\n" + KIM + b"\r\nf COMPRESS DEFLATE\r\n")
    assert stand.provider.endswith(b"f COMPRESS\r\n")
    assert f"unobservable: {Why.WATCHER_FAILED}" in stand.watcher.events


def test_a_session_can_be_told_goodbye_only_between_responses() -> None:
    stand = Stand()
    assert stand.passage.is_between_responses
    for octets in (b"* 1 FETCH (UID 5 BODY[] {30}\r\n", KIM[:20], KIM[20:], b" FLAGS ()"):
        stand.say("provider", octets)
        assert not stand.passage.is_between_responses
    stand.say("provider", b")\r\n")
    assert stand.passage.is_between_responses


def test_a_session_that_was_closed_is_kept_by_no_cycle() -> None:
    stand = Stand()
    stand.say("client", b"a SELECT INBOX\r\nb FETCH 1 BODY[]<0.9>\r\ne APPEND Sent {30+}\r\n" + KIM[:20])
    stand.say("provider", b"* OK [UIDVALIDITY 7]\r\na OK\r\n* 1 FETCH (UID 5 BODY[] {30}\r\n" + KIM[:20])
    stand.passage.close()
    passage = weakref.ref(stand.passage)
    tap = weakref.ref(Tap(stand.watcher, 4096))
    gc.disable()
    try:
        del stand
        assert passage() is None
        assert tap() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (b"inbox", "INBOX"), (b"Sent", "Sent"), (b"Entw&APw-rfe", "Entwürfe"), (b"Q&-A", "Q&A"), (b"Q&A", "Q&A"),
        ("Entwürfe".encode(), "Entwürfe"), (b"&2D3eAA-", "😀"), (b"&!-", "&!-"), (b"&AA-", "&AA-"), (b"&2D0-", "&2D0-"),
        (b"\xff", "\ufffd"),
    ],
)  # fmt: skip
def test_a_mailbox_name_is_read_as_people_write_it(octets: bytes, name: str) -> None:
    assert decode_name(octets) == name


WITH_PARTS = st.lists(
    st.tuples(st.sampled_from(["header", "text", "both", "gone", "vanished", "flags", "whole"]), st.integers(0, 3)),
    max_size=30,
)


@given(WITH_PARTS, st.booleans(), st.lists(st.integers(0, 1 << 16), max_size=8))
@settings(max_examples=300)
def test_a_header_section_is_put_together_with_the_text_of_its_own_message_only(
    asked: list[tuple[str, int]], tells_uids: bool, places: list[int]
) -> None:
    """A mailbox whose messages go one after the other; what is kept are messages that it had."""
    sections = [b"From: kim@cust.example\r\nSubject: %d\r\n\r\n" % number for number in range(8)]
    texts = [b"This is number %d.\r\n" % number for number in range(8)]
    mailbox = list(enumerate(zip(sections, texts, strict=True), start=1))
    messages = [section + text for _, (section, text) in mailbox]
    stand, last, wanted = Stand(), None, []
    stand.say("client", b"a SELECT INBOX\r\n")
    stand.say("provider", b"* OK [UIDVALIDITY 7]\r\na OK\r\n")
    for what, place in asked:
        if place >= len(mailbox):
            continue
        uid, (section, text) = mailbox[place]
        told = b"UID %d " % uid if tells_uids else b""
        octets = b"* %d FETCH (%s" % (place + 1, told)
        match what:
            case "header":
                octets += b"BODY[HEADER] {%d}\r\n%s)\r\n" % (len(section), section)
                last = uid
            case "text":
                octets += b"BODY[TEXT] {%d}\r\n%s)\r\n" % (len(text), text)
                wanted += [section + text] if last == uid else []
                last = None if last == uid else last
            case "both":
                octets += b"RFC822.HEADER {%d}\r\n%s RFC822.TEXT {%d}\r\n%s)\r\n" % (
                    *(len(section), section),
                    *(len(text), text),
                )
                wanted.append(section + text)
                last = None
            case "whole":
                octets += b"BODY[] {%d}\r\n%s)\r\n" % (len(section + text), section + text)
                wanted.append(section + text)
            case "flags":
                octets += b"FLAGS (\\Seen))\r\n"
            case "gone" | "vanished":
                octets = b"* %d EXPUNGE\r\n" % (place + 1) if what == "gone" else b"* VANISHED %d\r\n" % uid
                del mailbox[place]
                last = None
        for piece in cut(octets, places):
            stand.say("provider", piece)
    assert stand.watcher.messages == wanted
    assert set(wanted) <= set(messages)
    assert stand.watcher.breaches == []
