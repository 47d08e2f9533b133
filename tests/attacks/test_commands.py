"""Command lines meant to mean two things, commands for other ears, browsers, and what is said without a login."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from in_process import InProcess, route_to
from recording_provider import RecordingProvider
from rows import octets_of, rows
from smtp_client import Client, plain

from proxy.route import Listener, Tls

ROWS = rows(__file__, "commands.txt", 4)
PATHS = rows(__file__, "open_relay.txt", 1)


async def reach(client: Client, state: str) -> None:
    await client.greet()
    if state != "greeted":
        await client.log_in()
    if state == "addressed":
        await client.address(b"kim@cust.example")


class TestNothingReachesTheProvider:
    @pytest.mark.parametrize(("state", "text", "codes", "ending"), ROWS)
    async def test_row(self, tmp_path: Path, state: str, text: str, codes: str, ending: str) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await reach(client, state)
            before = list(provider.commands)
            client.send(octets_of(text))
            answers = await client.replies(len(codes.split(",")))
            assert ",".join(each[:3].decode() for each in answers) == codes
            assert b"<script>" not in b"".join(answers)
            if ending == "closed":
                assert await client.rest() == b""
            else:
                assert provider.commands == before
                assert (await client.say(b"NOOP\r\n")).startswith(b"250")
                assert provider.commands == [*before, b"NOOP\r\n"]
            await provider.until(lambda: ending == "open" or not provider.is_busy)
            assert [line for line in provider.commands if line != b"NOOP\r\n"] == before
            assert provider.messages == []
            assert await relay.emails() == []

    @pytest.mark.parametrize("verb", [b"GET", b"POST", b"get", b"HELO", b"QUIT"])
    async def test_no_reply_repeats_what_was_said(self, tmp_path: Path, verb: bytes) -> None:
        """Error texts that echo their cause hand an attacker's words to whoever reads them."""
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            client.send(verb + b" /reflect-me <svg/onload=x>\r\n")
            client.send(b"reflect-me\r\nMAIL reflect-me\r\nRCPT reflect-me\r\nBDAT reflect-me\r\n")
            assert b"reflect" not in await client.rest()


