"""`onrecord portal` and `onrecord rule`."""

from __future__ import annotations

from dataclasses import asdict, replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from engine.directory import NeverLogScope, Rule
from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import group, listed, replacing
from onrecord.cli.showing import complain, print_json, print_pairs, print_table
from store.directory import PortalRecord

__all__ = ["portal", "rule"]

LABELS = {Rule.REPLIES_ONLY: "Log replies only", Rule.ALL: "Log all emails"}

portal = group("portal", "Portals: each a tenant of its own. Without a command, lists them.", needs_command=False)
rule = group("rule", "The portal's setting Contact email logging rules.")

Bcc = Annotated[str | None, typer.Option("--bcc-address", metavar="ADDRESS", help='The BCC address; "" for none.')]
Forward = Annotated[
    str | None, typer.Option("--forward-address", metavar="ADDRESS", help='The forwarding address; "" for none.')
]
Domains = Annotated[
    list[str] | None,
    replacing(
        "--subaddressed-domain", "DOMAIN", 'Where "+tag" does not count, to be set before the first user and contact'
    ),
]
Logins = Annotated[
    list[str] | None, replacing("--service-login", "LOGIN", "A login that may send in the name of every user")
]
AuthservIds = Annotated[
    list[str] | None,
    replacing("--authserv-id", "NAME", "A server whose Authentication-Results prove who sent a message"),
]


class Kind(StrEnum):
    """Which capture address."""

    BCC = "bcc"
    FORWARD = "forward"


@portal.callback(invoke_without_command=True)
def portal_itself(context: typer.Context, as_json: AsJson = False) -> None:
    """Portals: each a tenant of its own. Without a command, lists them."""
    if context.invoked_subcommand is None:
        portal_list(context, as_json)


@portal.command("list")
def portal_list(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the portals by name."""
    portals = with_store(context, lambda opened: opened.directory.portals())
    if as_json:
        print_json([asdict(each) for each in portals])
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
    authserv_id: AuthservIds = None,
    as_json: AsJson = False,
) -> None:
    """Makes a portal."""

    async def work(opened: Opened) -> PortalRecord:
        return await opened.directory.add_portal(
            name,
            rule=rule,
            bcc_address=bcc_address,
            forward_address=forward_address,
            subaddressed_domains=listed(subaddressed_domain) or (),
            service_logins=listed(service_login) or (),
            authserv_ids=listed(authserv_id) or (),
        )

    _show_portal(with_store(context, work), as_json)


@portal.command("show")
def portal_show(context: typer.Context, portal: PortalName = None, as_json: AsJson = False) -> None:
    """Shows a portal with its rule and switches."""
    _show_portal(with_store(context, lambda opened: opened.directory.portal(portal)), as_json)


@portal.command("set")
def portal_set(
    context: typer.Context,
    portal: PortalName = None,
    bcc_address: Bcc = None,
    forward_address: Forward = None,
    subaddressed_domain: Domains = None,
    service_login: Logins = None,
    authserv_id: AuthservIds = None,
    never_log_scope: Annotated[
        NeverLogScope | None,
        typer.Option(help="What a Never Log contact hides: itself, or the whole message it is on."),
    ] = None,
    log_internal: Annotated[bool | None, typer.Option(help="Mail among users only.")] = None,
    log_bulk: Annotated[bool | None, typer.Option(help="Bulk mail.")] = None,
    log_calendar: Annotated[bool | None, typer.Option(help="Calendar mail.")] = None,
    log_auto_submitted: Annotated[bool | None, typer.Option(help="Automatic replies.")] = None,
    forward_creates_contacts: Annotated[
        bool | None, typer.Option(help="A forward makes contacts of the people it is from or to.")
    ] = None,
    require_same_subject: Annotated[
        bool | None, typer.Option(help="A reply joins a thread only under its subject.")
    ] = None,
    require_authenticated_sender: Annotated[
        bool | None, typer.Option(help="Incoming mail logs only when its sender is proven.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Changes capture addresses, domains, service logins, servers to trust and switches.

    The rule has a command of its own: rule set.
    """
    # Long because every switch is an option, which typer wants as an argument.
    switches = {
        "never_log_scope": never_log_scope,
        "log_internal": log_internal,
        "log_bulk": log_bulk,
        "log_calendar": log_calendar,
        "log_auto_submitted": log_auto_submitted,
        "forward_creates_contacts": forward_creates_contacts,
        "require_same_subject": require_same_subject,
        "require_authenticated_sender": require_authenticated_sender,
    }
    chosen: dict[str, Any] = {key: value for key, value in switches.items() if value is not None}

    async def work(opened: Opened) -> PortalRecord:
        before = await opened.directory.portal(portal)
        return await opened.directory.set_portal(
            before.name,
            bcc_address=bcc_address,
            forward_address=forward_address,
            subaddressed_domains=listed(subaddressed_domain),
            service_logins=listed(service_login),
            authserv_ids=listed(authserv_id),
            switches=replace(before.switches, **chosen) if chosen else None,
        )

    _show_portal(with_store(context, work), as_json)


@portal.command("rotate-address")
def portal_rotate_address(
    context: typer.Context,
    kind: Annotated[Kind, typer.Argument(metavar="bcc|forward", help="Which of the portal's capture addresses.")],
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Makes a new capture address that nobody can guess; the old one stops at once."""
    record = with_store(context, lambda opened: opened.directory.rotate_address(portal, kind))
    address = record.bcc_address if kind is Kind.BCC else record.forward_address
    if as_json:
        print_json({"portal": record.name, f"{kind}_address": address})
    else:
        typer.echo(address)


@rule.command("show")
def rule_show(context: typer.Context, portal: PortalName = None, as_json: AsJson = False) -> None:
    """Shows which mail the portal logs."""
    _show_rule(with_store(context, lambda opened: opened.directory.portal(portal)), as_json)


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
    _show_rule(with_store(context, lambda opened: opened.directory.set_portal(portal, rule=rule)), as_json)


def _show_rule(record: PortalRecord, as_json: bool) -> None:
    if as_json:
        print_json({"portal": record.name, "rule": record.rule, "label": LABELS[record.rule]})
    else:
        typer.echo(f"{record.name}: {record.rule} ({LABELS[record.rule]})")


def _show_portal(record: PortalRecord, as_json: bool) -> None:
    if as_json:
        print_json(asdict(record))
        return
    print_pairs(
        (
            ("name", record.name),
            ("rule", f"{record.rule} ({LABELS[record.rule]})"),
            ("BCC address", record.bcc_address),
            ("forwarding address", record.forward_address),
            ("subaddressed domains", record.subaddressed_domains),
            ("service logins", record.service_logins),
            ("trusted authserv-ids", record.authserv_ids),
            *asdict(record.switches).items(),
        )
    )
