"""`onrecord user`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import Name, group, listed, replacing
from onrecord.cli.showing import complain, print_json, print_pairs, print_table
from store.directory import UserRecord

__all__ = ["user"]

user = group("user", "Users: the people whose correspondence is logged.")

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account address, or another one of the user.")]
Aliases = Annotated[list[str] | None, replacing("--alias", "ADDRESS", "A further address of the user")]
Connected = Annotated[list[str] | None, replacing("--connected", "ADDRESS", "A connected personal address")]
SendAs = Annotated[list[str] | None, replacing("--send-as", "USER", "A user in whose name this one may send")]
PersonalEmailAccess = typer.Option(help="Whether the user lets connected mail be logged.")
Active = typer.Option("--active/--inactive")


@user.command("add")
def user_add(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account address.")],
    portal: PortalName = None,
    name: Name = None,
    alias: Aliases = None,
    connected: Connected = None,
    send_as: SendAs = None,
    personal_email_access: Annotated[bool, PersonalEmailAccess] = True,
    active: Annotated[bool, Active] = True,
    as_json: AsJson = False,
) -> None:
    """Adds a user. Mail of a connected address is logged; the account address alone opens nothing."""

    async def work(opened: Opened) -> UserRecord:
        return await opened.directory.add_user(
            portal,
            account,
            name=name,
            aliases=listed(alias) or (),
            connected=listed(connected) or (),
            send_as=listed(send_as) or (),
            personal_email_access=personal_email_access,
            active=active,
        )

    _show_user(with_store(context, work), as_json)


@user.command("list")
def user_list(context: typer.Context, portal: PortalName = None, as_json: AsJson = False) -> None:
    """Lists the users by account."""
    users = with_store(context, lambda opened: opened.directory.users(portal))
    if as_json:
        print_json([asdict(each) for each in users])
    elif users:
        print_table(
            ("account", "name", "connected", "aliases", "access", "active"),
            (
                (each.account, each.name, each.connected, each.aliases, each.personal_email_access, each.active)
                for each in users
            ),
        )
    else:
        complain("the portal has no users; add one with: onrecord user add ACCOUNT")


@user.command("show")
def user_show(context: typer.Context, account: Account, portal: PortalName = None, as_json: AsJson = False) -> None:
    """Shows a user."""
    _show_user(with_store(context, lambda opened: opened.directory.user(portal, account)), as_json)


@user.command("set")
def user_set(
    context: typer.Context,
    account: Account,
    portal: PortalName = None,
    name: Name = None,
    alias: Aliases = None,
    connected: Connected = None,
    send_as: SendAs = None,
    personal_email_access: Annotated[bool | None, PersonalEmailAccess] = None,
    active: Annotated[bool | None, Active] = None,
    as_json: AsJson = False,
) -> None:
    """Changes what is named and leaves the rest; a list that is named replaces the list that was there."""

    async def work(opened: Opened) -> UserRecord:
        return await opened.directory.set_user(
            portal,
            account,
            name=name,
            aliases=listed(alias),
            connected=listed(connected),
            send_as=listed(send_as),
            personal_email_access=personal_email_access,
            active=active,
        )

    _show_user(with_store(context, work), as_json)


def _show_user(record: UserRecord, as_json: bool) -> None:
    if as_json:
        print_json(asdict(record))
        return
    names = {"personal_email_access": "personal email access", "send_as": "may send as"}
    print_pairs((names.get(key, key), value) for key, value in asdict(record).items() if key != "id")
