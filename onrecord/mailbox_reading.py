"""Reading a connected mailbox once, for a command: what is found goes to a spool of the command's own.

The recorder of `onrecord serve` takes it from there, now or when it runs the next time; which of both is known at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from engine.capture import Folder
from engine.decision import Outcome, Source
from onrecord.capturing import capturing
from onrecord.connecting import ConnectError, mailbox_provider, provider_context, unreachable
from onrecord.mailbox_access import AccessError, MailboxAccess
from onrecord.mailbox_credentials import ConnectedCredentials
from onrecord.oauth.client import OAuthClient
from onrecord.observing import own_deadlines
from onrecord.serving import is_served
from onrecord.settings import Settings
from proxy.failures import DialError
from proxy.folder_names import folder_of
from proxy.imap.own_login import LoginRefused
from proxy.imap_client.folders import INBOX, Create, List, Subscribe
from proxy.mailbox_client import CommandRefused, MailboxClient, MailboxLost
from proxy.mailbox_login import ConnectedMailbox, CredentialsUnavailable, MailboxClosed
from proxy.mailbox_search import Progress, messages_since, messages_with_id
from proxy.mailbox_sighting import MailboxSighting
from proxy.message_reader import BATCH, MessageReader
from proxy.observed_message import NotKept, ObservedMessages
from store.coverage import Fates
from store.database import Database, StoreUnavailable
from store.directory import Directory
from store.directory_record import DirectoryError
from store.mailboxes import Mailboxes, MailboxRecord
from store.sealing import Sealer
from store.spool_reader import generations

__all__ = ["Coverage", "Waiting", "backfill", "compare", "log_by_hand", "make_log_folder", "read_mailbox"]

ANSWER_SECONDS = 60.0  # that a server may be silent
DRAIN_SECONDS = 15.0  # that a recorder which runs may take
POLL_SECONDS = 0.1
NOBODYS = "concerns_nobody"  # for which there is no reason code: no decision is made (rules.md 3.9)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """So many messages were handed to the spool, and are not all recorded yet. `is_served` when the recorder runs."""

    messages: int
    is_served: bool


async def read_mailbox(
    settings: Settings,
    database: Database,
    directory: Directory,
    record: MailboxRecord,
    work: Callable[[MessageReader], Awaitable[T]],
) -> tuple[T, Waiting | None]:
    """What `work` makes of the mailbox, and what of it still waits to be recorded.

    Raises `AccessError` when its user has given no access, and before anything is opened; or when that is withdrawn
    meanwhile, and `DirectoryError` when the mailbox is disconnected. Raises `ConnectError` when it cannot be read to
    the end, or `StoreUnavailable`. What was read until then is recorded all the same.
    """
    mailboxes = Mailboxes(database, Sealer(settings.key_ring().read))
    access = MailboxAccess(settings, directory, mailboxes, record)
    await access.require()
    provider = mailbox_provider(settings, record)
    client = OAuthClient(settings.oauth, settings.client_secret)
    source = ConnectedCredentials(mailboxes, client)
    deadlines = own_deadlines(settings.deadlines)
    mailbox = ConnectedMailbox(source, record.id, provider, provider_context(provider), deadlines)
    trouble: Exception | None = None  # raised outside, or it would come as a group of one
    async with capturing(settings, database, settings.hash_key()) as captures:
        observed = ObservedMessages(captures, record.address, f"command-{captures.new_key()}")
        try:
            result = await _while_allowed(access, captures.tasks, _read(mailbox, observed, work))
        except DialError as error:
            trouble = unreachable(provider, error)
        except LoginRefused as error:
            trouble = ConnectError(f"{record.address}: the login was refused: {error}; connect the mailbox anew")
        except (CommandRefused, CredentialsUnavailable, MailboxClosed, MailboxLost, NotKept) as error:
            trouble = ConnectError(f"{record.address}: {error}; run this again, nothing is logged twice")
        except (AccessError, DirectoryError, StoreUnavailable) as error:
            trouble = error
        finally:
            client.close()
    if trouble is not None:
        raise trouble
    messages = sum(captures.counts[each] for each in ("captured", "skipped", "capture_failed"))
    return result, await _left(settings.data, captures.spool.home, messages) if messages else None


async def _while_allowed(access: MailboxAccess, tasks: asyncio.TaskGroup, reading: Coroutine[Any, Any, T]) -> T:
    """What `reading` gives, broken off with `AccessError` or `DirectoryError` when access is lost."""
    lost: list[AccessError | DirectoryError] = []

    async def watch() -> None:
        lost.append(await access.until_lost())
        limit.reschedule(asyncio.get_running_loop().time())

    try:
        async with asyncio.timeout(None) as limit:
            watching = tasks.create_task(watch())
            try:
                return await reading
            finally:
                watching.cancel()
    except TimeoutError:
        if limit.expired():
            raise lost[0] from None
        raise


async def _read(
    mailbox: ConnectedMailbox, messages: ObservedMessages, work: Callable[[MessageReader], Awaitable[T]]
) -> T:
    leg, done = await mailbox.open()
    client = MailboxClient(leg, ANSWER_SECONDS)
    try:
        await client.begin(done)
        return await work(MessageReader(client, messages))
    finally:
        client.drop()
        with suppress(NotKept):
            await messages.settle()


async def _left(data: Path, home: Path, messages: int) -> Waiting | None:
    """What is left of a spool's `messages`. The recorder may take a while for it, but is waited for only if it runs."""
    clock = asyncio.get_running_loop().time
    end = clock() + DRAIN_SECONDS
    while True:
        is_running = is_served(data)  # asked first: it records all there is before it ends
        if not any(generations(home)):
            return None
        if not is_running or clock() > end:
            return Waiting(messages=messages, is_served=is_running)
        await asyncio.sleep(POLL_SECONDS)


