"""What a session is given: a `Wire` to act on the world, and the `Policy` of its listener."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.limits import Limits
from proxy.smtp.envelope import Envelope
from proxy.smtp.extension import Extensions
from proxy.smtp.tap import Tap

__all__ = ["Policy", "Wire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a listener asks of its sessions. `offer` gives the extensions to tell while the provider is not known.

    Unless it `relays`, there is no provider and no login: mail comes from anybody, and only for the log.
    """

    hostname: bytes
    limits: Limits
    failed_login_delay: float
    starttls: bool
    route_is_known: bool
    known_users_only: bool
    offer: Callable[[], Extensions]
    relays: bool = True

    @property
    def requires_tls(self) -> bool:
        """Whether nothing is said in clear. RFC 3207 §4: a server that takes mail from anybody must not insist."""
        return self.starttls and self.relays


class Wire(Protocol):
    """What a session can do to the world."""

    def to_client(self, octets: bytes) -> None: ...
    def to_provider(self, octets: bytes) -> None: ...
    def dial(self, login: str | None) -> None:
        """Connects to the provider of the listener, or of `login`; `provider_ready` or `provider_failed` follows."""

    def upgrade_client(self) -> None:
        """Starts TLS with the client; `client_is_secure` follows."""

    def close_client(self) -> None: ...
    def drop_provider(self) -> None: ...
    def hold_client(self, on: bool) -> None: ...
    def later(self, seconds: float, then: Callable[[], None]) -> None: ...
    def check_user(self, login: str, then: Callable[[bool], None]) -> None: ...
    def is_capture_address(self, path: bytes) -> bool | None:
        """Whether mail to `path` is logged instead of sent; `None` when that must be asked first."""

    def ask_capture_address(self, path: bytes, then: Callable[[bool | None], None]) -> None:
        """Asks, and calls `then` later: with `None` when nobody can tell now."""

    def tap(self, envelope: Envelope) -> Tap | None: ...
    def undelivered(self, envelope: Envelope) -> None: ...
    def fields(self) -> tuple[bytes, bytes]: ...
    def mending(self) -> bool: ...
