"""What can go wrong with an issuer of tokens. No text holds a secret.

OAuthError
├── OAuthUnavailable    it does not answer, or not now; asking again later may help
├── GrantLost           the user's consent is over; only the user can give it again
└── OAuthRefused        it will not, as things are; `code` is its error (RFC 6749 §5.2, RFC 8628 §3.5)
"""

from __future__ import annotations

__all__ = ["GrantLost", "OAuthError", "OAuthRefused", "OAuthUnavailable"]


class OAuthError(Exception):
    """Anything that keeps us from a token."""


class OAuthUnavailable(OAuthError):
    """The issuer does not answer, or not now."""


class GrantLost(OAuthError):
    """The user's consent was taken back, or has run out."""


class OAuthRefused(OAuthError):
    """The issuer will not."""

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.code = code
