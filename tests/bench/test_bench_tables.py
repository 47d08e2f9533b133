"""The tables that the measurements end in: ratios are taken within a round, and medians are what counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cells
import mailboxes.cells
import pytest
import table
from cells import Target


@dataclass(frozen=True)
class Work:
    title: str = "some work"
    unit: str = "mails/s"


RATES = [(0, "ours", 50.0), (0, "peer", 100.0), (1, "ours", 90.0), (1, "peer", 100.0), (2, "ours", 20.0)]


def rows(*figures: tuple[int, str, float], **more: Any) -> list[dict[str, Any]]:
    return [{"round": number, "cell": "w", "system": system, "rate": rate} | more for number, system, rate in figures]


def lines(made: list[dict[str, Any]], *targets: Target) -> list[str]:
    return table.markdown(made, {"w": Work()}, {"w": targets}).splitlines()


def test_a_ratio_is_of_two_figures_of_one_round() -> None:
    """In the third round there is no peer, so there is no ratio."""
    (line,) = [each for each in lines(rows(*RATES), Target(system="ours", peer="peer", bound=0.6)) if "times" in each]
    assert line == "| some work | ours: mails/s, times peer's | at least 0.6 | 0.70 (0.50 to 0.90) | pass |"


@pytest.mark.parametrize(("at_most", "verdict"), [(True, "pass"), (False, "**fail**")])
def test_a_bound_holds_from_one_side(at_most: bool, verdict: str) -> None:
    target = Target(system="ours", figure="worker_mib", bound=64, at_most=at_most)
    made = lines(rows((0, "ours", 1.0), worker_mib=63.0), target)
    assert made[4].endswith(f"| 63.00 (63.00 to 63.00) | {verdict} |")


def test_a_target_whose_figures_are_not_there_is_left_out() -> None:
    made = lines(rows((0, "peer", 1.0)), Target(system="ours", peer="peer", bound=1))
    assert not [each for each in made if "times" in each]


def test_the_fastest_comes_first_and_only_columns_with_figures_are_shown() -> None:
    made = lines(rows(*RATES, pair_kib=None, cpu_per_1000=0.25))
    assert made[-4:] == [
        "| system | mails/s | CPU s per 1000 |",
        "| --- | --- | --- |",
        "| peer | 100 | 0.25 |",
        "| ours | 50.0 | 0.25 |",
    ]


def test_every_cell_has_targets_on_figures_that_are_shown() -> None:
    for made, targets in ((cells.CELLS, cells.TARGETS), (mailboxes.cells.CELLS, mailboxes.cells.TARGETS)):
        assert made.keys() == targets.keys()
        assert {target.figure for each in targets.values() for target in each} <= table.COLUMNS.keys()
    assert not cells.CELLS.keys() & mailboxes.cells.CELLS.keys()
