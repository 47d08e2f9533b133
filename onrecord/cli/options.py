"""What several commands share: how a group is made, and options and arguments that mean the same everywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

__all__ = ["LIMIT", "TIMES", "Identifier", "Limit", "Name", "group", "listed", "moment_given", "replacing"]

LIMIT = 50  # rows of a listing: a screen or two
TIMES = "2026-11-24, 2026-11-24T16:00 (UTC), 7d, 12h, 30m"  # how times are written
AGO = re.compile(r"(\d{1,6})([dhm])")
UNITS = {"d": "days", "h": "hours", "m": "minutes"}

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


def moment_given(text: str, option: str = "--since") -> float:
    """A time as people write it, in Unix seconds. Raises `typer.BadParameter`."""
    ago = AGO.fullmatch(text.strip())
    if ago is not None:
        return (datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})).timestamp()
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-11-24, 2026-11-24T16:00, 7d, 12h or 30m", param_hint=option
        ) from error
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).timestamp()
