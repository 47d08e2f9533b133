"""An OAuth 2 server on loopback: real HTTP, codes with PKCE, device codes, and refresh tokens that are used once.

A refresh token that is used a second time ends the consent it came from, as strict issuers have it (RFC 9700 §4.14.2),
so whoever asks twice, or loses an answer, notices.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from onrecord.oauth.issuer import Issuer

__all__ = ["OAuthServer"]

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass
class Grant:
    """A consent: the refresh token that is good now, and those that were used."""

    login: str
    refresh: str = ""
    used: set[str] = field(default_factory=set)
    is_over: bool = False


class OAuthServer:
    """An async context manager. `requests` are the forms that came, `answers` are sent instead of its own when set.

    `gate` holds back answers while it is closed. `access` makes access tokens for a login.
    """

    def __init__(
        self,
        *,
        context: ssl.SSLContext | None = None,
        secret: str | None = None,
        lifetime: float = 3600,
        rotates: bool = True,
        access: Callable[[str], str] | None = None,
    ) -> None:
        self.client_id = "onrecord-tests"
        self.secret = secret
        self.lifetime = lifetime
        self.rotates = rotates
        self.login = "ann@acme.example"
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.grants: list[Grant] = []
        self.issued: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.consents = True
        self.interval = 5
        self.devices: dict[str, str] = {}
        self.port = 0
        self._context = context
        self._access = access or (lambda login: f"access-{secrets.token_urlsafe(12)}")
        self._codes: dict[str, dict[str, str]] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> OAuthServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self.gate.set()
        self._server.close()
        await self._server.wait_closed()

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}" if self._context else f"http://127.0.0.1:{self.port}"

    def issuer(self, **more: Any) -> Issuer:
        """As settings name it."""
        values = {
            "client_id": self.client_id,
            "scopes": ("mail", "offline"),
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "device_endpoint": f"{self.base}/device",
            "revocation_endpoint": f"{self.base}/revoke",
        }
        return Issuer(**values | more)

    def grant(self, login: str = "ann@acme.example") -> str:
        """A consent that was given before; its refresh token."""
        self.grants.append(Grant(login))
        return self._next_refresh(self.grants[-1])

    def forms(self, path: str = "/token") -> list[dict[str, str]]:
        """The forms that were posted to a path."""
        return [fields for where, fields in self.requests if where == path]

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n"))
            }
            body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
            path, fields = urlsplit(target).path, dict(parse_qsl(body or urlsplit(target).query))
            self.requests.append((path, fields))
            self.arrived.set()
            await self.gate.wait()
            writer.write(self._answer(method, path, fields))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, path: str, fields: dict[str, str]) -> bytes:
        if path == "/authorize" and method == "GET":
            return self._authorize(fields)
        if self.answers:
            status, octets = self.answers.pop(0)
            return _http(status, octets)
        if path == "/revoke" and method == "POST":
            return self._revoke(fields)
        doing = {"/token": self._token, "/device": self._device}.get(path)
        if doing is None or method != "POST":
            return _http(404, b"")
        status, value = doing(fields)
        return _http(status, json.dumps(value).encode())

    # -- consent ------------------------------------------------------------------------------------------------------

    def _authorize(self, fields: dict[str, str]) -> bytes:
        """The user is asked, and led back with a code."""
        back, state = fields["redirect_uri"], fields.get("state", "")
        is_loopback = urlsplit(back).hostname in ("127.0.0.1", "localhost") and urlsplit(back).scheme == "http"
        if not is_loopback or fields["client_id"] != self.client_id:
            return _http(400, b"")
        if fields.get("response_type") != "code" or fields.get("code_challenge_method") != "S256":
            return _lead(back, {"error": "invalid_request", "state": state})
        if not self.consents:
            return _lead(back, {"error": "access_denied", "state": state})
        code = secrets.token_urlsafe(16)
        self._codes[code] = fields
        return _lead(back, {"code": code, "state": state})

    def _device(self, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if fields.get("client_id") != self.client_id:
            return 401, {"error": "invalid_client"}
        code = secrets.token_urlsafe(16)
        self.devices[code] = "authorization_pending"
        return 200, {
            "device_code": code,
            "user_code": "WDJB-MJHT",
            "verification_uri": f"{self.base}/activate",
            "expires_in": 900,
            "interval": self.interval,
        }

    def _revoke(self, fields: dict[str, str]) -> bytes:
        """Ends the consent of a refresh token; what it does not know is over, too (RFC 7009 §2.2)."""
        if not self._knows(fields):
            return _http(401, json.dumps({"error": "invalid_client"}).encode())
        for grant in self.grants:
            if fields["token"] in {grant.refresh, *grant.used}:
                grant.is_over = True
        return _http(200, b"")

    def _knows(self, fields: dict[str, str]) -> bool:
        """Whether the client is who it says."""
        is_proven = not self.secret or fields.get("client_secret") == self.secret
        return fields.get("client_id") == self.client_id and is_proven

    # -- tokens -------------------------------------------------------------------------------------------------------

    def _token(self, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if not self._knows(fields):
            return 401, {"error": "invalid_client"}
        match fields.get("grant_type"):
            case "authorization_code":
                return self._by_code(fields)
            case "refresh_token":
                return self._by_refresh(fields)
            case kind if kind == DEVICE_GRANT:
                return self._by_device(fields)
        return 400, {"error": "unsupported_grant_type"}

    def _by_code(self, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        asked = self._codes.pop(fields["code"], None)
        digest = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != fields["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        self.grants.append(Grant(self.login))
        return 200, self._tokens(self.grants[-1])

    def _by_refresh(self, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        token = fields["refresh_token"]
        for grant in self.grants:
            if token in grant.used:
                grant.is_over = True  # somebody has a copy
            if token == grant.refresh and not grant.is_over:
                return 200, self._tokens(grant)
        return 400, {"error": "invalid_grant", "error_description": "The consent is over.\r\nTrace ID: 1"}

    def _by_device(self, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        state = self.devices.get(fields["device_code"], "expired_token")
        if state != "approved":
            return 400, {"error": state}
        del self.devices[fields["device_code"]]
        self.grants.append(Grant(self.login))
        return 200, self._tokens(self.grants[-1])

    def _tokens(self, grant: Grant) -> dict[str, Any]:
        access = self._access(grant.login)
        self.issued.append(access)
        value = {"access_token": access, "token_type": "Bearer", "expires_in": self.lifetime}
        if self.rotates or not grant.refresh:
            value["refresh_token"] = self._next_refresh(grant)
        return value

    def _next_refresh(self, grant: Grant) -> str:
        if grant.refresh:
            grant.used.add(grant.refresh)
        grant.refresh = f"refresh-{secrets.token_urlsafe(12)}"
        self.issued.append(grant.refresh)
        return grant.refresh


def _lead(back: str, fields: dict[str, str]) -> bytes:
    place = f"{back}{'&' if '?' in back else '?'}{urlencode(fields)}"
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def _http(status: int, octets: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(octets)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + octets
