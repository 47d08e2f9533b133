"""Commands that make an installation, run it and check it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from onrecord import app
from onrecord.checking import Outcome, check_all
from onrecord.installing import install
from onrecord.settings import SettingsError, load

__all__ = ["check", "init", "sandbox", "serve"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if it is not there.")],
    hostname: Annotated[str, typer.Option(help="The name under which mail clients reach the relay.")] = "localhost",
) -> None:
    """Writes commented settings, a local certificate authority with a server certificate, keys and the database."""
    for path, what in install(folder, hostname=hostname):
        typer.echo(f"{path}: {what}")
    typer.echo(f"\nNow name your mail provider in {folder / 'onrecord.toml'}, then:")
    typer.echo(f"  onrecord -c {folder / 'onrecord.toml'} check")
    typer.echo(f"  onrecord -c {folder / 'onrecord.toml'} serve")


def serve(context: typer.Context) -> None:
    """Relays and logs until SIGTERM or Ctrl-C; SIGHUP reloads the certificates."""
    raise typer.Exit(app.serve(load(context.obj)))


def check(context: typer.Context) -> None:
    """Checks settings, certificates, database and each provider, a line each; exit status 1 when one has failed."""
    verdicts = asyncio.run(check_all(context.obj))
    for verdict in verdicts:
        typer.echo(f"{verdict.outcome:<8} {verdict.subject}: {verdict.text}")
    raise typer.Exit(int(any(verdict.outcome is Outcome.FAILED for verdict in verdicts)))


def sandbox(
    port_base: Annotated[int, typer.Option(min=1024, max=65400, help="Ports are this plus 87, 65, 1 and 2.")] = 2500,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Where settings, keys and the log are kept.")] = Path(
        "sandbox"
    ),
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew: remove what an earlier sandbox left.")] = False,
) -> None:
    """Runs a whole mail provider, a sample portal and the relay on loopback, to try things with."""
    try:
        from onrecord.sandbox import run_sandbox
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing; install it with: pip install 'onrecord[sandbox]'") from error
    raise typer.Exit(run_sandbox(port_base=port_base, folder=data, fresh=fresh))
