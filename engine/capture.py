"""A capture: what passed by, and all that its path knows about it.

The path (relay, observer, gateway ...) fills in what it knows; the engine reads the rest from the header section.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.decision import Source

__all__ = ["Capture"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One sighting of one message.

    `recipients` are the envelope's accepted forward-paths as addr-specs (`None` where the path has no envelope),
    `refused` those that the next hop did not take. `login` is the authenticated identity of a relay session, `mailbox`
    the address of the mailbox it was seen in.
    """

    source: Source
    recipients: tuple[str, ...] | None = None
    refused: tuple[str, ...] = ()
    login: str | None = None
    mailbox: str | None = None
