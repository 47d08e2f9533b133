"""Tables of the figures in Markdown: targets first, then each cell in full. Medians; ratios are within a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Protocol

from cells import Target

__all__ = ["Titled", "markdown"]

Row = dict[str, Any]
COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "rate": ("", lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.1f}"),
    "p50_ms": ("p50 ms", lambda value: f"{value:.2f}"),
    "p99_ms": ("p99 ms", lambda value: f"{value:.1f}"),
    "cpu_per_1000": ("CPU s per 1000", lambda value: f"{value:.2f}"),
    "worker_cpu_per_1000": ("of it relay", lambda value: f"{value:.2f}"),
    "worker_mib": ("MiB a relay worker", lambda value: f"{value:.0f}"),
    "pair_kib": ("KiB a session", lambda value: f"{value:.0f}"),
}


class Titled(Protocol):
    """What the tables tell of a cell: what was done, and what the rate counts."""

    @property
    def title(self) -> str: ...
    @property
    def unit(self) -> str: ...


def markdown(rows: Sequence[Row], cells: Mapping[str, Titled], targets: Mapping[str, Sequence[Target]]) -> str:
    """Both tables."""
    names = list(dict.fromkeys(row["cell"] for row in rows))
    by_cell = {name: [row for row in rows if row["cell"] == name] for name in names}
    parts = [
        "### Targets",
        "",
        "| work | figure | target | reached (least to most) | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in names:
        parts += _targets(by_cell[name], cells[name], targets[name])
    for name in names:
        parts += ["", f"### {cells[name].title}", "", *_cell(by_cell[name], cells[name].unit)]
    return "\n".join(parts) + "\n"


def _targets(rows: Sequence[Row], cell: Titled, targets: Iterable[Target]) -> list[str]:
    return [
        f"| {cell.title} | {_what(target, cell.unit)} | {_bound(target)} | {_verdict(values, target)} |"
        for target in targets
        if (values := _values(rows, target))
    ]


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


def _what(target: Target, unit: str) -> str:
    title = COLUMNS[target.figure][0] or unit
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


def _cell(rows: Sequence[Row], unit: str) -> list[str]:
    columns = {name: each for name, each in COLUMNS.items() if any(row.get(name) is not None for row in rows)}
    lines = [
        "| system | " + " | ".join(title or unit for title, _ in columns.values()) + " |",
        "| --- " * (len(columns) + 1) + "|",
    ]
    for system in sorted({row["system"] for row in rows}, key=_order(rows)):
        mine = [row for row in rows if row["system"] == system]
        cells = [_median([row.get(name) for row in mine], show) for name, (_, show) in columns.items()]
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return lines


def _order(rows: Sequence[Row]) -> Callable[[str], float]:
    return lambda system: -median(row["rate"] for row in rows if row["system"] == system)


def _median(values: Sequence[float | None], show: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return show(median(known)) if known else ""
