"""Cases of forwards in data files: see `tests/forwarded/inline/` and `tests/forwarded/html/`.

A file is for a client. A case begins with "#### " and its title; then what is expected, a line each; then "---" and
the text. Adding a case needs no Python. Left out fields are expected to be empty. "␣" stands for a non-breaking space,
"⇥" for a tab. A date without offset is one whose zone the text does not say; "none" one that cannot be read for
certain. `body` is how the line begins with which the original's body begins, without its quoting. A case that expects
nothing is one in which no original may be found.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from engine.forwarded import Inline

__all__ = ["Case", "cases", "check"]


class Case(NamedTuple):
    """One text and what is expected of it; `expected` is empty when nothing is to be found."""

    name: str
    expected: dict[str, str]
    text: str


def cases(path: Path) -> list[Case]:
    """The cases of one file."""
    found = []
    for chunk in path.read_text(encoding="utf-8").replace("␣", "\u00a0").replace("⇥", "\t").split("\n#### ")[1:]:
        head, _, text = chunk.partition("\n---\n")
        title, *lines = head.split("\n")
        expected = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
        found.append(Case(f"{path.stem}: {title}", expected, text))
    return found


def check(case: Case, text: str, found: Inline | None) -> None:
    """Compares what was found in `text` with what the case expects."""
    assert found is not None
    assert found.author == case.expected["author"]
    assert found.to == _listed(case.expected.get("to", ""))
    assert found.cc == _listed(case.expected.get("cc", ""))
    assert _written(found.date) == _normal(case.expected["date"])
    assert found.subject == case.expected.get("subject", "")
    assert text[found.body_start :].lstrip("> \t").startswith(case.expected["body"])
    assert found.body_start == 0 or text[found.body_start - 1] == "\n"
    for key in ("client", "language"):
        assert getattr(found, key) == case.expected.get(key, getattr(found, key))


def _listed(value: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in value.split(",") if each.strip())


def _written(date: datetime | None) -> str:
    return date.strftime("%Y-%m-%d %H:%M:%S %z").strip() if date else "none"


def _normal(expected: str) -> str:
    """An expected date in the form of `_written`: seconds may be left out in the files."""
    if expected == "none":
        return expected
    form = "%Y-%m-%d %H:%M" + (":%S" if expected.count(":") == 2 else "") + (" %z" if expected[-5] in "+-" else "")
    return _written(datetime.strptime(expected, form))
