"""A consent in a browser: who is sent where, and which answers count."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import pytest_asyncio
from oauth_server import OAuthServer

from onrecord.oauth.client import OAuthClient
from onrecord.oauth.consent import Consent
from onrecord.oauth.failure import GrantLost, OAuthRefused

ANN = "ann@acme.example"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OAuthServer]:
    async with OAuthServer() as running:
        yield running


def consent(server: OAuthServer, **more: Any) -> Consent:
    return Consent(OAuthClient({"own": server.issuer(**more)}, lambda name: None), "own", hint=ANN)


async def browse(address: str) -> tuple[int, str]:
    """What a browser gets that follows where it is led."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


def fields(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


async def test_a_consent_leads_to_tokens(server: OAuthServer) -> None:
    async with consent(server) as waiting:
        status, page = await browse(waiting.address)
        tokens = await waiting.tokens()
    assert status == 200
    assert "You may close this window" in page
    assert tokens.access.reveal().decode() in server.issued
    assert tokens.refresh.reveal().decode() == server.grants[0].refresh


async def test_the_issuer_is_told_who_asks_for_what_and_where_to_lead_the_browser(server: OAuthServer) -> None:
    async with consent(server, extra={"prompt": "consent"}, redirect_host="localhost") as waiting:
        asked = fields(waiting.address)
        assert asked.pop("redirect_uri") == waiting.redirect
        assert urlsplit(waiting.redirect).hostname == "localhost"
        assert urlsplit(waiting.redirect).path == ""
        assert len(asked.pop("state")) >= 43
        assert len(asked.pop("code_challenge")) == 43
    assert asked == {
        "response_type": "code",
        "client_id": server.client_id,
        "scope": "mail offline",
        "code_challenge_method": "S256",
        "login_hint": ANN,
        "prompt": "consent",
    }


async def test_no_two_consents_share_state_or_verifier(server: OAuthServer) -> None:
    async with consent(server) as one, consent(server) as other:
        first, second = fields(one.address), fields(other.address)
    assert first["state"] != second["state"]
    assert first["code_challenge"] != second["code_challenge"]


async def test_a_code_of_another_consent_gets_no_tokens(server: OAuthServer) -> None:
    """Somebody who slips a user his own code would have the user's mail logged as his: PKCE is against that."""
    async with consent(server) as mine, consent(server) as theirs:
        stolen = fields(theirs.address) | {"state": fields(mine.address)["state"], "redirect_uri": mine.redirect}
        await browse(f"{server.base}/authorize?" + urlencode(stolen))
        with pytest.raises(GrantLost):
            await mine.tokens()


@pytest.mark.parametrize(
    "query",
    ["", "code=x", "code=x&state=", "code=x&state=wrong", "error=access_denied", "state=STATE", "state=STATE&code=",
     "code=x&state=STATE&state=wrong", "code=x&code=y&state=STATE", "code=%0d&state=STATE",
     "&".join("a=1" for _ in range(99)), "code=x&state=%ff"],
)  # fmt: skip
async def test_what_is_no_answer_of_the_issuer_is_turned_away_and_the_wait_goes_on(
    server: OAuthServer, query: str
) -> None:
    async with consent(server) as waiting:
        state = fields(waiting.address)["state"]
        status, page = await browse(f"{waiting.redirect}/?{query.replace('STATE', state)}")
        assert status == 400
        assert "x" not in page.replace("doctype", "")
        assert (await browse(waiting.address))[0] == 200
        assert (await waiting.tokens()).access.reveal()


async def test_an_answer_counts_once(server: OAuthServer) -> None:
    async with consent(server) as waiting:
        assert (await browse(waiting.address))[0] == 200
        assert (await browse(waiting.address))[0] == 400
        assert (await waiting.tokens()).access.reveal()


@pytest.mark.parametrize(
    "octets",
    [b"", b"\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"GET //[ HTTP/1.1\r\n\r\n", b"GET /favicon.ico HTTP/1.1\r\n\r\n",
     b"\x16\x03\x01", b"x" * 40000, b"GET /?\xff HTTP/1.1\r\n\r\n", b"EHLO x\r\n\r\n"],
)  # fmt: skip
async def test_what_no_browser_says_does_no_harm(server: OAuthServer, octets: bytes) -> None:
    async with consent(server) as waiting:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(waiting.redirect).port)
        writer.write(octets)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionError:
            answer = b""
        writer.close()
        assert b" 200 " not in answer
        assert (await browse(waiting.address))[0] == 200
        assert (await waiting.tokens()).access.reveal()


async def test_a_user_who_refuses_is_told_so(server: OAuthServer) -> None:
    server.consents = False
    async with consent(server) as waiting:
        assert "was not given access" in (await browse(waiting.address))[1]
        with pytest.raises(OAuthRefused, match="own answers access_denied; the user has refused"):
            await waiting.tokens()


async def test_the_page_keeps_the_code_to_itself(server: OAuthServer) -> None:
    async with consent(server) as waiting:
        state = fields(waiting.address)["state"]
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(waiting.redirect).port)
        writer.write(f"GET /?code=the-code&state={state} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
    assert "the-code" not in answer
    assert "Referrer-Policy: no-referrer" in answer
    assert "Cache-Control: no-store" in answer


async def test_nobody_waits_for_ever(server: OAuthServer) -> None:
    async with consent(server) as waiting:
        with pytest.raises(OAuthRefused, match="nobody has consented in time; begin again"):
            await waiting.tokens(seconds=0)


async def test_a_port_that_is_taken_is_told(server: OAuthServer) -> None:
    client = OAuthClient({"own": server.issuer()}, lambda name: None)
    with pytest.raises(OAuthRefused, match="choose another one"):
        async with Consent(client, "own", hint=ANN, port=server.port):
            pass
