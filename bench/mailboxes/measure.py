"""One measurement: the generator's mail clients against one system in one cell."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from generator import generate
from measure import OURS, LostMail
from ours import relay_workers
from processes import PROGRAMS, cpu_seconds, memory, nice, tree

from mailboxes.cells import FETCHED, Cell, Kind
from mailboxes.provider import Provider
from mailboxes.system import Site, System
from onrecord.app import OBSERVERS_NICE

__all__ = ["measure", "warm_up"]

WARMING_SECONDS = 1.5  # of sessions before those that are measured, so that their messages have been seen before
SETTLING_SECONDS = 0.5  # after which memory is what it stays
QUIET_SECONDS = 2.0  # without a new record, after which the recorder has nothing to do; it writes some hundred at once
LOST_SECONDS = 60.0  # the same where more is expected, and the recorder may be at work on large mail
LOOK_SECONDS = 0.1  # between two looks at its log


def measure(site: Site, system: System, cell: Cell, *, seconds: float) -> dict[str, Any]:
    """The figures as JSON values. Raises `LostMail` when anything is other than it was in the mailbox."""
    return MEASURES[cell.kind](site, system, cell, seconds)


def warm_up(provider: Provider, cell: Cell) -> None:
    """Lets the provider index its mailboxes."""
    generate("imapgen", ["-p", provider.plain, *_options(cell), "-t", 0.5], ())


def _options(cell: Cell) -> list[object]:
    options: list[object] = ["-m", cell.kind, "-c", cell.connections, "-user", cell.user, "-users", cell.users]
    return [*options, "-n", cell.users, "-again", int(cell.is_again), "-size", cell.messages]


def _reach(system: System, cell: Cell) -> list[object]:
    return ["-p", system.ports[cell.legs], "-tls", "none" if cell.legs == "clear" else "implicit", *_options(cell)]


def _family(system: System) -> tuple[list[int], list[int]]:
    """All of a system's processes, and our relay processes among them."""
    family = tree(system.pid) if system.pid else []
    return family, relay_workers(family) if system.name.startswith(OURS) else []


# -- mail is read ------------------------------------------------------------------------------------------------------


def _download(site: Site, system: System, cell: Cell, seconds: float) -> dict[str, Any]:
    messages = cell.messages * cell.users
    figures = _read(system, cell, seconds, expected=messages)
    _compare(system, figures, messages=messages, octets=site.provider.mail.octets[cell.messages] * cell.users)
    if system.recorded is not None and figures["recorded"] != messages:
        raise LostMail(f"{system.name}: {messages} messages were read, {figures['recorded']} recorded")
    figures = _per_thousand(figures, messages)
    if cell.is_again:  # it is of both times
        figures |= {"cpu_per_1000": None, "worker_cpu_per_1000": None}
    return figures


def _sessions(site: Site, system: System, cell: Cell, seconds: float) -> dict[str, Any]:
    if system.recorded is not None:
        _read(system, cell, WARMING_SECONDS)
    figures = _read(system, cell, seconds)
    _compare(system, figures, messages=FETCHED * figures["sessions"])
    return _per_thousand(figures, figures["sessions"])


def _read(system: System, cell: Cell, seconds: float, expected: int | None = None) -> dict[str, Any]:
    """What is said of reading by the generator, by /proc and by the log, once the recorder is done."""
    family, workers = _family(system)
    before = system.recorded() if system.recorded is not None else 0
    used, used_by_workers = cpu_seconds(family), cpu_seconds(workers)
    figures, peak = generate("imapgen", [*_reach(system, cell), "-t", seconds], workers)
    worker_cpu = cpu_seconds(workers) - used_by_workers
    if system.recorded is not None:
        _await_recorder(system.recorded, before + expected if expected is not None else None)
        figures["recorded"] = system.recorded() - before
    family, _ = _family(system)
    return figures | {
        "cpu": cpu_seconds(family) - used if system.pid else None,
        "worker_cpu": worker_cpu if workers else None,
        "worker_mib": peak / 1024**2 if workers else None,
    }


def _await_recorder(recorded: Callable[[], int], expected: int | None) -> None:
    """Returns when the log tells of as much as is expected, or has not grown for a while."""
    last, grew = recorded(), time.monotonic()
    patience = QUIET_SECONDS if expected is None else LOST_SECONDS
    while last != expected and time.monotonic() - grew < patience:
        time.sleep(LOOK_SECONDS)
        if (count := recorded()) != last:
            last, grew = count, time.monotonic()


def _compare(system: System, figures: dict[str, Any], *, messages: int, octets: int | None = None) -> None:
    if figures["errors"]:
        raise LostMail(f"{system.name}: {figures['errors']} errors, the last: {figures['last_error']}")
    for name, expected in (("messages", messages), ("octets", octets)):
        if expected is not None and figures[name] != expected:
            raise LostMail(f"{system.name}: {figures[name]} {name} came, of {expected}")


def _per_thousand(figures: dict[str, Any], count: int) -> dict[str, Any]:
    cpu, worker_cpu = figures.pop("cpu"), figures.pop("worker_cpu")
    return figures | {
        "rate": count / figures["seconds"],
        "cpu_per_1000": cpu * 1000 / count if cpu is not None else None,
        "worker_cpu_per_1000": worker_cpu * 1000 / count if worker_cpu is not None else None,
    }


# -- nobody says anything ----------------------------------------------------------------------------------------------


def _idle(site: Site, system: System, cell: Cell, seconds: float) -> dict[str, Any]:
    """Memory with all sessions open, less what it was before: of our relay processes, or of all that a peer has."""
    family, workers = _family(system)
    counted = workers or family
    before = [memory(pid) for pid in counted]
    command = [PROGRAMS / "imapgen", *map(str, _reach(system, cell))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as clients:
        assert clients.stdout is not None
        figures: dict[str, Any] = json.loads(clients.stdout.readline())
        time.sleep(SETTLING_SECONDS)
        after = [memory(pid) for pid in counted]
        clients.communicate()
    if figures["opened"] != cell.connections:
        raise LostMail(f"{system.name}: {figures['opened']} sessions of {cell.connections}: {figures['last_error']}")
    return figures | {
        "rate": cell.connections / figures["seconds"],
        "pair_kib": (sum(after) - sum(before)) / 1024 / cell.connections,
        "worker_mib": max(after) / 1024**2 if workers else None,
    }


def _observed(site: Site, system: System, cell: Cell, seconds: float) -> dict[str, Any]:
    """Memory of the observers' process with all mailboxes watched, less what it was without any."""
    assert system.pid is not None
    assert system.observe is not None
    [observers] = [pid for pid in tree(system.pid) if nice(pid) == OBSERVERS_NICE]
    before, began = memory(observers), time.monotonic()
    system.observe()
    took = time.monotonic() - began
    time.sleep(SETTLING_SECONDS)
    after = memory(observers)
    return {
        "rate": cell.users / took,
        "pair_kib": (after - before) / 1024 / cell.users,
        "observers_mib": after / 1024**2,
    }


MEASURES: dict[Kind, Callable[[Site, System, Cell, float], dict[str, Any]]] = {
    Kind.IDLE: _idle,
    Kind.DOWNLOAD: _download,
    Kind.SESSIONS: _sessions,
    Kind.OBSERVED: _observed,
}
