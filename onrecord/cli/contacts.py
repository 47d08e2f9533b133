"""`onrecord contact`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from onrecord.cli.importing import import_file
from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import Name, group, listed
from onrecord.cli.showing import complain, print_json, print_json_stream, print_pairs, print_table
from store.directory import ContactRecord

__all__ = ["contact"]

PAGE = 1000  # contacts read at once

contact = group("contact", "Contacts: the people with whom correspondence is logged.")


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
    again: Annotated[bool, typer.Option("--again", help="Even if the contact was erased.")] = False,
    as_json: AsJson = False,
) -> None:
    """Adds a contact. One that was erased comes back only with --again."""

    async def work(opened: Opened) -> ContactRecord:
        return await opened.directory.add_contact(
            portal, primary, others=listed(other) or (), name=name, owner=owner or None, again=again
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

    async def work(opened: Opened) -> None:
        pages = _contact_pages(opened, portal, limit)
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


@contact.command("show")
def contact_show(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Any address of the contact.")],
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Shows a contact."""
    _show_contact(with_store(context, lambda opened: opened.directory.contact(portal, address)), as_json)


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

    async def work(opened: Opened) -> None:
        await import_file(opened, file, portal=portal, report=report, as_json=as_json)

    with_store(context, work)


async def _contact_pages(opened: Opened, portal: str | None, limit: int | None) -> AsyncIterator[list[ContactRecord]]:
    """All contacts in pages, so that a million of them take no more memory than a thousand."""
    after, left = 0, limit
    while left is None or left > 0:
        page = await opened.directory.contacts(portal, after=after, limit=PAGE if left is None else min(PAGE, left))
        if not page:
            return
        yield page
        after = page[-1].id
        left = None if left is None else left - len(page)


async def _each(page: list[ContactRecord]) -> AsyncIterator[ContactRecord]:
    for record in page:
        yield record


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
