"""A capture: what passed by, and all that its path knows about it.

The path (relay, observer, gateway ...) fills in what it knows; the engine reads the rest from the header section.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.authentication import Proof
from engine.decision import Source

__all__ = ["Capture", "Folder"]


class Folder(StrEnum):
    """Folders of a mailbox that say something of their messages: that they are no correspondence (rules.md 3.7), or
    that the user of the mailbox asks for them to be logged (7.4).
    """

    DRAFTS = "drafts"
    JUNK = "junk"
    TRASH = "trash"
    LOG = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One sighting of one message.

    `recipients` are the envelope's accepted forward-paths as addr-specs (`None` where the path has no envelope),
    `refused` those that the next hop did not take. `login` is the authenticated identity of a relay session, `mailbox`
    the address of the mailbox it was seen in, `folder` which one of that where it matters. `capture_addresses` are
    those it was sent to; `proof` is what shows that its author sent it, where there was no login. `waited` when its
    parents had time enough to be logged (rules.md 4.5). `at` is when it was, in Unix seconds.
    """

    source: Source
    recipients: tuple[str, ...] | None = None
    refused: tuple[str, ...] = ()
    login: str | None = None
    mailbox: str | None = None
    folder: Folder | None = None
    capture_addresses: frozenset[str] = frozenset()
    proof: Proof | None = None
    waited: bool = False
    at: float | None = None
