"""What is put between mail client and mailbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from processes import Processes
from sink import Certificate

from mailboxes.cells import Legs
from mailboxes.provider import Provider

__all__ = ["Site", "System"]


@dataclass(frozen=True, slots=True)
class Site:
    """Where systems are started: their folders, and the provider."""

    processes: Processes
    certificate: Certificate
    provider: Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A running system, with a port for each kind of legs that it has. `recorded` counts what its log tells of;
    `observe` connects its users' mailboxes and returns when all are watched.
    """

    name: str
    ports: Mapping[Legs, int]
    pid: int | None = None
    recorded: Callable[[], int] | None = None
    observe: Callable[[], None] | None = None
