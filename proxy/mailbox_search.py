"""Going through a mailbox once: all that came to it since a time, or what has one Message-ID.

Folders are those that are observed. While what was found is dealt with, the folder stays open; where the connection is
lost the search ends, and is begun again by whoever wanted it: nothing is logged twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from engine.capture import Folder
from proxy.folder_names import folder_of
from proxy.imap_client.folders import List, Mailbox, observable
from proxy.imap_client.messages import Fetched
from proxy.imap_client.questions import WINDOW, Examine, Search, WithId, newest_window
from proxy.mailbox_client import CommandRefused, MailboxClient
from proxy.message_reader import BATCH, MessageReader

__all__ = ["Found", "Progress", "messages_since", "messages_with_id", "uids_since"]

# Told of each folder how many of its messages were looked at, and of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A message, the name of the folder it is in, and what that says of it."""

    folder: str
    use: Folder | None
    fetched: Fetched


async def messages_since(
    reader: MessageReader, start: float, progress: Progress = lambda folder, done, total: None
) -> AsyncIterator[Found]:
    """What came since `start` (Unix seconds), each folder from its newest message down.

    Raises `CommandRefused` and `MailboxLost`.
    """
    async for mailbox, use, exists in _folders(reader):
        progress(mailbox.name, 0, exists)
        async for left, uids in uids_since(reader.client, exists, start):
            for batch in _batches(uids):
                for each in await reader.headers(batch):
                    if each.received is None or each.received >= start:
                        yield Found(mailbox.name, use, each)
            progress(mailbox.name, exists - left, exists)


async def messages_with_id(reader: MessageReader, message_id: str) -> AsyncIterator[Found]:
    """What has that Message-ID, given without its brackets. Raises as `messages_since`."""
    async for mailbox, use, exists in _folders(reader):
        found = (await reader.client.ask(WithId(message_id))).found if exists else []
        for batch in _batches(found):
            for each in await reader.headers(batch):
                yield Found(mailbox.name, use, each)


async def uids_since(client: MailboxClient, exists: int, start: float) -> AsyncIterator[tuple[int, list[int]]]:
    """The UIDs of messages in the open folder, which has `exists`, that came since the day of `start`, in windows from
    the newest down; with each, how many messages are still to be searched. Raises as `messages_since`.
    """
    if exists <= WINDOW:  # quirk_uid_search: pymap takes the sequence numbers of a UID SEARCH for UIDs
        yield 0, (await client.ask(Search(start))).found if exists else []
        return
    last = exists
    while last:
        window = newest_window(last)
        found = (await client.ask(Search(start, window))).found
        last = window[0] - 1
        yield last, found


async def _folders(reader: MessageReader) -> AsyncIterator[tuple[Mailbox, Folder | None, int]]:
    """Opens one folder after the other; how many messages each has. One that cannot be opened now is left out."""
    client, log_folder = reader.client, reader.messages.captures.log_folder
    for mailbox in observable((await client.ask(List(client.capabilities))).mailboxes):
        try:
            examined = await client.ask(Examine(mailbox))
        except CommandRefused:
            continue
        reader.uidvalidity = examined.uidvalidity
        yield mailbox, folder_of(mailbox.name, None, log_folder=log_folder), examined.exists


def _batches(uids: list[int]) -> list[list[int]]:
    """Such as are read together, the newest first."""
    return [uids[max(0, end - BATCH) : end] for end in range(len(uids), 0, -BATCH)]
