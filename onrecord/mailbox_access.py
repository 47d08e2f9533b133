"""Whether we may read a connected mailbox: its user is active and has given access to personal email (rules.md 3.1).

Asked before anything of a mailbox is opened, and again while it is read: whoever withdraws access ends that.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass

from onrecord.settings import Settings
from store.database import StoreUnavailable
from store.directory import Directory
from store.directory_record import DirectoryError, UserRecord
from store.lookups import when_rung
from store.mailboxes import Mailboxes, MailboxRecord

__all__ = ["AccessError", "MailboxAccess", "lack_of_access", "require_access"]

LOOK_SECONDS = 1.0  # how often it is looked whether a change of the directory was told on this machine
REREAD_SECONDS = 30.0  # and how often it is read without that, for changes that nobody tells


class AccessError(Exception):
    """The mailboxes of a user may not be read; the text names the user and the mend."""


def lack_of_access(user: UserRecord) -> tuple[str, str] | None:
    """Why mailboxes of `user` may not be read, and the command that mends it; `None` when they may."""
    lacks = [
        (why, option)
        for holds, why, option in (
            (user.active, "is inactive", "--active"),
            (user.personal_email_access, "has given no access to personal email", "--personal-email-access"),
        )
        if not holds
    ]
    if not lacks:
        return None
    options = " ".join(option for _, option in lacks)
    return f"{user.account} {' and '.join(why for why, _ in lacks)}", f"onrecord user set {user.account} {options}"


def require_access(user: UserRecord) -> None:
    """Raises `AccessError` unless mailboxes of `user` may be read."""
    if (lack := lack_of_access(user)) is not None:
        why, mend = lack
        raise AccessError(f"{why}, so no mailbox of theirs is read until: {mend}")


@dataclass(frozen=True, slots=True)
class MailboxAccess:
    """Access to one connected mailbox."""

    settings: Settings
    directory: Directory
    mailboxes: Mailboxes
    record: MailboxRecord

    async def require(self) -> None:
        """Raises `AccessError`, `DirectoryError` when it is connected no more, or `StoreUnavailable`."""
        home = await self.directory.portal(self.record.portal)
        require_access(await self.directory.user(home.name, self.record.user))
        if (await self.mailboxes.mailbox(home, self.record.address)).id != self.record.id:
            raise AccessError(f"{self.record.address} was disconnected, and connected anew; run this again")

    async def until_lost(self) -> AccessError | DirectoryError:
        """Back when `require` would raise, with what it raises. While the store is away access is as it was."""
        bell = os.fspath(self.settings.bell)
        rung, read_at = -1, float("-inf")  # it may have changed since `require`
        while True:
            now, rings = time.monotonic(), when_rung(bell)
            if rings != rung or now - read_at >= REREAD_SECONDS:
                try:
                    await self.require()
                except (AccessError, DirectoryError) as error:
                    return error
                except StoreUnavailable:
                    pass
                else:
                    rung, read_at = rings, now
            await asyncio.sleep(LOOK_SECONDS)
