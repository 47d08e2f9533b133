"""What several commands share: how a group is made, and options and arguments that mean the same everywhere."""

from __future__ import annotations

from typing import Annotated, Any

import typer

__all__ = ["LIMIT", "Identifier", "Limit", "Name", "group", "listed", "replacing"]

LIMIT = 50  # rows of a listing: a screen or two

Name = Annotated[str | None, typer.Option("--name", help='The name for people; "" for none.')]
Limit = Annotated[int, typer.Option(min=1, metavar="NUMBER", help="At most so many, the newest.")]
Identifier = Annotated[int, typer.Argument(metavar="ID", help="As `onrecord emails` lists it.")]


def group(name: str, text: str, *, needs_command: bool = True) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(name=name, help=text, no_args_is_help=needs_command, rich_markup_mode=None)


def replacing(option: str, metavar: str, text: str) -> Any:
    """An option whose values, read by `listed`, replace the list that was there."""
    return typer.Option(option, metavar=metavar, help=f'{text}; may be repeated, replaces all, "" for none.')


def listed(values: list[str] | None) -> list[str] | None:
    """An option that may be repeated: `None` when it was not given; an empty value empties the list."""
    return None if values is None else [each for each in values if each.strip()]
