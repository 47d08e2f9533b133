"""Who issues tokens, as settings name them; what is not named comes from the table of those that everybody knows."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

__all__ = ["KNOWN", "Issuer", "consents_of", "is_safe_endpoint", "with_defaults"]


class Issuer(BaseModel):
    """An authorization server (RFC 6749 §1.1), and who we are there.

    `redirect_host` is the name of the loopback address that the issuer lets us redirect to (RFC 8252 §7.3).
    `extra` goes into the request for authorization.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    client_id: str = ""
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ()
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    device_endpoint: str = ""
    revocation_endpoint: str = ""
    redirect_host: str = "127.0.0.1"
    extra: Mapping[str, str] = {}
    ca_file: Path | None = None


MICROSOFT = "https://login.microsoftonline.com/common/oauth2/v2.0/"
KNOWN = {
    "google": Issuer(
        scopes=("https://mail.google.com/",),
        authorization_endpoint="https://accounts.google.com/o/oauth2/v2/auth",
        token_endpoint="https://oauth2.googleapis.com/token",  # noqa: S106  # an address, no password
        device_endpoint="https://oauth2.googleapis.com/device/code",
        revocation_endpoint="https://oauth2.googleapis.com/revoke",
        # Without both there is no refresh token, or only at the first consent ever.
        extra={"access_type": "offline", "prompt": "consent"},
    ),
    "microsoft": Issuer(  # revokes nothing for a program
        scopes=("https://outlook.office.com/IMAP.AccessAsUser.All", "offline_access"),
        authorization_endpoint=MICROSOFT + "authorize",
        token_endpoint=MICROSOFT + "token",
        device_endpoint=MICROSOFT + "devicecode",
        redirect_host="localhost",  # the port is free to choose under this name only
    ),
}
# Where users see the consents they have given, and take them back.
CONSENTS = {
    "google": "https://myaccount.google.com/connections",
    "microsoft": "https://account.live.com/consent/Manage, or at work https://myapps.microsoft.com",
}


def consents_of(name: str) -> str:
    """Where a user takes back a consent."""
    return CONSENTS.get(name, name)


def with_defaults(name: str, given: Issuer) -> Issuer:
    """`given` with what it leaves out from the table."""
    known = KNOWN.get(name)
    if known is None:
        return given
    return known.model_copy(update={each: getattr(given, each) for each in given.model_fields_set})


def is_safe_endpoint(url: str) -> bool:
    """Whether secrets may go there: TLS, or a host on loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
