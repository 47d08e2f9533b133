"""What a connected mailbox is opened with: a password, or the tokens of OAuth 2; as octets only to be sealed."""

from __future__ import annotations

import json
from dataclasses import dataclass

from engine.secret import Secret
from store.sealing import SealingError

__all__ = ["MailboxSecret", "Password", "Tokens", "secret_of", "to_octets"]


@dataclass(frozen=True, slots=True)
class Password:
    """A password, or an application password."""

    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """An access token with the refresh token that gets the next one (RFC 6749 §1.5).

    Times are Unix seconds: from `stale_at` on a new one is asked for, at `expires_at` the access token ends.
    """

    access: Secret
    refresh: Secret
    stale_at: float
    expires_at: float


MailboxSecret = Password | Tokens


def to_octets(secret: MailboxSecret) -> Secret:
    """What `secret_of` reads."""
    match secret:
        case Password():
            value: dict[str, object] = {"password": _text(secret.password)}
        case Tokens():
            value = {
                "access": _text(secret.access),
                "refresh": _text(secret.refresh),
                "stale_at": secret.stale_at,
                "expires_at": secret.expires_at,
            }
    return Secret(json.dumps(value).encode())


def secret_of(octets: Secret) -> MailboxSecret:
    """Reads what `to_octets` wrote. Raises `SealingError`."""
    try:
        value = json.loads(octets.reveal())
        if "password" in value:
            return Password(_secret(value["password"]))
        return Tokens(
            access=_secret(value["access"]),
            refresh=_secret(value["refresh"]),
            stale_at=float(value["stale_at"]),
            expires_at=float(value["expires_at"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # The cause is left out: it may quote what it could not read.
        raise SealingError("it was sealed by a version of onrecord that this one does not know") from None


def _text(secret: Secret) -> str:
    return secret.reveal().decode("utf-8", "surrogateescape")


def _secret(text: str) -> Secret:
    return Secret(text.encode("utf-8", "surrogateescape"))
