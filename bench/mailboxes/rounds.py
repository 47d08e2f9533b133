"""A round of the part with mailboxes."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator

from cells import LOGGED, UNLOGGED
from processes import Processes
from sink import Certificate

from mailboxes.cells import CELLS, OBSERVED, Kind
from mailboxes.measure import warm_up
from mailboxes.observed import start_observed
from mailboxes.ours import start_logged, start_unlogged
from mailboxes.peers import PEERS
from mailboxes.provider import Mail, Provider
from mailboxes.system import Site, System

__all__ = ["SYSTEMS", "visit"]

SYSTEMS: dict[str, tuple[Callable[[Site], System], ...]] = PEERS | {
    LOGGED: (start_logged,),
    UNLOGGED: (start_unlogged,),
    OBSERVED: (start_observed,),
}
WAITING = (Kind.IDLE, Kind.OBSERVED)
IDLE_CLIENTS = 250  # of one process at the provider: 2,000 of them would only take time to start


def visit(
    number: int, cells: Collection[str], systems: Collection[str], *, keep: bool
) -> Iterator[tuple[str, Site, System]]:
    """What is to be measured in a round, in turn. Memory of sessions that wait is measured on programs just started."""
    due = [name for name in cells if number == 0 or not CELLS[name].is_once]
    for kinds in ((Kind.IDLE,), (Kind.OBSERVED,), (Kind.DOWNLOAD, Kind.SESSIONS)):
        names = [name for name in due if CELLS[name].kind in kinds]
        taking_part = [each for each in systems if any(CELLS[name].takes(each) for name in names)]
        if names:
            waits = kinds[0] in WAITING
            yield from _visit(names, taking_part, clients_of_one=IDLE_CLIENTS if waits else 1, keep=keep)


def _visit(
    cells: Collection[str], systems: Collection[str], *, clients_of_one: int, keep: bool
) -> Iterator[tuple[str, Site, System]]:
    with Processes(keep=keep) as processes:
        certificate = Certificate.make(processes.folder)
        mail = Mail.make(processes)
        provider = Provider.start(processes, certificate, mail, clients_of_one=clients_of_one)
        site = Site(processes, certificate, provider)
        started = [start(site) for name in systems for start in SYSTEMS[name]]
        for name in cells:
            if CELLS[name].kind not in WAITING and not CELLS[name].is_again:
                warm_up(provider, CELLS[name])
            random.shuffle(started)
            for system in started:
                if CELLS[name].legs in system.ports and CELLS[name].takes(system.name):
                    yield name, site, system
