"""SMTP smuggling: what some server takes for an end of data must never let a second message out of ours.

CVE-2023-51764 (Postfix), CVE-2023-51765 (Sendmail), CVE-2023-51766 (Exim), CVE-2023-52354 (chasquid),
CVE-2024-27305 (aiosmtpd). The provider of these tests is as lax as all of them together: whatever reaches it is judged
by the worst reading there is.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import InProcess, route_to
from pki import Pki
from recording_provider import RecordingProvider
from rows import octets_of, rows
from smtp_client import Client

from proxy.route import LineEndings, Listener, Tls

ROWS = rows(__file__, "smuggling.txt", 3)
# A doubled dot is how every dot at a line's start is sent; a server that ends there takes no mail at all.
MARKS = [octets_of(row.values[0]) for row in ROWS if row.values[1] == "refused"]
LAX = (b"\r\n.\r\n", *(mark for mark in MARKS if b".." not in mark))
HEADER = (
    b"From: ann@acme.example\r\nTo: kim@cust.example\r\n"
    b"Date: Tue, 3 Feb 2026 10:00:00 +0000\r\nMessage-ID: <1@acme>\r\n"
)
FIRST = HEADER + b"Subject: first\r\n\r\nbody"
SMUGGLED = (
    b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<victim@y.example>\r\nDATA\r\n"
    b"From: evil@x.example\r\nSubject: smuggled\r\n\r\nhi"
)
TRUE_END = b"\r\n.\r\n"


async def begin_data(client: Client) -> None:
    await client.begin()
    await client.address(b"kim@cust.example")
    assert (await client.say(b"DATA\r\n")).startswith(b"354")


def assert_nothing_smuggled(provider: RecordingProvider) -> None:
    assert not [line for line in provider.commands if b"evil" in line or b"victim" in line]
    assert provider.mail_data_begun <= 1
    assert len(provider.messages) <= 1


async def play(relay: InProcess, provider: RecordingProvider, octets: bytes, pieces: list[bytes]) -> bytes:
    """Sends the pieces, each of them read by the relay before the next is sent; all that the client gets."""
    async with Client(relay.port) as client:
        await begin_data(client)
        for piece in pieces:
            client.send(piece)
            await relay.heard(client.sent)
        answer = await client.reply()
        if answer.startswith(b"250"):
            answer += await client.say(b"QUIT\r\n")
        answer += await client.rest()
    await provider.until_idle()
    return answer


async def assert_expected(
    relay: InProcess, provider: RecordingProvider, answer: bytes, expected: str, mail_data: bytes | None
) -> None:
    assert_nothing_smuggled(provider)
    emails = await relay.emails()
    if expected == "refused":
        assert answer.startswith(b"550 5.6.11 ")
        assert answer.count(b"\r\n") == 1
        assert provider.messages == []
        assert emails == []
        return
    assert expected == "one message"
    assert answer.startswith(b"250 2.0.0 taken as 1\r\n221 ")
    (message,) = provider.messages
    if mail_data is not None:
        assert message.mail_data == mail_data
    (email,) = emails
    assert await relay.raw(email) == message.content


class TestTheEndOfMailData:
    """RFC 5321 §4.1.1.4: only CRLF "." CRLF ends mail data."""

    @pytest.mark.parametrize(("text", "strict", "normalize"), ROWS)
    async def test_strict(self, tmp_path: Path, text: str, strict: str, normalize: str) -> None:
        mail_data = FIRST + octets_of(text) + SMUGGLED + b"\r\n"
        async with RecordingProvider(ends_of_data=LAX) as provider, InProcess(tmp_path, [provider]) as relay:
            answer = await play(relay, provider, octets_of(text), [mail_data + b".\r\n"])
            await assert_expected(relay, provider, answer, strict, mail_data)

    @pytest.mark.parametrize(("text", "strict", "normalize"), ROWS)
    async def test_strict_octet_by_octet(self, tmp_path: Path, text: str, strict: str, normalize: str) -> None:
        octets = octets_of(text)
        pieces = [FIRST, *(octets[n : n + 1] for n in range(len(octets))), SMUGGLED + TRUE_END]
        async with RecordingProvider(ends_of_data=LAX) as provider, InProcess(tmp_path, [provider]) as relay:
            answer = await play(relay, provider, octets, pieces)
            await assert_expected(relay, provider, answer, strict, FIRST + octets + SMUGGLED + b"\r\n")

    @pytest.mark.parametrize(("text", "strict", "normalize"), ROWS)
    async def test_normalized(self, tmp_path: Path, text: str, strict: str, normalize: str) -> None:
        octets = octets_of(text)
        async with RecordingProvider(ends_of_data=LAX) as provider:
            route = route_to(provider, line_endings=LineEndings.NORMALIZE)
            async with InProcess(tmp_path, [route]) as relay:
                answer = await play(relay, provider, octets, [FIRST + octets + SMUGGLED + TRUE_END])
                await assert_expected(relay, provider, answer, normalize, None)
                for message in provider.messages:
                    assert message.mail_data.startswith(FIRST)
                    assert b"RCPT TO:<victim@y.example>\r\nDATA\r\n" in message.mail_data

    @pytest.mark.parametrize(("text", "strict", "normalize"), ROWS)
    async def test_normalized_octet_by_octet(self, tmp_path: Path, text: str, strict: str, normalize: str) -> None:
        octets = octets_of(text)
        pieces = [FIRST, *(octets[n : n + 1] for n in range(len(octets))), SMUGGLED + TRUE_END]
        async with RecordingProvider(ends_of_data=LAX) as provider:
            route = route_to(provider, line_endings=LineEndings.NORMALIZE)
            async with InProcess(tmp_path, [route]) as relay:
                answer = await play(relay, provider, octets, pieces)
                await assert_expected(relay, provider, answer, normalize, None)


class TestTheTrueEndInPieces:
    """The mark is the mark however it is cut, and not one octet of it goes out before all of it has come."""

    @pytest.mark.parametrize("place", range(1, 5))
    async def test_over_two_writes(self, tmp_path: Path, place: int) -> None:
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
            pieces = [FIRST + TRUE_END[:place], TRUE_END[place:]]
            answer = await play(relay, provider, b"", pieces)
            await assert_expected(relay, provider, answer, "one message", FIRST + b"\r\n")

    @pytest.mark.parametrize("place", range(1, 5))
    async def test_over_two_tls_records(self, tmp_path: Path, pki: Pki, place: int) -> None:
        listener = Listener(tls=Tls.IMPLICIT, provider="provider")
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], pki=pki, listeners=[listener]) as relay,
            Client(relay.port, context=pki.client_context()) as client,
        ):
            await begin_data(client)
            client.send(FIRST + TRUE_END[:place])
            await relay.heard(client.sent)
            assert provider.messages == []
            assert (await client.say(TRUE_END[place:])).startswith(b"250")
            (message,) = provider.messages
            assert message.mail_data == FIRST + b"\r\n"

    async def test_as_the_first_octets(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
            answer = await play(relay, provider, b"", [b".\r\n"])
            assert answer.startswith(b"250")
            (message,) = provider.messages
            assert message.mail_data.startswith(b"Date: ")  # RFC 6409 §8: what a submission lacks is added
            assert message.mail_data.count(b"\r\n") == 3
            assert message.mail_data.endswith(b"\r\n\r\n")

    async def test_after_a_pause_within_the_deadline(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await begin_data(client)
            client.send(FIRST + b"\r\n.")
            await relay.heard(client.sent)
            relay.sweep(after=30)
            assert provider.messages == []
            assert (await client.say(b"\r\n")).startswith(b"250")
            assert [each.mail_data for each in provider.messages] == [FIRST + b"\r\n"]

    async def test_what_follows_the_true_end_is_commands(self, tmp_path: Path) -> None:
        """Legal pipelining (RFC 2920 §3.1): answered in order, as a transaction of its own."""
        second = b"MAIL FROM:<ann@acme.example>\r\nRCPT TO:<lee@cust.example>\r\nDATA\r\n"
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await begin_data(client)
            client.send(FIRST + TRUE_END + second)
            answers = await client.replies(4)
            assert [each[:3] for each in answers] == [b"250", b"250", b"250", b"354"]
            assert answers[0].startswith(b"250 2.0.0 taken as 1")
            assert (await client.say(b"Subject: second\r\n\r\n.\r\n")).startswith(b"250 2.0.0 taken as 2")
            assert [each.forward_paths for each in provider.messages] == [[b"kim@cust.example"], [b"lee@cust.example"]]


class TestChunks:
    """RFC 3030: BDAT counts octets, so nothing in them is an end or a command."""

    PAYLOADS = (
        FIRST + TRUE_END + SMUGGLED + TRUE_END,
        HEADER + b"\r\n\r\n.\r\nBDAT 0 LAST\r\n",
        HEADER + b"\r\n" + b"".join(octets_of(row.values[0]) for row in ROWS) + b"\0\r\n",
        HEADER + b"\r\nRSET\r\nQUIT\r\n",
    )

    @pytest.mark.parametrize("payload", PAYLOADS)
    @pytest.mark.parametrize("is_piecewise", [False, True])
    async def test_payload_is_opaque(self, tmp_path: Path, payload: bytes, is_piecewise: bool) -> None:
        async with (
            RecordingProvider(ends_of_data=LAX) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            client.send(b"BDAT %d LAST\r\n" % len(payload))
            for start in range(0, len(payload), 7 if is_piecewise else len(payload)):
                client.send(payload[start : start + (7 if is_piecewise else len(payload))])
                await relay.heard(client.sent)
            assert (await client.reply()).startswith(b"250")
            assert_nothing_smuggled(provider)
            (message,) = provider.messages
            assert message.is_chunked
            assert message.mail_data == payload
            (email,) = await relay.emails()
            assert await relay.raw(email) == payload

    async def test_a_chunk_that_is_cut_short_takes_from_the_command_behind_it(self, tmp_path: Path) -> None:
        """The count is the truth for us and for the provider alike: neither sees a command the other does not."""
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            client.send(b"BDAT 5\r\nabcdNOOP\r\n")
            assert [each[:3] for each in await client.replies(2)] == [b"250", b"500"]
            assert provider.commands[-1] != b"OOP\r\n"
            assert provider.messages == []

    @pytest.mark.parametrize(
        "line",
        [b"BDAT 18446744073709551616", b"BDAT -1", b"BDAT +5", b"BDAT 0x10", b"BDAT", b"BDAT 5 FIRST", b"BDAT 5 5",
         b"BDAT " + b"9" * 40, b"BDAT 5,LAST", b"BDAT \xd9\xa3"],
    )  # fmt: skip
    async def test_a_size_that_is_no_size_ends_the_session(self, tmp_path: Path, line: bytes) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            client.send(line + b"\r\n" + SMUGGLED + TRUE_END)
            answer = await client.rest()
            assert answer[:3] in (b"501", b"552")
            assert answer.count(b"\r\n") == 1
            await provider.until_idle()
            assert_nothing_smuggled(provider)
            assert provider.messages == []
            assert b"BDAT" not in provider.verbs

    async def test_a_chunk_before_rcpt_is_refused_with_its_octets(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.send(b"BDAT 6 LAST\r\nRSET\r\nNOOP\r\n")
            assert [each[:3] for each in await client.replies(2)] == [b"503", b"250"]
            assert provider.verbs[-1] == b"NOOP"
            assert b"RSET" not in provider.verbs
            assert await relay.emails() == []

    async def test_a_chunk_before_login_is_swallowed(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            client.send(b"BDAT 6 LAST\r\nRSET\r\nNOOP\r\n")
            assert [each[:3] for each in await client.replies(2)] == [b"503", b"250"]
            assert b"BDAT" not in provider.verbs
            assert b"RSET" not in provider.verbs

    async def test_data_after_bdat_is_refused(self, tmp_path: Path) -> None:
        """RFC 3030 §2: BDAT and DATA do not mix in one transaction, however lax the provider is."""
        replies = {"DATA": b"354 why not\r\n"}
        async with (
            RecordingProvider(replies=replies) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            assert (await client.say(b"BDAT 4\r\nabcd")).startswith(b"250")
            assert (await client.say(b"DATA\r\n")).startswith(b"503")
            assert b"DATA" not in provider.verbs

    async def test_rset_between_chunks_leaves_nothing(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            assert (await client.say(b"BDAT 4\r\nabcd")).startswith(b"250")
            assert (await client.say(b"RSET\r\n")).startswith(b"250")
            assert (await client.submit(HEADER + b"\r\nsecond\r\n")).startswith(b"250")
            (message,) = provider.messages
            assert message.mail_data == HEADER + b"\r\nsecond\r\n"
            (email,) = await relay.emails()
            assert await relay.raw(email) == message.content

    @pytest.mark.parametrize("command", [b"EHLO again.example\r\n", b"HELO again.example\r\n"])
    async def test_ehlo_between_chunks_leaves_nothing(self, tmp_path: Path, command: bytes) -> None:
        """RFC 5321 §4.1.4: EHLO resets the transaction; octets of the dropped one belong to no record."""
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            first = HEADER + b"\r\nfirst"
            assert (await client.say(b"BDAT %d\r\n" % len(first) + first)).startswith(b"250")
            assert (await client.say(command)).startswith(b"250")
            await client.address(b"lee@cust.example")
            second = HEADER.replace(b"kim", b"lee") + b"\r\nsecond"
            assert (await client.say(b"BDAT %d LAST\r\n" % len(second) + second)).startswith(b"250")
            (message,) = provider.messages
            assert message.mail_data == second
            (email,) = await relay.emails()
            assert await relay.raw(email) == second
            assert email.to == ["lee@cust.example"]

    async def test_a_refused_chunk_in_the_middle_of_the_next(self, tmp_path: Path) -> None:
        """The provider's refusal comes while the client is sending more: the count still tells where that ends."""
        replies = {"BDAT": b"552 5.3.4 enough\r\n", "BDAT LAST": b"503 5.5.1 it failed\r\n"}
        async with (
            RecordingProvider(replies=replies) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            chunk = HEADER + b"\r\nfirst chunk"
            client.send(b"BDAT %d\r\n" % len(chunk) + chunk + b"BDAT 2000 LAST\r\n" + b"x" * 1000)
            assert (await client.reply()).startswith(b"552")
            client.send(b"y" * 1000 + b"RSET\r\n")
            assert [each[:3] for each in await client.replies(2)] == [b"503", b"250"]
            assert provider.messages == []
            assert await relay.emails() == []


class TestDataOutOfTurn:
    """Octets that come before they are asked for."""

    async def test_content_sent_ahead_of_the_354_is_content(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            client.send(b"DATA\r\n" + FIRST + TRUE_END)
            assert [each[:3] for each in await client.replies(2)] == [b"354", b"250"]
            assert [each.mail_data for each in provider.messages] == [FIRST + b"\r\n"]

    async def test_content_sent_ahead_of_a_refusal_is_not_commands(self, tmp_path: Path) -> None:
        """The client thought it was in its message; read as commands its text could do anything."""
        replies = {"DATA": b"451 4.3.0 not now\r\n"}
        async with (
            RecordingProvider(replies=replies) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            client.send(b"DATA\r\n" + SMUGGLED + TRUE_END)
            answer = await client.rest()
            assert answer.startswith(b"451 4.3.0 not now\r\n")
            await provider.until_idle()
            assert_nothing_smuggled(provider)
