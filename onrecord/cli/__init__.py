"""The command line: every command, and what is the same for all of them.

A command prints what was asked for to standard output and everything else to standard error. Its exit status is 0, 1
when it could not do what was asked (one line says what was wrong and how to mend it), or 2 when the line itself was
wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import structlog
import typer

from onrecord.cli.admins import admin
from onrecord.cli.contacts import contact
from onrecord.cli.correcting import audit, email
from onrecord.cli.erasing import erase
from onrecord.cli.looking import decisions, emails, explain, show
from onrecord.cli.mailboxes import mailbox
from onrecord.cli.never_log import never_log
from onrecord.cli.opening import TROUBLES
from onrecord.cli.portals import portal, rule
from onrecord.cli.reading_mailboxes import coverage, log
from onrecord.cli.reevaluating import preview, reevaluate
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
for group in (portal, rule, user, contact, never_log, mailbox, email, erase, admin):
    app.add_typer(group)
for looking in (emails, show, decisions, explain, audit, preview, reevaluate, coverage, log):
    app.command()(looking)


@app.callback()
def configure(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="Settings file; else ONRECORD_CONFIG names it."),
    ] = None,
    who: Annotated[
        str | None,
        typer.Option("--as", metavar="WHO", help="Who makes a change, for the audit trail; else your login name."),
    ] = None,
) -> None:
    """Relays mail unaltered and logs the correspondence with known contacts, by one rule."""
    structlog.configure(logger_factory=lambda *names: structlog.PrintLogger(sys.stderr))
    context.obj = config_path(config)


def run(arguments: Sequence[str]) -> None:
    """Runs one command line. Raises `SystemExit` with its status."""
    try:
        app(_global_first(arguments))
    except TROUBLES as error:
        raise SystemExit(_complain(error)) from error


def _complain(error: Exception) -> int:
    print(error, file=sys.stderr)  # noqa: T201
    return 1


def _global_first(arguments: Sequence[str]) -> list[str]:
    """Lets `-c FILE` and `--as WHO` stand behind the command too, where people write them."""
    first: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in ("-c", "--config", "--as"):
            first += [word, *islice(words, 1)]
        elif word.startswith(("--config=", "--as=")):
            first.append(word)
        else:
            rest.append(word)
    return first + rest
