"""A provider that lies, or somebody on the way to it: STARTTLS stripping and injection, replies that are none."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import InProcess, route_to
from pki import Pki
from recording_provider import Conversation, RecordingProvider
from rows import octets_of, rows
from smtp_client import Client, plain

from certs import client_context
from proxy.limits import Deadlines
from proxy.route import Tls

ROWS = rows(__file__, "hostile_provider.txt", 4)
STARTTLS_ROWS = rows(__file__, "starttls_at_provider.txt", 3)
MESSAGE = b"From: ann@acme.example\r\nTo: kim@cust.example\r\nSubject: x\r\n\r\nbody\r\n"
CREDENTIALS = plain()


async def converse(client: Client) -> list[bytes]:
    """A whole submission, as far as it gets; the replies after the greeting."""
    await client.reply()
    answers: list[bytes] = []
    for said in (
        b"EHLO client.example\r\n",
        b"AUTH PLAIN " + CREDENTIALS + b"\r\n",
        b"MAIL FROM:<ann@acme.example>\r\n",
        b"RCPT TO:<kim@cust.example>\r\n",
        b"DATA\r\n",
        MESSAGE + b".\r\n",
    ):
        client.send(said)
        try:
            answers.append(await client.reply())
        except EOFError:
            break
        if answers[-1][:1] not in (b"2", b"3"):
            break
    return answers


class TestReplies:
    @pytest.mark.parametrize(("step", "text", "code", "ending"), ROWS)
    async def test_row(self, tmp_path: Path, step: str, text: str, code: str, ending: str) -> None:
        said = octets_of(text)
        async with (
            RecordingProvider(replies={step: said}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            answers = await converse(client)
            place = ["greeting", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "end of data"].index(step)
            assert answers[max(place - 1, 0)][:3].decode() == code
            if ending == "closed":
                answers.append(await client.rest())
                await provider.until_idle()
                await relay.until_idle()
            else:
                assert (await client.say(b"RSET\r\n")).startswith(b"250")
            everything = b"".join(answers)
            assert not any(octet in everything for octet in (b"\0", b"\x1b", b"injected", b"another", b"\xff", b"* "))
            assert everything.count(b"\n") == everything.count(b"\r\n") == everything.count(b"\r")
            assert (await relay.emails()) == []
            assert len([each for each in answers if each.startswith(b"250 2.0.0 taken")]) == 0
            if step in ("greeting", "EHLO"):
                assert CREDENTIALS not in b"".join(provider.commands)

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            (b"250 2.0.0 taken already\r\n", b"451 "),
            (b"354 still going\r\n", b"451 "),
            (b"235 2.7.0 welcome\r\n", b"451 "),
            (b"552 5.3.4 too large\r\n", b"552 5.3.4 too large\r\n"),
            (b"452 4.3.1 disk full\r\n", b"452 4.3.1 disk full\r\n"),
            (b"421 4.3.2 going down\r\n", b"4"),
            (b"no reply at all\r\n", b"451 "),
            (b"250 ok\n", b"451 "),
        ],
    )
    async def test_a_reply_in_the_middle_of_mail_data_is_never_a_success(
        self, tmp_path: Path, said: bytes, told: bytes
    ) -> None:
        """The provider is dropped without the end of data, so a client that heard 250 would have lost its mail."""

        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(b"kim@cust.example")
            assert (await client.say(b"DATA\r\n")).startswith(b"354")
            provider.say(said)
            client.send(MESSAGE * 1000)
            await provider.until_idle()
            client.send(b".\r\n")
            answer = await client.rest()
            assert answer.startswith(told)
            assert answer.count(b"\r\n") == 1
            assert provider.messages == []
            assert await relay.emails() == []

    async def test_the_whole_session_of_a_chatty_provider_stays_in_step(self, tmp_path: Path) -> None:
        """A reply ahead of its command would shift every verdict behind it by one."""

        def twice(conversation: Conversation, line: bytes) -> bytes:
            return b"250 2.1.0 sender ok\r\n250 2.1.5 a recipient that was never asked for\r\n"

        async with (
            RecordingProvider(replies={"MAIL": twice}, verdicts={b"kim@cust.example": b"550 5.1.1 no\r\n"}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.send(b"MAIL FROM:<ann@acme.example>\r\n")
            assert (await client.reply()).startswith(b"250 2.1.0")
            assert (await client.rest()).startswith(b"421")
            assert provider.messages == []


class TestStarttls:
    """RFC 3207 §6: what was said in clear counts for nothing, and no TLS means no login."""

    @pytest.mark.parametrize(("step", "text", "code"), STARTTLS_ROWS)
    async def test_row(self, tmp_path: Path, pki: Pki, step: str, text: str, code: str) -> None:
        async with RecordingProvider(
            tls=Tls.STARTTLS, context=pki.server_context(), replies={step: octets_of(text)}
        ) as provider:
            async with InProcess(tmp_path, [provider], pki=pki) as relay, Client(relay.port) as client:
                (answer,) = await converse(client)
                assert answer[:3].decode() == code
                assert b"injected" not in answer
                assert await client.rest() == b""
                await provider.until_idle()
            assert CREDENTIALS not in b"".join(provider.commands)
            assert not {b"AUTH", b"MAIL"} & set(provider.verbs)

    async def test_what_was_offered_in_clear_is_not_shown(self, tmp_path: Path, pki: Pki) -> None:
        """The list before TLS may be anybody's; ours comes from the one after."""
        forged = b"250-x\r\n250-AUTH EVIL\r\n250-SIZE 1\r\n250-XEVIL\r\n250 STARTTLS\r\n"
        async with (
            RecordingProvider(tls=Tls.STARTTLS, context=pki.server_context(), replies={"EHLO": forged}) as provider,
            InProcess(tmp_path, [provider], pki=pki) as relay,
            Client(relay.port) as client,
        ):
            answer = await client.greet()
            assert b"EVIL" not in answer
            assert b"250-SIZE 157286400\r\n" in answer
            assert b"AUTH PLAIN LOGIN" in answer

    async def test_silence_after_starttls_ends_in_time(self, tmp_path: Path, pki: Pki) -> None:
        async def say_go_and_nothing_more(conversation: Conversation, line: bytes) -> bytes:
            conversation.write(b"220 go\r\n")
            await asyncio.Event().wait()
            raise AssertionError

        provider = RecordingProvider(
            tls=Tls.STARTTLS, context=pki.server_context(), replies={"STARTTLS": say_go_and_nothing_more}
        )
        deadlines = Deadlines(provider_command=0.3, failed_login_delay=0.0, drain=1.0)
        async with (
            provider,
            InProcess(tmp_path, [provider], pki=pki, deadlines=deadlines) as relay,
            Client(relay.port) as client,
        ):
            (answer,) = await converse(client)
            assert answer.startswith(b"421 4.4.1")
            assert CREDENTIALS not in b"".join(provider.commands)


