"""A spool entry that is ready for the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.decision import Decision
from store.entry import Entry

__all__ = ["Settled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """An entry with its decisions, and what was read from its content if any of them logs it.

    `hashes` are keyed hashes of outside addresses, by which its decisions are found. `waits` names the portals whose
    decision a parent may still change, with the keyed hashes of the ids it would have.
    """

    entry: Entry
    decisions: tuple[Decision, ...]
    parsed: dict[str, Any] | None = None
    hashes: tuple[str, ...] = ()
    waits: Mapping[int, frozenset[str]] = field(default_factory=dict)
