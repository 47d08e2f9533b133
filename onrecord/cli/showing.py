"""How commands show things: tables for people, JSON for programs.

What strangers wrote never reaches a terminal as it came: control characters and marks that turn the direction of text
are made visible in tables and escaped in JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from onrecord.written import UNSAFE, visible

__all__ = ["complain", "print_json", "print_json_stream", "print_pairs", "print_table"]


def print_json(value: Any) -> None:
    """A JSON value on standard output."""
    typer.echo(_to_json(value, indent=2))


async def print_json_stream(values: AsyncIterator[Any]) -> None:
    """A JSON list of any length, one value a line."""
    between = "[\n"
    async for value in values:
        typer.echo(between + _to_json(value), nl=False)
        between = ",\n"
    typer.echo("[]" if between == "[\n" else "\n]")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table, folded to the width of the terminal."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(_cell(each)) for each in row))
    _console().print(table)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, a line each; empty values are left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        if text := _cell(value):
            table.add_row(Text(name), Text(text))
    _console().print(table)


def complain(text: str) -> None:
    """A line on standard error."""
    typer.echo(visible(text), err=True)


def _console() -> Console:
    # A pipe has no width: nothing is folded there.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 1000, emoji=False)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(visible(str(each)) for each in value)
        case _:
            return visible(str(value))


def _to_json(value: Any, *, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) if UNSAFE.search(text) else text
