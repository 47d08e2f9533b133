"""An entry of the spool: one capture on its way to the log, and the row that it is while it lies there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["COLUMNS", "PLACES", "SCHEMA", "Entry", "EntryKind", "dump", "entry_of", "row_of"]

SCHEMA = """
create table entry (
    id integer primary key,
    key text not null,
    at real not null,
    kind text not null,
    facts text not null,
    content blob,
    content_file text,
    dot_stuffed integer not null,
    settled integer not null
)
"""
COLUMNS = "key, at, kind, facts, content, content_file, dot_stuffed, settled"
PLACES = "(?, ?, ?, ?, ?, ?, ?, ?)"


class EntryKind(StrEnum):
    """A message with its content, a note about one that was not kept, or a gap: one that should have been."""

    MESSAGE = "message"
    NOTE = "note"
    GAP = "gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One capture on its way to the log.

    `key` is unique for ever; `at` is Unix time in seconds. `content` is mail data as relayed, without the final dot
    line, still dot-stuffed when `dot_stuffed` says so; a large one lies in `content_file`. `settled` is false until
    the next hop's verdict is known (policy `closed` journals before the final dot). `facts` are JSON values.
    """

    key: str
    at: float
    kind: EntryKind
    facts: dict[str, Any]
    content: bytes | None = None
    content_file: Path | None = None
    dot_stuffed: bool = False
    settled: bool = True

    @property
    def is_undecided(self) -> bool:
        """Whether it holds content of which nobody knows yet whether it is to be kept."""
        return self.kind is EntryKind.MESSAGE and self.facts.get("decisions") is None

    def size(self) -> int:
        """Octets that the row holds in memory, near enough."""
        return len(self.content or b"") + 1024


def row_of(entry: Entry) -> tuple[Any, ...]:
    """The values of `COLUMNS`. `entry_of` is the inverse."""
    return (
        entry.key,
        entry.at,
        entry.kind,
        dump(entry.facts),
        entry.content,
        entry.content_file.name if entry.content_file else None,
        entry.dot_stuffed,
        entry.settled,
    )


def entry_of(row: tuple[Any, ...], folder: Path) -> Entry:
    """The entry of a row of `COLUMNS` whose body lies in `folder`. Raises `ValueError` when it makes no sense."""
    key, at, kind, facts, content, content_file, dot_stuffed, settled = row
    return Entry(
        key=key,
        at=at,
        kind=EntryKind(kind),
        facts=json.loads(facts),
        content=content,
        content_file=folder / content_file if content_file else None,
        dot_stuffed=bool(dot_stuffed),
        settled=bool(settled),
    )


def dump(facts: dict[str, Any]) -> str:
    """Facts as a row holds them."""
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=True)
