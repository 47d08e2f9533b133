"""Commands that look into the log: emails, one email, decisions, and why a message was logged or not."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from engine.decision import Direction
from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import LIMIT, TIMES, Identifier, Limit, moment_given
from onrecord.cli.showing import complain, print_json, print_pairs, print_table
from onrecord.telling import decision_value, email_value, nothing_known, tell
from onrecord.written import moment, visible
from store.reading import DecisionRecord, EmailRecord, Explanation, Reading
from store.search import Search

__all__ = ["decisions", "emails", "explain", "show", "show_explanation"]


def emails(
    context: typer.Context,
    portal: PortalName = None,
    contact: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only with this contact.")] = None,
    user: Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Only attributed to this user.")] = None,
    direction: Annotated[Direction | None, typer.Option(help="Only of this direction.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help=f"Only captured since: {TIMES}."),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help='Only with these words; also "in order", begin* and -without.'),
    ] = None,
    limit: Limit = LIMIT,
    as_json: AsJson = False,
) -> None:
    """Lists logged emails, the newest first."""
    earliest = moment_given(since) if since is not None else None

    async def work(opened: Opened) -> list[EmailRecord]:
        home = await opened.directory.portal(portal)
        with_ = (await opened.directory.contact(home.name, contact)).id if contact else None
        of = (await opened.directory.user(home.name, user)).id if user else None
        if search is None:
            return await _reading(opened).emails(
                home.id, contact=with_, user=of, direction=direction, since=earliest, limit=limit
            )
        found = await Search(opened.database).emails(
            home.id, search, contact=with_, user=of, direction=direction, since=earliest, limit=limit
        )
        return [each.email for each in found]

    found = with_store(context, work)
    if as_json:
        print_json([email_value(each) for each in found])
    elif found:
        print_table(
            ("id", "captured", "direction", "from", "contacts", "user", "subject"),
            (
                (each.id, moment(each.at), each.direction, each.sender, each.contacts, each.user, each.subject)
                for each in found
            ),
        )
    else:
        complain("no emails are logged that fit; see what was decided with: onrecord decisions")


def show(
    context: typer.Context,
    identifier: Identifier,
    raw: Annotated[bool, typer.Option("--raw", help="Print the message itself, octet by octet.")] = False,
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Shows a logged email."""

    async def work(opened: Opened) -> EmailRecord | None:
        home = await opened.directory.portal(portal) if portal is not None else None
        reading = _reading(opened)
        email = await reading.email(identifier, portal=home.id if home else None)
        if email is not None and raw:
            await _write_raw(reading, email)
        return email

    email = with_store(context, work)
    if email is None:
        where = f" in portal {portal}" if portal is not None else ""
        complain(f"there is no logged email with the id {identifier}{where}; see: onrecord emails")
        raise typer.Exit(1)
    if raw:
        return
    if as_json:
        print_json(email_value(email))
    else:
        _show_email(email)


def decisions(
    context: typer.Context,
    message_id: Annotated[
        str | None, typer.Option("--message-id", metavar="ID", help="Only of this message, with or without <>.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only skipped messages with this outside address.")
    ] = None,
    portal: PortalName = None,
    limit: Limit = LIMIT,
    as_json: AsJson = False,
) -> None:
    """Lists what was decided, the newest first."""

    async def work(opened: Opened) -> list[DecisionRecord]:
        home = await opened.directory.portal(portal)
        return await _reading(opened).decisions(home.id, message_id=message_id, address=address, limit=limit)

    found = with_store(context, work)
    if as_json:
        print_json(_values(found))
    elif found:
        print_table(
            ("at", "decision", "reason", "explanation"),
            ((value["at"], value["decision"], value["reason"], value["explanation"]) for value in _values(found)),
        )
    else:
        complain("no decisions that fit" if message_id is None else nothing_known(message_id))


def explain(
    context: typer.Context,
    message_id: Annotated[str, typer.Argument(metavar="MESSAGE-ID", help="With or without <>.")],
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Says why a message was logged or not. Exit status 1 when nothing is known of it."""

    async def work(opened: Opened) -> Explanation:
        home = await opened.directory.portal(portal)
        return await _reading(opened).explain(home.id, message_id)

    found = with_store(context, work)
    show_explanation(found, as_json=as_json)
    if found.is_empty:
        raise typer.Exit(1)


def show_explanation(found: Explanation, *, as_json: bool) -> None:
    """What is known of a message, for people or programs."""
    if as_json:
        print_json(
            {
                "message_id": found.message_id,
                "decisions": _values(found.decisions),
                "email": email_value(found.emails[0]) if found.emails else None,
                "explanation": tell(found),
            }
        )
    elif found.is_empty:
        complain(tell(found))
    else:
        typer.echo(tell(found))
        if found.decisions:
            typer.echo()
            print_table(
                ("at", "source", "decision", "reason"),
                ((each["at"], each["source"], each["decision"], each["reason"]) for each in _values(found.decisions)),
            )
        for email in found.emails:
            typer.echo(f"\nonrecord show {email.id}")


def _values(records: Sequence[DecisionRecord]) -> list[dict[str, Any]]:
    return [decision_value(each) for each in records]


async def _write_raw(reading: Reading, email: EmailRecord) -> None:
    """The octets to standard output; what the store no longer has whole is said, and exit status 1."""
    digest = hashlib.sha256()
    async for octets in reading.content(email.id):
        digest.update(octets)
        sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()
    if digest.hexdigest() != email.content:
        complain(f"the content of email {email.id} is damaged or missing in the store; restore it from a backup")
        raise typer.Exit(1)


def _show_email(email: EmailRecord) -> None:
    value = email_value(email)
    captures = [f"{each['source']} {each['at']}" for each in value.pop("captures")]
    attachments = [f"{each['name'] or '(no name)'} ({each['type']}, {each['size']})" for each in value["attachments"]]
    print_pairs((value | {"captures": captures, "attachments": attachments}).items())
    if email.text:
        typer.echo("\n" + visible(email.text.replace("\r\n", "\n")))


def _reading(opened: Opened) -> Reading:
    return Reading(opened.database, opened.settings.hash_key())
