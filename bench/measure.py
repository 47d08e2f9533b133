"""One measurement: the generator against one system in one cell, until everything has arrived where it belongs."""

from __future__ import annotations

import secrets
import time
from typing import Any

from cells import Cell
from generator import generate
from ours import relay_workers
from processes import cpu_seconds, tree
from system import AUTHOR, Site, System

__all__ = ["LostMail", "measure"]

ARRIVAL_SECONDS = 300.0  # for the last message to be delivered and recorded
OURS = "onrecord"


class LostMail(Exception):
    """Counts differ: a message was lost, doubled or altered, or the generator met an error."""


def measure(site: Site, system: System, cell: Cell, *, seconds: float) -> dict[str, Any]:
    """The figures as JSON values. Raises `LostMail`."""
    before = _counts(site, system)
    family = tree(system.pid) if system.pid else []
    workers = relay_workers(family) if system.name.startswith(OURS) else []
    used, used_by_workers, start = cpu_seconds(family), cpu_seconds(workers), time.monotonic()
    figures, peak = _generate(system, cell, seconds, workers)
    worker_cpu = cpu_seconds(workers) - used_by_workers
    after = _await_arrival(site, system, before, figures["sent"])
    took = time.monotonic() - start
    family = tree(system.pid) if system.pid else []
    counts = {name: after[name] - before[name] for name in after}
    _compare(system, figures, counts)
    thousands = figures["sent"] / 1000
    figures |= counts | {
        "arrival_rate": figures["sent"] / took,
        "cpu_per_1000": (cpu_seconds(family) - used) / thousands if system.pid else None,
        "worker_cpu_per_1000": worker_cpu / thousands if workers else None,
        "worker_mib": peak / 1024**2 if workers else None,
    }
    if system.name == "postfix":  # its 250 means queued: it counts once both its sinks have the mail
        figures["rate"] = figures["arrival_rate"]
    return figures


def _generate(system: System, cell: Cell, seconds: float, workers: list[int]) -> tuple[dict[str, Any], int]:
    """What the generator says, and the most memory that a relay worker had meanwhile."""
    port = system.tls if cell.tls else system.plain
    options: list[object] = ["-p", port, "-tls", "implicit" if cell.tls else "none", "-run", secrets.token_hex(6)]
    options += ["-c", cell.connections, "-k", cell.per_connection, "-s", cell.size]
    options += ["-t", seconds, "-from", AUTHOR, "-to", system.recipient]
    if cell.messages is not None:
        options += ["-n", cell.messages]
    return generate("smtpgen", options, workers)


def _counts(site: Site, system: System) -> dict[str, int]:
    delivered, octets = site.sink.delivered()
    counts = {"delivered": delivered, "delivered_octets": octets}
    if system.recorded is not None:
        counts["recorded"] = system.recorded()
    return counts


def _await_arrival(site: Site, system: System, before: dict[str, int], sent: int) -> dict[str, int]:
    """The counts once all that was sent is delivered and recorded, or time is up."""
    end = time.monotonic() + ARRIVAL_SECONDS
    while True:
        now = _counts(site, system)
        arrived = all(now[name] - before[name] >= sent for name in ("delivered", "recorded") if name in now)
        if arrived or time.monotonic() > end:
            return now
        time.sleep(0.02)


def _compare(system: System, figures: dict[str, Any], counts: dict[str, int]) -> None:
    troubles = [f"{figures['errors']} errors, the last: {figures['last_error']}"] if figures["errors"] else []
    troubles += [
        f"sent {figures['sent']}, {name} {counts[name]}"
        for name in ("delivered", "recorded")
        if counts.get(name, figures["sent"]) != figures["sent"]
    ]
    if system.name.startswith(OURS) and counts["delivered_octets"] != figures["octets"]:
        troubles.append(f"sent {figures['octets']} octets, delivered {counts['delivered_octets']}")
    if troubles:
        raise LostMail(f"{system.name}: {'; '.join(troubles)}")
