"""What opens connected mailboxes, kept good: a token that is about to end is renewed before it is given out.

Whoever asks while a renewal is under way waits for that one; other processes are kept off by a claim in the store. A
renewed token is stored before it is used, since with it comes the refresh token for the next time, and the old one may
be good no more. A crash between the issuer's answer and that costs at most the consent of its user, and only where the
issuer takes a refresh token once: then the state says "needs reconnect".
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import structlog

from engine.secret import Secret
from onrecord.oauth.client import OAuthClient
from onrecord.oauth.failure import GrantLost, OAuthError
from proxy.imap.own_login import MailboxCredentials
from proxy.mailbox_login import CredentialsUnavailable, MailboxClosed
from store.database import StoreUnavailable
from store.mailbox_secret import Password, Tokens
from store.mailbox_state import MailboxState
from store.mailboxes import Held, Mailboxes, MailboxGone
from store.sealing import SealingError

__all__ = ["ConnectedCredentials"]

log = structlog.get_logger("mailboxes")

EXCHANGE_SECONDS = 90.0  # more than the steps of an exchange take that is no attack
CLAIM_SECONDS = 120.0  # as long as an exchange and the storing of what it brought may take
POLL_SECONDS = 0.25  # how often it is looked whether another process has done it
STORE_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between attempts to store what cannot be had again
LAST_SECONDS = 10.0  # for a renewal that was asked for when we are to end
PATIENCE = 3  # refusals of a password in a row; servers refuse a good one now and then


class ConnectedCredentials:
    """Gives credentials by mailbox id. Implements `proxy.mailbox_login.CredentialSource`.

    `clock` gives Unix time.
    """

    def __init__(
        self,
        mailboxes: Mailboxes,
        client: OAuthClient,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._mailboxes = mailboxes
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._flights: dict[int, asyncio.Future[Exception | None]] = {}
        self._unstored: dict[int, tuple[int, Tokens]] = {}  # with the version they replace
        self._rejected: dict[int, int] = {}  # versions that a server did not take
        self._suspects: dict[int, int] = {}  # versions that came in the place of those
        self._refusals: dict[int, tuple[int, int]] = {}  # version of a password, and how often it was refused

    async def credentials(self, mailbox: int) -> MailboxCredentials:
        """What opens the mailbox now. Raises `CredentialsUnavailable` or `MailboxClosed`."""
        before: int | None = None
        while True:
            held = await self._held(mailbox)
            secret = held.secret
            if isinstance(secret, Password):
                return _credentials(held, secret.password)
            is_rejected = self._rejected.get(mailbox) == held.version
            was_renewed = before is not None and before != held.version
            if not is_rejected and (was_renewed or self._clock() < secret.stale_at):
                return _credentials(held, secret.access)
            before = held.version
            trouble = await self._renewed(held)
            if isinstance(trouble, CredentialsUnavailable) and not is_rejected and self._clock() < secret.expires_at:
                return _credentials(held, secret.access)
            if trouble is not None:
                raise trouble

    async def refused(self, credentials: MailboxCredentials, text: str) -> bool:
        """The server did not take them, and not for a passing reason; whether it helps to ask for others at once.

        Raises `CredentialsUnavailable` or `MailboxClosed`.
        """
        mailbox, version = credentials.mailbox, credentials.version
        held = await self._held(mailbox)
        if held.version != version:
            return True
        if isinstance(held.secret, Tokens) and self._suspects.get(mailbox) != version:
            self._rejected[mailbox] = version
            return True
        if isinstance(held.secret, Password):
            known, number = self._refusals.get(mailbox, (version, 0))
            number = number + 1 if known == version else 1
            self._refusals[mailbox] = (version, number)
            if number < PATIENCE:
                with _translated():
                    await self._mailboxes.note_trouble(mailbox, version, text)
                return False
        with _translated():
            await self._close(held, text)
        return False

    async def worked(self, credentials: MailboxCredentials) -> None:
        """The server took them: what was wrong before is over. Raises as `refused`."""
        mailbox = credentials.mailbox
        self._suspects.pop(mailbox, None)
        self._refusals.pop(mailbox, None)
        held = await self._held(mailbox)
        if held.record.trouble is not None and held.version == credentials.version:
            with _translated():
                await self._mailboxes.note_trouble(mailbox, held.version, None)

    async def _held(self, mailbox: int) -> Held:
        try:
            with _translated():
                held = await self._mailboxes.held(mailbox)
        except MailboxGone as error:
            raise MailboxClosed(str(error)) from error
        if held.record.state is MailboxState.NEEDS_RECONNECT:
            raise MailboxClosed(held.record.trouble or "it needs to be connected again")
        return held

    # -- renewing -----------------------------------------------------------------------------------------------------

    async def _renewed(self, held: Held) -> Exception | None:
        """One renewal for all who ask; why there are no new tokens, or `None` when it is worth to look again."""
        mailbox = held.record.id
        if (flight := self._flights.get(mailbox)) is not None:
            return await asyncio.shield(flight)
        flight = self._flights[mailbox] = asyncio.get_running_loop().create_future()
        trouble: Exception | None = None
        try:
            trouble = await _to_its_end(self._renew(held))
        finally:
            del self._flights[mailbox]
            flight.set_result(trouble)
        return trouble

    async def _renew(self, held: Held) -> Exception | None:
        try:
            with _translated():
                if (tokens := await self._next_tokens(held)) is not None:
                    await self._store(held, tokens)
        except (CredentialsUnavailable, MailboxClosed) as error:
            return error
        return None

    async def _next_tokens(self, held: Held) -> Tokens | None:
        """What comes in the place of `held`; `None` when another process has seen to it."""
        record, secret = held.record, held.secret
        assert isinstance(secret, Tokens)
        assert record.issuer is not None
        version, tokens = self._unstored.get(record.id, (None, None))
        if version == held.version:
            return tokens
        if not await self._claim(held):
            return None
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                return await self._client.refresh(record.issuer, secret.refresh)
        except GrantLost as error:
            await self._close(held, str(error))
            raise MailboxClosed(str(error)) from error
        except (OAuthError, TimeoutError) as error:
            text = str(error) or f"{record.issuer} does not answer in time"
            log.warning("token not renewed", mailbox=record.id, cause=text)
            await self._mailboxes.note_trouble(record.id, held.version, text)
            raise CredentialsUnavailable(text) from error

    async def _claim(self, held: Held) -> bool:
        """Whether it is ours to renew; `False` when another process has done so, for which we wait."""
        mailbox = held.record.id
        while not await self._mailboxes.claim_renewal(mailbox, held.version, seconds=CLAIM_SECONDS):
            if (await self._held(mailbox)).version != held.version:
                return False
            await self._sleep(POLL_SECONDS)
        return True

    async def _store(self, held: Held, tokens: Tokens) -> None:
        mailbox = held.record.id
        self._unstored[mailbox] = (held.version, tokens)
        for delay in (*STORE_DELAYS, None):
            try:
                await self._mailboxes.renew(mailbox, held.version, tokens)
                break
            except (StoreUnavailable, SealingError) as error:
                if delay is None:
                    log.error("renewed token not stored", mailbox=mailbox, cause=str(error))
                    raise CredentialsUnavailable(str(error)) from error
                await self._sleep(delay)
        del self._unstored[mailbox]
        if self._rejected.pop(mailbox, None) == held.version:
            self._suspects[mailbox] = held.version + 1

    async def _close(self, held: Held, text: str) -> None:
        if await self._mailboxes.need_reconnect(held.record.id, held.version, text):
            log.warning("mailbox needs to be connected again", mailbox=held.record.id, cause=text)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """A store that does not answer, and a key that is away, are nothing that whoever opens a mailbox can mend."""
    try:
        yield
    except (StoreUnavailable, SealingError) as error:
        raise CredentialsUnavailable(str(error)) from error


def _credentials(held: Held, secret: Secret) -> MailboxCredentials:
    record = held.record
    return MailboxCredentials(
        login=record.login, mechanism=record.mechanism, secret=secret, mailbox=record.id, version=held.version
    )


async def _to_its_end(work: Coroutine[Any, Any, Exception | None]) -> Exception | None:
    """Awaits `work`, and when cancelled lets it finish first: what the issuer has answered is nowhere else."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await task
        raise
