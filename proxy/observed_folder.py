"""Reading one folder of a mailbox as far as it was not read before: what came, once, and in the order that it came.

Progress is a UIDVALIDITY and the next UID (RFC 9051 §2.3.1.1), and moves when all before it is durable. Where the
UIDVALIDITY is another than before, UIDs mean nothing any more: what came since the last progress is then searched for
by date. What is found twice so is recorded once, because a message is known by what it is, not by where it lies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from engine.capture import Folder
from proxy.folder_names import folder_of
from proxy.imap_client.folders import Mailbox
from proxy.imap_client.messages import LastUid, Uids
from proxy.imap_client.questions import Examine
from proxy.mailbox_client import CommandRefused, MailboxLost, NonsenseFromServer
from proxy.mailbox_search import uids_since
from proxy.message_reader import BATCH, MessageReader
from proxy.observed_message import NotKept
from store.database import StoreUnavailable
from store.observed import FolderProgress, Observed

__all__ = ["FolderReader", "MailboxProgress"]

log = structlog.get_logger("observer")

SLACK = 3600.0  # seconds that the server's clock may be behind ours
# How often the same message may be refused, or end a connection, before the rest of the folder goes on without it. A
# network that fails is not the message's fault, so that may happen more often; pauses make it an hour or so.
REFUSALS = 3
LOSSES = 15


class MailboxProgress:
    """How far a mailbox was read, in memory and in the store.

    While the store is away reading goes on: what is read again after a crash is told from others by its key.
    """

    def __init__(self, observed: Observed, server: str, account: str, folders: dict[str, FolderProgress]) -> None:
        self._observed = observed
        self._server = server
        self._account = account
        self._folders = folders
        self.troubles: Counter[tuple[str, int, int]] = Counter()
        # How far down searches by date have come, by folder, UIDVALIDITY and where they began.
        self.searched: dict[tuple[str, int, float], int] = {}

    def of(self, name: str) -> FolderProgress | None:
        """Of one folder; `None` when it was never seen."""
        return self._folders.get(name)

    @property
    def since(self) -> float | None:
        """From when on the mailbox is observed; `None` when it never was."""
        return min((each.since for each in self._folders.values()), default=None)

    async def advance(self, name: str, progress: FolderProgress) -> None:
        """Remembers, and writes where that can be done now."""
        self._folders[name] = progress
        try:
            await self._observed.advance(self._server, self._account, name, progress)
        except StoreUnavailable as error:
            log.warning("progress in a mailbox cannot be written now", cause=str(error))


@dataclass(slots=True, kw_only=True)
class FolderReader:
    """Reads the folder `mailbox` with `reader`. `began` is when the mailbox was first observed."""

    reader: MessageReader
    progress: MailboxProgress
    mailbox: Mailbox
    clock: Callable[[], float]
    is_first: bool
    began: float
    _examined: Examine = field(init=False)
    _known: FolderProgress = field(init=False)

    async def open(self) -> None:
        """Opens the folder and reads all that is new. Raises `CommandRefused`, `MailboxLost`, `NotKept` and
        `StoreUnavailable`; what was read until then stays read.
        """
        self.reader.client.clear_news()
        self._examined = await self.reader.client.ask(Examine(self.mailbox))
        if self._examined.uidvalidity is None:
            raise CommandRefused("the folder has no UIDs that last")
        self.reader.uidvalidity = self._examined.uidvalidity
        await self._compare(self._examined.uidvalidity)
        if self._examined.uidnext is None or self._examined.uidnext > self._known.uidnext:
            await self._read_new()
        if self._known.catch_up_from is not None:
            await self._catch_up(self._known.catch_up_from)

    async def read_news(self) -> None:
        """Reads what came since; the folder is still open. Raises as `open` does."""
        self.reader.client.clear_news()
        await self._read_new()

    @property
    def _is_for_log(self) -> bool:
        """Whether what lies here was put here to be logged, however long ago it came to the mailbox (rules.md 7.4)."""
        wanted = self.reader.messages.captures.log_folder
        return folder_of(self.mailbox.name, None, log_folder=wanted) is Folder.LOG

    # -- where to go on -----------------------------------------------------------------------------------------------

    async def _compare(self, uidvalidity: int) -> None:
        known = self.progress.of(self.mailbox.name)
        if known is None:
            known = await self._begin(uidvalidity)
        elif known.uidvalidity != uidvalidity or (self._examined.uidnext or known.uidnext) < known.uidnext:
            # quirk_uids_again: a server that was restored from a copy gives UIDs a second time.
            log.info("a folder was made anew; it is searched by date", session=self.reader.messages.session)
            known = replace(
                known,
                uidvalidity=uidvalidity,
                uidnext=await self._next(),
                catch_up_from=0.0 if self._is_for_log else min(known.at - SLACK, known.catch_up_from or known.at),
            )
        await self._advance(known)

    async def _begin(self, uidvalidity: int) -> FolderProgress:
        """A folder that was never seen: what is in it is not asked for, unless it was made while we observed."""
        return FolderProgress(
            uidvalidity=uidvalidity,
            uidnext=await self._next(),
            since=self.began,
            catch_up_from=None if self.is_first else 0.0 if self._is_for_log else self.began,
            at=self.clock(),
        )

    async def _next(self) -> int:
        """The UID that the next message will have."""
        if self._examined.uidnext is not None:
            return self._examined.uidnext
        if not self._examined.exists:
            return 1
        found = (await self.reader.client.ask(LastUid())).found  # quirk_no_uidnext: servers older than RFC 3501
        return found[-1] + 1 if found else 1

    async def _advance(self, known: FolderProgress) -> None:
        self._known = known
        if known != self.progress.of(self.mailbox.name):
            self._known = replace(known, at=self.clock())
            await self.progress.advance(self.mailbox.name, self._known)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read_new(self) -> None:
        is_cut = True
        while is_cut:
            new = await self.reader.client.ask(Uids(self._known.uidnext))
            await self._read(new.found, is_new=True)
            is_cut = new.is_cut and bool(new.found)

    async def _catch_up(self, start: float) -> None:
        """Searches by date, from the newest down, and looks in between at what comes meanwhile.

        Where a connection is lost the next one goes on below what was read; a new process begins again.
        """
        search = (self.mailbox.name, self._known.uidvalidity, start)
        async for _, found in uids_since(self.reader.client, self._examined.exists, start):
            below = min(self._known.uidnext, self.progress.searched.get(search, self._known.uidnext))
            left = [each for each in found if each < below]
            while left:
                batch, left = left[-BATCH:], left[:-BATCH]
                await self._read(batch, is_new=False)
                self.progress.searched[search] = batch[0]
                if self.reader.client.has_news:
                    await self.read_news()
        self.progress.searched.pop(search, None)
        await self._advance(replace(self._known, catch_up_from=None))

    async def _read(self, uids: Sequence[int], *, is_new: bool) -> None:
        """Reads messages in batches; those in trouble one by one. `is_new` when they stand in the way of progress."""
        left = list(uids)
        while left:
            in_trouble = self.progress.troubles.keys() & {self._trouble(uid) for uid in left[:BATCH]}
            batch = left[: 1 if in_trouble else BATCH]
            await self._read_batch(batch)
            del left[: len(batch)]
            if is_new:
                await self._advance(replace(self._known, uidnext=batch[-1] + 1))

    def _trouble(self, uid: int) -> tuple[str, int, int]:
        return self.mailbox.name, self._known.uidvalidity, uid

    async def _read_batch(self, batch: Sequence[int]) -> None:
        """Raises what reading raises, until a message has been in trouble too often: then it is left out."""
        if len(batch) == 1 and self.progress.troubles[self._trouble(batch[0])] >= REFUSALS * LOSSES:
            self.reader.messages.captures.counts["unobservable"] += 1
            log.error("a message cannot be read and is left out", session=self.reader.messages.session)
            del self.progress.troubles[self._trouble(batch[0])]
            return
        try:
            await self._read_messages(batch)
        except (NotKept, StoreUnavailable):
            raise  # our own trouble
        except Exception as error:
            is_loss = isinstance(error, MailboxLost) and not isinstance(error, NonsenseFromServer)
            self._blame(batch, REFUSALS if is_loss else LOSSES)
            raise
        for uid in batch:
            self.progress.troubles.pop(self._trouble(uid), None)

    def _blame(self, batch: Sequence[int], weight: int) -> None:
        """Several messages are in trouble a little: next time they are read one by one."""
        for uid in batch:
            self.progress.troubles[self._trouble(uid)] += weight if len(batch) == 1 else 1

    async def _read_messages(self, batch: Sequence[int]) -> None:
        folder = Folder.LOG if self._is_for_log else None
        for each in await self.reader.headers(batch):
            if self._is_for_log or each.received is None or each.received >= self._known.since - SLACK:
                await self.reader.take(each, await self.reader.judge(each, folder))
        await self.reader.messages.settle()
