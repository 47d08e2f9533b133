"""Measures onrecord against its peers: `make bench ARGS="--rounds 5"` (README.md says what and how).

Each round starts everything anew and visits the cells in order; in a cell the systems take turns in random order. The
parts are mail that is sent (SMTP), whose cells are `cells`, and mail that is read (IMAP), in `mailboxes`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import machine
import mailboxes.cells
import mailboxes.rounds
import table
from cells import CELLS, LOGGED, TARGETS, UNLOGGED
from mailboxes.measure import measure as measure_mailboxes
from measure import LostMail, measure
from ours import start_logged, start_unlogged
from peers import PEERS
from processes import Processes
from sink import Certificate, Sink
from system import Site, System

SYSTEMS: dict[str, Callable[[Site], System]] = PEERS | {LOGGED: start_logged, UNLOGGED: start_unlogged}
ALL_SYSTEMS = {**SYSTEMS, **mailboxes.rounds.SYSTEMS}
ALL_CELLS: Mapping[str, table.Titled] = {**CELLS, **mailboxes.cells.CELLS}
PARTS = {"smtp": list(CELLS), "imap": list(mailboxes.cells.CELLS)}
SAID = ("rate", "p50_ms", "worker_mib", "pair_kib")  # while it runs
OPEN_FILES = 10_000  # 2,000 sessions are two connections each, and all of them may be of one process
HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "performance.md"


def main() -> int:
    """Runs the rounds, prints the tables; 1 when a message was lost."""
    given = _arguments()
    _allow_open_files()
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    path = results / f"{datetime.now():%Y%m%d-%H%M%S}.jsonl"
    rows: list[dict[str, Any]] = []
    lost = False
    with path.open("w") as file:
        for number in range(given.rounds):
            for row in itertools.chain(_round(number, given), _mailbox_round(number, given)):
                lost |= "lost" in row
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
    text = table.markdown([row for row in rows if "lost" not in row], ALL_CELLS, TARGETS | mailboxes.cells.TARGETS)
    text = f"{machine.describe(sys.argv[1:])}\n\n{text}"
    path.with_suffix(".md").write_text(text)
    print(text)
    if given.write and not lost:
        _write(text)
    print(f"Written to {path} and {path.with_suffix('.md').name}.", file=sys.stderr)
    return 1 if lost else 0


def _write(text: str) -> None:
    before, begin, rest = DOCUMENT.read_text().partition("<!-- figures -->\n")
    _, end, after = rest.partition("<!-- end of figures -->\n")
    DOCUMENT.write_text(f"{before}{begin}{text}{end}{after}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each cell is visited (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long the generator starts messages (2)")
    parser.add_argument("--only", choices=PARTS, help="one part: mail that is sent, or mail that is read")
    parser.add_argument("--cells", type=_names(ALL_CELLS), help=f"of {', '.join(ALL_CELLS)}")
    parser.add_argument(
        "--systems", type=_names(ALL_SYSTEMS), default=list(ALL_SYSTEMS), help=f"of {', '.join(ALL_SYSTEMS)}"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--keep", action="store_true", help="keep the folder with settings, logs and databases")
    given = parser.parse_args()
    of_part = PARTS[given.only] if given.only else list(ALL_CELLS)
    given.cells = [name for name in given.cells or of_part if name in of_part]
    return given


def _names(known: dict[str, Any]) -> Callable[[str], Sequence[str]]:
    def names(text: str) -> Sequence[str]:
        given = text.split(",")
        unknown = [each for each in given if each not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(known)}")
        return given

    return names


def _allow_open_files() -> None:
    """For all that is started, too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < OPEN_FILES:
        sys.exit(f"{OPEN_FILES} open files are needed, {most} allowed: raise the hard limit (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _round(number: int, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    names = [name for name in given.cells if name in CELLS]
    if not names:
        return
    with Processes(keep=given.keep) as processes:
        certificate = Certificate.make(processes.folder)
        sinks = [Sink.start(processes, name, certificate) for name in ("sink", "copies")]
        site = Site(processes, certificate, *sinks)
        systems = [SYSTEMS[name](site) for name in given.systems if name in SYSTEMS]
        for name in names:
            random.shuffle(systems)
            for system in systems:
                if _takes_part(system, name):
                    measured = partial(measure, site, system, CELLS[name], seconds=given.seconds)
                    yield _row(number, name, system.name, measured)


def _mailbox_round(number: int, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    cells = mailboxes.cells.CELLS
    names = [name for name in given.cells if name in cells]
    systems = [name for name in given.systems if name in mailboxes.rounds.SYSTEMS]
    for name, site, system in mailboxes.rounds.visit(number, names, systems, keep=given.keep):
        measured = partial(measure_mailboxes, site, system, cells[name], seconds=given.seconds)
        yield _row(number, name, system.name, measured)


def _takes_part(system: System, name: str) -> bool:
    cell = CELLS[name]
    if cell.only and system.name not in cell.only:
        return False
    return cell.size <= system.max_size and (not cell.tls or system.tls is not None)


def _row(number: int, cell: str, system: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"round": number, "cell": cell, "system": system}
    try:
        row |= measured()
    except LostMail as error:
        print(f"LOST MAIL in {cell}: {error}", file=sys.stderr, flush=True)
        return row | {"lost": str(error)}
    said = [f"{name} {row[name]:.1f}" for name in SAID if row.get(name) is not None]
    print(f"{cell:13} {system:18} {'  '.join(said)}", file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
