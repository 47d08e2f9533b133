"""`onrecord erase`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from onrecord.cli.confirming import Yes, is_confirmed
from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import group
from onrecord.cli.showing import complain, print_json, print_pairs
from store.erasure import Erasure, ErasureReport

__all__ = ["erase"]

erase = group("erase", "Erasing people from the log, for good.")


# With one command and no callback the group would be that command: `onrecord erase ADDRESS`.
@erase.callback()
def erase_itself() -> None:
    """Erasing people from the log, for good."""


@erase.command("contact")
def erase_contact(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Any address of the contact.")],
    portal: PortalName = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erases a contact with everything that names it, and says what was removed, redacted and kept.

    Emails that were the contact's alone lose all content. Emails of other contacts too stay, without this one: their
    fields and text name the address no more, but the message itself (show --raw) is as it was, and its ids are
    reported. Keyed hashes of the addresses keep the contact from coming back by mail or import; contact add --again
    brings it back. Then the database is rewritten, which takes time and room in proportion to its size; mail passes
    meanwhile. Copies of the database that you made elsewhere are not touched. At a terminal it asks first.
    """

    async def work(opened: Opened) -> ErasureReport:
        home = await opened.directory.portal(portal)
        return await Erasure(opened.database, opened.directory, opened.settings.hash_key()).erase(home, address)

    if not is_confirmed(f"Erase {address} and all emails with nobody else?", yes=yes or not sys.stdin.isatty()):
        complain("nothing was erased")
        raise typer.Exit(1)
    report = with_store(context, work)
    if as_json:
        print_json(report.value())
    else:
        _show(report)
    if not report.is_rewritten:
        complain("old pages of the database may still hold what was erased; run the command again when it is less busy")


def _show(report: ErasureReport) -> None:
    print_pairs(
        (
            ("addresses erased", report.addresses),
            ("associations removed", report.associations_removed),
            ("emails redacted", len(report.emails_redacted)),
            ("decisions redacted", report.decisions_redacted),
            ("gaps redacted", report.gaps_redacted),
            ("audit entries redacted", report.audit_entries_redacted),
            ("emails of others, whose octets still name it", report.emails_kept),
            ("Never Log entries kept", report.never_log_entries_kept),
            ("addresses of users kept", report.user_addresses_kept),
            ("messages that wait and name it", report.messages_waiting),
            ("database rewritten", report.is_rewritten),
        )
    )
