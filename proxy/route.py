"""Which provider a session goes to, and which sockets we listen on: the values, as settings give them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["LineEndings", "Listener", "ListenerKind", "Provider", "ProviderKind", "Tls", "provider_of_login"]


class Tls(StrEnum):
    """How a leg is protected (RFC 8314 §3). `NONE` is for loopback only."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


class LineEndings(StrEnum):
    """What becomes of a bare CR or LF in mail data: the message is refused, or the line ending is mended."""

    REJECT = "reject"
    NORMALIZE = "normalize"


class ProviderKind(StrEnum):
    """What a provider's server is for: sending mail (RFC 6409), or reading and filing it (RFC 9051)."""

    SUBMISSION = "submission"
    IMAP = "imap"


class ListenerKind(StrEnum):
    """Whom a listener is for: mail clients that send or read, or servers that bring mail to the capture addresses (as
    their MX).
    """

    SUBMISSION = "submission"
    IMAP = "imap"
    CAPTURE = "capture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A server of a mail provider. `domains` are the login domains that lead to it, `login_domain` completes a bare
    login. `companion`: beside the clients of an IMAP server runs a session of our own.
    """

    name: str
    kind: ProviderKind = ProviderKind.SUBMISSION
    host: str
    port: int = 587
    tls: Tls = Tls.STARTTLS
    ca_file: Path | None = None
    domains: tuple[str, ...] = ()
    login_domain: str | None = None
    line_endings: LineEndings = LineEndings.REJECT
    companion: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A socket we listen on. Without `provider` the login's domain chooses one."""

    kind: ListenerKind = ListenerKind.SUBMISSION
    address: str = "127.0.0.1"
    port: int = 587
    tls: Tls = Tls.STARTTLS
    provider: str | None = None
    known_users_only: bool = False


def provider_of_login(login: str, providers: tuple[Provider, ...]) -> Provider | None:
    """The provider whose `domains` hold the login's domain, compared case-folded; `None` when there is none."""
    _, at, domain = login.rpartition("@")
    if not at:
        return None
    wanted = domain.rstrip(".").lower()
    return next((each for each in providers if wanted in each.domains), None)
