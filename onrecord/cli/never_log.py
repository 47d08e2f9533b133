"""`onrecord never-log`."""

from __future__ import annotations

from typing import Annotated

import typer

from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import group
from onrecord.cli.showing import complain, print_json, print_table

__all__ = ["never_log"]

never_log = group("never-log", "Never Log: addresses and domains that are not logged.")

OfUser = Annotated[
    str | None, typer.Option("--user", metavar="ACCOUNT", help="The personal list of this user, not the portal's.")
]
Entry = Annotated[str, typer.Argument(metavar="ENTRY", help="a@b, b, @b, *@b, *.b or *@*.b")]


@never_log.command("add")
def never_log_add(context: typer.Context, entry: Entry, portal: PortalName = None, user: OfUser = None) -> None:
    """Puts an entry on the portal's list, or on a user's own."""

    async def work(opened: Opened) -> str:
        return await opened.directory.add_never_log(portal, entry, user=user)

    typer.echo(f"never logged: {with_store(context, work)}")


@never_log.command("list")
def never_log_list(
    context: typer.Context, portal: PortalName = None, user: OfUser = None, as_json: AsJson = False
) -> None:
    """Lists the entries of the portal's list, or of a user's own."""

    async def work(opened: Opened) -> list[str]:
        return await opened.directory.never_log(portal, user=user)

    entries = with_store(context, work)
    if as_json:
        print_json(entries)
    elif entries:
        print_table(("entry",), ((each,) for each in entries))
    else:
        complain("the list is empty; add to it with: onrecord never-log add ENTRY")


@never_log.command("remove")
def never_log_remove(context: typer.Context, entry: Entry, portal: PortalName = None, user: OfUser = None) -> None:
    """Takes an entry off the list."""

    async def work(opened: Opened) -> str:
        return await opened.directory.remove_never_log(portal, entry, user=user)

    typer.echo(f"taken off the list: {with_store(context, work)}")
