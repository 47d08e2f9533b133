"""A user's consent in a browser on this machine: a code with PKCE, led back to loopback (RFC 8252, RFC 7636).

Only an answer with our `state`, which nobody can guess, counts; whatever else reaches the port is turned away. What
came is never shown in the page that the browser gets.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from types import TracebackType
from urllib.parse import parse_qsl, urlencode, urlsplit

from onrecord.oauth.client import OAuthClient
from onrecord.oauth.exchange import MENDS
from onrecord.oauth.failure import OAuthRefused
from store.mailbox_secret import Tokens

__all__ = ["Consent"]

MAX_HEAD = 16384
MAX_FIELDS = 50
HEAD_SECONDS = 10.0
CONSENT_SECONDS = 600.0  # as long as an issuer's page stays good, about
REQUEST = re.compile(rb"GET (/[\x21-\x7e]*) HTTP/1\.[01]\r\n")
CODE = re.compile(r"[\x20-\x7e]{1,4096}")
ERROR = re.compile(r"[a-z_]{1,60}")
ANSWER = (
    "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {size}\r\nConnection: close\r\n"
    "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n"
    "Content-Security-Policy: default-src 'none'\r\n\r\n{page}"
)
NOT_OURS = ("400 Bad Request", "This is not the answer that onrecord waits for.")
PAGE = "<!doctype html><title>onrecord</title><p>{text}</p>"


class Consent:
    """An async context manager that waits for one consent on a port of loopback. `address` is for the browser."""

    def __init__(self, client: OAuthClient, name: str, *, hint: str, port: int = 0) -> None:
        self._client = client
        self._name = name
        self._hint = hint
        self._port = port
        self._state = secrets.token_urlsafe(32)
        self._verifier = secrets.token_urlsafe(64)  # RFC 7636 §4.1: 43 to 128 characters
        self._server: asyncio.Server | None = None
        self._answer: asyncio.Future[dict[str, str]] | None = None

    async def __aenter__(self) -> Consent:
        """Raises `OAuthRefused` when the port cannot be had."""
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=MAX_HEAD)
        except OSError as error:
            raise OAuthRefused(f"port {self._port} of 127.0.0.1 cannot be had; choose another one") from error
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def redirect(self) -> str:
        """Where the issuer sends the browser. Without a path: Microsoft compares paths."""
        return f"http://{self._client.issuer(self._name).redirect_host}:{self._port}"

    @property
    def address(self) -> str:
        """The issuer's page (RFC 6749 §4.1.1). Raises `OAuthRefused`."""
        issuer = self._client.issuer(self._name)
        if not issuer.authorization_endpoint:
            raise OAuthRefused(f"oauth.{self._name}.authorization_endpoint is not set; set it, or try --device")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self._verifier.encode()).digest()).rstrip(b"=").decode()
        fields = {
            "response_type": "code",
            "client_id": issuer.client_id,
            "redirect_uri": self.redirect,
            "scope": " ".join(issuer.scopes),
            "state": self._state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": self._hint,
            **issuer.extra,
        }
        joint = "&" if urlsplit(issuer.authorization_endpoint).query else "?"
        return issuer.authorization_endpoint + joint + urlencode(fields)

    async def tokens(self, *, seconds: float = CONSENT_SECONDS) -> Tokens:
        """The tokens of the consent, when the browser has come back. Raises `OAuthError`."""
        assert self._answer is not None, "enter first"
        try:
            answer = await asyncio.wait_for(self._answer, seconds)
        except TimeoutError as error:
            raise OAuthRefused(f"{self._name}: nobody has consented in time; begin again") from error
        if "error" in answer:
            code = answer["error"] if ERROR.fullmatch(answer["error"]) else "an error"
            raise OAuthRefused(f"{self._name} answers {code}; {MENDS.get(code, 'begin again')}", code=code)
        return await self._client.exchange(self._name, answer["code"], verifier=self._verifier, redirect=self.redirect)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, text = self._judge(head)
                page = PAGE.format(text=text)
                writer.write(ANSWER.format(status=status, size=len(page.encode()), page=page).encode())
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # no browser
        finally:
            writer.close()

    def _judge(self, head: bytes) -> tuple[str, str]:
        """The status and text for the browser; an answer that counts is handed on."""
        assert self._answer is not None
        request = REQUEST.match(head)
        if request is None:
            return NOT_OURS
        try:
            target = urlsplit(request[1].decode("ascii"))
            pairs = parse_qsl(target.query, max_num_fields=MAX_FIELDS)
        except ValueError:
            return NOT_OURS
        if target.path != "/":
            return "404 Not Found", "There is nothing here."
        answer = dict(pairs)
        is_ours = hmac.compare_digest(answer.get("state", "").encode(), self._state.encode())
        if not is_ours or len(answer) < len(pairs) or self._answer.done():
            return NOT_OURS
        if "error" not in answer and not CODE.fullmatch(answer.get("code", "")):
            return NOT_OURS
        self._answer.set_result(answer)
        if "error" in answer:
            return "200 OK", "onrecord was not given access. You may close this window."
        return "200 OK", "onrecord was given access. You may close this window and go back to where you began."
