"""The folders of a mailbox but INBOX, on one connection: in which of them something came.

Where a server offers NOTIFY (RFC 5465) it tells at once, and they are asked only now and then, in case it forgot. All
others are asked by STATUS, round after round: IDLE on each would need a connection for each, and providers count those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import filterfalse

import structlog

from proxy.imap_client.folders import INBOX, List, Mailbox, observable
from proxy.imap_client.notify import FolderStatus, Notify
from proxy.imap_client.questions import Status
from proxy.mailbox_client import CommandRefused, MailboxClient, MailboxLost
from proxy.observed_folder import MailboxProgress

__all__ = ["FolderWatch", "NotifyUnusable"]

log = structlog.get_logger("observer")

# Folders that are asked in one round at its usual length; with more of them it becomes longer, up to four times, so
# that a mailbox of many folders does not keep a server, or us, busy with asking.
FOLDERS_A_ROUND = 8
LONGEST_ROUND = 4.0
KEPT = frozenset((b"\\sent", b"\\archive", b"\\all"))  # RFC 6154 §2: folders that no client removes


class NotifyUnusable(MailboxLost):
    """The connection is of no use because of NOTIFY: the next one goes without."""


class FolderWatch:
    """Those that `client` may look into; `session` is for the log. `notifies` is false where NOTIFY is not to be asked
    for, whatever the server offers. While folders `are_changing` only those are asked that are kept for ever.
    """

    def __init__(
        self,
        client: MailboxClient,
        progress: MailboxProgress,
        *,
        session: str,
        notifies: bool,
        are_changing: Callable[[], bool],
    ) -> None:
        self._client = client
        self._progress = progress
        self._session = session
        self._notifies = notifies and b"NOTIFY" in client.capabilities
        self._are_changing = are_changing
        self._names: set[str] = set()
        self._folders: dict[str, Mailbox] = {}
        self._told: set[str] = set()

    async def asked(self) -> list[Mailbox]:
        """Those in which something came: all are looked for and asked. Raises `CommandRefused` and `MailboxLost`."""
        if self._notifies or not self._folders or not self._are_changing():
            await self._look_for_folders()
        self._told = await self._register() if self._notifies else set()
        asked = [each for each in self._folders.values() if each.name not in self._told]
        return self.told() + await self.behind(asked)

    async def _look_for_folders(self) -> None:
        names = frozenset(self._client.told.names)
        listed = await self._client.ask(List(self._client.capabilities))
        if listed.is_cut:
            log.warning("a mailbox has too many folders; some are not observed", session=self._session)
            names |= self._client.told.names
        # Those that were told and are not listed have gone again.
        self._names = {*names, *(each.name for each in listed.mailboxes)}
        self._folders = {each.name: each for each in observable(listed.mailboxes) if each.name != INBOX}

    async def _register(self) -> set[str]:
        """The names of those that the server will tell of, and has told of once."""
        statuses = self._client.told.statuses
        statuses.clear()
        try:
            await self._client.ask(Notify())
        except CommandRefused as error:
            log.info("a server does not tell what comes to folders", session=self._session, cause=str(error))
            self._notifies = False
            return set()
        except MailboxLost as error:  # quirk_no_notify: offered, and then the server breaks off
            raise NotifyUnusable(str(error)) from error
        return {name for name, each in statuses.items() if each.uidnext is not None}

    async def behind(self, mailboxes: Iterable[Mailbox]) -> list[Mailbox]:
        """Those of them in which something came, each asked. One that is refused waits for the next round, as one does
        that may not be looked into.
        """
        found = []
        for mailbox in filter(self.may_look_into, mailboxes):
            try:
                status = (await self._client.ask(Status(mailbox))).status
            except CommandRefused as error:
                log.warning("a folder cannot be read now", session=self._session, cause=str(error))
                continue
            if not self._is_read(mailbox, self._client.told.statuses.pop(mailbox.name, status)):
                found.append(mailbox)
        return found

    def told(self) -> list[Mailbox]:
        """Those of which the server has told since this was last asked. Raises `NotifyUnusable`."""
        told = self._client.told
        if told.has_overflowed:
            raise NotifyUnusable("the server does not tell any more what comes to folders")
        statuses = {name: each for name, each in told.statuses.items() if name in self._folders}
        told.statuses.clear()
        found = [self._folders[name] for name, each in statuses.items() if not self._is_read(self._folders[name], each)]
        for each in filterfalse(self.may_look_into, found):
            self.ask_for(each)
        return list(filter(self.may_look_into, found))

    def may_look_into(self, mailbox: Mailbox) -> bool:
        """Whether no client may be about to remove it."""
        return bool(mailbox.attributes & KEPT) or not self._are_changing()

    def is_told(self, mailbox: Mailbox) -> bool:
        """Whether the server tells on its own what comes to it."""
        return mailbox.name in self._told

    def ask_for(self, mailbox: Mailbox) -> None:
        """It is not read now: it is asked again in the next round, which comes as soon as if nobody told of it."""
        self._told.discard(mailbox.name)

    @property
    def has_new(self) -> bool:
        """Whether the server has told of a folder that was not there: then all are to be asked."""
        names = self._client.told.names
        names -= self._names
        return bool(names)

    def round(self, seconds: float, safety: float) -> float:
        """How long to wait until all are asked again, where `seconds` is right for a few that nobody tells of, and
        `safety` for those that the server does.
        """
        number = len(self._folders.keys() - self._told)
        if self._told and not number:
            return safety
        return seconds * min(LONGEST_ROUND, max(1.0, number / FOLDERS_A_ROUND))

    def _is_read(self, mailbox: Mailbox, status: FolderStatus) -> bool:
        known = self._progress.of(mailbox.name)
        if known is None or known.catch_up_from is not None or status.uidnext != known.uidnext:
            return False
        return status.uidvalidity in (known.uidvalidity, None)  # which of them is told is up to the server
