"""What is asked of issuers: tokens for a code, newer tokens for a refresh token, a code for another device, and that a
consent ends.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from certs import CertificateError, client_context
from engine.secret import Secret
from onrecord.oauth.exchange import post, post_revocation
from onrecord.oauth.failure import GrantLost, OAuthRefused, OAuthUnavailable
from onrecord.oauth.issuer import Issuer
from store.mailbox_secret import Tokens

__all__ = ["DeviceCode", "OAuthClient"]

THREADS = 4  # exchanges at once; an issuer that hangs holds up no other work
LIFETIME = 3600.0  # seconds, of an access token that comes without (RFC 6749 §5.1)
LONGEST = 10 * 365 * 86400.0
EARLY = 300.0  # seconds before its end, a token is replaced; half its life when that is less
INTERVAL = 5.0  # RFC 8628 §3.2
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")  # RFC 6749 §A.12 less the space; nothing that ends a field of SASL


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What a user needs to consent on another device (RFC 8628 §3.2). Times are seconds."""

    device_code: Secret
    user_code: str
    address: str
    whole_address: str | None
    expires_in: float
    interval: float


class OAuthClient:
    """Asks the issuers, which are by name. `secret` gives the client secret of one; `clock` gives Unix time."""

    def __init__(
        self,
        issuers: Mapping[str, Issuer],
        secret: Callable[[str], Secret | None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.issuers = issuers
        self._secret = secret
        self._clock = clock
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="oauth")

    def close(self) -> None:
        """Nothing more is asked."""
        self._pool.shutdown(wait=False)

    def issuer(self, name: str) -> Issuer:
        """The issuer of that name. Raises `OAuthRefused`."""
        if name not in self.issuers:
            raise OAuthRefused(f"there is no table [oauth.{name}] in the settings; write one with its client_id")
        return self.issuers[name]

    def exchange(self, name: str, code: str, *, verifier: str, redirect: str) -> asyncio.Future[Tokens]:
        """The tokens for the code of a consent (RFC 6749 §4.1.3, RFC 7636 §4.5). Raises `OAuthError`."""
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        return self._start(self._tokens, name, fields, None)

    def refresh(self, name: str, refresh: Secret) -> asyncio.Future[Tokens]:
        """Newer tokens (RFC 6749 §6). The request is on its way when this returns. Raises `OAuthError`."""
        fields = {"grant_type": "refresh_token", "refresh_token": refresh.reveal().decode()}
        return self._start(self._tokens, name, fields, refresh)

    def device_tokens(self, name: str, device_code: Secret) -> asyncio.Future[Tokens]:
        """The tokens, when the user has consented (RFC 8628 §3.4). Raises `OAuthError`, whose code says to wait."""
        fields = {"grant_type": DEVICE_GRANT, "device_code": device_code.reveal().decode()}
        return self._start(self._tokens, name, fields, None)

    def device_code(self, name: str) -> asyncio.Future[DeviceCode]:
        """What a user needs to consent on another device (RFC 8628 §3.1). Raises `OAuthError`."""
        return self._start(self._device_code, name)

    def revoke(self, name: str, refresh: Secret) -> asyncio.Future[None]:
        """Ends the consent that gave this token (RFC 7009 §2.1). Raises `OAuthError`."""
        return self._start(self._revoke, name, refresh)

    def _start(self, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    # -- in a thread --------------------------------------------------------------------------------------------------

    def _tokens(self, name: str, fields: Mapping[str, str], refresh: Secret | None) -> Tokens:
        issuer, asked_at = self.issuer(name), self._clock()
        value = self._post(name, issuer.token_endpoint, fields)
        if not isinstance(value.get("token_type"), str) or value["token_type"].lower() != "bearer":
            raise OAuthUnavailable(f"{name} answers a token of a kind that is not known")
        given = value.get("refresh_token")
        next_refresh = _token(name, given) if given else refresh
        if next_refresh is None:
            raise OAuthRefused(f"{name} gives no refresh token; see scopes and extra of this issuer in the settings")
        lifetime = _seconds(value.get("expires_in"), LIFETIME)
        return Tokens(
            access=_token(name, value.get("access_token")),
            refresh=next_refresh,
            stale_at=asked_at + max(lifetime - EARLY, lifetime / 2),
            expires_at=asked_at + lifetime,
        )

    def _device_code(self, name: str) -> DeviceCode:
        issuer = self.issuer(name)
        if not issuer.device_endpoint:
            raise OAuthRefused(f"oauth.{name}.device_endpoint is not set; leave out --device, or set it")
        value = self._post(name, issuer.device_endpoint, {"scope": " ".join(issuer.scopes)})
        # quirk_verification_url: what Google called verification_uri before there was a standard.
        address = value.get("verification_uri") or value.get("verification_url")
        whole, code = value.get("verification_uri_complete"), value.get("user_code")
        if not isinstance(code, str) or not _is_web(address):
            raise OAuthUnavailable(f"{name} answers what is no code for a device")
        return DeviceCode(
            device_code=_token(name, value.get("device_code")),
            user_code=code,
            address=str(address),
            whole_address=str(whole) if _is_web(whole) else None,
            expires_in=_seconds(value.get("expires_in"), 900.0),
            interval=_seconds(value.get("interval"), INTERVAL),
        )

    def _revoke(self, name: str, refresh: Secret) -> None:
        url = self.issuer(name).revocation_endpoint
        if not url:
            raise OAuthRefused(f"no revocation endpoint of {name} is known")
        fields = {"token": refresh.reveal().decode(), "token_type_hint": "refresh_token"}
        whole, context, secrets = self._form(name, url, fields)
        try:
            post_revocation(name, url, whole, context, secrets=secrets)
        except GrantLost:
            pass  # it was over before
        except OAuthRefused as error:
            if error.code != "invalid_token":  # quirk_invalid_token: Google refuses where RFC 7009 §2.2 answers 200
                raise

    def _post(self, name: str, url: str, fields: Mapping[str, str]) -> dict[str, Any]:
        whole, context, secrets = self._form(name, url, fields)
        return post(name, url, whole, context, secrets=secrets)

    def _form(
        self, name: str, url: str, fields: Mapping[str, str]
    ) -> tuple[dict[str, str], ssl.SSLContext | None, tuple[str, ...]]:
        """The fields with who we are, how the server is verified, and what of the fields no text may repeat."""
        issuer, secret = self.issuer(name), self._secret(name)
        whole = {**fields, "client_id": issuer.client_id}
        if secret is not None:
            whole["client_secret"] = secret.reveal().decode()
        hidden = ("code", "token", "code_verifier", "refresh_token", "device_code", "client_secret")
        secrets = tuple(whole[each] for each in hidden if each in whole)
        try:
            context = client_context(issuer.ca_file) if url.lower().startswith("https:") else None
        except CertificateError as error:
            raise OAuthRefused(str(error)) from error
        return whole, context, secrets


def _token(name: str, value: Any) -> Secret:
    if not isinstance(value, str) or not TOKEN.fullmatch(value):
        raise OAuthUnavailable(f"{name} answers what is no token")
    return Secret(value.encode())


def _seconds(value: Any, otherwise: float) -> float:
    try:
        return min(max(float(value), 1.0), LONGEST)  # some write numbers as text
    except (TypeError, ValueError):
        return otherwise


def _is_web(address: Any) -> bool:
    return isinstance(address, str) and address.startswith(("https://", "http://")) and address.isprintable()
