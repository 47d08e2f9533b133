"""`onrecord email` and `onrecord audit`: changes of the log by hand, and who made which."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer

from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import LIMIT, Identifier, Limit, group
from onrecord.cli.showing import complain, print_json, print_table
from onrecord.written import moment
from store.audit import AuditEntry, audit_entries
from store.corrections import Corrections

__all__ = ["audit", "email"]

email = group("email", "Changes of one logged email by hand. They stick: later captures do not undo them.")

T = TypeVar("T")
ContactAddress = Annotated[str, typer.Argument(metavar="CONTACT", help="Any address of the contact.")]


@email.command("reassign")
def email_reassign(
    context: typer.Context,
    identifier: Identifier,
    account: Annotated[str, typer.Argument(metavar="USER", help="Any address of the user.")],
) -> None:
    """Gives the email to another user of its portal."""
    user = _correct(context, lambda corrections: corrections.reassign(identifier, account))
    typer.echo(f"email {identifier} belongs to {user.account}")


@email.command("unlink")
def email_unlink(context: typer.Context, identifier: Identifier, contact: ContactAddress) -> None:
    """Takes the email away from a contact; it stays with the others."""
    unlinked = _correct(context, lambda corrections: corrections.unlink(identifier, contact))
    typer.echo(f"email {identifier} is no longer with {unlinked.primary}")


@email.command("add-contact")
def email_add_contact(context: typer.Context, identifier: Identifier, contact: ContactAddress) -> None:
    """Shows the email with a further contact of its portal."""
    added = _correct(context, lambda corrections: corrections.add_contact(identifier, contact))
    typer.echo(f"email {identifier} is with {added.primary} too")


@email.command("delete")
def email_delete(context: typer.Context, identifier: Identifier) -> None:
    """Erases what the email said. A later capture of the same message does not bring it back."""
    _correct(context, lambda corrections: corrections.delete(identifier))
    typer.echo(f"email {identifier} is deleted")


@email.command("stop-thread")
def email_stop_thread(context: typer.Context, identifier: Identifier) -> None:
    """Logs nothing more of the thread of the email; what was logged stays."""
    _correct(context, lambda corrections: corrections.stop_thread(identifier))
    typer.echo(f"nothing more of the thread of email {identifier} is logged")


@email.command("resume-thread")
def email_resume_thread(context: typer.Context, identifier: Identifier) -> None:
    """Logs the thread of the email again, from now on."""
    _correct(context, lambda corrections: corrections.resume_thread(identifier))
    typer.echo(f"the thread of email {identifier} is logged again")


def audit(
    context: typer.Context,
    portal: PortalName = None,
    limit: Limit = LIMIT,
    as_json: AsJson = False,
) -> None:
    """Lists who changed what by these commands, the newest first; of all portals unless one is named."""

    async def work(opened: Opened) -> list[AuditEntry]:
        home = await opened.directory.portal(portal) if portal is not None else None
        return await audit_entries(opened.database, home.id if home else None, limit=limit)

    found = with_store(context, work)
    if as_json:
        print_json([asdict(each) | {"at": moment(each.at, timespec="milliseconds")} for each in found])
    elif found:
        print_table(
            ("at", "who", "portal", "action", "subject", "before", "after"),
            (
                (moment(each.at), each.who, each.portal, each.action, each.subject, each.before, each.after)
                for each in found
            ),
        )
    else:
        complain("nothing was changed yet")


def _correct(context: typer.Context, change: Callable[[Corrections], Awaitable[T]]) -> T:
    """Makes one change; what it gives back."""
    return with_store(context, lambda opened: change(Corrections(opened.database, opened.directory)))
