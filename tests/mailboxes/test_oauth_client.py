"""What issuers are asked, and what becomes of their answers, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from oauth_server import OAuthServer
from pki import Pki

from engine.secret import Secret
from onrecord.oauth.client import OAuthClient
from onrecord.oauth.device import wait_for_device
from onrecord.oauth.failure import GrantLost, OAuthError, OAuthRefused, OAuthUnavailable
from onrecord.oauth.issuer import Issuer

NOW = 1_800_000_000.0


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OAuthServer]:
    async with OAuthServer(secret="hush-hush") as running:
        yield running


def client_of(server: OAuthServer, secret: str | None = "hush-hush", **more: Any) -> OAuthClient:
    given = Secret(secret.encode()) if secret else None
    return OAuthClient({"own": server.issuer(**more)}, lambda name: given, clock=lambda: NOW)


class TestNewerTokens:
    async def test_they_come_with_the_times_at_which_to_ask_again(self, server: OAuthServer) -> None:
        refresh = server.grant()
        tokens = await client_of(server).refresh("own", Secret(refresh.encode()))
        assert tokens.refresh.reveal().decode() == server.grants[0].refresh != refresh
        assert tokens.access.reveal().decode() in server.issued
        assert (tokens.stale_at, tokens.expires_at) == (NOW + 3300, NOW + 3600)
        assert server.forms() == [
            {
                "grant_type": "refresh_token",
                "refresh_token": refresh,
                "client_id": server.client_id,
                "client_secret": "hush-hush",
            }
        ]

    async def test_an_issuer_that_keeps_the_refresh_token_need_not_repeat_it(self, server: OAuthServer) -> None:
        server.rotates = False
        refresh = server.grant()
        tokens = await client_of(server).refresh("own", Secret(refresh.encode()))
        assert tokens.refresh.reveal().decode() == refresh

    @pytest.mark.parametrize(
        ("told", "stale", "expires"),
        [
            (60, 30, 60),
            ("3600", 3300, 3600),
            (None, 3300, 3600),
            ("soon", 3300, 3600),
            (-5, 0.5, 1),
            (1e99, None, None),
        ],
    )
    async def test_any_lifetime_is_made_sense_of(
        self, server: OAuthServer, told: Any, stale: float | None, expires: float | None
    ) -> None:
        value = {"access_token": "a", "token_type": "bearer", "expires_in": told}
        server.answers.append((200, json.dumps(value).encode()))
        tokens = await client_of(server).refresh("own", Secret(b"r"))
        if expires is None:
            assert NOW < tokens.stale_at < tokens.expires_at < NOW + 1e9
        else:
            assert (tokens.stale_at, tokens.expires_at) == (NOW + stale, NOW + expires)  # type: ignore[operator]


def answer(**value: Any) -> bytes:
    return json.dumps(value).encode()


class TestTroubles:
    @pytest.mark.parametrize(
        ("status", "octets", "kind", "text"),
        [
            (400, answer(error="invalid_grant"), GrantLost, "own answers invalid_grant"),
            (400, answer(error="interaction_required", error_description="New\r\nx"), GrantLost, "_required: New"),
            (401, answer(error="invalid_client"), OAuthRefused, "see client_id and client_secret_file"),
            (400, answer(error="invalid_scope"), OAuthRefused, "see scopes"),
            (400, answer(error="nonsense", error_description=["x"]), OAuthRefused, "own answers nonsense"),
            (400, b"<html>", OAuthRefused, "own answers 400"),
            (302, b"", OAuthRefused, "own answers 302"),
            (404, b"[1]", OAuthRefused, "own answers 404"),
            (400, answer(error="x\x1b[2J"), OAuthRefused, "own answers 400"),
            (429, answer(error="slow_down"), OAuthUnavailable, "own answers slow_down"),
            (503, b"later", OAuthUnavailable, "own answers 503"),
            (400, answer(error="temporarily_unavailable"), OAuthUnavailable, "temporarily_unavailable"),
            (200, b"", OAuthUnavailable, "answers what is no token"),
            (200, b"[" * 60000, OAuthUnavailable, "answers what is no token"),
            (200, b" " * 70000, OAuthUnavailable, "cannot be reached"),
            (200, answer(access_token="a", token_type="mac"), OAuthUnavailable, "of a kind that is not known"),
            (200, answer(access_token="a"), OAuthUnavailable, "of a kind that is not known"),
            (200, answer(token_type="bearer"), OAuthUnavailable, "no token"),
            (200, answer(access_token="a\1auth=x", token_type="bearer"), OAuthUnavailable, "no token"),
            (200, answer(access_token="a b", token_type="bearer"), OAuthUnavailable, "no token"),
            (200, answer(access_token=["a"], token_type="bearer"), OAuthUnavailable, "no token"),
            (200, answer(access_token="a", token_type="bearer", refresh_token=7), OAuthUnavailable, "no token"),
        ],
    )
    async def test_each_answer_is_told_for_what_it_is(
        self, server: OAuthServer, status: int, octets: bytes, kind: type[OAuthError], text: str
    ) -> None:
        server.answers.append((status, octets))
        with pytest.raises(OAuthError) as caught:
            await client_of(server).refresh("own", Secret(b"r"))
        assert type(caught.value) is kind
        assert text in str(caught.value)
        assert "\x1b" not in str(caught.value)

    async def test_an_answer_that_repeats_a_secret_is_not_quoted(self, server: OAuthServer) -> None:
        for secret in ("refresh-me", "hush-hush"):
            server.answers.append((400, answer(error="invalid_grant", error_description=f"no such token: {secret}")))
            with pytest.raises(GrantLost) as caught:
                await client_of(server).refresh("own", Secret(b"refresh-me"))
            assert secret not in str(caught.value) + repr(caught.value.__cause__)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_no_redirect_leads_elsewhere(self, server: OAuthServer, status: int) -> None:
        async with OAuthServer() as other:
            location = f"{other.base}/token"

            async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
                writer.close()

            leading = await asyncio.start_server(lead, "127.0.0.1", 0)
            port = leading.sockets[0].getsockname()[1]
            client = client_of(server, token_endpoint=f"http://127.0.0.1:{port}/token")
            with pytest.raises(OAuthRefused, match=f"own answers {status}"):
                await client.refresh("own", Secret(b"r"))
            assert other.requests == []
            leading.close()

    async def test_an_issuer_that_is_not_there_is_told(self, server: OAuthServer) -> None:
        probe = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        await probe.wait_closed()
        client = client_of(server, token_endpoint=f"http://127.0.0.1:{port}/token")
        with pytest.raises(OAuthUnavailable, match="own cannot be reached: ConnectionRefusedError"):
            await client.refresh("own", Secret(b"r"))

    async def test_a_secret_goes_nowhere_in_clear_but_to_loopback(self) -> None:
        issuer = Issuer(client_id="x", token_endpoint="http://192.0.2.1/token")
        with pytest.raises(OAuthRefused, match="no address that a secret may go to"):
            await OAuthClient({"own": issuer}, lambda name: None).refresh("own", Secret(b"r"))

    async def test_an_issuer_that_settings_do_not_name_is_refused_with_the_mend(self) -> None:
        with pytest.raises(OAuthRefused, match=r"\[oauth\.google\]"):
            await OAuthClient({}, lambda name: None).refresh("google", Secret(b"r"))

    @pytest.mark.parametrize("is_trusted", [True, False])
    async def test_certificates_are_verified(self, pki: Pki, is_trusted: bool) -> None:
        async with OAuthServer(context=pki.server_context()) as server:
            client = client_of(server, None, ca_file=pki.ca_file if is_trusted else None)
            refresh = Secret(server.grant().encode())
            if is_trusted:
                assert (await client.refresh("own", refresh)).access.reveal()
            else:
                with pytest.raises(OAuthUnavailable, match="certificate was refused"):
                    await client.refresh("own", refresh)
                assert server.requests == []

    async def test_a_certificate_of_another_name_is_refused(self, pki: Pki) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pki.issue("other.example"))
        async with OAuthServer(context=context) as server:
            client = client_of(server, None, ca_file=pki.ca_file)
            with pytest.raises(OAuthUnavailable, match="certificate was refused"):
                await client.refresh("own", Secret(b"r"))
            assert server.requests == []


class Waiting:
    """Time that passes only while somebody sleeps; the user acts when so many sleeps are over."""

    def __init__(self, then: dict[int, Any]) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._then = then

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if (act := self._then.get(len(self.slept))) is not None:
            act()

    def clock(self) -> float:
        return self.now


class TestAnotherDevice:
    async def consent(self, server: OAuthServer, then: dict[int, Any]) -> tuple[Any, Waiting]:
        client = client_of(server)
        code = await client.device_code("own")
        assert (code.user_code, code.address) == ("WDJB-MJHT", f"{server.base}/activate")
        waiting = Waiting(then)
        return await wait_for_device(client, "own", code, sleep=waiting.sleep, clock=waiting.clock), waiting

    def say(self, server: OAuthServer, state: str) -> Any:
        return lambda: server.devices.update(dict.fromkeys(server.devices, state))

    async def test_it_is_asked_at_the_interval_until_the_user_has_consented(self, server: OAuthServer) -> None:
        tokens, waiting = await self.consent(server, {3: self.say(server, "approved")})
        assert tokens.access.reveal().decode() in server.issued
        assert waiting.slept == [5, 5, 5]
        assert server.forms("/device") == [
            {"scope": "mail offline", "client_id": server.client_id, "client_secret": "hush-hush"}
        ]

    async def test_slow_down_adds_five_seconds_for_good(self, server: OAuthServer) -> None:
        slow, pending = self.say(server, "slow_down"), self.say(server, "authorization_pending")
        _, waiting = await self.consent(server, {1: slow, 3: pending, 4: self.say(server, "approved")})
        assert waiting.slept == [5, 10, 15, 15]

    async def test_a_server_that_does_not_answer_is_asked_less_often(self, server: OAuthServer) -> None:
        troubles = {2: lambda: server.answers.append((503, b"")), 3: lambda: server.answers.append((200, b"?"))}
        _, waiting = await self.consent(server, {**troubles, 5: self.say(server, "approved")})
        assert waiting.slept == [5, 5, 10, 20, 20]

    @pytest.mark.parametrize(
        ("state", "text"), [("expired_token", "the time to consent is over"), ("access_denied", "has refused")]
    )
    async def test_a_refusal_ends_it(self, server: OAuthServer, state: str, text: str) -> None:
        with pytest.raises(OAuthRefused, match=text):
            await self.consent(server, {2: self.say(server, state)})

    async def test_it_ends_when_the_time_is_over_whatever_the_server_says(self, server: OAuthServer) -> None:
        with pytest.raises(OAuthRefused, match="the time to consent is over") as caught:
            await self.consent(server, {})
        assert caught.value.code == "expired_token"
        assert len(server.forms()) == 900 / 5 - 1

    async def test_the_older_name_of_the_address_is_known(self, server: OAuthServer) -> None:
        value = {"device_code": "d", "user_code": "U", "verification_url": "https://www.example/device"}
        server.answers.append((200, answer(**value)))
        code = await client_of(server).device_code("own")
        assert (code.address, code.whole_address, code.interval) == ("https://www.example/device", None, 5)

    @pytest.mark.parametrize(
        "value",
        [
            {"device_code": "d", "user_code": "U", "verification_uri": "javascript:x"},
            {"device_code": "d", "user_code": "U", "verification_uri": "https://x\x1b[2J"},
            {"device_code": "d", "user_code": 1, "verification_uri": "https://x"},
            {"user_code": "U", "verification_uri": "https://x"},
        ],
    )
    async def test_what_is_no_device_code_is_refused(self, server: OAuthServer, value: Any) -> None:
        server.answers.append((200, answer(**value)))
        with pytest.raises(OAuthUnavailable):
            await client_of(server).device_code("own")

    async def test_an_issuer_without_this_way_is_told(self, server: OAuthServer) -> None:
        with pytest.raises(OAuthRefused, match=r"oauth\.own\.device_endpoint is not set"):
            await client_of(server, device_endpoint="").device_code("own")


class TestRevoking:
    async def test_the_consent_is_over_then(self, server: OAuthServer) -> None:
        refresh = server.grant()
        await client_of(server).revoke("own", Secret(refresh.encode()))
        assert server.grants[0].is_over
        who = {"client_id": server.client_id, "client_secret": "hush-hush"}
        assert server.forms("/revoke") == [{"token": refresh, "token_type_hint": "refresh_token"} | who]

    @pytest.mark.parametrize(
        ("status", "octets"),
        [
            (200, b"<html>"),
            (200, b'{"error": "invalid_request"}'),
            (400, b'{"error": "invalid_token"}'),
            (400, b'{"error": "invalid_grant"}'),
        ],
    )
    async def test_one_that_is_over_already_is_no_trouble(
        self, server: OAuthServer, status: int, octets: bytes
    ) -> None:
        server.answers.append((status, octets))
        await client_of(server).revoke("own", Secret(b"r"))

    @pytest.mark.parametrize(
        ("status", "octets", "kind", "text"),
        [
            (503, b"", OAuthUnavailable, "own answers 503"),
            (401, b'{"error": "invalid_client"}', OAuthRefused, "see client_id"),
            (400, b'{"error": "unsupported_token_type"}', OAuthRefused, "unsupported_token_type"),
            (302, b"", OAuthRefused, "own answers 302"),
        ],
    )
    async def test_anything_else_is_told_for_what_it_is(
        self, server: OAuthServer, status: int, octets: bytes, kind: type[OAuthError], text: str
    ) -> None:
        server.answers.append((status, octets))
        with pytest.raises(kind, match=text):
            await client_of(server).revoke("own", Secret(b"r"))

    async def test_the_token_is_not_quoted(self, server: OAuthServer) -> None:
        server.answers.append((400, b'{"error": "invalid_request", "error_description": "what is revoke-me?"}'))
        with pytest.raises(OAuthRefused) as caught:
            await client_of(server).revoke("own", Secret(b"revoke-me"))
        assert "revoke-me" not in str(caught.value)

    async def test_an_issuer_that_has_no_way_is_told(self, server: OAuthServer) -> None:
        with pytest.raises(OAuthRefused, match="no revocation endpoint of own is known"):
            await client_of(server, revocation_endpoint="").revoke("own", Secret(b"r"))
        assert server.requests == []
