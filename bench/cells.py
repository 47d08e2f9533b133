"""What is measured: the cells of the table, and the targets in each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CELLS", "LOGGED", "TARGETS", "UNLOGGED", "Cell", "Target"]

LOGGED, UNLOGGED = "onrecord-logged", "onrecord-unlogged"
OURS = (LOGGED, UNLOGGED)
KIB4, KB75, MB10, MIB100 = 4096, 75_000, 10_000_000, 100 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One kind of work. `messages` is a limit where the time is none, `unit` what the rate counts."""

    title: str
    size: int
    connections: int
    per_connection: int
    tls: bool = False
    messages: int | None = None
    only: tuple[str, ...] = ()
    unit: str = "messages/s"


CELLS = {
    "connect": Cell(title="4 KiB, 20 connections, a new connection each", size=KIB4, connections=20, per_connection=1),
    "session": Cell(title="4 KiB, 20 connections, 50 messages each", size=KIB4, connections=20, per_connection=50),
    "attachment": Cell(title="75 KB, 20 connections, 50 messages each", size=KB75, connections=20, per_connection=50),
    "large": Cell(title="10 MB, 20 connections", size=MB10, connections=20, per_connection=1),
    "tls": Cell(
        title="4 KiB, TLS on both legs, a new connection each", size=KIB4, connections=20, per_connection=1, tls=True
    ),
    "latency": Cell(title="4 KiB, 1 connection, 50 messages each", size=KIB4, connections=1, per_connection=50),
    "huge": Cell(
        title="100 MiB, 20 connections",
        size=MIB100,
        connections=20,
        per_connection=1,
        messages=20,
        only=OURS,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`figure` of `system` in a cell, as ratio to that of `peer` or less it, at least (or at most) `bound`."""

    system: str
    bound: float
    peer: str | None = None
    figure: str = "rate"
    less: bool = False
    at_most: bool = False


MEMORY = [Target(system=each, figure="worker_mib", bound=64, at_most=True) for each in OURS]
P99 = [Target(system=each, peer="postfix", figure="p99_ms", bound=1, at_most=True) for each in OURS]
LATENCY = [Target(system=each, peer="direct", figure="p50_ms", less=True, bound=0.5, at_most=True) for each in OURS]


def _rates(postfix: float | None, logged: float, unlogged: float, peer: str) -> list[Target]:
    own = [Target(system=LOGGED, peer=peer, bound=logged), Target(system=UNLOGGED, peer=peer, bound=unlogged)]
    if postfix is None:
        return own
    return [Target(system=LOGGED, peer="postfix", bound=postfix), *own, *P99]


TARGETS = {
    "connect": _rates(3, 0.45, 0.65, "nginx"),
    "session": _rates(6, 0.35, 0.60, "nginx"),
    "attachment": _rates(5, 0.35, 0.70, "nginx"),
    "large": [*_rates(2, 0.30, 0.70, "nginx"), *MEMORY],
    "tls": _rates(None, 0.62, 0.67, "haproxy"),
    "latency": [*LATENCY, *P99],
    "huge": MEMORY,
}
