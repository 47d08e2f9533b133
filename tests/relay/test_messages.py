"""Mail transactions on the wire: octets unaltered, a verdict for each recipient, and what happens when a side dies."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from in_process import InProcess, route_to
from recording_provider import Conversation, RecordingProvider
from smtp_client import Client

from proxy.limits import CapturePolicy, Limits
from proxy.route import LineEndings

FIELDS = b"Date: Tue, 3 Feb 2026 10:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\n"
HEADER = b"From: ann@acme.example\r\nTo: kim@cust.example\r\n" + FIELDS + b"Subject: x\r\n"
MESSAGE = HEADER + b"\r\nbody\r\n"
MESSAGES = {
    "plain": MESSAGE,
    "empty body": HEADER + b"\r\n",
    "no body": HEADER,
    "dots everywhere": HEADER + b"\r\n..\r\n...\r\n.. \r\n..x\r\nx.\r\n\r\n..\r\n",
    "dot in the header": b"..odd: x\r\n" + HEADER + b"\r\nx\r\n",
    "eight bit": HEADER + b"\r\n\xe4\xf6\xfc \xf0\x9f\x93\xa7 \xff\xfe\x80\r\n",
    "control octets": HEADER + b"\r\n" + bytes(each for each in range(1, 256) if each not in b"\r\n.") + b"\r\n",
    "long line": HEADER + b"\r\n" + b"x" * 100_000 + b"\r\n",
    "spaces at line ends": HEADER + b"\r\nx \t \r\n \r\n\t\r\n",
    "folded, odd header": b"from : ann@acme.example\r\nSUBJECT:\r\n \r\n\tx\r\nX:\r\n" + FIELDS + b"\r\n\r\n\r\n",
    "mbox line": b"From ann@acme.example Tue Feb 3\r\n" + HEADER + b"\r\nx\r\n",
    "a mebibyte": HEADER + b"\r\n" + (b"0123456789" * 7 + b"\r\n") * 14_000,
}


class TestOctets:
    @pytest.mark.parametrize("name", MESSAGES)
    @pytest.mark.parametrize("size", [None, 1000, 7], ids=["whole", "thousands", "sevens"])
    async def test_data_is_unaltered(self, tmp_path: Path, name: str, size: int | None) -> None:
        mail_data = MESSAGES[name]
        if size == 7 and len(mail_data) > 10_000:
            size = 4099
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            assert (await client.say(b"DATA\r\n")) == b"354 go ahead\r\n"
            octets = mail_data + b".\r\n"
            for start in range(0, len(octets), size or len(octets)):
                client.send(octets[start : start + (size or len(octets))])
                await relay.heard(client.sent)
            assert (await client.reply()) == b"250 2.0.0 taken as 1\r\n"
            (message,) = provider.messages
            assert message.mail_data == mail_data
            (email,) = await relay.emails()
            assert await relay.raw(email) == message.content

    @pytest.mark.parametrize("sizes", [[1], [10, 1], [100, 5, 0], [3000], [60, 60, 60], [1] * 30])
    @pytest.mark.parametrize("ending", ["with the last chunk", "by LAST 0"])
    async def test_chunks_are_unaltered(self, tmp_path: Path, sizes: list[int], ending: str) -> None:
        content = HEADER + b"\r\n" + bytes(range(256)) * 12 + b"\r\n.\r\n\0\r\n"
        pieces, start = [], 0
        for size in sizes:
            pieces.append(content[start : start + size])
            start += size
        pieces += [content[start:]] + ([b""] if ending == "by LAST 0" else [])
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            for piece in pieces[:-1]:
                assert (await client.say(b"BDAT %d\r\n" % len(piece) + piece)).startswith(b"250")
            answer = await client.say(b"BDAT %d LAST\r\n" % len(pieces[-1]) + pieces[-1])
            assert answer.startswith(b"250 2.0.0 taken")
            (message,) = provider.messages
            assert message.is_chunked
            assert message.mail_data == content
            (email,) = await relay.emails()
            assert await relay.raw(email) == content

    async def test_chunks_may_be_sent_ahead(self, tmp_path: Path) -> None:
        """RFC 3030 §4.2: the whole transaction in one go."""
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            envelope = b"MAIL FROM:<ann@acme.example>\r\nRCPT TO:<kim@cust.example>\r\n"
            client.send(envelope + b"BDAT 10\r\n" + MESSAGE[:10])
            client.send(b"BDAT %d LAST\r\n" % (len(MESSAGE) - 10) + MESSAGE[10:] + b"NOOP\r\n" + envelope)
            assert [each[:3] for each in await client.replies(7)] == [b"250"] * 7
            assert [each.mail_data for each in provider.messages] == [MESSAGE]

    async def test_a_whole_message_sent_ahead_is_answered_in_order(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider(verdicts={b"x@y.example": b"550 5.1.1 no\r\n"}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.send(
                b"MAIL FROM:<ann@acme.example>\r\nVRFY x\r\nRCPT TO:<x@y.example>\r\nRCPT bad\r\n"
                b"RCPT TO:<kim@cust.example>\r\nDATA\r\n"
            )
            codes = [each[:3] for each in await client.replies(6)]
            assert codes == [b"250", b"252", b"550", b"501", b"250", b"354"]

    async def test_mending_makes_line_ends_whole_and_nothing_else(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider:
            routes = [route_to(provider, line_endings=LineEndings.NORMALIZE)]
            async with InProcess(tmp_path, routes) as relay, Client(relay.port) as client:
                await client.begin()
                sent = HEADER + b"\r\none\ntwo\rthree\r\n..four\n.five\r\n"
                assert (await client.submit(sent)).startswith(b"250")
                (message,) = provider.messages
                assert message.mail_data == HEADER + b"\r\none\r\ntwo\r\nthree\r\n..four\r\n.five\r\n"


class TestMissingFields:
    """RFC 6409 §8.1, §8.2."""

    DATE = rb"Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} [+-][0-9]{4}\r\n"
    ID = rb"Message-ID: <[0-9a-f]{32}@relay\.example>\r\n"

    @pytest.mark.parametrize(
        ("section", "added"),
        [
            (b"From: ann@acme.example\r\nTo: kim@cust.example\r\n", DATE + ID),
            (b"From: ann@acme.example\r\nDate: x\r\n", ID),
            (b"From: ann@acme.example\r\nmessage-id: <x>\r\n", DATE),
            (b"From: ann@acme.example\r\nX: y\r\n Date: folded, so no field\r\nMessage-ID: <x>\r\n", DATE),
            (b"From: ann@acme.example\r\nDATE : x\r\nMessage-Id:\r\n <x>\r\n", b""),
        ],
    )
    @pytest.mark.parametrize("is_chunked", [False, True])
    async def test_are_added_behind_the_others(
        self, tmp_path: Path, section: bytes, added: bytes, is_chunked: bool
    ) -> None:
        body = b"\r\nbody\r\n"
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            if is_chunked:
                await client.address(b"kim@cust.example")
                content = section + body
                answer = await client.say(b"BDAT %d LAST\r\n" % len(content) + content)
            else:
                answer = await client.submit(section + body)
            assert answer.startswith(b"250")
            (message,) = provider.messages
            assert re.fullmatch(re.escape(section) + added + re.escape(body), message.mail_data)
            (email,) = await relay.emails()
            assert await relay.raw(email) == message.content


class TestRecipients:
    async def test_each_has_its_own_verdict(self, tmp_path: Path) -> None:
        verdicts = {
            b"kim@cust.example": b"250 2.1.5 Kim is fine\r\n",
            b"lee@cust.example": b"550-5.1.1 no\r\n550 5.1.1 such user\r\n",
            b"max@other.example": b"451 4.7.1 greylisted\r\n",
            b"nia@other.example": b"251 2.1.5 will forward\r\n",
        }
        async with (
            RecordingProvider(verdicts=verdicts) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.send(b"MAIL FROM:<ann@acme.example>\r\n")
            client.send(b"".join(b"RCPT TO:<" + each + b">\r\n" for each in verdicts))
            assert (await client.replies(5))[1:] == list(verdicts.values())
            await client.say(b"DATA\r\n")
            assert (await client.say(MESSAGE + b".\r\n")).startswith(b"250")
            assert provider.messages[0].forward_paths == [b"kim@cust.example", b"nia@other.example"]
            (decision,) = await relay.decisions()
            assert {each[1] for each in decision.value["contacts"]} == {"kim@cust.example", "nia@other.example"}

    async def test_when_all_are_refused_nothing_is_logged(self, tmp_path: Path) -> None:
        verdict = b"550 5.1.1 no\r\n"
        async with (
            RecordingProvider(verdicts={b"kim@cust.example": verdict}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.say(b"MAIL FROM:<ann@acme.example>\r\n")
            assert await client.say(b"RCPT TO:<kim@cust.example>\r\n") == verdict
            assert (await client.say(b"DATA\r\n")).startswith(b"554")
            (decision,) = await relay.decisions()
            assert (decision.decision, decision.reason) == ("skip", "not_delivered")
            assert await relay.emails() == []
            assert (await client.submit(MESSAGE, b"lee@cust.example")).startswith(b"250")

    @pytest.mark.parametrize("ending", [b"RSET\r\n", b"QUIT\r\n", b"EHLO client.example\r\n"])
    @pytest.mark.parametrize("asks", [False, True])
    async def test_a_client_that_gives_up_once_all_are_refused_leaves_one_decision(
        self, tmp_path: Path, ending: bytes, asks: bool
    ) -> None:
        verdicts = {b"kim@cust.example": b"550 5.1.1 no\r\n", b"lee@cust.example": b"450 4.2.1 not now\r\n"}
        async with (
            RecordingProvider(verdicts=verdicts) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.say(b"MAIL FROM:<ann@acme.example>\r\n")
            for address, verdict in verdicts.items():
                assert await client.say(b"RCPT TO:<" + address + b">\r\n") == verdict
            if asks:
                assert (await client.say(b"DATA\r\n")).startswith(b"554")
            assert (await client.say(ending))[:1] == b"2"
            (decision,) = await relay.decisions()
            assert (decision.decision, decision.reason) == ("skip", "not_delivered")
            assert await relay.emails() == []

    async def test_a_client_that_gives_up_though_somebody_was_accepted_leaves_none(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider(verdicts={b"kim@cust.example": b"550 5.1.1 no\r\n"}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"lee@cust.example")
            assert (await client.say(b"RCPT TO:<kim@cust.example>\r\n")).startswith(b"550")
            assert (await client.say(b"RSET\r\n")).startswith(b"250")
            assert (await client.say(b"QUIT\r\n")).startswith(b"221")
            assert await relay.decisions() == []

    async def test_the_null_reverse_path_passes(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert (await client.submit(MESSAGE, sender=b"")).startswith(b"250")
            assert provider.messages[0].reverse_path == b""


class TestTheProvider:
    @pytest.mark.parametrize("verdict", [b"554 5.7.1 spam\r\n", b"452-4.2.2 full\r\n452 4.2.2 later\r\n"])
    @pytest.mark.parametrize("step", ["end of data", "BDAT LAST"])
    async def test_refuses_the_message(self, tmp_path: Path, verdict: bytes, step: str) -> None:
        async with (
            RecordingProvider(replies={step: verdict}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            if step == "BDAT LAST":
                assert await client.say(b"BDAT %d LAST\r\n" % len(MESSAGE) + MESSAGE) == verdict
            else:
                await client.say(b"DATA\r\n")
                assert await client.say(MESSAGE + b".\r\n") == verdict
            (decision,) = await relay.decisions()
            assert (decision.decision, decision.reason) == ("skip", "not_delivered")
            assert await relay.emails() == []
            assert await relay.gaps() == []

    async def test_refuses_in_the_middle_of_mail_data(self, tmp_path: Path) -> None:
        """The client is read to its end, then hears the provider's own words."""
        refusal = b"552-5.3.4 that is\r\n552 5.3.4 enough\r\n"
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            await client.say(b"DATA\r\n")
            client.send(MESSAGE)
            await relay.heard(client.sent)
            provider.say(refusal)
            await provider.until_idle()
            client.send(b"more\r\n" * 100_000)
            await client.flush()
            assert await client.say(b".\r\n") == refusal
            assert await client.rest() == b""
            assert provider.messages == []
            assert await relay.emails() == []

    @pytest.mark.parametrize("moment", ["during mail data", "during a chunk"])
    async def test_dies_before_the_end(self, tmp_path: Path, moment: str) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            if moment == "during mail data":
                await client.say(b"DATA\r\n")
                client.send(MESSAGE)
            else:
                client.send(b"BDAT 1000000 LAST\r\n" + MESSAGE)
            await relay.heard(client.sent)
            provider.disconnect_all()
            await provider.until_idle()
            if moment == "during mail data":
                client.send(b"more\r\n.\r\n")
            answer = await client.rest()
            assert answer.startswith(b"451 4.4.2 " if moment == "during mail data" else b"421 4.4.2 ")
            assert await relay.emails() == []
            assert await relay.gaps() == []

    @pytest.mark.parametrize("step", ["end of data", "BDAT LAST"])
    @pytest.mark.parametrize("recipient", [b"kim@cust.example", b"stranger@x.example"], ids=["logged", "not logged"])
    async def test_dies_after_the_end(self, tmp_path: Path, step: str, recipient: bytes) -> None:
        def die(conversation: Conversation, line: bytes) -> bytes:
            conversation.abort()
            return b""

        message = MESSAGE.replace(b"kim@cust.example", recipient)
        async with (
            RecordingProvider(replies={step: die}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(recipient)
            if step == "BDAT LAST":
                client.send(b"BDAT %d LAST\r\n" % len(message) + message)
            else:
                await client.say(b"DATA\r\n")
                client.send(message + b".\r\n")
            assert (await client.reply()).startswith(b"451 4.4.2 ")
            await client.rest()
            assert await relay.emails() == []
            gaps = await relay.gaps()
            assert [gap.kind for gap in gaps] == (["outcome_unknown"] if recipient == b"kim@cust.example" else [])

    @pytest.mark.parametrize("policy", list(CapturePolicy))
    async def test_dies_once_it_has_accepted(self, tmp_path: Path, policy: CapturePolicy) -> None:
        """Its verdict stands, whether or not the capture was done when it went."""

        def accept_and_die(conversation: Conversation, line: bytes) -> bytes:
            asyncio.get_running_loop().call_soon(conversation.abort)  # behind the reply
            return b"250 2.0.0 taken as 1\r\n"

        async with (
            RecordingProvider(replies={"end of data": accept_and_die}) as provider,
            InProcess(tmp_path, [provider], policy=policy) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert await client.submit(MESSAGE) == b"250 2.0.0 taken as 1\r\n"
            assert (await client.rest()).startswith(b"421 4.4.2 ")
            assert len(provider.messages) == 1
            assert len(await relay.emails()) == 1
            assert await relay.gaps() == []

    async def test_dies_between_messages(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert (await client.submit(MESSAGE)).startswith(b"250")
            provider.disconnect_all()
            assert (await client.rest()).startswith(b"421 4.4.2 ")
            assert len(await relay.emails()) == 1

    @pytest.mark.parametrize("is_logged", [True, False])
    async def test_says_goodbye_itself(self, tmp_path: Path, is_logged: bool) -> None:
        async with (
            RecordingProvider(replies={"QUIT": b"221-2.0.0 so\r\n221 2.0.0 long\r\n"}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            if is_logged:
                await client.begin()
            else:
                await client.greet()
            assert await client.say(b"QUIT\r\n") == b"221-2.0.0 so\r\n221 2.0.0 long\r\n"
            assert await client.rest() == b""


class TestTheClient:
    @pytest.mark.parametrize("manner", ["reset", "close"])
    @pytest.mark.parametrize(
        "octets",
        [MESSAGE, MESSAGE + b".", MESSAGE + b".\r", MESSAGE[:-2], MESSAGE + b"..\r\n", HEADER[:20], b""],
        ids=["whole", "dot", "dot and CR", "half a line", "stuffed dot", "half a header", "nothing"],
    )
    async def test_dies_in_mail_data(self, tmp_path: Path, octets: bytes, manner: str) -> None:
        """RFC 5321 §4.1.1.4: without an end of data there is no message; none is ever made up for it."""
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
            async with Client(relay.port) as client:
                await client.begin()
                await client.address(b"kim@cust.example")
                await client.say(b"DATA\r\n")
                client.send(octets)
                await relay.heard(client.sent)
                client.reset() if manner == "reset" else client.writer.close()
                await relay.until_idle()
            await provider.until_idle()
            assert provider.messages == []
            for unfinished in provider.unfinished:  # none, when the reset came first
                assert octets.startswith(unfinished)
            assert await relay.emails() == []
            assert await relay.gaps() == []

    async def test_dies_in_a_chunk(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
            async with Client(relay.port) as client:
                await client.begin()
                await client.address(b"kim@cust.example")
                client.send(b"BDAT %d LAST\r\n" % (len(MESSAGE) + 1) + MESSAGE)
                await relay.heard(client.sent)
                client.reset()
                await relay.until_idle()
            await provider.until_idle()
            assert provider.messages == []
            assert await relay.emails() == []

    async def test_dies_after_the_end(self, tmp_path: Path) -> None:
        """The message is on its way; it is seen through, delivered and recorded."""
        go_on = asyncio.Event()

        async def wait(conversation: Conversation, line: bytes) -> None:
            await go_on.wait()

        async with (
            RecordingProvider(replies={"end of data": wait}) as provider,
            InProcess(tmp_path, [provider]) as relay,
        ):
            async with Client(relay.port) as client:
                await client.begin()
                await client.address(b"kim@cust.example")
                await client.say(b"DATA\r\n")
                client.send(MESSAGE + b".\r\n")
                await relay.heard(client.sent)
                client.reset()
            await relay.until(lambda: relay.session._transport is None)
            go_on.set()
            await relay.until_idle()
            assert [each.mail_data for each in provider.messages] == [MESSAGE]
            assert len(await relay.emails()) == 1

    async def test_sends_too_much(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], limits=Limits(message=10_000)) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert (await client.say(b"MAIL FROM:<ann@acme.example> SIZE=10001\r\n")).startswith(b"552 5.3.4")
            assert (await client.submit(HEADER + b"\r\n" + b"x\r\n" * 4000)).startswith(b"552 5.3.4")
            assert await client.rest() == b""
            assert provider.messages == []
            assert await relay.emails() == []

    async def test_sends_a_chunk_that_is_too_large(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], limits=Limits(message=10_000)) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            assert (await client.say(b"BDAT 6000\r\n" + b"x" * 6000)).startswith(b"250")
            client.send(b"BDAT 6000 LAST\r\n" + b"x" * 6000)
            assert (await client.rest()).startswith(b"552 5.3.4")
            assert provider.messages == []

    @pytest.mark.parametrize("manner", ["reset", "close"])
    async def test_gone_while_the_provider_is_dialled_leaves_nothing_waiting(self, tmp_path: Path, manner: str) -> None:
        """A provider that does not greet would else be waited for as long as its deadline, for nobody."""

        async def never(conversation: Conversation, line: bytes) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError

        replies = {"greeting": never}
        async with RecordingProvider(replies=replies) as provider, InProcess(tmp_path, [provider]) as relay:
            async with Client(relay.port) as client:
                await client.reply()
                client.send(b"EHLO client.example\r\n")
                await provider.until(lambda: provider.is_busy)
                client.reset() if manner == "reset" else client.writer.close()
                await relay.until_idle()
            await provider.until_idle()


async def test_a_fault_in_one_session_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(provider: object) -> None:
        raise RuntimeError("a fault that nobody foresaw")

    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider]) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        with monkeypatch.context() as patch:
            patch.setattr(relay.relay, "dial", fail)
            async with Client(relay.port) as unlucky:
                await unlucky.reply()
                unlucky.send(b"EHLO client.example\r\n")
                assert await unlucky.rest() == b""
        assert (await client.submit(MESSAGE)).startswith(b"250")
        assert "a session failed" in [each["event"] for each in relay.log]
