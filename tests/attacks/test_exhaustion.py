"""More of everything than anybody needs: each is refused by a limit, or passes without being kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from in_process import InProcess
from pki import Pki
from recording_provider import EXTENSIONS, Conversation, RecordingProvider
from served import Served
from smtp_client import Client, plain

from proxy.limits import Deadlines, Limits

MIB = 1024 * 1024
HEADER = b"From: ann@acme.example\r\nTo: kim@cust.example\r\nDate: x\r\nMessage-ID: <big@acme>\r\n"
FLOOD = 64 * MIB  # many times what is allowed to stay
GROWTH = 24 * MIB  # resident memory that a relay may gain while a flood passes, allocators' slack included


@asynccontextmanager
async def steady(served: Served) -> AsyncIterator[None]:
    """Resident memory of the relay processes, sampled all along, stays within `GROWTH` of where it was."""
    before = highest = served.resident_memory()
    over = asyncio.Event()

    async def sample() -> None:
        nonlocal highest
        while not over.is_set():
            highest = max(highest, served.resident_memory())
            await asyncio.sleep(0.01)

    sampling = asyncio.ensure_future(sample())
    try:
        yield
    finally:
        over.set()
        await sampling
    assert highest - before < GROWTH, f"{(highest - before) / MIB:.0f} MiB more"


async def flood(client: Client, octets: bytes, total: int) -> None:
    """Sends `octets` over and over, as fast as they are taken; stops early when the connection is closed."""
    try:
        for _ in range(total // len(octets)):
            client.send(octets)
            await client.flush()
    except ConnectionError:
        return


class TestWithoutAnyNewline:
    BLOCK = b"x" * MIB

    @pytest.mark.parametrize("state", ["connected", "greeted", "logged in", "in AUTH", "BDAT size"])
    async def test_a_line_is_cut_at_its_limit(self, tmp_path: Path, pki: Pki, state: str) -> None:
        async with RecordingProvider() as provider, Served(tmp_path, pki, providers=[provider]) as served:
            async with Client(served.port) as client, steady(served):
                await client.reply()
                if state != "connected":
                    await client.say(b"EHLO x.example\r\n")
                if state in ("logged in", "BDAT size"):
                    await client.log_in()
                if state == "in AUTH":
                    await client.say(b"AUTH LOGIN\r\n")
                if state == "BDAT size":
                    client.send(b"BDAT ")
                await flood(client, self.BLOCK.replace(b"x", b"1"), FLOOD)
                assert await client.rest() in (b"", b"500 5.5.6 The line is too long\r\n")
            assert not [line for line in provider.commands if len(line) > 1000]

    @pytest.mark.parametrize("recipient", [b"kim@cust.example", b"stranger@x.example"], ids=["logged", "not logged"])
    @pytest.mark.parametrize(
        "lead", [b"", HEADER + b"\r\n", HEADER + b"X-Long: "], ids=["bare", "body", "header field"]
    )
    async def test_mail_data_passes_without_being_kept(
        self, tmp_path: Path, pki: Pki, recipient: bytes, lead: bytes
    ) -> None:
        async with RecordingProvider() as provider, Served(tmp_path, pki, providers=[provider]) as served:
            async with Client(served.port) as client, steady(served):
                await client.begin()
                await client.address(recipient)
                await client.say(b"DATA\r\n")
                client.send(lead)
                await flood(client, self.BLOCK, FLOOD)
                assert (await client.say(b"\r\n.\r\n")).startswith(b"250")
            (message,) = provider.messages
            assert message.mail_data == lead + self.BLOCK * (FLOOD // MIB) + b"\r\n"

    async def test_more_than_the_limit_is_read_to_its_end_and_refused(self, tmp_path: Path, pki: Pki) -> None:
        settings = {"limits": {"message": 2 * MIB}}
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], settings=settings) as served,
        ):
            async with Client(served.port) as client, steady(served):
                await client.begin()
                await client.address(b"kim@cust.example")
                await client.say(b"DATA\r\n")
                client.send(HEADER + b"\r\n")
                await flood(client, self.BLOCK, FLOOD)
                assert (await client.say(b"\r\n.\r\n")).startswith(b"552 5.3.4")
            assert provider.messages == []
            assert sum(map(len, provider.unfinished)) <= 3 * MIB

    @pytest.mark.parametrize("step", ["greeting", "EHLO", "AUTH", "MAIL", "end of data"])
    async def test_a_reply_of_the_providers_is_cut_at_its_limit(self, tmp_path: Path, pki: Pki, step: str) -> None:
        async def without_end(conversation: Conversation, line: bytes) -> bytes:
            assert conversation.transport is not None
            for _ in range(FLOOD // MIB):
                if conversation.transport.is_closing():
                    break
                conversation.write(self.BLOCK)
                while conversation.transport.get_write_buffer_size() > MIB and not conversation.transport.is_closing():
                    await asyncio.sleep(0.001)
            return b""

        async with (
            RecordingProvider(replies={step: without_end}) as provider,
            Served(tmp_path, pki, providers=[provider]) as served,
            Client(served.port) as client,
            steady(served),
        ):
            await client.reply()
            client.send(b"EHLO x.example\r\n")
            for said in (
                b"AUTH PLAIN " + plain() + b"\r\n",
                b"MAIL FROM:<ann@acme.example>\r\n",
                b"RCPT TO:<kim@cust.example>\r\n",
                b"DATA\r\n",
                HEADER + b"\r\n.\r\n",
            ):
                try:
                    answer = await client.reply()
                except EOFError:
                    break
                if answer[:1] == b"4":
                    break
                client.send(said)
            else:
                answer = await client.reply()
            assert answer[:1] == b"4"
            assert await client.rest() in (b"", b"421 4.4.2 The mail provider closed the connection\r\n")
            await provider.until_idle()


class TestTooManyOfThem:
    async def test_recipients(self, tmp_path: Path) -> None:
        """RFC 5321 §4.5.3.1.10: 452 for those over the limit; the others get the message."""
        extensions = EXTENSIONS | {b"LIMITS": b"RCPTMAX=5000 MAILMAX=100"}
        async with (
            RecordingProvider(extensions=extensions) as provider,
            InProcess(tmp_path, [provider], limits=Limits(recipients=100)) as relay,
            Client(relay.port) as client,
        ):
            assert b"LIMITS RCPTMAX=100 MAILMAX=100\r\n" in await client.greet()
            await client.log_in()
            client.send(b"MAIL FROM:<ann@acme.example>\r\n")
            client.send(b"".join(b"RCPT TO:<u%d@x.example>\r\n" % number for number in range(1000)))
            codes = [each[:9] for each in await client.replies(1001)]
            assert codes[1:101] == [b"250 2.1.5"] * 100
            assert codes[101:] == [b"452 4.5.3"] * 900
            assert (await client.say(b"DATA\r\n")).startswith(b"354")
            assert (await client.say(HEADER + b"\r\n.\r\n")).startswith(b"250")
            assert len(provider.messages[0].forward_paths) == 100

    @pytest.mark.parametrize("command", [b"NOOP\r\n", b"RSET\r\n", b"VRFY x\r\n", b"HELP\r\n"])
    async def test_commands_that_do_nothing(self, tmp_path: Path, pki: Pki, command: bytes) -> None:
        count = 20_000
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider]) as served,
            Client(served.port) as client,
            steady(served),
        ):
            await client.begin()
            sending = asyncio.ensure_future(flood(client, command * 100, count * len(command)))
            for _ in range(count):
                assert (await client.reply())[:1] == b"2"
            await sending
            assert (await client.submit(HEADER + b"\r\n")).startswith(b"250")

    async def test_transactions_in_one_session(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            for number in range(300):
                message = HEADER.replace(b"big", b"m%d" % number) + b"\r\n"
                client.send(b"MAIL FROM:<ann@acme.example>\r\nRCPT TO:<kim@cust.example>\r\nDATA\r\n")
                assert [each[:3] for each in await client.replies(3)] == [b"250", b"250", b"354"]
                assert (await client.say(message + b".\r\n")).startswith(b"250")
            assert len(provider.messages) == 300
            assert len(await relay.emails()) == 300

    async def test_failed_logins(self, tmp_path: Path) -> None:
        """Each costs time, and the third the session."""
        deadlines = Deadlines(failed_login_delay=0.05, drain=1.0)
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], deadlines=deadlines) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            began = relay.relay.clock()
            client.send((b"AUTH PLAIN " + plain(password="wrong") + b"\r\n") * 10_000)
            answer = await client.rest()
            assert [line[:3] for line in answer.splitlines()] == [b"535"] * 3 + [b"421"]
            assert relay.relay.clock() - began >= 3 * 0.05
            assert provider.verbs.count(b"AUTH") == 3

    async def test_connections_of_one_address(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], limits=Limits(connections_per_address=5)) as relay,
            AsyncExitStack() as stack,
        ):
            clients = [await stack.enter_async_context(Client(relay.port)) for _ in range(5)]
            for each in clients:
                assert (await each.reply()).startswith(b"220")
            async with Client(relay.port) as one_more:
                assert (await one_more.rest()).startswith(b"421 4.7.0 ")
            async with Client(relay.port, "127.0.0.1") as another:
                assert (await another.rest()).startswith(b"421 4.7.0 ")
            for each in clients:
                each.reset()
            await relay.until_idle()
            async with Client(relay.port) as later:
                assert (await later.reply()).startswith(b"220")

    async def test_connections_that_come_and_go(self, tmp_path: Path, pki: Pki) -> None:
        """A storm leaves nothing behind: neither sessions nor counts, on the loop that the program uses."""
        settings = {"limits": {"connections_per_address": 20, "connections": 20}}
        listeners = [{"tls": "starttls"}, {"tls": "implicit"}]
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], listeners=listeners, settings=settings) as served,
        ):
            for number in range(120):
                async with Client(served.ports[number % 2]) as client:
                    if number % 2:
                        client.send(b"\x16\x03\x01\x02\x00" if number % 4 == 1 else b"EHLO x\r\n")
                    else:
                        await client.greet()
                        client.send(b"STARTTLS\r\n")
                        if number % 4:
                            await client.reply()
                            client.send(b"\x16\x03\x01")
                    await client.flush()
                    if number % 3 == 0:
                        client.reset()
            async with asyncio.timeout(20):
                while True:  # the last of them may still be on their way out
                    async with Client(served.port) as client:
                        if (await client.reply()).startswith(b"220"):
                            break

    async def test_handshakes_that_never_end(self, tmp_path: Path, pki: Pki) -> None:
        settings = {"deadlines": {"tls_handshake": 1.0}}
        listeners = [{"tls": "implicit"}]
        async with (
            RecordingProvider() as provider,
            Served(tmp_path, pki, providers=[provider], listeners=listeners, settings=settings) as served,
            steady(served),
            AsyncExitStack() as stack,
        ):
            mute = [await stack.enter_async_context(Client(served.port)) for _ in range(100)]
            for each in mute:
                each.send(b"\x16\x03\x01")
            async with Client(served.port, context=pki.client_context()) as client:
                await client.begin()
                assert (await client.submit(HEADER + b"\r\n")).startswith(b"250")
            for each in mute:
                assert await each.rest() == b""


HOSTILE_HEADERS = {
    "fifty thousand fields": b"X: y\r\n" * 50_000,
    "a field of ten mebibytes": b"X-Long: " + b"y" * 10 * MIB + b"\r\n",
    "a section of ten mebibytes": b"X-Many: " + b"z" * 900 + b"\r\n" + (b"X-More: " + b"z" * 900 + b"\r\n") * 11_000,
    "a hundred thousand hops": b"Received: from a by b; x\r\n" * 100_000,
    "encoded words": b"Subject: " + b"=?utf-8?q?=C3=A9?= " * 50_000 + b"\r\n",
    "deep comments": b"X-From: " + b"(" * 100_000 + b"\r\n",
    "an author of comments": b"From: " + b"(" * 50_000 + b"a@b.example\r\n",
    "an author of commas": b"Cc: " + b"," * 100_000 + b"\r\n",
    "an author of brackets": b"Cc: " + b"<" * 100_000 + b"\r\n",
    "an author of quotes": b"Cc: " + b'"' * 100_001 + b"\r\n",
    "many parents": b"References: " + b"<x@y> " * 50_000 + b"\r\n",
    "open parents": b"References: " + b"<" * 100_000 + b"\r\n",
    "a parameter in pieces": b"Content-Type: text/plain; "
    + b"; ".join(b"name*%d*=x" % n for n in range(20_000))
    + b"\r\n",
    "a year of ten digits": b"Date: Mon, 1 Jan 1000000000 00:00:00 +0000\r\n",
    "no number for a date": b"Date: " + b"9" * 5000 + b"\r\n",
    "octets above ASCII": b"Subject: \xff\xfe\x80\r\nTo: \xc3\x28 <\xff@\xfe>\r\n",
    "a field named as a method": b"__class__: x\r\n__init__: y\r\nget: z\r\nitems: q\r\nFrom\xff: x\r\n",
    "a name that is no name": b": x\r\n :\r\nNo colon at all\r\n",
    "a charset that is a path": b'Content-Type: text/plain; charset="../../etc/passwd"\r\n',
    "a slow charset": b"Content-Type: text/plain; charset=idna\r\nSubject: =?punycode?q?" + b"a" * 3000 + b"?=\r\n",
    "an uncommon encoding": b"Content-Transfer-Encoding: x-uuencode\r\n",
}
HOSTILE_BODIES = {
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 200_000 + b"--b--\r\n",
    "nested messages": b"".join(b"Content-Type: message/rfc822\r\n\r\n" for _ in range(1000)) + b"\r\nx\r\n",
    "nested multiparts": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(1000)
    ),
    "boundaries that begin with one another": b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
    + b"".join(b"--" + b"a" * n + b"\r\n\r\n" for n in range(1, 500)),
    "base64 that is none": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=\r\n" * 100_000,
    "uuencode": b"Content-Transfer-Encoding: uuencode\r\n\r\nbegin 644 x\r\n" + b"M" * 60 + b"\r\n" * 50_000,
    "boundary never closed": b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n' * 1000,
}


class TestHostileMail:
    """RFC 5321 §2.3.9: what the content means is no affair of the relay's. It passes, and nothing waits for it long."""

    @pytest.mark.parametrize("name", HOSTILE_HEADERS)
    async def test_header_passes_octet_by_octet(self, tmp_path: Path, name: str) -> None:
        await self.passes(tmp_path, HEADER + HOSTILE_HEADERS[name] + b"\r\nbody\r\n")

    @pytest.mark.parametrize("name", HOSTILE_BODIES)
    async def test_body_passes_octet_by_octet(self, tmp_path: Path, name: str) -> None:
        await self.passes(tmp_path, HEADER + HOSTILE_BODIES[name])

    async def passes(self, tmp_path: Path, mail_data: bytes) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], parser=True) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            lag = asyncio.ensure_future(_longest_turn(relay))
            assert (await client.submit(mail_data)).startswith(b"250")
            lag.cancel()
            assert relay.longest_turn < 1.0  # a parser run wild needs minutes
            (message,) = provider.messages
            assert message.mail_data == mail_data
            (decision,) = await relay.decisions()
            for email in await relay.emails():
                assert await relay.raw(email) == message.content
            assert decision.decision in ("log", "skip")


async def _longest_turn(relay: InProcess) -> None:
    """Measures the turns of the loop by the processor time they take, which nobody else on the machine changes."""
    last = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        relay.longest_turn = max(relay.longest_turn, now - last)
        last = now
