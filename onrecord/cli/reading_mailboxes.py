"""Commands that read a connected mailbox once: what came before it was connected, and whether anything is missing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from onrecord.cli.looking import show_explanation
from onrecord.cli.opening import AsJson, Opened, PortalName, with_store
from onrecord.cli.options import TIMES, moment_given
from onrecord.cli.showing import complain, print_json, print_pairs, print_table
from onrecord.connecting import ConnectError
from onrecord.mailbox_reading import Coverage, Waiting, backfill, compare, log_by_hand, make_log_folder, read_mailbox
from onrecord.written import moment, visible
from proxy import mailbox_search
from proxy.message_reader import MessageReader
from store.coverage import Fates
from store.directory_record import PortalRecord
from store.mailboxes import Mailboxes, MailboxRecord
from store.reading import Explanation, Reading, bare_message_id
from store.recording import DAY
from store.sealing import Sealer

__all__ = ["Since", "backfill_mailbox", "coverage", "log", "mailbox_backfill", "mailbox_log_folder", "reading_progress"]

T = TypeVar("T")
Since = typer.Option(metavar="TIME", help=f"What came since: {TIMES}.")


def mailbox_backfill(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The address whose mailbox it is.")],
    since: Annotated[str, Since],
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Logs, by today's rules, what came to a connected mailbox before it was connected; nothing is logged twice."""
    start = moment_given(since)

    async def work(opened: Opened) -> tuple[MailboxRecord, Counter[str]]:
        home = await opened.directory.portal(portal)
        record = await _mailboxes(opened).mailbox(home, address)
        return record, await backfill_mailbox(opened, record, start)

    record, counts = with_store(context, work)
    if as_json:
        print_json({"address": record.address, "since": moment(start), **counts})
    else:
        print_pairs((name.replace("_", " "), number) for name, number in counts.items())


def mailbox_log_folder(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The address whose mailbox it is.")],
    portal: PortalName = None,
) -> None:
    """Makes the folder, in a connected mailbox, into which its user moves or copies what is to be logged."""

    async def work(opened: Opened) -> str:
        record = await _mailboxes(opened).mailbox(await opened.directory.portal(portal), address)
        name = opened.settings.capture.log_folder
        if not name:
            raise ConnectError('capture.log_folder = "": there is no such folder; name one in the settings')

        async def make(reader: MessageReader) -> str:
            return await make_log_folder(reader, name)

        made, _ = await _read(opened, record, make)
        return made

    typer.echo(f"the folder is there: {visible(with_store(context, work))}")


