"""Finding again, in connected mailboxes, what was not logged and is to be logged now (rules.md 7.5).

Of such a message only keyed hashes are kept, so no server can be asked for its Message-ID: what came in the time is
gone through, header sections only, as `mailbox backfill` does. What is found is fetched and handed to the recorder,
which decides on it again under the key of the old decision: it takes that one's place, and nothing is logged twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import engine
from engine.decision import Outcome
from onrecord.connecting import ConnectError
from onrecord.mailbox_access import AccessError
from onrecord.mailbox_reading import read_mailbox
from onrecord.serving import is_served
from onrecord.settings import Settings
from proxy.mailbox_search import Progress, messages_since
from proxy.mailbox_sighting import MailboxSighting
from proxy.message_reader import MessageReader
from store.database import Database
from store.directory import Directory
from store.directory_record import DirectoryError, PortalRecord
from store.entry import Entry, EntryKind
from store.hashes import keyed_hash
from store.mailboxes import Mailboxes
from store.recording import DAY
from store.reevaluation import Reevaluated, Reevaluation, Would
from store.sealing import Sealer
from store.waiting import Waiting

__all__ = ["Refetching"]

MARGIN = DAY  # before a message was seen that it may have come, where nothing else is said
PATIENCE_SECONDS = 15.0  # that a recorder which runs may take for the next of them
POLL_SECONDS = 0.1


@dataclass(slots=True, kw_only=True)
class Refetching:
    """Looks for messages of one portal in the mailboxes of their users.

    `start` (Unix seconds) is when the oldest may have come; without it, a day before it was seen. `progress` shows one
    mailbox, `complain` is told which could not be read.
    """

    settings: Settings
    database: Database
    directory: Directory
    reevaluation: Reevaluation
    home: PortalRecord
    start: float | None
    progress: Callable[[], AbstractContextManager[Progress]]
    complain: Callable[[str], None]
    _found: dict[str, Would] = field(default_factory=dict)

    async def log_missing(self, done: Reevaluated, untold: Sequence[Would]) -> None:
        """Logs what it finds of `done.missing`, and what of `untold` is to be logged by what the message says.

        What became of it is told in `done`. Raises `StoreUnavailable`.
        """
        await self._search([*done.missing, *untold], done)
        await self._recorded()
        done.missing = [each for each in done.missing if each.key not in self._found]
        await self.reevaluation.take_up(self.home, self._found, done)
        keys = {each.key for each in untold}
        done.missing = [each for each in done.missing if each.key not in keys]

    async def _search(self, some: Sequence[Would], done: Reevaluated) -> None:
        mailboxes = Mailboxes(self.database, Sealer(self.settings.key_ring().read))
        for record in await mailboxes.all(self.home):
            wanted = [each for each in some if each.key not in self._found and each.account in (None, record.user)]
            if not wanted:
                continue
            with self.progress() as progress:

                async def read(
                    reader: MessageReader, wanted: Sequence[Would] = wanted, progress: Progress = progress
                ) -> None:
                    await self._read(reader, wanted, progress, done)

                try:
                    await read_mailbox(self.settings, self.database, self.directory, record, read)
                except (AccessError, ConnectError, DirectoryError) as error:
                    self.complain(str(error))

    async def _read(
        self, reader: MessageReader, wanted: Sequence[Would], progress: Progress, done: Reevaluated
    ) -> None:
        by_hash: dict[str, list[Would]] = {}
        for each in wanted:
            for hash_ in each.hashes:
                by_hash.setdefault(hash_, []).append(each)
        start = min(each.at for each in wanted) - MARGIN if self.start is None else self.start
        async for found in messages_since(reader, start, progress):
            message_id = engine.read(found.fetched.section).message_id
            name = keyed_hash(reader.messages.captures.hash_key, message_id) if message_id else ""
            named = [each for each in by_hash.get(name, ()) if each.key not in self._found]
            if not named:
                continue
            sighting = await reader.judge(found.fetched, found.use)
            named = [each for each in named if _is_of(sighting, each)]
            if not named or not _may_be_logged(sighting, self.home.id):
                continue
            content = await reader.whole(found.fetched)
            for each in named if content is not None else ():
                await self._hand_over(reader, each, sighting, content or b"")
                done.mailboxes[each.decision] = reader.messages.address
            if all(each.key in self._found for each in wanted):
                return

    async def _hand_over(self, reader: MessageReader, would: Would, sighting: MailboxSighting, content: bytes) -> None:
        """As of the time when it was seen: what was logged before and after it counts as it did."""
        facts = sighting.facts(reader.messages.captures.hash_key, has_content=True) | {"decisions": None}
        entry = Entry(key=would.key, at=would.at, kind=EntryKind.MESSAGE, facts=facts, content=content)
        waiting = Waiting(
            self.database, self.settings.data / "waiting", seconds=self.settings.recorder.parent_minutes * 60
        )
        try:
            await waiting.hand_over(self.home.id, entry)
        except OSError as error:
            raise ConnectError(f"what was fetched cannot be kept: {error}") from error
        self._found[would.key] = would

    async def _recorded(self) -> None:
        """Back when the recorder has decided on all, or does not go on; at once where none runs."""
        if not is_served(self.settings.data):
            return
        found = list(self._found.values())
        clock = asyncio.get_running_loop().time
        left, end = len(found) + 1, 0.0
        while now := await self.reevaluation.are_due(self.home, found):
            if now < left:
                left, end = now, clock() + PATIENCE_SECONDS
            elif clock() > end:
                return
            await asyncio.sleep(POLL_SECONDS)


def _is_of(sighting: MailboxSighting, would: Would) -> bool:
    """Whether the message names nobody whom the one that was decided did not: an id may look like an address."""
    return sighting.verdict is not None and would.hashes.issuperset(sighting.verdict.addresses)


def _may_be_logged(sighting: MailboxSighting, portal: int) -> bool:
    """Whether the whole header section says the same as what was kept of it: that today it is logged, or may yet be."""
    decisions = sighting.verdict.decisions if sighting.verdict is not None else ()
    mine = [each for each in decisions if each.portal == portal]
    return any(each.outcome is Outcome.LOG or sighting.is_open for each in mine)
