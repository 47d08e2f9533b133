"""`onrecord preview` and `onrecord reevaluate`: today's rules over the decisions that were kept."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from engine.directory import Rule
from onrecord.cli.confirming import Yes
from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import TIMES, moment_given
from onrecord.cli.reading_mailboxes import reading_progress
from onrecord.cli.showing import complain, print_json, print_pairs, print_table
from onrecord.refetching import Refetching
from onrecord.written import moment
from store.directory import PortalRecord
from store.recording import DAY
from store.reevaluation import Preview, Reevaluated, Reevaluation, Would

__all__ = ["preview", "reevaluate"]

Days = Annotated[float, typer.Option(min=0, metavar="NUMBER", help="Decisions of the last so many days.")]


def preview(
    context: typer.Context,
    rule: Annotated[
        Rule, typer.Option(metavar="replies_only|all", help="The rule to try; nothing is changed.", show_default=False)
    ],
    days: Days = 30,
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Says what a rule would log, by contact and user, before it is chosen with: rule set.

    It judges the decisions that were kept, by the contacts, users, lists and switches of today. Of a message that was
    not logged nothing else is kept, so some cannot be told and are counted as unknown, and none can be shown. Decisions
    older than recorder.keep_skipped_days are gone.
    """

    async def work(opened: Opened) -> tuple[PortalRecord, Preview]:
        home = await opened.directory.portal(portal)
        _warn_of_age(opened, days)
        return home, await _reevaluation(opened).preview(home, since=time.time() - days * DAY, rule=rule)

    home, found = with_store(context, work)
    if as_json:
        print_json({"portal": home.name, "rule": rule, "days": days} | _preview_value(found))
    else:
        _show_preview(found, rule)


def reevaluate(
    context: typer.Context,
    days: Days = 30,
    mail_since: Annotated[
        str | None,
        typer.Option(
            "--mail-since",
            metavar="TIME",
            help=f"Look in mailboxes through what came since: {TIMES}. Else: a day before the oldest was seen.",
            show_default=False,
        ),
    ] = None,
    portal: PortalName = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Logs now what was not logged then and would be today; without --yes only says what that is.

    An email of the log is given to contacts made since that take part in it, a message that is in the log by another
    way joins that email, and one that still waits for what it answers is logged by the recorder at its next turn. All
    others are looked for in the connected mailboxes of their users, and fetched.
    What is found nowhere is listed with the keyed hashes of its Message-ID and addresses, the time and the user.
    """
    start = moment_given(mail_since, "--mail-since") if mail_since is not None else None

    async def work(opened: Opened) -> tuple[PortalRecord, Preview, Reevaluated]:
        home = await opened.directory.portal(portal)
        _warn_of_age(opened, days)
        reevaluation = _reevaluation(opened)
        found = await reevaluation.preview(home, since=time.time() - days * DAY)
        if not yes:
            return home, found, Reevaluated()
        done = await reevaluation.carry_out(home, found)
        if done.missing or found.untold:
            refetching = Refetching(
                settings=opened.settings,
                database=opened.database,
                directory=opened.directory,
                reevaluation=reevaluation,
                home=home,
                start=start,
                progress=reading_progress,
                complain=complain,
            )
            await refetching.log_missing(done, found.untold)
        return home, found, done

    home, found, done = with_store(context, work)
    if as_json:
        value = {"portal": home.name, "rule": home.rule, "days": days} | _preview_value(found)
        print_json(value | {"done": _done_value(done) if yes else None})
    elif yes:
        _show_done(done)
    else:
        _show_preview(found, home.rule)
        complain("nothing was logged; to log what can be, add --yes")


def _warn_of_age(opened: Opened, days: float) -> None:
    kept = opened.settings.recorder.keep_skipped_days
    if days > kept:
        complain(f"of messages that were not logged, decisions are kept for {kept:g} days (recorder.keep_skipped_days)")


def _reevaluation(opened: Opened) -> Reevaluation:
    return Reevaluation(opened.database, opened.directory, opened.settings.hash_key())


def _preview_value(found: Preview) -> dict[str, Any]:
    return {
        "decisions": found.decisions,
        "in_the_log": found.logged,
        "would_be_logged": len(found.would),
        "no_longer_logged": found.no_longer,
        "further_contacts": len(found.later),
        "unknown": found.unknown,
        "contacts": [{"contact": each, "emails": number} for each, number in found.contacts.most_common()],
        "users": [{"user": each, "emails": number} for each, number in found.users.most_common()],
    }


def _show_preview(found: Preview, rule: Rule) -> None:
    print_pairs(
        (
            ("rule", rule),
            ("decisions kept", found.decisions),
            ("logged, and would be again", found.logged),
            ("not logged, and would be", len(found.would)),
            ("logged, and would not be", found.no_longer),
            ("logged, and would be with a further contact", len(found.later)),
            ("cannot be told without the message", found.unknown),
        )
    )
    for title, numbers in (("contact", found.contacts), ("user", found.users)):
        if numbers:
            typer.echo()
            print_table((title, "emails"), numbers.most_common())


def _done_value(done: Reevaluated) -> dict[str, Any]:
    return {
        "further_contacts": done.extended,
        "recorded": [_done_one(each, done) | {"email": email} for each, email in done.recorded],
        "waiting": [_done_one(each, done) for each in done.woken],
        "missing": [_would_value(each) for each in done.missing],
    }


def _done_one(would: Would, done: Reevaluated) -> dict[str, Any]:
    """`mailbox` is where it was fetched from, if it was."""
    return _would_value(would) | {"mailbox": done.mailboxes.get(would.decision)}


def _would_value(would: Would) -> dict[str, Any]:
    return {
        "at": moment(would.at, timespec="milliseconds"),
        "user": would.account,
        "contacts": [each.primary for each in would.contacts],
        "hashes": sorted(would.hashes),
    }


def _show_done(done: Reevaluated) -> None:
    print_pairs(
        (
            ("logged", len(done.recorded)),
            ("fetched from mailboxes for that", len(done.mailboxes)),
            ("given to a further contact", done.extended),
            ("handed to the recorder", len(done.woken)),
            ("not at hand", len(done.missing)),
        )
    )
    if done.missing:
        typer.echo()
        print_table(
            ("at", "user", "contacts", "hashes of id and addresses"),
            (
                (moment(each.at), each.account, [one.primary for one in each.contacts], sorted(each.hashes))
                for each in done.missing
            ),
        )
