"""What the commands of the directory share: how a group is made, and options that may be repeated."""

from __future__ import annotations

from typing import Annotated, Any

import typer

__all__ = ["Name", "group", "listed", "replacing"]

Name = Annotated[str | None, typer.Option("--name", help='The name for people; "" for none.')]


def group(name: str, text: str, *, needs_command: bool = True) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(name=name, help=text, no_args_is_help=needs_command, rich_markup_mode=None)


def replacing(option: str, metavar: str, text: str) -> Any:
    """An option whose values, read by `listed`, replace the list that was there."""
    return typer.Option(option, metavar=metavar, help=f'{text}; may be repeated, replaces all, "" for none.')


def listed(values: list[str] | None) -> list[str] | None:
    """An option that may be repeated: `None` when it was not given; an empty value empties the list."""
    return None if values is None else [each for each in values if each.strip()]
