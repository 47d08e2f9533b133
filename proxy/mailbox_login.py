"""Logging in to a provider's IMAP server with credentials that we hold, under the deadlines of the mail path."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

from proxy.failures import DialError, Failure
from proxy.imap.opening import Opened, Send
from proxy.imap.own_login import LoggedIn, MailboxCredentials, OwnLogin, spoken
from proxy.limits import Deadlines
from proxy.mailbox_dial import MailboxLeg, dial_mailbox
from proxy.route import Provider

__all__ = ["CredentialSource", "CredentialsUnavailable", "MailboxClosed", "log_in", "open_mailbox"]


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


async def open_mailbox(
    provider: Provider, context: ssl.SSLContext | None, credentials: MailboxCredentials, *, deadlines: Deadlines
) -> tuple[MailboxLeg, LoggedIn]:
    """A session of our own, authenticated. Raises `DialError` or `LoginRefused`; nothing is left open then."""
    leg, opened = await dial_mailbox(provider, context, deadlines=deadlines)
    return leg, await log_in(leg, opened, provider, credentials, deadlines=deadlines)


async def log_in(
    leg: MailboxLeg, opened: Opened, provider: Provider, credentials: MailboxCredentials, *, deadlines: Deadlines
) -> LoggedIn:
    """Logs in on a connection that is ready for it. Raises `DialError` or `LoginRefused`, and then drops it."""
    capabilities = frozenset(opened.listed.upper().split())
    try:
        if opened.rest:
            raise DialError(Failure.PROTOCOL, "octets came that were not asked for")
        said = spoken(credentials, host=provider.host, port=provider.port, capabilities=capabilities)
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
