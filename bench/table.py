"""Tables of the figures in Markdown: targets first, then each cell in full. Medians; ratios are within a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from cells import CELLS, TARGETS, Target

__all__ = ["markdown"]

Row = dict[str, Any]
COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "rate": ("messages/s", lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.1f}"),
    "p50_ms": ("p50 ms", lambda value: f"{value:.2f}"),
    "p99_ms": ("p99 ms", lambda value: f"{value:.1f}"),
    "cpu_per_1000": ("CPU s per 1000", lambda value: f"{value:.2f}"),
    "worker_cpu_per_1000": ("of it relay", lambda value: f"{value:.2f}"),
    "worker_mib": ("MiB a relay worker", lambda value: f"{value:.0f}"),
}


def markdown(rows: Sequence[Row]) -> str:
    """Both tables."""
    names = list(dict.fromkeys(row["cell"] for row in rows))
    parts = ["### Targets", "", *_targets(rows, names)]
    for name in names:
        parts += ["", f"### {CELLS[name].title}", "", *_cell([row for row in rows if row["cell"] == name])]
    return "\n".join(parts) + "\n"


def _targets(rows: Sequence[Row], names: Iterable[str]) -> list[str]:
    lines = ["| work | figure | target | reached (least to most) | |", "| --- | --- | --- | --- | --- |"]
    for name in names:
        for target in TARGETS[name]:
            values = _values([row for row in rows if row["cell"] == name], target)
            if values:
                lines.append(
                    f"| {CELLS[name].title} | {_what(target)} | {_bound(target)} | {_verdict(values, target)} |"
                )
    return lines


def _values(rows: Sequence[Row], target: Target) -> list[float]:
    """The target's figure in each round that has all it needs."""
    figures = {(row["round"], row["system"]): row[target.figure] for row in rows}
    values = []
    for (number, system), figure in figures.items():
        if system != target.system:
            continue
        if target.peer is None:
            values.append(figure)
        elif (number, target.peer) in figures:
            other = figures[number, target.peer]
            values.append(figure - other if target.less else figure / other)
    return values


def _what(target: Target) -> str:
    title = COLUMNS[target.figure][0]
    if target.peer is None:
        return f"{target.system}: {title}"
    return f"{target.system}: {title}, {'less' if target.less else 'times'} {target.peer}'s"


def _bound(target: Target) -> str:
    return f"at {'most' if target.at_most else 'least'} {target.bound:g}"


def _verdict(values: Sequence[float], target: Target) -> str:
    middle = median(values)
    passed = middle <= target.bound if target.at_most else middle >= target.bound
    span = f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"
    return f"{span} | {'pass' if passed else '**fail**'}"


def _cell(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| system | " + " | ".join(title for title, _ in COLUMNS.values()) + " |",
        "| --- " * (len(COLUMNS) + 1) + "|",
    ]
    for system in sorted({row["system"] for row in rows}, key=_order(rows)):
        mine = [row for row in rows if row["system"] == system]
        cells = [_median([row[name] for row in mine], show) for name, (_, show) in COLUMNS.items()]
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return lines


def _order(rows: Sequence[Row]) -> Callable[[str], float]:
    return lambda system: -median(row["rate"] for row in rows if row["system"] == system)


def _median(values: Sequence[float | None], show: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return show(median(known)) if known else ""
