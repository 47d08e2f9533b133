"""SASL exchanges relayed step by step, whatever the mechanism (RFC 4954, RFC 4422)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
import recording_provider
from in_process import InProcess, route_to
from recording_provider import Conversation, RecordingProvider
from smtp_client import Client, plain

from proxy.route import Listener, Tls

ANN = "ann@acme.example"
BY_LISTENER = Listener(tls=Tls.NONE, provider="provider")
BY_LOGIN = Listener(tls=Tls.NONE)
KNOWN_ONLY = Listener(tls=Tls.NONE, provider="provider", known_users_only=True)
EVERY_WAY = pytest.mark.parametrize("listener", [BY_LISTENER, BY_LOGIN, KNOWN_ONLY], ids=["listener", "login", "known"])


def encoded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def decoded(answer: bytes) -> bytes:
    assert answer.startswith(b"334 "), answer
    return base64.b64decode(answer[4:])


def relay_to(tmp_path: Path, provider: RecordingProvider, listener: Listener) -> InProcess:
    domains = () if listener.provider else ("acme.example", "other.example")
    return InProcess(tmp_path, [route_to(provider, domains=domains)], listeners=[listener])


BEARER = b"user=ann@acme.example\x01auth=Bearer %s\x01\x01"
OAUTHBEARER = b"n,a=ann@acme.example,\x01host=x\x01auth=Bearer %s\x01\x01"


class TestEachMechanism:
    @EVERY_WAY
    @pytest.mark.parametrize(
        "lines",
        [
            [b"AUTH PLAIN " + plain()],
            [b"auth plain " + plain()],
            [b"AUTH PLAIN", plain()],
            [b"AUTH LOGIN", encoded(ANN.encode()), encoded(b"secret")],
            [b"AUTH LOGIN " + encoded(ANN.encode()), encoded(b"secret")],
            [b"AUTH XOAUTH2 " + encoded(BEARER % b"secret")],
            [b"AUTH XOAUTH2", encoded(BEARER % b"secret")],
            [b"AUTH OAUTHBEARER " + encoded(OAUTHBEARER % b"secret")],
            [b"AUTH OAUTHBEARER", encoded(OAUTHBEARER % b"secret")],
        ],
        ids=lambda lines: b" / ".join(lines).decode()[:40],
    )
    async def test_succeeds(self, tmp_path: Path, listener: Listener, lines: list[bytes]) -> None:
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await relay.relay.learn()
            await client.greet()
            for line in lines[:-1]:
                assert (await client.say(line + b"\r\n")).startswith(b"334 ")
            assert await client.say(lines[-1] + b"\r\n") == b"235 2.7.0 welcome\r\n"
            assert provider.logins == [ANN]
            assert (await client.submit(b"From: ann@acme.example\r\n\r\n")).startswith(b"250")
            assert (await relay.decisions())[0].value["user"][1] == ANN

    @pytest.mark.parametrize("listener", [BY_LISTENER, KNOWN_ONLY], ids=["listener", "known"])
    async def test_cram_md5(self, tmp_path: Path, listener: Listener) -> None:
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            challenge = decoded(await client.say(b"AUTH CRAM-MD5\r\n"))
            digest = hmac.new(b"secret", challenge, "md5").hexdigest()
            answer = await client.say(encoded(f"{ANN} {digest}".encode()) + b"\r\n")
            assert answer.startswith(b"235")
            assert provider.logins == [ANN]

    @EVERY_WAY
    @pytest.mark.parametrize("is_initial", [True, False])
    async def test_scram(self, tmp_path: Path, listener: Listener, is_initial: bool) -> None:
        """RFC 5802: four messages and a last empty one; both sides prove themselves, with us in between."""
        async with (
            RecordingProvider(mechanisms=(b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS")) as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await relay.relay.learn()
            assert b"AUTH SCRAM-SHA-256\r\n" in await client.greet()
            bare = b"n=ann@acme.example,r=clientnonce"
            if is_initial:
                answer = await client.say(b"AUTH SCRAM-SHA-256 " + encoded(b"n,," + bare) + b"\r\n")
            else:
                assert await client.say(b"AUTH SCRAM-SHA-256\r\n") == b"334 \r\n"
                answer = await client.say(encoded(b"n,," + bare) + b"\r\n")
            server_first = decoded(answer)
            fields = dict(each.split(b"=", 1) for each in server_first.split(b","))
            salted = hashlib.pbkdf2_hmac("sha256", b"secret", base64.b64decode(fields[b"s"]), int(fields[b"i"]))
            without_proof = b"c=biws,r=" + fields[b"r"]
            signed = b",".join((bare, server_first, without_proof))
            key = hmac.digest(salted, b"Client Key", "sha256")
            signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
            proof = encoded(bytes(a ^ b for a, b in zip(key, signature, strict=True)))
            server_final = decoded(await client.say(encoded(without_proof + b",p=" + proof) + b"\r\n"))
            expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
            assert server_final == b"v=" + encoded(expected)
            assert (await client.say(b"\r\n")).startswith(b"235")
            assert provider.logins == [ANN]

    @EVERY_WAY
    @pytest.mark.parametrize("mechanism", [b"XOAUTH2", b"OAUTHBEARER"])
    async def test_the_error_step_of_a_bearer(self, tmp_path: Path, listener: Listener, mechanism: bytes) -> None:
        """The provider explains itself in one more 334; the client answers with nothing and then hears 535."""
        form = BEARER if mechanism == b"XOAUTH2" else OAUTHBEARER
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await relay.relay.learn()
            await client.greet()
            answer = await client.say(b"AUTH " + mechanism + b" " + encoded(form % b"stale") + b"\r\n")
            assert b'"status"' in decoded(answer)
            assert await client.say(b"\r\n") == b"535 5.7.8 wrong\r\n"
            assert (await client.say(b"AUTH " + mechanism + b" " + encoded(form % b"secret") + b"\r\n")).startswith(
                b"235"
            )

    async def test_one_that_nobody_knows(self, tmp_path: Path) -> None:
        """A mechanism is relayed without being understood; then the login stays unknown and nothing is recorded."""

        async def two_steps(conversation: Conversation, initial: bytes | None) -> str | None:
            assert await conversation._challenge(b"first", initial) == b"one"
            assert await conversation._challenge(b"second") == b""
            return "somebody"

        recording_provider.EXCHANGES[b"X-ODD"] = two_steps
        try:
            async with (
                RecordingProvider(mechanisms=(b"X-ODD",)) as provider,
                relay_to(tmp_path, provider, BY_LISTENER) as relay,
                Client(relay.port) as client,
            ):
                await client.greet()
                assert decoded(await client.say(b"AUTH X-ODD\r\n")) == b"first"
                assert decoded(await client.say(encoded(b"one") + b"\r\n")) == b"second"
                assert (await client.say(b"=\r\n")).startswith(b"235")
                assert (await client.submit(b"From: ann@acme.example\r\n\r\n")).startswith(b"250")
                assert await relay.emails() == []
                assert provider.messages[0].login == "somebody"
        finally:
            del recording_provider.EXCHANGES[b"X-ODD"]


class TestTheExchange:
    @EVERY_WAY
    async def test_is_cancelled_by_the_client(self, tmp_path: Path, listener: Listener) -> None:
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            for mechanism in (b"PLAIN", b"LOGIN"):
                assert (await client.say(b"AUTH " + mechanism + b"\r\n")).startswith(b"334 ")
                assert (await client.say(b"*\r\n")).startswith(b"501")
            await client.log_in()

    async def test_is_cancelled_at_its_second_step(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, BY_LOGIN) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            await client.say(b"AUTH LOGIN\r\n")
            assert decoded(await client.say(encoded(ANN.encode()) + b"\r\n")) == b"Password:"
            assert (await client.say(b"*\r\n")).startswith(b"501")
            await client.log_in()

    @EVERY_WAY
    async def test_begins_with_an_empty_message(self, tmp_path: Path, listener: Listener) -> None:
        """RFC 4954 §4: "=" is an initial response of no octets."""
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            answer = await client.say(b"AUTH PLAIN =\r\n")
            assert answer.startswith(b"501" if listener is BY_LISTENER else b"334 ")  # the provider wants three parts

    @EVERY_WAY
    @pytest.mark.parametrize("message", [b"not base64!", b"YQ", b"====", b"YWJj YWJj", b"\xff\xfe"])
    async def test_with_what_is_no_base64_is_no_login(self, tmp_path: Path, listener: Listener, message: bytes) -> None:
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            assert (await client.say(b"AUTH PLAIN\r\n")).startswith(b"334")
            assert (await client.say(message + b"\r\n"))[:3] in (b"501", b"535")
            assert provider.logins == []

    @pytest.mark.parametrize("size", [12000, 12288])
    @pytest.mark.parametrize("is_initial", [True, False])
    async def test_takes_long_lines(self, tmp_path: Path, size: int, is_initial: bool) -> None:
        """RFC 4954 §4: tokens of large providers fill kilobytes."""
        room = size - (len(b"AUTH XOAUTH2 ") if is_initial else 0)
        token = b"t" * ((room // 4 * 3) - len(BEARER % b"") - 3)
        message = encoded(BEARER % token)
        async with (
            RecordingProvider(password=token.decode()) as provider,
            relay_to(tmp_path, provider, BY_LISTENER) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            if is_initial:
                assert (await client.say(b"AUTH XOAUTH2 " + message + b"\r\n")).startswith(b"235")
            else:
                await client.say(b"AUTH XOAUTH2\r\n")
                assert (await client.say(message + b"\r\n")).startswith(b"235")

    @pytest.mark.parametrize("listener", [BY_LOGIN, KNOWN_ONLY], ids=["login", "known"])
    async def test_a_long_initial_response_waits_for_the_providers_334(
        self, tmp_path: Path, listener: Listener
    ) -> None:
        token = b"t" * 4000
        async with (
            RecordingProvider(password=token.decode()) as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await relay.relay.learn()
            await client.greet()
            answer = await client.say(b"AUTH XOAUTH2 " + encoded(BEARER % token) + b"\r\n")
            assert answer.startswith(b"235")
            assert b"AUTH XOAUTH2\r\n" in provider.commands

    @EVERY_WAY
    async def test_replies_are_the_providers_own(self, tmp_path: Path, listener: Listener) -> None:
        refusal = b"535-5.7.8 Username and Password not accepted.\r\n535 5.7.8 See https://provider.example/help\r\n"
        async with (
            RecordingProvider(replies={"AUTH": refusal}) as provider,
            relay_to(tmp_path, provider, listener) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            assert await client.say(b"AUTH PLAIN " + plain() + b"\r\n") == refusal


class TestKnownUsersOnly:
    @pytest.mark.parametrize(
        "lines",
        [
            [b"AUTH PLAIN " + plain("stranger@x.example")],
            [b"AUTH PLAIN", plain("stranger@x.example")],
            [b"AUTH LOGIN", encoded(b"stranger@x.example")],
            [b"AUTH PLAIN " + plain("eve@acme.example")],  # deactivated
            [b"AUTH PLAIN " + plain("kim@cust.example")],  # a contact
        ],
        ids=lambda lines: b" / ".join(lines).decode()[:40],
    )
    async def test_others_do_not_reach_the_provider(self, tmp_path: Path, lines: list[bytes]) -> None:
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, KNOWN_ONLY) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            for line in lines[:-1]:
                assert (await client.say(line + b"\r\n")).startswith(b"334")
            assert (await client.say(lines[-1] + b"\r\n")).startswith(b"535 5.7.8 ")
            assert b"AUTH" not in provider.verbs
            assert (await client.say(b"MAIL FROM:<stranger@x.example>\r\n")).startswith(b"530")
            await client.log_in()

    async def test_cram_md5_of_others_is_cancelled_at_the_provider(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            relay_to(tmp_path, provider, KNOWN_ONLY) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            challenge = decoded(await client.say(b"AUTH CRAM-MD5\r\n"))
            digest = hmac.new(b"secret", challenge, "md5").hexdigest()
            answer = await client.say(encoded(f"stranger@x.example {digest}".encode()) + b"\r\n")
            assert answer[:1] == b"5"
            assert provider.commands[-1] == b"*\r\n"
            assert provider.logins == []

    async def test_a_mechanism_whose_login_cannot_be_read_is_not_offered(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider(mechanisms=(b"PLAIN", b"GSSAPI")) as provider,
            relay_to(tmp_path, provider, KNOWN_ONLY) as relay,
            Client(relay.port) as client,
        ):
            assert b"AUTH PLAIN\r\n" in await client.greet()
            assert (await client.say(b"AUTH GSSAPI\r\n")).startswith(b"504")


async def test_a_bare_login_gets_the_providers_domain(tmp_path: Path) -> None:
    async with RecordingProvider() as provider:
        route = route_to(provider, login_domain="acme.example")
        async with InProcess(tmp_path, [route]) as relay, Client(relay.port) as client:
            await client.greet()
            await client.log_in("ann")
            assert (await client.submit(b"From: ann@acme.example\r\n\r\n")).startswith(b"250")
            assert provider.logins == ["ann"]
            assert (await relay.decisions())[0].value["user"][1] == ANN


async def test_no_secret_is_in_any_log_line_or_record(tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    forms = {secret} | {
        base64.b64encode(b"x" * shift + secret.encode()).decode().rstrip("=")[4:-4] for shift in range(3)
    }
    async with (
        RecordingProvider(password=secret, replies={"RSET": b"garbage\r\n"}) as provider,
        InProcess(tmp_path, [provider]) as relay,
    ):
        for lines in (
            [b"AUTH PLAIN " + plain(password=secret)],
            [b"AUTH LOGIN", encoded(ANN.encode()), encoded(secret.encode())],
            [b"AUTH XOAUTH2 " + encoded(BEARER % secret.encode())],
        ):
            async with Client(relay.port) as client:
                await client.greet()
                for line in lines:
                    await client.say(line + b"\r\n")
                assert (await client.submit(b"From: ann@acme.example\r\n\r\n")).startswith(b"250")
                client.send(secret.encode() + b"\r\n" + plain(password=secret) + b"\r\nRSET\r\n")
                await client.rest()
        assert len(await relay.emails()) == 3
        assert relay.log  # the provider that spoke garbage was told of
        shown = repr(relay.log)
        assert not [form for form in forms if form in shown]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"ann@acme.example" in kept
    assert not [form for form in forms if form.encode() in kept]
