"""What a session is given, and what it hands over: a `Wire`, the `Policy` of its listener, `Authenticated`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy.limits import Limits
from proxy.sasl import Secret

__all__ = ["Authenticated", "Credentials", "Policy", "Wire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a listener asks of its sessions.

    `offer` gives the capabilities to tell while the provider is not known, AUTH= among them. With `starttls` nobody
    logs in in clear.
    """

    limits: Limits
    failed_login_delay: float
    starttls: bool
    route_is_known: bool
    known_users_only: bool
    offer: Callable[[], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client said to log in: name and password of LOGIN, or its messages of a SASL exchange as on the wire.

    `mechanism` is `None` for LOGIN.
    """

    mechanism: bytes | None
    said: tuple[Secret, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticated:
    """A client is logged in. What both sides sent beyond that is still to be passed on.

    `capabilities` are the provider's as told last. `credentials` are there when they can be used again.
    """

    login: str | None
    credentials: Credentials | None
    capabilities: frozenset[bytes]
    client_octets: bytes = field(repr=False)  # of a client that says more than one login, they hold its passwords
    provider_octets: bytes = field(repr=False)


class Wire(Protocol):
    """What a session can do to the world."""

    def to_client(self, octets: bytes) -> None: ...
    def to_provider(self, octets: bytes) -> None: ...
    def dial(self, login: str | None) -> None:
        """Connects to the provider of the listener, or of `login`; `provider_ready` or `provider_failed` follows."""

    def upgrade_client(self, response: bytes) -> None:
        """Stops reading, sends `response` and starts TLS with the client; `client_is_secure` follows."""

    def close_client(self) -> None: ...
    def drop_provider(self) -> None: ...
    def hold_client(self, on: bool) -> None: ...
    def later(self, seconds: float, then: Callable[[], None]) -> None: ...
    def check_user(self, login: str, then: Callable[[bool], None]) -> None: ...
    def lack_room(self, login: str) -> None:
        """The provider has too many sessions of `login` to let this one in."""

    def pass_through(self, authenticated: Authenticated) -> None:
        """The session has ended well: from now on a `Passage` has both sides."""