def log(
    context: typer.Context,
    message_id: Annotated[str, typer.Argument(metavar="MESSAGE-ID", help="With or without <>.")],
    user: Annotated[str, typer.Option("--user", metavar="ACCOUNT", help="Who asks for it, and has it in a mailbox.")],
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Logs a message that lies in a connected mailbox of a user, whatever the rule; its thread is logged from then on.

    Exit status 1 when it is not found, or not logged all the same: what says why.
    """
    name = bare_message_id(message_id)
    if not name.isascii() or not name.isprintable():
        raise typer.BadParameter("is no Message-ID that can be searched for: it is not ASCII", param_hint="MESSAGE-ID")

    async def work(opened: Opened) -> tuple[Explanation, Waiting | None]:
        home = await opened.directory.portal(portal)
        account, records = await _mailboxes_of(opened, home, user)

        async def read(reader: MessageReader) -> bool:
            return await log_by_hand(reader, name)

        for record in records:
            was_found, waiting = await _read(opened, record, read)
            if was_found:
                reading = Reading(opened.database, opened.settings.hash_key())
                return await reading.explain(home.id, name), waiting
        raise ConnectError(
            f"no connected mailbox of {account} has a message with the id <{name}>, but for drafts and junk"
        )

    found, waiting = with_store(context, work)
    if waiting is not None:
        _tell(waiting)
        return
    show_explanation(found, as_json=as_json)
    if not found.emails:
        raise typer.Exit(1)


async def _mailboxes_of(opened: Opened, home: PortalRecord, user: str) -> tuple[str, list[MailboxRecord]]:
    """The account of a user, and the connected mailboxes. Raises `ConnectError` when there are none."""
    account = (await opened.directory.user(home.name, user)).account
    records = [each for each in await _mailboxes(opened).all(home) if each.user == account]
    if not records:
        raise ConnectError(f"{account} has no connected mailbox; connect one with: onrecord mailbox connect")
    return account, records


async def backfill_mailbox(opened: Opened, record: MailboxRecord, start: float) -> Counter[str]:
    """Reads a mailbox from `start` on, with a progress bar; what became of how many. Raises as `read_mailbox`."""
    with reading_progress() as progress:

        async def read(reader: MessageReader) -> Counter[str]:
            return await backfill(reader, start, progress)

        counts, waiting = await _read(opened, record, read)
    _tell(waiting)
    return counts


def coverage(
    context: typer.Context,
    user: Annotated[str, typer.Option("--user", metavar="ACCOUNT", help="Whose connected mailboxes are compared.")],
    days: Annotated[float, typer.Option(min=0, metavar="NUMBER", help="Mail of the last so many days.")] = 30,
    repair: Annotated[bool, typer.Option("--repair", help="Log what is missing.")] = False,
    portal: PortalName = None,
    as_json: AsJson = False,
) -> None:
    """Compares a user's connected mailboxes with the log; exit status 1 when something is missing and not repaired.

    A message of which no decision is kept any more is judged by today's rules.
    """
    start = time.time() - days * DAY

    async def work(opened: Opened) -> list[tuple[MailboxRecord, Coverage]]:
        home = await opened.directory.portal(portal)
        _, records = await _mailboxes_of(opened, home, user)
        fates = Fates(opened.database, opened.settings.hash_key(), home.id)
        found = []
        for record in records:
            with reading_progress() as progress:

                async def read(reader: MessageReader, progress: mailbox_search.Progress = progress) -> Coverage:
                    return await compare(reader, start, fates, home.id, repair=repair, progress=progress)

                compared, waiting = await _read(opened, record, read)
            _tell(waiting)
            found.append((record, compared))
        return found

    found = with_store(context, work)
    if as_json:
        print_json({"user": user, "days": days, "mailboxes": [_value(*each) for each in found]})
    else:
        for record, compared in found:
            _show(record, compared)
    if any(len(compared.missing) > compared.repaired for _, compared in found):
        raise typer.Exit(1)


def _value(record: MailboxRecord, compared: Coverage) -> dict[str, Any]:
    return {
        "address": record.address,
        "seen": compared.seen,
        "logged": compared.logged,
        "not_logged": dict(compared.not_logged.most_common()),
        "missing": [
            {"message_id": each.message_id, "folder": each.folder, "received": moment(each.received)}
            for each in compared.missing
        ],
        "repaired": compared.repaired,
    }


def _show(record: MailboxRecord, compared: Coverage) -> None:
    typer.echo(visible(record.address))
    rows: list[tuple[str, int]] = [("seen", compared.seen), ("logged", compared.logged)]
    rows += [(f"not logged: {reason}", number) for reason, number in compared.not_logged.most_common()]
    print_pairs([*rows, ("missing", len(compared.missing)), ("repaired", compared.repaired)])
    if compared.missing:
        lines = [(moment(each.received), each.folder, each.message_id) for each in compared.missing]
        print_table(("received", "folder", "message-id"), lines)


def _tell(waiting: Waiting | None) -> None:
    if waiting is None:
        return
    if waiting.is_served:
        complain("`onrecord serve` has not recorded all of it yet; the rest waits in the spool, and is recorded later")
        return
    number = waiting.messages
    what = "1 message waits in the spool, and is" if number == 1 else f"{number} messages wait in the spool, and are"
    complain(f"`onrecord serve` does not run: {what} recorded when it does")


async def _read(
    opened: Opened, record: MailboxRecord, work: Callable[[MessageReader], Awaitable[T]]
) -> tuple[T, Waiting | None]:
    return await read_mailbox(opened.settings, opened.database, opened.directory, record, work)


def _mailboxes(opened: Opened) -> Mailboxes:
    return Mailboxes(opened.database, Sealer(opened.settings.key_ring().read))


@contextmanager
def reading_progress() -> Iterator[mailbox_search.Progress]:
    """A bar for each folder on standard error, where that is a terminal."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    is_hidden = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True, emoji=False), disable=is_hidden, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(folder: str, done: int, total: int) -> None:
            if folder not in tasks:
                tasks[folder] = bars.add_task(visible(folder), total=total)
            bars.update(tasks[folder], completed=done)

        yield progress
