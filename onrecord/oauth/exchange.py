"""One form posted to an issuer, and the JSON that it answers (RFC 6749 §4.1.3, §5), if it has to answer any.

By the standard library in a thread: a mailbox needs one such exchange an hour, so an HTTP library with its pools would
only be one more thing to keep up to date. Redirects are not followed: a secret goes to the address of the settings or
nowhere. Answers are limited in size and time.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from onrecord.oauth.failure import GrantLost, OAuthError, OAuthRefused, OAuthUnavailable
from onrecord.oauth.issuer import is_safe_endpoint

__all__ = ["post", "post_revocation"]

STEP_SECONDS = 20.0  # for each step on the socket
WHOLE_SECONDS = 40.0
REVOCATION_SECONDS = 5.0  # for each step of what nothing depends on, while somebody waits
MAX_ANSWER = 65536
MAX_TEXT = 200
READ = 8192
SHORT = 4  # characters of a secret that may stand in a text by chance
ERROR = re.compile(r"[\x20-\x7e]{1,60}")  # RFC 6749 §5.2, and not longer than any that there is
# OpenID Connect's are what Microsoft says when its user has to come back (a changed password, a new second factor).
LOST = frozenset(("invalid_grant", "interaction_required", "login_required", "consent_required"))
MENDS = {
    "invalid_client": "see client_id and client_secret_file of this issuer in the settings",
    "unauthorized_client": "the issuer does not let this client_id do so; see its registration",
    "invalid_scope": "see scopes of this issuer in the settings; some let no other device ask for mail",
    "access_denied": "the user has refused",
    "expired_token": "the time to consent is over; begin again",
    "redirect_uri_mismatch": "register http://127.0.0.1 or http://localhost, as redirect_host says",
}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **more: Any) -> None:
        return None


def post(
    name: str, url: str, fields: Mapping[str, str], context: ssl.SSLContext | None, *, secrets: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The issuer's answer to a form; without `context` from loopback only. Blocks.

    Raises `OAuthError`, whose text never repeats one of `secrets`.
    """
    status, octets = _answer(name, url, fields, context, seconds=STEP_SECONDS)
    value = _parsed(octets)
    if status == 200 and value is not None and "error" not in value:
        return value
    raise _error(name, status, value or {}, secrets)


def post_revocation(
    name: str, url: str, fields: Mapping[str, str], context: ssl.SSLContext | None, *, secrets: tuple[str, ...] = ()
) -> None:
    """As `post`; what the issuer answers beside the status means nothing (RFC 7009 §2.2)."""
    status, octets = _answer(name, url, fields, context, seconds=REVOCATION_SECONDS)
    if status != 200:
        raise _error(name, status, _parsed(octets) or {}, secrets)


def _answer(
    name: str, url: str, fields: Mapping[str, str], context: ssl.SSLContext | None, *, seconds: float
) -> tuple[int, bytes]:
    if not is_safe_endpoint(url) or (context is None) is url.lower().startswith("https:"):
        raise OAuthRefused(f"{name}: {url!r} is no address that a secret may go to")
    request = urllib.request.Request(  # noqa: S310  # checked above: https, or http on loopback
        url,
        data=urlencode(fields).encode(),
        headers={"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"},
    )
    try:
        return _exchange(request, context, seconds)
    except (OSError, http.client.HTTPException) as error:
        raise OAuthUnavailable(f"{name} cannot be reached: {_cause(error)}") from error


def _exchange(request: urllib.request.Request, context: ssl.SSLContext | None, seconds: float) -> tuple[int, bytes]:
    if context is not None:
        way: urllib.request.BaseHandler = urllib.request.HTTPSHandler(context=context)
    else:
        way = urllib.request.ProxyHandler({})  # loopback is here, not where a proxy is
    opener = urllib.request.build_opener(way, _NoRedirects())
    try:
        response = opener.open(request, timeout=seconds)
    except urllib.error.HTTPError as error:  # is a response too
        with error:
            return error.code, _read(error)
    with response:
        return response.status, _read(response)


def _read(response: Any) -> bytes:
    until = time.monotonic() + WHOLE_SECONDS
    octets = b""
    while (piece := response.read1(READ)) and len(octets) <= MAX_ANSWER:
        octets += piece
        if time.monotonic() > until:
            raise TimeoutError("the answer does not end")
    if len(octets) > MAX_ANSWER:
        raise http.client.HTTPException("the answer is too long")
    return octets


def _parsed(octets: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(octets)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _error(name: str, status: int, value: Mapping[str, Any], secrets: tuple[str, ...]) -> OAuthError:
    code = value.get("error")
    code = code if isinstance(code, str) and ERROR.fullmatch(code) else ""
    shown = code if code and not _repeats(code, secrets) else status
    text = f"{name} answers {shown}{_description(value, secrets)}"
    if code in LOST:
        return GrantLost(text)
    if status >= 500 or status == 429 or code in ("temporarily_unavailable", "server_error") or status == 200:
        return OAuthUnavailable(text if status != 200 or code else f"{name} answers what is no token")
    mend = MENDS.get(code)
    return OAuthRefused(f"{text}; {mend}" if mend else text, code=code)


def _description(value: Mapping[str, Any], secrets: tuple[str, ...]) -> str:
    text = value.get("error_description")
    if not isinstance(text, str) or _repeats(text, secrets):
        return ""
    # Microsoft adds trace ids and a time, on lines of their own.
    first = text.strip().split("\n", 1)[0][:MAX_TEXT].strip()
    return f": {''.join(each for each in first if each.isprintable())}" if first else ""


def _repeats(text: str, secrets: tuple[str, ...]) -> bool:
    return any(each in text for each in secrets if len(each) >= SHORT)


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate was refused: {reason.verify_message}"
    if isinstance(reason, TimeoutError):
        return "it does not answer in time"
    return type(reason).__name__ if isinstance(reason, BaseException) else "no answer"
