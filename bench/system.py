"""What is put between generator and sink."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from processes import Processes
from sink import Certificate, Sink

__all__ = ["AUTHOR", "CONTACT", "STRANGER", "Site", "System", "processors"]

AUTHOR = "ann@portal.example"  # a user of the portal, and every system's login
CONTACT = "kim@client.example"
STRANGER = "zoe@elsewhere.example"


@dataclass(frozen=True, slots=True)
class Site:
    """Where systems are started: their folders, the provider, and the sink of Postfix's copies."""

    processes: Processes
    certificate: Certificate
    sink: Sink
    copies: Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A running system. `recorded` counts what is in its log, where it keeps one that is looked at."""

    name: str
    plain: int
    tls: int | None = None
    pid: int | None = None
    recipient: str = CONTACT
    recorded: Callable[[], int] | None = None
    max_size: int = 1 << 40


def processors() -> int:
    """How many there are, for peers that have one process or thread for each."""
    return os.cpu_count() or 1
