"""`onrecord admin`: who signs in to the pages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from onrecord.cli.opening import AsJson, Opened, with_store
from onrecord.cli.options import Name, group
from onrecord.cli.passwords import PasswordStdin, read_password
from onrecord.cli.showing import complain, print_json, print_table
from onrecord.web.passwords import hashed
from onrecord.written import moment
from store.web_accounts import WebAccount, WebAccounts

__all__ = ["admin"]

admin = group("admin", "Administrators: who signs in to the pages.")

Login = Annotated[str, typer.Argument(metavar="LOGIN", help="Such as an e-mail address.")]


@admin.command("create")
def admin_create(
    context: typer.Context,
    login: Login,
    name: Name = None,
    portal: Annotated[
        str | None, typer.Option("--portal", metavar="NAME", help="The only portal it sees; else it sees all.")
    ] = None,
    password_stdin: Annotated[bool, PasswordStdin] = False,
    as_json: AsJson = False,
) -> None:
    """Makes an account for the pages. Its password has at least 12 characters."""
    password = hashed(read_password(from_stdin=password_stdin, twice=True))

    async def work(opened: Opened) -> WebAccount:
        home = await opened.directory.portal(portal) if portal is not None else None
        return await _accounts(opened).add(login, password, name=name, portal=home)

    account = with_store(context, work)
    if as_json:
        print_json(_value(account))
    else:
        typer.echo(f"{account.login} signs in to {account.portal or 'all portals'}")


@admin.command("list")
def admin_list(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the accounts by login."""
    accounts = with_store(context, lambda opened: _accounts(opened).accounts())
    if as_json:
        print_json([_value(each) for each in accounts])
    elif accounts:
        rows = [(each.login, each.name, each.portal or "all", moment(each.created_at)) for each in accounts]
        print_table(("login", "name", "portal", "made"), rows)
    else:
        complain("there is no account yet; make one with: onrecord admin create LOGIN")


@admin.command("password")
def admin_password(
    context: typer.Context, login: Login, password_stdin: Annotated[bool, PasswordStdin] = False
) -> None:
    """Gives an account another password, and ends its sessions."""
    password = hashed(read_password(from_stdin=password_stdin, twice=True))
    with_store(context, lambda opened: _accounts(opened).set_password(login, password))
    typer.echo(f"{login} has another password")


@admin.command("remove")
def admin_remove(context: typer.Context, login: Login) -> None:
    """Removes an account, and ends its sessions."""
    with_store(context, lambda opened: _accounts(opened).remove(login))
    typer.echo(f"removed: {login}")


def _accounts(opened: Opened) -> WebAccounts:
    return WebAccounts(opened.database, who=opened.directory.who)


def _value(account: WebAccount) -> dict[str, object]:
    return asdict(account) | {"created_at": moment(account.created_at)}
