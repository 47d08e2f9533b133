"""Commands for the directory: portals and their rule, users, contacts, Never Log.

Whatever a command has changed it shows; where it had nothing to do it says so and succeeds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.directory import NeverLogScope, Rule
from onrecord.cli.importing import import_file
from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.showing import complain, print_json, print_json_stream, print_pairs, print_table
from store.directory import ContactRecord, PortalRecord, UserRecord

__all__ = ["contact", "never_log", "portal", "rule", "user"]

PAGE = 1000  # contacts read at once
LABELS = {Rule.REPLIES_ONLY: "Log replies only", Rule.ALL: "Log all emails"}


def _group(name: str, text: str) -> typer.Typer:
    return typer.Typer(name=name, help=text, no_args_is_help=name != "portal", rich_markup_mode=None)


portal = _group("portal", "Portals: each a tenant of its own. Without a command, lists them.")
rule = _group("rule", "The portal's setting Contact email logging rules.")
user = _group("user", "Users: the people whose correspondence is logged.")
contact = _group("contact", "Contacts: the people with whom correspondence is logged.")
never_log = _group("never-log", "Never Log: addresses and domains that are not logged.")

Bcc = Annotated[str | None, typer.Option("--bcc-address", metavar="ADDRESS", help='The BCC address; "" for none.')]
Forward = Annotated[
    str | None, typer.Option("--forward-address", metavar="ADDRESS", help='The forwarding address; "" for none.')
]
Domains = Annotated[
    list[str] | None,
    typer.Option(
        "--subaddressed-domain",
        metavar="DOMAIN",
        help='Where "+tag" does not count; may be repeated. To be set before the first user and contact.',
    ),
]
Logins = Annotated[
    list[str] | None,
    typer.Option(
        "--service-login",
        metavar="LOGIN",
        help='A login that may send in the name of every user; may be repeated, replaces the list, "" empties it.',
    ),
]
Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account address, or another one of the user.")]
Name = Annotated[str | None, typer.Option("--name", help='The name for people; "" for none.')]
Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="ADDRESS", help='May be repeated; replaces all aliases, "" for none.'),
]
Connected = Annotated[
    list[str] | None,
    typer.Option(
        "--connected",
        metavar="ADDRESS",
        help='A connected personal address; may be repeated, replaces all, "" for none.',
    ),
]
SendAs = Annotated[
    list[str] | None,
    typer.Option(
        "--send-as",
        metavar="USER",
        help='A user in whose name this one may send; may be repeated, replaces all, "" for none.',
    ),
]
OfUser = Annotated[
    str | None, typer.Option("--user", metavar="ACCOUNT", help="The personal list of this user, not the portal's.")
]
Entry = Annotated[str, typer.Argument(metavar="ENTRY", help="a@b, b, @b, *@b, *.b or *@*.b")]


# -- portals ----------------------------------------------------------------------------------------------------------


@portal.callback(invoke_without_command=True)
def portal_itself(context: typer.Context, as_json: AsJson = False) -> None:
    """Portals: each a tenant of its own. Without a command, lists them."""
    if context.invoked_subcommand is None:
        portal_list(context, as_json)


@portal.command("list")
def portal_list(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the portals by name."""

    async def work(store: Opened) -> list[PortalRecord]:
        return await store.directory.portals()

    portals = with_store(context, work)
    if as_json:
        print_json([_portal_value(each) for each in portals])
    elif portals:
        rows = [(each.name, each.rule, each.bcc_address, each.forward_address) for each in portals]
        print_table(("name", "rule", "BCC address", "forwarding address"), rows)
    else:
        complain("there is no portal yet; make one with: onrecord portal add NAME")


@portal.command("add")
def portal_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    rule: Annotated[Rule, typer.Option("--rule", help="Which mail is logged.")] = Rule.REPLIES_ONLY,
    bcc_address: Bcc = None,
    forward_address: Forward = None,
    subaddressed_domain: Domains = None,
    service_login: Logins = None,
    as_json: AsJson = False,
) -> None:
    """Makes a portal."""

    async def work(store: Opened) -> PortalRecord:
        return await store.directory.add_portal(
            name,
            rule=rule,
            bcc_address=bcc_address,
            forward_address=forward_address,
            subaddressed_domains=_listed(subaddressed_domain) or (),
            service_logins=_listed(service_login) or (),
        )

    _show_portal(with_store(context, work), as_json)


@portal.command("show")
def portal_show(context: typer.Context, portal: PortalName = None, as_json: AsJson = False) -> None:
    """Shows a portal with its rule and switches."""

    async def work(store: Opened) -> PortalRecord:
        return await store.directory.portal(portal)

    _show_portal(with_store(context, work), as_json)


