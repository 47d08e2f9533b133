"""What can go wrong between us and a provider, and what the client is told.

MailPathError
└── DialError           the provider cannot be had: `failure` says why, `reply` is for the client
"""

from __future__ import annotations

from enum import Enum

from proxy.smtp.reply import reply

__all__ = ["DialError", "Failure", "MailPathError"]


class Failure(Enum):
    """Why a provider cannot be had. The value is the reply of RFC 5321 §3.8 and RFC 3463 §3 that the client gets."""

    NO_ROUTE = reply(535, "5.7.8 No mail provider is configured for this login")
    UNREACHABLE = reply(421, "4.4.1 The mail provider cannot be reached; try again later")
    TIMED_OUT = reply(421, "4.4.1 The mail provider did not answer in time; try again later")
    NOT_TRUSTED = reply(454, "4.7.0 The mail provider's TLS certificate is not trusted")
    NO_STARTTLS = reply(454, "4.7.0 The mail provider offers no TLS; the login is not sent in clear")
    TLS_BROKEN = reply(454, "4.7.0 TLS with the mail provider failed")
    REFUSED = reply(421, "4.3.2 The mail provider refuses connections now; try again later")
    PROTOCOL = reply(421, "4.3.0 The mail provider does not speak ESMTP as expected")


class MailPathError(Exception):
    """Anything that ends a session and is not the client's doing."""


class DialError(MailPathError):
    """The provider cannot be had. The text is for operators and holds no secret."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure
