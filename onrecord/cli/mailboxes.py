"""`onrecord mailbox`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import group, moment_given
from onrecord.cli.passwords import PasswordStdin, read_password
from onrecord.cli.reading_mailboxes import Since, backfill_mailbox, mailbox_backfill, mailbox_log_folder
from onrecord.cli.showing import complain, print_json, print_pairs, print_table
from onrecord.connecting import Connecting, Wanted
from onrecord.written import moment
from store.mailbox_state import MailboxState
from store.mailboxes import MailboxRecord

__all__ = ["mailbox"]

mailbox = group("mailbox", "Connected mailboxes: users' own mailboxes, which onrecord may open.")


Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The address whose mailbox it is.")]
T = TypeVar("T")


@mailbox.command("connect")
def mailbox_connect(
    context: typer.Context,
    address: Address,
    user: Annotated[str, typer.Option("--user", metavar="ACCOUNT", help="The user whose mailbox it is.")],
    portal: PortalName = None,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where it lies; else the domain of the address says.")
    ] = None,
    login: Annotated[str | None, typer.Option(metavar="LOGIN", help="The login, where it is not the address.")] = None,
    password_stdin: Annotated[bool, PasswordStdin] = False,
    oauth: Annotated[
        str | None,
        typer.Option(metavar="ISSUER", help="Consent by OAuth 2: google, microsoft, or as settings name it."),
    ] = None,
    device: Annotated[bool, typer.Option("--device", help="Consent on another device, by a code.")] = False,
    redirect_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where the browser comes back to, such as a port that ssh forwards.")
    ] = 0,
    since: Annotated[str | None, Since] = None,
    as_json: AsJson = False,
) -> None:
    """Connects a mailbox, or connects it anew, after a login with it has worked. Its address is connected too.

    What comes from now on is logged; with --since, what came since then too.
    """
    start = moment_given(since) if since is not None else None
    wanted = Wanted(
        address=address, user=user, is_read=since is not None, portal=portal, provider=provider, login=login
    )
    if oauth is not None and password_stdin:
        raise typer.BadParameter("goes with a password; leave it out, or --oauth", param_hint="--password-stdin")
    if oauth is None and (device or redirect_port):
        raise typer.BadParameter("goes with --oauth ISSUER", param_hint="--device" if device else "--redirect-port")
    password = read_password(from_stdin=password_stdin, otherwise=", or --oauth ISSUER") if oauth is None else None

    async def connected(connecting: Connecting) -> MailboxRecord:
        if password is not None:
            return await connecting.by_password(wanted, password)
        assert oauth is not None
        if device:
            return await connecting.by_device(wanted, oauth)
        return await connecting.by_browser(wanted, oauth, port=redirect_port)

    async def work(connecting: Connecting, opened: Opened) -> None:
        record = await connected(connecting)
        if not as_json:
            typer.echo(f"{record.address} is connected for {record.user}, at {record.server} by {record.mechanism}")
        counts = await backfill_mailbox(opened, record, start) if start is not None else None
        if as_json:
            print_json(_value(record) | ({"backfilled": dict(counts)} if counts is not None else {}))
        elif counts is not None:
            print_pairs((name.replace("_", " "), number) for name, number in counts.items())

    _connecting(context, work)


mailbox.command("backfill")(mailbox_backfill)
mailbox.command("log-folder")(mailbox_log_folder)


@mailbox.command("list")
def mailbox_list(context: typer.Context, portal: PortalName = None, as_json: AsJson = False) -> None:
    """Lists the connected mailboxes by address."""

    async def work(connecting: Connecting, opened: Opened) -> list[MailboxRecord]:
        return await connecting.mailboxes.all(await opened.directory.portal(portal))

    records = _connecting(context, work)
    if as_json:
        print_json([_value(each) for each in records])
    elif records:
        rows = [
            (each.address, each.user, each.server, each.issuer or "password", each.state, each.observer or "")
            for each in records
        ]
        print_table(("address", "user", "server", "by", "state", "observer"), rows)
    else:
        complain("no mailbox is connected; connect one with: onrecord mailbox connect ADDRESS --user ACCOUNT")


@mailbox.command("status")
def mailbox_status(
    context: typer.Context,
    address: Annotated[str | None, typer.Argument(metavar="ADDRESS", help="One mailbox only.")] = None,
    portal: PortalName = None,
    try_now: Annotated[bool, typer.Option("--try", help="Log in now, and say whether that worked.")] = False,
    as_json: AsJson = False,
) -> None:
    """Says how the mailboxes are; exit status 1 when one needs to be connected again or could not be opened."""

    async def work(connecting: Connecting, opened: Opened) -> list[tuple[MailboxRecord, str | None]]:
        home = await opened.directory.portal(portal)
        mailboxes = connecting.mailboxes
        found = await mailboxes.all(home) if address is None else [await mailboxes.mailbox(home, address)]
        if not try_now:
            return [(each, None) for each in found]
        troubles = [await connecting.try_now(each) for each in found]
        return [(await mailboxes.mailbox(home, each.address), text) for each, text in zip(found, troubles, strict=True)]

    found = _connecting(context, work)
    if as_json:
        print_json([_value(record, text, tried=try_now) for record, text in found])
    elif not found:
        complain("no mailbox is connected; connect one with: onrecord mailbox connect ADDRESS --user ACCOUNT")
    for number, (record, text) in enumerate(found if not as_json else ()):
        if number:
            typer.echo()
        value = _value(record, text, tried=try_now)
        print_pairs((name.replace("_", " "), each) for name, each in value.items() if name != "id")
    if any(text is not None or record.state is MailboxState.NEEDS_RECONNECT for record, text in found):
        raise typer.Exit(1)


@mailbox.command("disconnect")
def mailbox_disconnect(context: typer.Context, address: Address, portal: PortalName = None) -> None:
    """Forgets a mailbox with its password or tokens. What was logged stays, and the address stays connected.

    A consent of OAuth 2 is revoked at the issuer, if that can be done; it says whether it was.
    """

    async def work(connecting: Connecting, opened: Opened) -> None:
        home = await opened.directory.portal(portal)
        forgotten = await connecting.mailboxes.disconnect(opened.directory, home, address)
        typer.echo(f"{forgotten.record.address} is disconnected")
        if forgotten.record.issuer is not None:
            ending = await connecting.take_back(forgotten)
            tell = typer.echo if ending.is_revoked else complain
            tell(ending.text)

    _connecting(context, work)


@mailbox.command("rekey")
def mailbox_rekey(context: typer.Context) -> None:
    """Makes a new sealing key, and seals the secrets of all mailboxes with it."""

    async def work(connecting: Connecting, opened: Opened) -> tuple[int, list[bytes]]:
        return await connecting.rekey()

    number, unused = _connecting(context, work)
    typer.echo(f"sealed anew: {number}")
    if unused:
        complain(f"take these keys away where you keep them: {', '.join(each.hex() for each in unused)}")


def _connecting(context: typer.Context, work: Callable[[Connecting, Opened], Awaitable[T]]) -> T:
    async def main(opened: Opened) -> T:
        connecting = Connecting(opened.settings, opened.database, opened.directory, tell=complain)
        try:
            return await work(connecting, opened)
        finally:
            connecting.close()

    return with_store(context, main)


def _value(record: MailboxRecord, text: str | None = None, *, tried: bool = False) -> dict[str, Any]:
    """A mailbox as `--json` gives it."""
    value = {
        "id": record.id,
        "portal": record.portal,
        "user": record.user,
        "address": record.address,
        "server": record.server,
        "login": record.login,
        "mechanism": record.mechanism,
        "oauth": record.issuer,
        "state": record.state,
        "state_since": moment(record.changed_at),
        "trouble": record.trouble,
        "connected_at": moment(record.connected_at),
        "observer": record.observer,
        "observer_since": moment(record.observer_at),
    }
    return value | ({"opens_now": text is None, "why_not": text} if tried else {})