@portal.command("set")
def portal_set(
    context: typer.Context,
    portal: PortalName = None,
    bcc_address: Bcc = None,
    forward_address: Forward = None,
    subaddressed_domain: Domains = None,
    service_login: Logins = None,
    never_log_scope: Annotated[
        NeverLogScope | None,
        typer.Option(help="What a Never Log contact hides: itself, or the whole message it is on."),
    ] = None,
    log_internal: Annotated[bool | None, typer.Option(help="Mail among users only.")] = None,
    log_bulk: Annotated[bool | None, typer.Option(help="Bulk mail.")] = None,
    log_calendar: Annotated[bool | None, typer.Option(help="Calendar mail.")] = None,
    log_auto_submitted: Annotated[bool | None, typer.Option(help="Automatic replies.")] = None,
    require_same_subject: Annotated[
        bool | None, typer.Option(help="A reply joins a thread only under its subject.")
    ] = None,
    require_authenticated_sender: Annotated[
        bool | None, typer.Option(help="Incoming mail logs only when its sender is proven.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Changes capture addresses, domains, service logins and switches. The rule has a command of its own: rule set."""
    switches = {
        "never_log_scope": never_log_scope,
        "log_internal": log_internal,
        "log_bulk": log_bulk,
        "log_calendar": log_calendar,
        "log_auto_submitted": log_auto_submitted,
        "require_same_subject": require_same_subject,
        "require_authenticated_sender": require_authenticated_sender,
    }
    chosen: dict[str, Any] = {key: value for key, value in switches.items() if value is not None}

    async def work(store: Opened) -> PortalRecord:
        before = await store.directory.portal(portal)
        return await store.directory.set_portal(
            before.name,
            bcc_address=bcc_address,
            forward_address=forward_address,
            subaddressed_domains=_listed(subaddressed_domain),
            service_logins=_listed(service_login),
            switches=replace(before.switches, **chosen) if chosen else None,
        )

    _show_portal(with_store(context, work), as_json)


@rule.command("show")
def rule_show(context: typer.Context, portal: PortalName = None, as_json: AsJson = False) -> None:
    """Shows which mail the portal logs."""

    async def work(store: Opened) -> PortalRecord:
        return await store.directory.portal(portal)

    _show_rule(with_store(context, work), as_json)


@rule.command("set")
def rule_set(
    context: typer.Context,
    rule: Annotated[
        Rule, typer.Argument(metavar="replies_only|all", help="replies_only: Log replies only. all: Log all emails.")
    ],
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Chooses which mail the portal logs, from now on; what passed before is not gone through again."""

    async def work(store: Opened) -> PortalRecord:
        return await store.directory.set_portal(portal, rule=rule)

    _show_rule(with_store(context, work), as_json)


def _show_rule(record: PortalRecord, as_json: bool) -> None:
    if as_json:
        print_json({"portal": record.name, "rule": record.rule, "label": LABELS[record.rule]})
    else:
        typer.echo(f"{record.name}: {record.rule} ({LABELS[record.rule]})")


def _show_portal(record: PortalRecord, as_json: bool) -> None:
    if as_json:
        print_json(_portal_value(record))
        return
    print_pairs(
        (
            ("name", record.name),
            ("rule", f"{record.rule} ({LABELS[record.rule]})"),
            ("BCC address", record.bcc_address),
            ("forwarding address", record.forward_address),
            ("subaddressed domains", record.subaddressed_domains),
            ("service logins", record.service_logins),
            *asdict(record.switches).items(),
        )
    )


def _portal_value(record: PortalRecord) -> dict[str, Any]:
    return asdict(record)


# -- users ------------------------------------------------------------------------------------------------------------


@user.command("add")
def user_add(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account address.")],
    portal: PortalName = None,
    name: Name = None,
    alias: Aliases = None,
    connected: Connected = None,
    send_as: SendAs = None,
    personal_email_access: Annotated[bool, typer.Option(help="Whether the user lets connected mail be logged.")] = True,
    active: Annotated[bool, typer.Option("--active/--inactive")] = True,
    as_json: AsJson = False,
) -> None:
    """Adds a user. Mail of a connected address is logged; the account address alone opens nothing."""

    async def work(store: Opened) -> UserRecord:
        return await store.directory.add_user(
            portal,
            account,
            name=name,
            aliases=_listed(alias) or (),
            connected=_listed(connected) or (),
            send_as=_listed(send_as) or (),
            personal_email_access=personal_email_access,
            active=active,
        )

    _show_user(with_store(context, work), as_json)


@user.command("list")
def user_list(context: typer.Context, portal: PortalName = None, as_json: AsJson = False) -> None:
    """Lists the users by account."""

    async def work(store: Opened) -> list[UserRecord]:
        return await store.directory.users(portal)

    users = with_store(context, work)
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

    async def work(store: Opened) -> UserRecord:
        return await store.directory.user(portal, account)

    _show_user(with_store(context, work), as_json)


@user.command("set")
def user_set(
    context: typer.Context,
    account: Account,
    portal: PortalName = None,
    name: Name = None,
    alias: Aliases = None,
    connected: Connected = None,
    send_as: SendAs = None,
    personal_email_access: Annotated[
        bool | None, typer.Option(help="Whether the user lets connected mail be logged.")
    ] = None,
    active: Annotated[bool | None, typer.Option("--active/--inactive")] = None,
    as_json: AsJson = False,
) -> None:
    """Changes what is named and leaves the rest; a list that is named replaces the list that was there."""

    async def work(store: Opened) -> UserRecord:
        return await store.directory.set_user(
            portal,
            account,
            name=name,
            aliases=_listed(alias),
            connected=_listed(connected),
            send_as=_listed(send_as),
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


# -- contacts ---------------------------------------------------------------------------------------------------------


@contact.command("add")
def contact_add(
    context: typer.Context,
    primary: Annotated[str, typer.Argument(metavar="ADDRESS", help="The primary address.")],
    portal: PortalName = None,
    other: Annotated[
        list[str] | None, typer.Option("--other", metavar="ADDRESS", help="A further address; may be repeated.")
    ] = None,
    name: Name = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="ACCOUNT", help="The user who owns it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Adds a contact."""

    async def work(store: Opened) -> ContactRecord:
        return await store.directory.add_contact(
            portal, primary, others=_listed(other) or (), name=name, owner=owner or None
        )

    _show_contact(with_store(context, work), as_json)


@contact.command("list")
def contact_list(
    context: typer.Context,
    portal: PortalName = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="NUMBER", help="At most so many; else all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lists the contacts, the oldest first."""

    async def work(store: Opened) -> None:
        pages = _contact_pages(store, portal, limit)
        if as_json:
            await print_json_stream(asdict(each) async for page in pages async for each in _each(page))
            return
        number = 0
        async for page in pages:
            number += len(page)
            print_table(
                ("primary", "name", "owner", "other addresses"),
                ((each.primary, each.name, each.owner, each.addresses[1:]) for each in page),
            )
        if not number:
            complain("the portal has no contacts; add some with: onrecord contact import FILE.csv")

    with_store(context, work)


async def _contact_pages(store: Opened, portal: str | None, limit: int | None) -> AsyncIterator[list[ContactRecord]]:
    """All contacts in pages, so that a million of them take no more memory than a thousand."""
    after, left = 0, limit
    while left is None or left > 0:
        page = await store.directory.contacts(portal, after=after, limit=PAGE if left is None else min(PAGE, left))
        if not page:
            return
        yield page
        after = page[-1].id
        left = None if left is None else left - len(page)


async def _each(page: list[ContactRecord]) -> AsyncIterator[ContactRecord]:
    for record in page:
        yield record


@contact.command("show")
def contact_show(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Any address of the contact.")],
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Shows a contact."""

    async def work(store: Opened) -> ContactRecord:
        return await store.directory.contact(portal, address)

    _show_contact(with_store(context, work), as_json)


def _show_contact(record: ContactRecord, as_json: bool) -> None:
    if as_json:
        print_json(asdict(record))
        return
    print_pairs(
        (
            ("primary", record.primary),
            ("other addresses", record.addresses[1:]),
            ("name", record.name),
            ("owner", record.owner),
            ("portal", record.portal),
        )
    )


@contact.command("import")
def contact_import(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv")],
    portal: PortalName = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the refused lines to this file as well.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Adds the contacts of a CSV file in UTF-8, of any length.

    The first line names the columns: email, name (or first name and last name), other addresses, owner; others are
    passed over. Values are separated by "," or ";". Contacts that exist already are counted and left as they are. A
    line that cannot be taken is reported with the reason, and the rest is imported.

    The exit status is 0 when the file was read to its end, also when lines were refused; 1 when the file or the store
    could not be used: run it again then, what was imported before stays; 2 when the command line was wrong.
    """

    async def work(store: Opened) -> None:
        await import_file(store, file, portal=portal, report=report, as_json=as_json)

    with_store(context, work)


# -- Never Log --------------------------------------------------------------------------------------------------------


@never_log.command("add")
def never_log_add(context: typer.Context, entry: Entry, portal: PortalName = None, user: OfUser = None) -> None:
    """Puts an entry on the portal's list, or on a user's own."""

    async def work(store: Opened) -> str:
        return await store.directory.add_never_log(portal, entry, user=user)

    typer.echo(f"never logged: {with_store(context, work)}")


@never_log.command("list")
def never_log_list(
    context: typer.Context, portal: PortalName = None, user: OfUser = None, as_json: AsJson = False
) -> None:
    """Lists the entries of the portal's list, or of a user's own."""

    async def work(store: Opened) -> list[str]:
        return await store.directory.never_log(portal, user=user)

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

    async def work(store: Opened) -> str:
        return await store.directory.remove_never_log(portal, entry, user=user)

    typer.echo(f"taken off the list: {with_store(context, work)}")


def _listed(values: list[str] | None) -> list[str] | None:
    """An option that may be repeated: `None` when it was not given; an empty value empties the list."""
    return None if values is None else [each for each in values if each.strip()]