class TestCertificates:
    """RFC 8314 §3, RFC 5280: who is not proven to be the provider gets no login."""

    async def refused(self, tmp_path: Path, pki: Pki, provider: RecordingProvider, host: str = "localhost") -> bytes:
        async with (
            provider,
            InProcess(tmp_path, [route_to(provider, pki, host=host)], pki=pki) as relay,
            Client(relay.port) as client,
        ):
            (answer,) = await converse(client)
            assert await client.rest() == b""
            assert not {b"AUTH", b"MAIL"} & set(provider.verbs)
            return answer

    @pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
    async def test_of_another_name(self, tmp_path: Path, pki: Pki, tls: Tls) -> None:
        provider = RecordingProvider(tls=tls, context=pki.server_context(*pki.issue("other.example")))
        assert (await self.refused(tmp_path, pki, provider)).startswith(b"454 4.7.0")

    @pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
    async def test_of_an_authority_nobody_trusts(self, tmp_path: Path, pki: Pki, tls: Tls) -> None:
        stranger = Pki.make(tmp_path / "stranger")
        provider = RecordingProvider(tls=tls, context=stranger.server_context())
        assert (await self.refused(tmp_path, pki, provider)).startswith(b"454 4.7.0")

    @pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
    async def test_that_has_expired(self, tmp_path: Path, pki: Pki, tls: Tls) -> None:
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        pair = pki.issue_specially("localhost", not_after=yesterday)
        provider = RecordingProvider(tls=tls, context=pki.server_context(*pair))
        assert (await self.refused(tmp_path, pki, provider)).startswith(b"454 4.7.0")

    @pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
    async def test_for_clients_only(self, tmp_path: Path, pki: Pki, tls: Tls) -> None:
        provider = RecordingProvider(
            tls=tls, context=pki.server_context(*pki.issue_specially("localhost", for_clients=True))
        )
        assert (await self.refused(tmp_path, pki, provider)).startswith(b"454 4.7.0")

    @pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
    async def test_signed_by_itself(self, tmp_path: Path, pki: Pki, tls: Tls) -> None:
        provider = RecordingProvider(
            tls=tls, context=pki.server_context(*pki.issue_specially("localhost", self_signed=True))
        )
        assert (await self.refused(tmp_path, pki, provider)).startswith(b"454 4.7.0")

    async def test_name_only_in_the_subject(self, tmp_path: Path, pki: Pki) -> None:
        """RFC 6125 §6.4.4: a common name is not a name to verify by."""
        provider = RecordingProvider(
            tls=Tls.IMPLICIT, context=pki.server_context(*pki.issue_specially("localhost", without_names=True))
        )
        assert (await self.refused(tmp_path, pki, provider)).startswith(b"454 4.7.0")

    @pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
    async def test_tls_older_than_1_2(self, tmp_path: Path, pki: Pki, tls: Tls) -> None:
        provider = RecordingProvider(tls=tls, context=pki.old_server_context())
        answer = await self.refused(tmp_path, pki, provider)
        assert answer[:9] in (b"454 4.7.0", b"421 4.4.1")  # it may hang up on our hello without a word

    async def test_clear_text_where_tls_should_begin(self, tmp_path: Path, pki: Pki) -> None:
        provider = RecordingProvider(tls=Tls.IMPLICIT, context=pki.server_context())
        async with provider, RecordingProvider() as in_clear:
            route = route_to(provider, pki)
            async with (
                InProcess(tmp_path, [replace(route, port=in_clear.port)], pki=pki) as relay,
                Client(relay.port) as client,
            ):
                (answer,) = await converse(client)
                assert answer.startswith(b"454 4.7.0")
                assert not {b"AUTH", b"MAIL", b"EHLO"} & set(in_clear.verbs)

    async def test_no_weak_cipher_is_offered(self, pki: Pki) -> None:
        names = [each["name"] for each in client_context(pki.ca_file).get_ciphers()]
        assert names
        weak = ("RC4", "DES", "NULL", "EXP", "MD5", "anon", "ADH", "AECDH")
        assert not [name for name in names if any(each in name for each in weak)]