class TestWithoutALogin:
    """RFC 6409 §4.3: a submission server takes mail from those it knows."""

    @pytest.mark.parametrize("text", PATHS)
    async def test_nothing_is_relayed(self, tmp_path: Path, text: str) -> None:
        path = octets_of(text)
        async with (
            RecordingProvider(mechanisms=()) as provider,  # a provider that would take mail from anybody
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            client.send(
                b"MAIL FROM:<>\r\nMAIL FROM:<u@relay.example>\r\nRCPT TO:" + path + b"\r\nDATA\r\nBDAT 0 LAST\r\n"
            )
            answers = await client.replies(5)
            assert [each[:3] for each in answers] == [b"530", b"530", b"530", b"530", b"503"]
            assert set(provider.verbs) == {b"EHLO"}
            assert provider.messages == []

    @pytest.mark.parametrize("text", PATHS)
    async def test_after_a_login_the_path_is_the_providers_to_judge(self, tmp_path: Path, text: str) -> None:
        path = octets_of(text)
        verdict = b"550 5.7.1 " + b"no relaying for this\r\n"
        async with (
            RecordingProvider(verdicts={path[1:-1]: verdict}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.say(b"MAIL FROM:<ann@acme.example>\r\n")
            assert await client.say(b"RCPT TO:" + path + b"\r\n") == verdict
            assert provider.commands[-1] == b"RCPT TO:" + path + b"\r\n"

    async def test_a_trusted_name_opens_nothing(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.reply()
            for name in (b"localhost", b"relay.example", b"[127.0.0.1]", b"provider.example"):
                assert (await client.say(b"EHLO " + name + b"\r\n")).startswith(b"250")
                assert (await client.say(b"MAIL FROM:<ann@acme.example>\r\n")).startswith(b"530")
            assert not [line for line in provider.commands if line != b"EHLO relay.example\r\n"]

    async def test_no_mail_before_ehlo(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.reply()
            client.send(b"MAIL FROM:<a@b.example>\r\nAUTH PLAIN AGEAYg==\r\n")
            assert [each[:3] for each in await client.replies(2)] == [b"503", b"503"]
            assert provider.connections == 0

    async def test_a_failed_login_is_no_login(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            client.send(b"AUTH PLAIN AGFubgB3cm9uZw==\r\nMAIL FROM:<ann@acme.example>\r\n")
            assert [each[:3] for each in await client.replies(2)] == [b"535", b"530"]
            assert b"MAIL" not in provider.verbs


class TestRoutes:
    """Where a login leads is for the settings to say, and for nobody else."""

    LISTENER = Listener(tls=Tls.NONE)

    @pytest.mark.parametrize(
        "login",
        ["u@127.0.0.1", "u@[127.0.0.1]", "u@localhost", "u@provider", "u@b.example.evil.example", "u", "u@", "@",
         "a@b@c", "u@b.example\u3002", "u@b\u0435.example"],
    )  # fmt: skip
    async def test_a_login_cannot_name_a_host(self, tmp_path: Path, login: str) -> None:
        async with RecordingProvider() as provider:
            routes = [route_to(provider, domains=("b.example",))]
            async with InProcess(tmp_path, routes, listeners=[self.LISTENER]) as relay, Client(relay.port) as client:
                await client.greet()
                answer = await client.say(b"AUTH PLAIN " + plain(login) + b"\r\n")
                assert answer[:1] == b"5"
                assert provider.connections == 0
                assert provider.logins == []

    async def test_each_login_goes_to_its_own_provider_only(self, tmp_path: Path) -> None:
        async with RecordingProvider() as first, RecordingProvider() as second:
            routes = [
                route_to(first, name="first", domains=("a.example",)),
                route_to(second, name="second", domains=("b.example",)),
            ]
            async with InProcess(tmp_path, routes, listeners=[self.LISTENER]) as relay:
                for login, its, others in (("u@A.Example", first, second), ("u@b.example", second, first)):
                    before = list(others.commands)
                    async with Client(relay.port) as client:
                        await client.greet()
                        await client.log_in(login)
                        assert its.logins == [login]
                        assert others.commands == before

    async def test_after_a_failed_login_the_next_one_finds_its_own_provider(self, tmp_path: Path) -> None:
        async with RecordingProvider(password="first") as first, RecordingProvider() as second:
            routes = [
                route_to(first, name="first", domains=("a.example",)),
                route_to(second, name="second", domains=("b.example",)),
            ]
            async with InProcess(tmp_path, routes, listeners=[self.LISTENER]) as relay, Client(relay.port) as client:
                await client.greet()
                assert (await client.say(b"AUTH PLAIN " + plain("u@a.example") + b"\r\n")).startswith(b"535")
                await client.log_in("u@b.example")
                await client.submit(b"Subject: x\r\n\r\n", b"x@y.example")
                assert len(second.messages) == 1
                assert first.messages == []
                assert plain("u@b.example") not in b"".join(first.commands)
                assert plain("u@a.example") not in b"".join(second.commands)

    async def test_the_identity_that_the_password_proves_is_the_login(self, tmp_path: Path) -> None:
        """An authzid is a wish (RFC 4616 §2): it neither chooses the provider nor names the author."""
        message = base64.b64encode(b"bob@acme.example\0ann@acme.example\0secret")
        replies = {"AUTH": b"235 2.7.0 as you wish\r\n"}
        async with RecordingProvider(replies=replies) as provider, RecordingProvider() as other:
            routes = [
                route_to(provider, domains=("acme.example",)),
                route_to(other, name="other", domains=("b.example",)),
            ]
            async with InProcess(tmp_path, routes, listeners=[self.LISTENER]) as relay, Client(relay.port) as client:
                await client.greet()
                assert (await client.say(b"AUTH PLAIN " + message + b"\r\n")).startswith(b"235")
                answer = await client.submit(
                    b"From: bob@acme.example\r\nTo: kim@cust.example\r\nSubject: x\r\n\r\nx\r\n",
                    sender=b"bob@acme.example",
                )
                assert answer.startswith(b"250")
                (decision,) = await relay.decisions()
                assert decision.value["user"][1] == "ann@acme.example"
                assert "from_mismatch" in decision.value["flags"]
