"""Who watches the messages of a session pass by, and what he is told (RFC 9051 §2.3.1).

A `Watcher` belongs to one session, a `Watch` to one message. No method may raise; if one does, the session is watched
no longer, and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from engine.capture import Folder

__all__ = [
    "Appended",
    "CopiedToLog",
    "FoldersChange",
    "HeaderSeen",
    "Place",
    "Seen",
    "Unobservable",
    "Watch",
    "Watcher",
    "Why",
]


class Why(StrEnum):
    """Why something of a session could not be observed. It passed all the same."""

    APPEND_FORM = "append_form"
    CATENATE = "catenate"
    NO_HEADER_SECTION = "no_header_section"  # a body alone, or a part
    NO_MAILBOX = "no_mailbox"
    PARTIAL_INCOMPLETE = "partial_incomplete"
    PARTIAL_OUT_OF_ORDER = "partial_out_of_order"
    TAG_REUSED = "tag_reused"
    TOO_MANY_COMMANDS = "too_many_commands"
    TOO_LONG = "too_long"
    # The rest of the session is passed on unseen:
    LITERAL_IN_DOUBT = "literal_in_doubt"
    LOGGED_OUT = "logged_out"
    WATCHER_FAILED = "watcher_failed"


@dataclass(frozen=True, slots=True)
class Place:
    """A mailbox: its name, decoded, its UIDVALIDITY where it was told, and which folder it is (RFC 6154 §2)."""

    mailbox: str
    uidvalidity: int | None
    folder: Folder | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that the client fetched. `flags` are `None` where the response did not tell them."""

    place: Place
    uid: int | None
    flags: frozenset[str] | None
    size: int


@dataclass(frozen=True, slots=True)
class Appended:
    """A message that the client saved and the provider took. `uid` where the provider told it (RFC 4315 §3)."""

    place: Place
    uid: int | None
    flags: frozenset[str]
    size: int


@dataclass(frozen=True, slots=True)
class HeaderSeen:
    """A header section that was fetched alone. Its text may follow; then the message is watched as a whole."""

    place: Place
    uid: int | None
    section: bytes


@dataclass(frozen=True, slots=True)
class CopiedToLog:
    """Messages were copied or moved to a folder for the log.

    `uids` and `log_uids` are sequence sets as written, in the same order; `None` where they were not told. A set may be
    of any size.
    """

    place: Place
    uids: str | None
    log: Place
    log_uids: str | None


@dataclass(frozen=True, slots=True)
class FoldersChange:
    """The client asks for a folder to be made, removed or renamed."""


@dataclass(frozen=True, slots=True)
class Unobservable:
    """Something passed that could not be followed."""

    why: Why


class Watch(Protocol):
    """Who watches one message."""

    def header_section(self, section: bytes) -> bool:
        """The header section, once. Whether the content is wanted: it is kept from here on, or nobody can tell yet."""

    def content(self, octets: bytes) -> bool:
        """The next octets, header section included. Whether more are wanted."""

    def end(self, sighting: Seen | Appended) -> None:
        """The message has passed, all of it; whether or not its content was wanted."""

    def discard(self) -> None:
        """The message came to nothing, or not to its end."""


class Watcher(Protocol):
    """Who watches one session."""

    def is_known(self, place: Place, uid: int) -> bool:
        """Whether the message was seen already, so that it needs no watch."""

    def is_for_log(self, mailbox: str) -> bool:
        """Whether what is put into this folder is to be logged."""

    def watch(self, place: Place) -> Watch | None:
        """A message begins to pass. `None`: nobody wants it."""

    def tell(self, event: HeaderSeen | CopiedToLog | FoldersChange | Unobservable) -> None:
        """What concerns no single message that is being watched."""
