"""EHLO: what the provider has and we carry, and nothing else (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import InProcess, route_to
from pki import Pki
from recording_provider import EXTENSIONS, RecordingProvider
from smtp_client import Client

from proxy.limits import Limits
from proxy.route import Listener, Tls

EVERYTHING = {
    b"PIPELINING": b"",
    b"SIZE": b"50000000",
    b"8BITMIME": b"",
    b"SMTPUTF8": b"",
    b"ENHANCEDSTATUSCODES": b"",
    b"DSN": b"",
    b"CHUNKING": b"",
    b"BINARYMIME": b"",
    b"DELIVERBY": b"240",
    b"MT-PRIORITY": b"MIXER",
    b"REQUIRETLS": b"",
    b"FUTURERELEASE": b"1209600 2026-12-31T00:00:00Z",
    b"LIMITS": b"MAILMAX=50 RCPTMAX=2000",
    b"XCLIENT": b"NAME ADDR",
    b"XFORWARD": b"NAME ADDR",
    b"ETRN": b"",
    b"BURL": b"imap",
    b"VRFY": b"",
    b"EXPN": b"",
    b"HELP": b"",
    b"X-EXPERIMENT": b"1",
    b"COMPRESS": b"DEFLATE",
}
CARRIED = [
    b"SIZE 50000000",
    b"8BITMIME",
    b"SMTPUTF8",
    b"PIPELINING",
    b"ENHANCEDSTATUSCODES",
    b"DSN",
    b"CHUNKING",
    b"BINARYMIME",
    b"DELIVERBY 240",
    b"MT-PRIORITY MIXER",
    b"REQUIRETLS",
    b"FUTURERELEASE 1209600 2026-12-31T00:00:00Z",
    b"LIMITS MAILMAX=50 RCPTMAX=1000",
]


def lines_of(answer: bytes) -> list[bytes]:
    return [line[4:] for line in answer.splitlines()]


async def advertised(tmp_path: Path, provider: RecordingProvider, limits: Limits = Limits()) -> list[bytes]:  # noqa: B008
    async with provider, InProcess(tmp_path, [provider], limits=limits) as relay, Client(relay.port) as client:
        return lines_of(await client.greet())


async def test_all_that_can_be_carried_is_and_nothing_else(tmp_path: Path) -> None:
    found = await advertised(tmp_path, RecordingProvider(extensions=EVERYTHING, mechanisms=(b"PLAIN",)))
    assert found[0] == b"relay.example"
    assert set(found[1:]) == {*CARRIED, b"AUTH PLAIN"}


@pytest.mark.parametrize("keyword", [each.split()[0] for each in CARRIED])
async def test_what_the_provider_lacks_is_not_offered(tmp_path: Path, keyword: bytes) -> None:
    extensions = {key: value for key, value in EVERYTHING.items() if key != keyword}
    found = await advertised(tmp_path, RecordingProvider(extensions=extensions))
    missing = {keyword, b"BINARYMIME"} if keyword == b"CHUNKING" else {keyword}
    assert {line.split()[0] for line in found[1:]} == {each.split()[0] for each in CARRIED} - missing | {b"AUTH"}


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [(b"1000", 2000, b"SIZE 1000"), (b"2000", 1000, b"SIZE 1000"), (b"0", 1000, b"SIZE 1000"), (b"", 7, b"SIZE 7")],
)
async def test_the_smaller_size_is_told(tmp_path: Path, theirs: bytes, ours: int, told: bytes) -> None:
    found = await advertised(tmp_path, RecordingProvider(extensions={b"SIZE": theirs}), Limits(message=ours))
    assert told in found


async def test_channel_binding_and_no_login_at_all_are_never_offered(tmp_path: Path) -> None:
    mechanisms = (b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-1-PLUS", b"PLAIN", b"ANONYMOUS", b"GSSAPI", b"CRAM-MD5")
    found = await advertised(tmp_path, RecordingProvider(mechanisms=mechanisms))
    assert b"AUTH PLAIN GSSAPI CRAM-MD5" in found


async def test_after_the_login_no_login_is_offered(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay, Client(relay.port) as client:
        await client.begin()
        assert b"AUTH" not in await client.say(b"EHLO again.example\r\n")


async def test_helo_offers_nothing(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay, Client(relay.port) as client:
        await client.reply()
        assert await client.say(b"HELO client.example\r\n") == b"250 relay.example\r\n"
        await client.log_in()
        assert (await client.submit(b"Subject: x\r\n\r\n")).startswith(b"250")


async def test_parameters_pass_as_written(tmp_path: Path) -> None:
    mail = b"mail from:<Ann@Acme.example> Size=100 BODY=8bitmime RET=hdrs ENVID=aBc+2B SMTPUTF8\r\n"
    recipient = "RCPT TO:<bärbel@bücher.example> NOTIFY=success,FAILURE ORCPT=utf-8;bärbel@x.example\r\n".encode()
    async with (
        RecordingProvider(extensions=EVERYTHING) as provider,
        InProcess(tmp_path, [provider]) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        assert (await client.say(mail)).startswith(b"250")
        assert (await client.say(recipient)).startswith(b"250")
        assert provider.commands[-2:] == [mail, recipient]


class TestWhereTheLoginChooses:
    """The provider is not known at EHLO, so only what all of them have can be promised."""

    LISTENER = Listener(tls=Tls.NONE)

    async def test_what_every_provider_has(self, tmp_path: Path) -> None:
        one = RecordingProvider(extensions=EXTENSIONS | {b"SIZE": b"1000"}, mechanisms=(b"PLAIN", b"LOGIN", b"XOAUTH2"))
        two = RecordingProvider(extensions={b"SIZE": b"2000", b"8BITMIME": b""}, mechanisms=(b"LOGIN", b"PLAIN"))
        async with one, two:
            routes = [
                route_to(one, name="one", domains=("a.example",)),
                route_to(two, name="two", domains=("b.example",)),
            ]
            async with InProcess(tmp_path, routes, listeners=[self.LISTENER]) as relay:
                await relay.relay.learn()
                async with Client(relay.port) as client:
                    found = lines_of(await client.greet())
                    assert found == [b"relay.example", b"SIZE 1000", b"8BITMIME", b"AUTH PLAIN LOGIN"]

    async def test_before_anything_is_known_of_them(self, tmp_path: Path, pki: Pki) -> None:
        async with RecordingProvider() as gone:
            pass
        routes = [route_to(gone, domains=("a.example",))]
        async with InProcess(tmp_path, routes, listeners=[self.LISTENER]) as relay:
            await relay.relay.learn()
            async with Client(relay.port) as client:
                found = lines_of(await client.greet())
                assert found == [b"relay.example", b"PIPELINING", b"ENHANCEDSTATUSCODES", b"AUTH PLAIN LOGIN"]
