"""Sessions of our own at a provider's IMAP server: dialled and logged in, under the deadlines of the mail path."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

from proxy.failures import DialError, Failure
from proxy.imap.opening import Opened, Send
from proxy.imap.own_login import LoggedIn, LoginRefused, MailboxCredentials, OwnLogin, is_offered, spoken
from proxy.imap.wire import Credentials
from proxy.limits import Deadlines
from proxy.mailbox_dial import MailboxLeg, dial_mailbox
from proxy.route import Provider

__all__ = ["ConnectedMailbox", "CredentialSource", "CredentialsUnavailable", "MailboxClosed", "open_mailbox"]


class CredentialsUnavailable(Exception):
    """There are no credentials now; asking again later may help. The text holds no secret."""


class MailboxClosed(Exception):
    """Nothing opens the mailbox until its user connects it again. The text holds no secret."""


class CredentialSource(Protocol):
    """Gives what opens a connected mailbox, and is told how that went."""

    async def credentials(self, mailbox: int) -> MailboxCredentials:
        """What opens it now. Raises `CredentialsUnavailable` or `MailboxClosed`."""

    async def refused(self, credentials: MailboxCredentials, text: str) -> bool:
        """The server did not take them; whether it helps to ask for others at once. `text` is what it said.

        Not to be told of a refusal that may pass by itself. Raises as `credentials`.
        """

    async def worked(self, credentials: MailboxCredentials) -> None:
        """The server took them. Raises as `credentials`."""


class ConnectedMailbox:
    """One that `source` knows as `mailbox`, at `provider`."""

    def __init__(
        self,
        source: CredentialSource,
        mailbox: int,
        provider: Provider,
        context: ssl.SSLContext | None,
        deadlines: Deadlines,
    ) -> None:
        self._source = source
        self._mailbox = mailbox
        self._provider = provider
        self._context = context
        self._deadlines = deadlines

    async def open(self) -> tuple[MailboxLeg, LoggedIn]:
        """A session, authenticated; `source` is told how that went.

        Raises `CredentialsUnavailable`, `DialError`, `LoginRefused` and `MailboxClosed`; nothing is left open then.
        """
        while True:
            credentials = await self._source.credentials(self._mailbox)
            try:
                leg, done = await open_mailbox(self._provider, self._context, credentials, deadlines=self._deadlines)
            except LoginRefused as error:
                if error.is_passing or not await self._source.refused(credentials, str(error)):
                    raise
                continue
            try:
                await self._source.worked(credentials)
            except BaseException:
                leg.drop()
                raise
            return leg, done


async def open_mailbox(
    provider: Provider,
    context: ssl.SSLContext | None,
    credentials: MailboxCredentials | Credentials,
    *,
    deadlines: Deadlines,
) -> tuple[MailboxLeg, LoggedIn]:
    """A session of our own, authenticated. `credentials` are ours, or what a client has said.

    Raises `DialError` or `LoginRefused`; nothing is left open then.
    """
    leg, opened = await dial_mailbox(provider, context, deadlines=deadlines)
    return leg, await _log_in(leg, opened, provider, credentials, deadlines=deadlines)


async def _log_in(
    leg: MailboxLeg,
    opened: Opened,
    provider: Provider,
    credentials: MailboxCredentials | Credentials,
    *,
    deadlines: Deadlines,
) -> LoggedIn:
    """Logs in on a connection that is ready for it. Raises `DialError` or `LoginRefused`, and then drops it."""
    capabilities = frozenset(opened.listed.upper().split())
    try:
        if opened.rest:
            raise DialError(Failure.PROTOCOL, "octets came that were not asked for")
        if isinstance(credentials, MailboxCredentials):
            said = spoken(credentials, host=provider.host, port=provider.port, capabilities=capabilities)
        else:
            said = credentials
        if not is_offered(said, capabilities):
            raise LoginRefused("the server does not offer this way to log in", is_passing=False)
        login = OwnLogin(said, capabilities)
        async with asyncio.timeout(deadlines.provider_command):
            leg.outlet.write(login.start().octets)
            while True:
                step = login.receive(await leg.octets())
                if isinstance(step, LoggedIn):
                    return step
                if isinstance(step, Send):
                    leg.outlet.write(step.octets)
    except TimeoutError as error:
        leg.drop()
        raise DialError(Failure.TIMED_OUT, "a deadline passed") from error
    except BaseException:
        leg.drop()
        raise
