"""What pages work with: one set for the process, and what of it an administrator may see of one portal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from onrecord.settings import Settings
from onrecord.web.attempts import Attempts
from onrecord.web.mail_body_worker import MailBodies
from onrecord.web.passwords import Passwords
from store.database import Database
from store.directory import Directory, PortalRecord
from store.reading import Reading
from store.reevaluation import Reevaluation
from store.web_accounts import WebAccount, WebAccounts

__all__ = ["Desk", "NotFound", "Services"]


class NotFound(Exception):
    """There is nothing of that name, or it is not for whoever asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Of one process."""

    settings: Settings
    database: Database
    hash_key: bytes
    clock: Callable[[], float]
    passwords: Passwords = field(default_factory=Passwords)
    attempts: Attempts = field(default_factory=Attempts)
    bodies: MailBodies = field(default_factory=MailBodies)

    def accounts(self, who: str) -> WebAccounts:
        """The accounts, for changes by `who`."""
        return WebAccounts(self.database, who=who, clock=self.clock)

    def directory(self, who: str) -> Directory:
        """The directory, for changes by `who`."""
        return Directory(self.database, self.settings.bell, who=who, hash_key=lambda: self.hash_key)

    async def portals(self, account: WebAccount) -> list[PortalRecord]:
        """Those that the account sees, by name."""
        found = await self.directory(account.login).portals()
        return [each for each in found if account.portal in (None, each.name)]

    async def desk(self, account: WebAccount, portal: str) -> Desk:
        """The account's work on one portal. Raises `NotFound` when it sees none of that name."""
        for each in await self.portals(account):
            if each.name == portal:
                return Desk(services=self, account=account, portal=each)
        raise NotFound(f"There is no portal {portal!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """An administrator at work on one portal."""

    services: Services
    account: WebAccount
    portal: PortalRecord

    @property
    def directory(self) -> Directory:
        """For changes in the administrator's name."""
        return self.services.directory(self.account.login)

    @property
    def reading(self) -> Reading:
        """The log."""
        return Reading(self.services.database, self.services.hash_key)

    @property
    def reevaluation(self) -> Reevaluation:
        """What other rules would do."""
        return Reevaluation(self.services.database, self.directory, self.services.hash_key)
