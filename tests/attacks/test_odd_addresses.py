"""Addresses and logins of odd octets: they pass, and nobody else's session or the process suffers from them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from in_process import InProcess
from recording_provider import RecordingProvider
from smtp_client import Client

from proxy.route import Listener, Tls

LETTER = b"From: ann@acme.example\r\nTo: kim@cust.example\r\n\r\n"
ODD = [
    b"\xff@x.example",
    b"\xc3\x28@x.example",
    b"u@\xff\xfe",
    b"\xed\xa0\x80@x.example",  # a lone surrogate in UTF-8
    b"u@" + b"\xc3\xbc" * 200 + b".example",
    b"u@" + b"a" * 300,
    b"u@" + b"x." * 150,
    b"u@xn--" + b"9" * 60 + b".example",
    b"u@xn--a.example",
    b"u@..",
    b"u@\xe3\x80\x82",
    b"u@\xd9\xa1.\xe2\x84\xa6",
    b"u@[IPv6:::1]",
    b'"\\"@\\\\"@x.example',
    b"@" * 50,
    b"u" * 3000 + b"@x.example",
    b"%s%n%x@x.example",
    b"'; drop table email; --@x.example",
]


@pytest.mark.parametrize("address", ODD, ids=repr)
async def test_a_recipient(tmp_path: Path, address: bytes) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider]) as relay,
        Client(relay.port) as client,
    ):
        path = address.replace(b" ", b"")
        await client.begin()
        assert (await client.say(b"MAIL FROM:<ann@acme.example>\r\n")).startswith(b"250")
        taken = (await client.say(b"RCPT TO:<" + path + b">\r\n")).startswith(b"250")
        assert (await client.say(b"RCPT TO:<kim@cust.example>\r\n")).startswith(b"250")
        await client.say(b"DATA\r\n")
        message = (
            b"From: ann@acme.example\r\nTo: " + path + b", kim@cust.example\r\nDate: x\r\nMessage-ID: <1@x>\r\n\r\n"
        )
        assert (await client.say(message + b".\r\n")).startswith(b"250")
        assert provider.messages[0].forward_paths == [*([path] if taken else []), b"kim@cust.example"]
        (email,) = await relay.emails()
        assert await relay.raw(email) == message
        assert (await client.submit(message.replace(b"<1@x>", b"<2@x>"))).startswith(b"250")
        assert len(await relay.emails()) == 2


@pytest.mark.parametrize("address", ODD, ids=repr)
async def test_an_author(tmp_path: Path, address: bytes) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider]) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        message = b"From: " + address + b"\r\nTo: kim@cust.example\r\nDate: x\r\nMessage-ID: <" + address + b">\r\n\r\n"
        assert (await client.submit(message)).startswith(b"250")
        assert provider.messages[0].mail_data == message
        assert (await client.submit(LETTER)).startswith(b"250")
        assert "sent_to_contact" in [each.reason for each in await relay.decisions()]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("login", [*ODD, b"\0", b"a\0b", b"\x7f", b" "], ids=repr)
async def test_a_login(tmp_path: Path, login: bytes, known: bool) -> None:
    listener = Listener(tls=Tls.NONE, provider="provider", known_users_only=known)
    async with (
        RecordingProvider(replies={"AUTH": b"235 2.7.0 whoever you are\r\n"}) as provider,
        InProcess(tmp_path, [provider], listeners=[listener]) as relay,
    ):
        message = base64.b64encode(b"\0" + login + b"\0secret")
        async with Client(relay.port) as client:
            await client.greet()
            answer = await client.say(b"AUTH PLAIN " + message + b"\r\n")
            assert answer[:1] == (b"5" if known else b"2")
            if provider.logins:  # the provider could read it too
                assert (await client.submit(LETTER)).startswith(b"250")
        async with Client(relay.port) as other:
            await other.begin()
            assert (await other.submit(LETTER)).startswith(b"250")
        assert "sent_to_contact" in [each.reason for each in await relay.decisions()]
