"""The dialogue of our own IMAP client: one command at a time, whatever the server says and however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_dialogue import ask, ways
from octets import singly

from proxy.imap.framing import BadFrame
from proxy.imap_client.dialogue import Dialogue, Idle
from proxy.imap_client.folders import List, Mailbox
from proxy.imap_client.messages import Body, Fetched, Headers, Uids
from proxy.imap_client.notify import FolderStatus
from proxy.imap_client.questions import Capability, Examine, Noop, Search, Status

HEADER = b"From: kim@cust.example\r\nSubject: {5}\r\n\r\n"
HEADER_ANSWER = (
    b'* 2 FETCH (FLAGS (\\Seen \\Draft) UID 7 INTERNALDATE "17-Jul-2026 02:44:25 -0700" RFC822.SIZE 4096 '
    b"BODY[HEADER]<0> {%d}\r\n%s)\r\n" % (len(HEADER), HEADER)
)
FETCHED = Fetched(
    uid=7,
    section=HEADER[:-2],
    flags=frozenset(("\\seen", "\\draft")),
    size=4096,
    received=1784281465.0,
)
OK = b"o1 OK done\r\n"
INBOX = Mailbox("INBOX", b"INBOX")


class Kept(list[bytes]):
    @property
    def octets(self) -> bytes:
        return b"".join(self)


class TestAnswers:
    @given(st.lists(st.integers(0, 1 << 16), max_size=12))
    def test_header_sections_come_with_what_is_known_beside_them(self, places: list[int]) -> None:
        said = HEADER_ANSWER + b"* 3 EXISTS\r\n* 5 FETCH (FLAGS (\\Seen))\r\n" + OK
        for way in ways(places):
            headers, sent, dialogue = ask(Headers([7, 8, 9, 12], 100), said, way=way)
            assert headers.found == [FETCHED]
            assert sent == b"o1 UID FETCH 7:9,12 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER]<0.100>)\r\n"
            assert dialogue.has_news
            assert dialogue.answer is not None
            assert dialogue.answer.is_ok

    @given(st.lists(st.integers(0, 1 << 16), max_size=12))
    def test_a_body_goes_to_its_sink_octet_by_octet(self, places: list[int]) -> None:
        content = HEADER + b"o1 OK done\r\n* BYE\r\n\x00\xff{3}\r\n"
        said = b"* 2 FETCH (UID 7 BODY[] {%d}\r\n%s FLAGS (\\Seen))\r\n" % (len(content), content) + OK
        for way in ways(places):
            kept = Kept()
            body, sent, dialogue = ask(Body(7, kept.append, 2**33), said, way=way)
            assert body.is_whole
            assert kept.octets == content
            assert sent == b"o1 UID FETCH 7 (UID BODY.PEEK[])\r\n"
            assert not dialogue.is_over

    @pytest.mark.parametrize("uid_comes_last", [True, False])
    def test_a_uid_may_stand_on_either_side_of_the_octets(self, uid_comes_last: bool) -> None:
        kept = Kept()
        before, behind = (b"", b" UID 7") if uid_comes_last else (b"UID 7 ", b"")
        body, _, _ = ask(
            Body(7, kept.append, 2**33), b"* 1 FETCH (" + before + b"BODY[] {2}\r\nhi" + behind + b")\r\n" + OK
        )
        assert body.is_whole
        headers, _, _ = ask(
            Headers([7], 99), b"* 1 FETCH (" + before + b"BODY[HEADER]<0> {6}\r\nA: b\r\n" + behind + b")\r\n" + OK
        )
        assert [(each.uid, each.section) for each in headers.found] == [(7, b"A: b\r\n")]

    def test_content_may_come_as_a_quoted_string_or_not_at_all(self) -> None:
        for written, section in ((b'"A: \\"b\\""', b'A: "b"'), (b"NIL", b""), (b'""', b"")):
            headers, _, _ = ask(Headers([7], 99), b"* 1 FETCH (UID 7 BODY[HEADER]<0> " + written + b")\r\n" + OK)
            assert [(each.uid, each.section) for each in headers.found] == [(7, section)]
        kept = Kept()
        body, _, _ = ask(Body(7, kept.append, 2**33), b'* 1 FETCH (UID 7 BODY[] "a \\"b\\"")\r\n' + OK)
        assert body.is_whole
        assert kept.octets == b'a "b"'

    def test_a_message_that_has_gone_is_no_message(self) -> None:
        body, _, _ = ask(Body(7, Kept().append, 100), b"* 1 FETCH (FLAGS (\\Seen))\r\n" + OK)
        assert not body.is_whole
        headers, _, _ = ask(Headers([7], 99), OK)
        assert headers.found == []

    def test_header_sections_are_kept_to_their_limit(self) -> None:
        long = b"A: " + b"x" * 1000 + b"\r\n\r\n"
        for limit, is_cut in ((100, True), (len(long), False), (len(long) + 1, False)):
            headers, _, _ = ask(
                Headers([7], limit), b"* 1 FETCH (UID 7 BODY[HEADER]<0> {%d}\r\n%s)\r\n" % (len(long), long) + OK
            )
            assert [each.is_cut for each in headers.found] == [is_cut]
            assert len(headers.found[0].section) <= limit

    @pytest.mark.parametrize(
        "date", ["99-Jul-2026 02:44:25 +0000", "1-Foo-2026 02:44:25 +0000", "today", " 1-Jan-0000 00:00:00 +0000"]
    )
    def test_a_date_that_is_none_is_unknown(self, date: str) -> None:
        said = f'* 1 FETCH (INTERNALDATE "{date}" UID 7 BODY[HEADER]<0> {{6}}\r\nA: b\r\n)\r\n'.encode()
        headers, _, _ = ask(Headers([7], 99), said + OK)
        assert [each.received for each in headers.found] == [None]

    def test_a_folder_tells_its_numbers(self) -> None:
        said = b"* 17 EXISTS\r\n* OK [UIDVALIDITY 3857529045] UIDs valid\r\n* OK [UIDNEXT 4392] next\r\n* FLAGS ()\r\n"
        examine, sent, _ = ask(Examine(INBOX), said + b"o1 OK [READ-ONLY] done\r\n")
        assert (examine.exists, examine.uidvalidity, examine.uidnext) == (17, 3857529045, 4392)
        assert sent == b'o1 EXAMINE "INBOX"\r\n'

    @pytest.mark.parametrize("name", [b"Sent", b'"Sent (old)"', b"{10}\r\nSent (old)"])
    def test_a_status_is_read_behind_any_name_and_that_of_another_folder_is_not(self, name: bytes) -> None:
        mailbox = Mailbox("Sent (old)" if b"old" in name else "Sent", b"Sent")
        said = b"* STATUS " + name + b" (UIDVALIDITY 3 UIDNEXT 9)\r\n* STATUS Archive (UIDVALIDITY 3 UIDNEXT 7)\r\n"
        status, sent, _ = ask(Status(mailbox), said + OK)
        assert status.status == FolderStatus(3, 9)
        assert sent == b'o1 STATUS "Sent" (UIDNEXT UIDVALIDITY)\r\n'

    def test_a_star_finds_no_older_message(self) -> None:
        uids, sent, _ = ask(Uids(8), b"* 3 FETCH (UID 7)\r\n* 4 FETCH (UID 9 FLAGS ())\r\n* 5 FETCH (UID 8)\r\n" + OK)
        assert uids.found == [8, 9]
        assert sent == b"o1 UID FETCH 8:* (UID)\r\n"

    def test_a_search_by_date_begins_two_days_early(self) -> None:
        search, sent, _ = ask(Search(1784281465.0, (1, 5000)), b"* SEARCH 5 3 9 \r\n* SEARCH\r\n* SEARCH 11\r\n" + OK)
        assert search.found == [3, 5, 9, 11]
        assert sent == b"o1 UID SEARCH 1:5000 SINCE 15-Jul-2026\r\n"

    def test_capabilities_and_the_bye(self) -> None:
        capability, _, dialogue = ask(Capability(), b"* CAPABILITY IMAP4rev1 Idle\r\n* BYE soon\r\n" + OK)
        assert capability.capabilities == {b"IMAP4REV1", b"IDLE"}
        assert dialogue.is_over

    @pytest.mark.parametrize(("line", "code"), [(b"NO [LIMIT] no", "LIMIT"), (b"NO no", "NO"), (b"BAD [X Y] z", "X")])
    def test_why_something_was_refused(self, line: bytes, code: str) -> None:
        _, _, dialogue = ask(Noop(), b"o1 " + line + b"\r\n")
        assert dialogue.answer is not None
        assert not dialogue.answer.is_ok
        assert dialogue.answer.code == code


class TestIdle:
    def test_it_is_ended_when_it_has_begun(self) -> None:
        idle, sent, dialogue = ask(Idle(), b"+ idling\r\n", b"* 4 EXISTS\r\n")
        assert idle.is_idling
        assert dialogue.has_news
        assert idle.stop() == b"DONE\r\n"
        assert idle.stop() == b""
        dialogue.receive(OK)
        assert dialogue.answer is not None
        assert sent == b"o1 IDLE\r\n"

    def test_it_is_ended_as_soon_as_it_begins(self) -> None:
        said: list[bytes] = []
        dialogue, idle = Dialogue(said.append), Idle()
        dialogue.ask(idle)
        assert idle.stop() == b""
        dialogue.receive(b"+ idling\r\n")
        assert said == [b"o1 IDLE\r\n", b"DONE\r\n"]

    def test_a_server_may_refuse_it(self) -> None:
        idle, _, dialogue = ask(Idle(), b"o1 NO no\r\n")
        assert not idle.is_idling
        assert dialogue.answer is not None
        assert not dialogue.answer.is_ok


class TestNonsense:
    """What a hostile or broken server may say (RFC 9051 §7)."""

    @pytest.mark.parametrize(
        "said",
        [
            b"o2 OK done\r\n",
            b"o1 OK done\r\no1 OK done\r\n",
            b"o1 PREAUTH done\r\n",
            b"+ go on\r\n",
            b"* 1 FETCH (UID 7 BODY[HEADER]<0> {9223372036854775808}\r\n",
            b"* 1 FETCH (UID 7 BODY[HEADER]<0> {-1}\r\n",
            b"* 1 FETCH (UID 7 X {4294967295}\r\n",
            b'* LIST () "/" {8193}\r\n',
            b"* 1 FETCH (" + b"{1}\r\nx" * 100 + b")\r\n",
            b"* OK " + b"x" * 70000 + b"\r\n",
            b"\x00\x00\x00\r\n",
            b"* OK a\x00b\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\x15\x03\x01\x00\x02\x02\x16\r\n",
        ],
    )
    def test_what_makes_no_sense_ends_the_connection(self, said: bytes) -> None:
        for way in ways([3, 9, 27]):
            with pytest.raises(BadFrame):
                ask(Headers([7], 100), said, way=way)

    def test_a_body_of_another_message_or_sent_twice_is_refused(self) -> None:
        with pytest.raises(BadFrame):
            ask(Body(7, Kept().append, 100), b"* 1 FETCH (UID 8 BODY[] {2}\r\nhi)\r\n")
        with pytest.raises(BadFrame):
            ask(Body(7, Kept().append, 100), b"* 1 FETCH (UID 7 BODY[] {2}\r\nhi)\r\n* 1 FETCH (UID 7 BODY[] {2}\r\n")

    def test_a_literal_of_four_gigabytes_is_not_reserved(self) -> None:
        kept = Kept()
        body, _, dialogue = ask(Body(7, kept.append, 2**33), b"* 1 FETCH (UID 7 BODY[] {4294967296}\r\nabc")
        assert kept.octets == b"abc"
        assert dialogue.answer is None
        assert not body.is_whole

    def test_a_body_that_is_longer_than_was_told_is_refused(self) -> None:
        kept = Kept()
        with pytest.raises(BadFrame):
            ask(Body(7, kept.append, 100), b"* 1 FETCH (UID 7 BODY[] {101}\r\nabc")
        assert kept.octets == b""

    def test_numbers_beyond_all_bounds_are_no_numbers(self) -> None:
        said = b"* 99999999999999999999 EXISTS\r\n* OK [UIDNEXT 99999999999999999999] x\r\n* OK [UIDVALIDITY x] y\r\n"
        examine, _, _ = ask(Examine(INBOX), said + OK)
        assert (examine.exists, examine.uidvalidity, examine.uidnext) == (0, None, None)

    def test_header_sections_of_messages_not_asked_for_are_ignored(self) -> None:
        headers, _, _ = ask(Headers([8], 100), HEADER_ANSWER + OK)
        assert headers.found == []

    @given(st.binary(max_size=200), st.sampled_from([b"", b"* ", b"* 1 FETCH (UID 7 BODY[HEADER]<0> {20}\r\n", b"o1 "]))
    def test_any_octets_are_read_or_refused_alike_in_every_chunking(self, octets: bytes, start: bytes) -> None:
        outcomes = set()
        for way in (lambda each: [each], singly):
            headers = Headers([7], 100)
            try:
                _, _, dialogue = ask(headers, start + octets, way=way)
                outcomes.add((repr(headers.found), repr(dialogue.answer), dialogue.has_news, dialogue.is_over))
            except BadFrame:
                outcomes.add(("refused",))
        assert len(outcomes) == 1

    def test_a_list_is_cut_at_its_limit(self) -> None:
        lines = b"".join(b'* LIST () "/" "f%d"\r\n' % number for number in range(2100))
        listed, _, _ = ask(List(frozenset()), lines + OK, way=lambda octets: [octets])
        assert len(listed.mailboxes) == 2000
        assert listed.is_cut
