"""What a client is told when its provider cannot be had, as resp-text (RFC 9051 §7.1)."""

from __future__ import annotations

from proxy.failures import Failure

__all__ = ["FAILURES"]

FAILURES: dict[Failure, str] = {
    Failure.NO_ROUTE: "[AUTHENTICATIONFAILED] No mail provider is configured for this login",
    Failure.UNREACHABLE: "[UNAVAILABLE] The mail provider cannot be reached; try again later",
    Failure.TIMED_OUT: "[UNAVAILABLE] The mail provider did not answer in time; try again later",
    Failure.NOT_TRUSTED: "[UNAVAILABLE] The mail provider's TLS certificate is not trusted",
    Failure.NO_STARTTLS: "[UNAVAILABLE] The mail provider offers no TLS; the login is not sent in clear",
    Failure.TLS_BROKEN: "[UNAVAILABLE] TLS with the mail provider failed",
    Failure.REFUSED: "[UNAVAILABLE] The mail provider refuses connections now; try again later",
    Failure.PROTOCOL: "[UNAVAILABLE] The mail provider does not speak IMAP as expected",
}
