"""The observer: our own session with one mailbox, always, which shows every message to the engine and changes nothing.

INBOX is waited on by IDLE. Of the other folders the server tells where it can (`proxy.folder_watch`); else they are
asked now and then whether something came. A connection that is lost is made again after a pause that grows and is
never quite the same, so that a thousand mailboxes do not come back at once. What came meanwhile is found then:
progress lies in the store.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from engine.address import canonical
from proxy.capture import Captures
from proxy.failures import DialError
from proxy.folder_watch import FolderWatch, NotifyUnusable
from proxy.imap.own_login import LoggedIn, LoginRefused
from proxy.imap_client.folders import INBOX, Mailbox
from proxy.mailbox_client import CommandRefused, MailboxClient, MailboxLost
from proxy.mailbox_dial import MailboxLeg
from proxy.mailbox_login import CredentialsUnavailable, MailboxClosed
from proxy.message_reader import MessageReader
from proxy.observed_folder import FolderReader, MailboxProgress
from proxy.observed_message import NotKept, ObservedMessages
from store.database import StoreUnavailable
from store.observed import Observed

__all__ = ["Observer", "Opening", "Rhythm", "State"]

log = structlog.get_logger("observer")

LOOKS = 5  # at the same folder, one after the other: then others have their turn

# How a session is opened: `proxy.mailbox_login` says what that raises.
Opening = Callable[[], Awaitable[tuple[MailboxLeg, LoggedIn]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """Seconds. `answer` is how long a server may be silent when it should speak, `round` how often the other folders
    are asked where they are few, `safety` how often those are of which the server tells, and `poll` how often INBOX is
    where IDLE is not to be had. Pauses begin at `first_pause`, or at `refused_pause` when the login is refused, and
    double.

    Half a minute, because what was sent by another way shows in Sent, and an answer to it must not come before it; a
    few STATUS in that time cost a server little. Servers that tell do not tell everything: Dovecot says nothing of what
    other programs put into a maildir. And one that hangs while something between acknowledges in its place is noticed.

    Each round ends the IDLE before it, long before any provider, or a NAT on the way, forgets a session that only waits
    (RFC 2177 allows 29 minutes, some providers bear 5).
    """

    answer: float = 60.0
    round: float = 30.0
    safety: float = 120.0
    poll: float = 30.0
    first_pause: float = 1.0
    longest_pause: float = 300.0
    refused_pause: float = 60.0
    longest_refused_pause: float = 3600.0


class State(StrEnum):
    """What an observer is doing. It is lost or refused until it is connected again."""

    CONNECTING = "connecting"
    READING = "reading"
    WATCHING = "watching"
    LOST = "lost"
    REFUSED = "refused"


class Observer:
    """Observes the mailbox of `address` at the provider `server`, as long as `run` runs. `open_mailbox` opens sessions.

    The first time it is for what comes from now on; progress that was written before `connected_at` (Unix seconds) was
    made for somebody else. `tell` is told each new state.
    """

    def __init__(
        self,
        *,
        address: str,
        server: str,
        open_mailbox: Opening,
        captures: Captures,
        observed: Observed,
        connected_at: float = 0.0,
        rhythm: Rhythm | None = None,
        notifies: bool = True,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tell: Callable[[State], None] = lambda state: None,
    ) -> None:
        self.address = address
        self._server = server
        self.state = State.CONNECTING
        self._open_mailbox = open_mailbox
        self._folder_changes = captures.folder_changes
        self._observed = observed
        self._connected_at = connected_at
        self._rhythm = rhythm or Rhythm()
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._tell = tell
        self.session = f"observer-{captures.new_key()}"
        self._messages = ObservedMessages(captures, address, self.session, clock)
        self._progress: MailboxProgress | None = None
        self._is_first = False
        self._began = 0.0
        self._failures = 0
        self._notifies = notifies

    async def run(self) -> None:
        """Observes until it is cancelled. What goes wrong with one mailbox ends nothing."""
        while True:
            try:
                await self._observe()
            except (LoginRefused, MailboxClosed) as error:
                await self._pause_refused(error)
            except NotifyUnusable as error:
                self._notifies = False
                await self._pause(str(error))
            except (CredentialsUnavailable, CommandRefused, DialError, MailboxLost, NotKept, StoreUnavailable) as error:
                await self._pause(str(error))
            except Exception as error:  # of one strange mailbox, which must not end the others
                log.error("an observer failed", session=self.session, cause=type(error).__name__)
                await self._pause(type(error).__name__)

    async def _observe(self) -> None:
        """One connection."""
        if not self._failures:  # else it stays what it was until that is over: lost, or refused
            self._become(State.CONNECTING)
        progress = await self._known()
        leg, done = await self._open_mailbox()
        client = MailboxClient(leg, self._rhythm.answer)
        try:
            await client.begin(done)
            await self._watch(client, progress)
        finally:
            client.drop()
            # Folders that were not reached are searched by date next time: something may have come to them meanwhile.
            self._is_first = self._is_first and progress.since is None

    async def _known(self) -> MailboxProgress:
        """What is known of the mailbox. Raises `StoreUnavailable`."""
        if self._progress is None:
            account = canonical(self.address)
            known = await self._observed.progress(self._server, account)
            known = {name: each for name, each in known.items() if each.at >= self._connected_at}
            progress = MailboxProgress(self._observed, self._server, account, known)
            self._is_first = progress.since is None
            self._began = progress.since if progress.since is not None else self._clock()
            self._progress = progress
        return self._progress

    async def _watch(self, client: MailboxClient, progress: MailboxProgress) -> None:
        """Reads all folders, then waits on INBOX and for what is told of the others, round after round."""
        self._become(State.READING)
        rhythm, loop_time = self._rhythm, asyncio.get_running_loop().time
        inbox = self._reader(client, progress, Mailbox(INBOX, INBOX.encode()))
        folders = FolderWatch(
            client,
            progress,
            session=self.session,
            notifies=self._notifies,
            are_changing=lambda: self._folder_changes.are_recent(self.address),
        )
        await inbox.open()
        while True:
            await self._look_into(client, inbox, folders, await folders.asked())
            self._is_first = False  # a folder that appears from now on may hold what came after we began
            self._failures = 0
            self._become(State.WATCHING)
            began = loop_time()
            while not folders.has_new:
                left = began + folders.round(rhythm.round, rhythm.safety) - loop_time()
                if left <= 0:
                    break
                if not client.has_news and not client.told.is_anything:
                    await client.wait_for_news(left, poll=rhythm.poll)
                # quirk_silent_idle: some servers do not tell what came just before IDLE, so it is looked for each time.
                await inbox.read_news()
                await self._look_into(client, inbox, folders, folders.told())

    async def _look_into(
        self, client: MailboxClient, inbox: FolderReader, folders: FolderWatch, mailboxes: list[Mailbox]
    ) -> None:
        """Reads these folders, and opens INBOX again. One that is refused waits for the next round.

        What comes to a folder while we leave it may be told to nobody, so those that no round asks are asked again.
        """
        for _ in range(LOOKS):
            if not mailboxes:
                return
            for mailbox in filter(folders.may_look_into, mailboxes):
                try:
                    await self._reader(client, inbox.progress, mailbox).open()
                except CommandRefused as error:
                    log.warning("a folder cannot be read now", session=self.session, cause=str(error))
                    folders.ask_for(mailbox)
            await inbox.open()
            mailboxes = await folders.behind(filter(folders.is_told, mailboxes))

    def _reader(self, client: MailboxClient, progress: MailboxProgress, mailbox: Mailbox) -> FolderReader:
        return FolderReader(
            reader=MessageReader(client, self._messages),
            progress=progress,
            mailbox=mailbox,
            clock=self._clock,
            is_first=self._is_first,
            began=self._began,
        )

    # -- time ---------------------------------------------------------------------------------------------------------

    async def _pause_refused(self, error: LoginRefused | MailboxClosed) -> None:
        if isinstance(error, LoginRefused) and error.is_passing:
            await self._pause("the login is refused for now")
        else:
            log.warning("a mailbox refuses the login", session=self.session, cause=str(error))
            self._become(State.REFUSED)
            await self._rest(self._rhythm.refused_pause, self._rhythm.longest_refused_pause)

    async def _pause(self, cause: str) -> None:
        log.warning("a mailbox is not observed for a while", session=self.session, cause=cause)
        self._become(State.LOST)
        await self._rest(self._rhythm.first_pause, self._rhythm.longest_pause)

    async def _rest(self, first: float, longest: float) -> None:
        """Twice as long each time, up to `longest`; half of it is left to chance."""
        pause = min(longest, first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        await self._sleep(pause * (0.5 + self._chance() / 2))

    def _become(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._tell(state)
