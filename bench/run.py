"""Measures onrecord against its peers: `make bench ARGS="--rounds 5"` (README.md says what and how).

Each round starts everything anew and visits the cells in order; in a cell the systems take turns in random order.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import machine
import table
from cells import CELLS, LOGGED, UNLOGGED
from measure import LostMail, measure
from ours import start_logged, start_unlogged
from peers import PEERS
from processes import Processes
from sink import Certificate, Sink
from system import Site, System

SYSTEMS: dict[str, Callable[[Site], System]] = PEERS | {LOGGED: start_logged, UNLOGGED: start_unlogged}
HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parent / "docs" / "performance.md"


def main() -> int:
    """Runs the rounds, prints the tables; 1 when a message was lost."""
    given = _arguments()
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    path = results / f"{datetime.now():%Y%m%d-%H%M%S}.jsonl"
    rows: list[dict[str, Any]] = []
    lost = False
    with path.open("w") as file:
        for number in range(given.rounds):
            for row in _round(number, given):
                lost |= "lost" in row
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
    text = table.markdown([row for row in rows if "lost" not in row])
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
    parser.add_argument("--cells", type=_names(CELLS), default=list(CELLS), help=f"of {', '.join(CELLS)}")
    parser.add_argument("--systems", type=_names(SYSTEMS), default=list(SYSTEMS), help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--keep", action="store_true", help="keep the folder with settings, logs and databases")
    return parser.parse_args()


def _names(known: dict[str, Any]) -> Callable[[str], Sequence[str]]:
    def names(text: str) -> Sequence[str]:
        given = text.split(",")
        unknown = [each for each in given if each not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(known)}")
        return given

    return names


def _round(number: int, given: argparse.Namespace) -> Any:
    with Processes(keep=given.keep) as processes:
        certificate = Certificate.make(processes.folder)
        sinks = [Sink.start(processes, name, certificate) for name in ("sink", "copies")]
        site = Site(processes, certificate, *sinks)
        systems = [SYSTEMS[name](site) for name in given.systems]
        for name in given.cells:
            random.shuffle(systems)
            for system in systems:
                if _takes_part(system, name):
                    yield {"round": number, "cell": name, "system": system.name} | _figures(
                        site, system, name, given.seconds
                    )


def _takes_part(system: System, name: str) -> bool:
    cell = CELLS[name]
    if cell.only and system.name not in cell.only:
        return False
    return cell.size <= system.max_size and (not cell.tls or system.tls is not None)


def _figures(site: Site, system: System, name: str, seconds: float) -> dict[str, Any]:
    try:
        figures = measure(site, system, CELLS[name], seconds=seconds)
    except LostMail as error:
        print(f"LOST MAIL in {name}: {error}", file=sys.stderr, flush=True)
        return {"lost": str(error)}
    print(
        f"{name:10} {system.name:18} {figures['rate']:10.1f}/s  p50 {figures['p50_ms']} ms", file=sys.stderr, flush=True
    )
    return figures


if __name__ == "__main__":
    sys.exit(main())