# -- what commands do with it -----------------------------------------------------------------------------------------


async def backfill(reader: MessageReader, start: float, progress: Progress) -> Counter[str]:
    """Logs by today's rules what came since `start` (Unix seconds); what became of how many.

    Raises as reading does, and `StoreUnavailable`.
    """
    counts = reader.messages.captures.counts
    number = 0
    async for found in messages_since(reader, start, progress):
        await reader.take(found.fetched, await reader.judge(found.fetched, found.use))
        number += 1
        if number % BATCH == 0:
            await reader.messages.settle()
    await reader.messages.settle()
    return Counter(
        seen=number, logged=counts["captured"], not_logged=counts["skipped"], failed=counts["capture_failed"]
    )


async def log_by_hand(reader: MessageReader, message_id: str) -> bool:
    """Logs the message with that Message-ID because its user asks for it (rules.md 7.4); whether it was found.

    Raises as reading does, and `StoreUnavailable`.
    """
    async for found in messages_with_id(reader, message_id):
        sighting = await reader.judge(found.fetched, Folder.LOG, source=Source.MANUAL)
        if sighting.message is not None and sighting.message.message_id == message_id:
            await reader.take(found.fetched, sighting)
            await reader.messages.settle()
            return True
    return False


async def make_log_folder(reader: MessageReader, name: str) -> str:
    """Makes the folder by which the user asks for a log, unless it is there, and its name as the server has it.

    Raises as reading does.
    """
    client = reader.client
    listed = (await client.ask(List(client.capabilities))).mailboxes
    for each in listed:
        if folder_of(each.name, None, log_folder=name) is Folder.LOG:
            return each.name
    delimiter = next((each.delimiter for each in listed if each.name == INBOX), "")
    try:
        made = (await client.ask(Create(name))).name
    except CommandRefused:  # quirk_below_inbox: Courier and others keep all folders below INBOX
        if not delimiter:
            raise
        made = (await client.ask(Create(INBOX + delimiter + name))).name
    with suppress(CommandRefused):
        await client.ask(Subscribe(made))
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A message that should be in the log and is not. `received` is in Unix seconds."""

    message_id: str | None
    folder: str
    received: float | None


@dataclass(slots=True, kw_only=True)
class Coverage:
    """A mailbox compared with the log: how many messages are there, how many of them are in the log, and how many are
    rightly not, by reason.
    """

    seen: int = 0
    logged: int = 0
    not_logged: Counter[str] = field(default_factory=Counter)
    missing: list[Missing] = field(default_factory=list)
    repaired: int = 0


async def compare(
    reader: MessageReader, start: float, fates: Fates, portal: int, *, repair: bool, progress: Progress
) -> Coverage:
    """Compares what came since `start` (Unix seconds) with the log of `portal`; `repair` hands over what is missing.

    A message of which no decision is kept is judged by today's rules. Raises as reading does, and `StoreUnavailable`.
    """
    coverage = Coverage()
    async for found in messages_since(reader, start, progress):
        coverage.seen += 1
        sighting = await reader.judge(found.fetched, found.use)
        fate = await _fate(sighting, fates, portal)
        if fate is Outcome.LOG:
            coverage.logged += 1
        elif fate is not None:
            coverage.not_logged[fate] += 1
        else:
            message_id = sighting.message.message_id if sighting.message is not None else None
            coverage.missing.append(
                Missing(message_id=message_id, folder=found.folder, received=found.fetched.received)
            )
            if repair:
                await reader.take(found.fetched, sighting)
                await reader.messages.settle()
                coverage.repaired += 1
    return coverage


async def _fate(sighting: MailboxSighting, fates: Fates, portal: int) -> str | None:
    """`Outcome.LOG` when it is in the log, a reason when it is rightly not, `None` when it is missing."""
    fate = await fates.fate(sighting.message) if sighting.message is not None else None
    if fate is not None or sighting.verdict is None:
        return fate
    decision = next((each for each in sighting.verdict.decisions if each.portal == portal), None)
    if decision is None:
        return NOBODYS
    return None if decision.outcome is Outcome.LOG else decision.reason
