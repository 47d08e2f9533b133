"""The command line: every command, and what is the same for all of them.

A command prints what was asked for to standard output and everything else to standard error. Its exit status is 0, 1
when it could not do what was asked (one line says what was wrong and how to mend it), or 2 when the line itself was
wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onrecord.cli.contacts import contact
from onrecord.cli.looking import decisions, emails, explain, show
from onrecord.cli.never_log import never_log
from onrecord.cli.opening import TROUBLES
from onrecord.cli.portals import portal, rule
from onrecord.cli.running import check, init, sandbox, serve
from onrecord.cli.users import user
from onrecord.settings import config_path

__all__ = ["app", "run"]

app = typer.Typer(
    name="onrecord",
    help="Relays mail unaltered and logs the correspondence with known contacts, by one rule.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for running in (init, serve, check, sandbox):
    app.command()(running)
for group in (portal, rule, user, contact, never_log):
    app.add_typer(group)
for looking in (emails, show, decisions, explain):
    app.command()(looking)


@app.callback()
def configure(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="Settings file; else ONRECORD_CONFIG names it."),
    ] = None,
) -> None:
    """Relays mail unaltered and logs the correspondence with known contacts, by one rule."""
    context.obj = config_path(config)


def run(arguments: Sequence[str]) -> None:
    """Runs one command line. Raises `SystemExit` with its status."""
    try:
        app(_config_first(arguments))
    except TROUBLES as error:
        raise SystemExit(_complain(error)) from error


def _complain(error: Exception) -> int:
    print(error, file=sys.stderr)  # noqa: T201
    return 1


def _config_first(arguments: Sequence[str]) -> list[str]:
    """Lets `-c FILE` stand behind the command too, where people write it."""
    rest, config = list(arguments), []
    end = rest.index("--") if "--" in rest else len(rest)
    for place in range(end):
        word = rest[place]
        if word in ("-c", "--config"):
            config = rest[place : place + 2]
        elif word.startswith("--config="):
            config = [word]
        else:
            continue
        return config + rest[:place] + rest[place + len(config) :]
    return rest
