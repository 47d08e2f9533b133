"""`onrecord never-log`."""

from __future__ import annotations

from typing import Annotated

import typer

from onrecord.cli.confirming import Yes, is_confirmed
from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import group
from onrecord.cli.showing import complain, print_json, print_table
from store.never_log_history import HistoryPlan, NeverLogHistory

__all__ = ["never_log"]

never_log = group("never-log", "Never Log: addresses and domains that are not logged.")

OfUser = Annotated[
    str | None, typer.Option("--user", metavar="ACCOUNT", help="The personal list of this user, not the portal's.")
]
Entry = Annotated[str, typer.Argument(metavar="ENTRY", help="a@b, b, @b, *@b, *.b or *@*.b")]


@never_log.command("add")
def never_log_add(
    context: typer.Context,
    entry: Entry,
    portal: PortalName = None,
    user: OfUser = None,
    apply_to_history: Annotated[
        bool,
        typer.Option("--apply-to-history", help="Also take what it covers out of the log, after showing how much."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Puts an entry on the portal's list, or on a user's own. It counts from the next message on.

    With --apply-to-history it counts for what is logged too: emails whose contacts are all covered are deleted, others
    are taken away from the covered contacts; an entry of a user's own list concerns the emails of that user. First it
    is said how many; it is done after a confirmation or with --yes, and else nothing is changed.
    """

    async def look(opened: Opened) -> HistoryPlan:
        home = await opened.directory.portal(portal)
        return await NeverLogHistory(opened.database, opened.directory).plan(home, entry, user=user)

    async def work(opened: Opened) -> str:
        home = await opened.directory.portal(portal)
        spelt = await opened.directory.add_never_log(home.name, entry, user=user)
        if apply_to_history:
            history = NeverLogHistory(opened.database, opened.directory)
            await history.apply(home, spelt, await history.plan(home, spelt, user=user))
        return spelt

    if apply_to_history:
        plan = with_store(context, look)
        typer.echo(f"emails to be deleted: {len(plan.deleted)}")
        typer.echo(f"emails to be taken away from a contact: {plan.kept}")
        if not is_confirmed("Do this?", yes=yes):
            complain("nothing was changed; to do it without being asked, add --yes")
            raise typer.Exit(1)
    typer.echo(f"never logged: {with_store(context, work)}")


@never_log.command("list")
def never_log_list(
    context: typer.Context, portal: PortalName = None, user: OfUser = None, as_json: AsJson = False
) -> None:
    """Lists the entries of the portal's list, or of a user's own."""
    entries = with_store(context, lambda opened: opened.directory.never_log(portal, user=user))
    if as_json:
        print_json(entries)
    elif entries:
        print_table(("entry",), ((each,) for each in entries))
    else:
        complain("the list is empty; add to it with: onrecord never-log add ENTRY")


@never_log.command("remove")
def never_log_remove(context: typer.Context, entry: Entry, portal: PortalName = None, user: OfUser = None) -> None:
    """Takes an entry off the list."""
    spelt = with_store(context, lambda opened: opened.directory.remove_never_log(portal, entry, user=user))
    typer.echo(f"taken off the list: {spelt}")
