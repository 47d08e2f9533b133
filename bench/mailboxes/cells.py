"""What is measured of IMAP: the cells of the table, and the targets in each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cells import LOGGED, UNLOGGED, Target

__all__ = ["CELLS", "FETCHED", "LARGE", "OBSERVED", "TARGETS", "Cell", "Kind", "Legs"]


LARGE, MEDIUM, SMALL, TINY = 5000, 500, 50, 1  # messages of a mailbox
FETCHED = 10  # messages that a session reads
OBSERVED = "onrecord-observed"  # the system whose users have connected their mailboxes


class Kind(StrEnum):
    """What the clients do; each has a measurement of its own."""

    IDLE = "idle"
    DOWNLOAD = "download"
    SESSIONS = "sessions"
    OBSERVED = "observed"


class Legs(StrEnum):
    """Which of a session's two connections have TLS."""

    CLEAR = "clear"
    CLIENT_TLS = "client_tls"
    BOTH_TLS = "both_tls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One kind of work. Its logins are `user`-0, `user`-1 and so on, each with a mailbox of `messages`; `unit` is what
    the rate counts. `is_again`: they have read it before. `is_once`: what counts hardly differs, and the first round
    is enough. `only` are the systems that take part; none: all but `LOGGED` and `OBSERVED`.
    """

    title: str
    kind: Kind
    legs: Legs
    user: str
    messages: int
    unit: str
    connections: int = 1
    users: int = 2
    is_again: bool = False
    is_once: bool = False
    only: tuple[str, ...] = ()

    @property
    def logins(self) -> list[str]:
        """The logins, as the generator makes them."""
        return [f"{self.user}-{number}@portal.example" for number in range(self.users)]

    def takes(self, system: str) -> bool:
        """Whether the system takes part."""
        return system in self.only if self.only else system not in (LOGGED, OBSERVED)


def _download(title: str, legs: Legs, user: str, *, is_again: bool = False) -> Cell:
    title = f"IMAP: a mailbox of 5,000 messages from end to end, {title}"
    unit = "messages/s"
    return Cell(title=title, kind=Kind.DOWNLOAD, legs=legs, user=user, messages=LARGE, unit=unit, is_again=is_again)


def _sessions(title: str, legs: Legs) -> Cell:
    title = f"IMAP: 50 clients, LOGIN, SELECT, FETCH of ten messages, LOGOUT, {title}"
    kind, unit = Kind.SESSIONS, "sessions/s"
    return Cell(title=title, kind=kind, legs=legs, user="reader", messages=SMALL, unit=unit, connections=50, users=20)


CELLS = {
    "idle": Cell(
        title="IMAP: 2,000 sessions in IDLE, TLS on both legs",
        kind=Kind.IDLE,
        legs=Legs.BOTH_TLS,
        user="reader",
        messages=SMALL,
        unit="logins/s",
        connections=2000,
        users=20,
        is_once=True,
    ),
    "observed": Cell(
        title="IMAP: 2,000 connected mailboxes observed by one process, TLS",
        kind=Kind.OBSERVED,
        legs=Legs.BOTH_TLS,
        user="observed",
        messages=TINY,
        unit="mailboxes/s",
        connections=2000,
        users=2000,
        is_once=True,
        only=(OBSERVED,),
    ),
    "download": _download("in clear", Legs.CLEAR, "clear"),
    "download-tls": _download("TLS with the client", Legs.CLIENT_TLS, "tls"),
    "again": _download("once more, in clear", Legs.CLEAR, "clear-again", is_again=True),
    "again-tls": _download("once more, TLS with the client", Legs.CLIENT_TLS, "tls-again", is_again=True),
    "sessions": _sessions("in clear", Legs.CLEAR),
    "sessions-tls": _sessions("TLS with the client", Legs.CLIENT_TLS),
    "logged": Cell(
        title="IMAP: a mailbox of 500 messages from end to end, all of them logged",
        kind=Kind.DOWNLOAD,
        legs=Legs.CLEAR,
        user="logged",
        messages=MEDIUM,
        unit="messages/s",
        users=1,
        is_once=True,
        only=("direct", "nginx", LOGGED),
    ),
}

MEMORY = [Target(system=UNLOGGED, figure="worker_mib", bound=64, at_most=True)]


def _rate(bound: float) -> list[Target]:
    return [Target(system=UNLOGGED, peer="nginx", bound=bound), *MEMORY]


TARGETS = {
    "idle": [Target(system=UNLOGGED, figure="pair_kib", bound=90, at_most=True)],
    "observed": [Target(system=OBSERVED, figure="pair_kib", bound=90, at_most=True)],
    "download": _rate(0.75),
    "download-tls": _rate(0.75),
    "again": _rate(0.75),
    "again-tls": _rate(0.75),
    "sessions": _rate(0.8),
    "sessions-tls": _rate(0.8),
    "logged": [Target(system=LOGGED, figure="worker_mib", bound=64, at_most=True)],
}
