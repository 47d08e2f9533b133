"""Companions: sessions of our own beside those of mail clients, so that mail is logged whether they read it or not.

A client that logs in says what opens its mailbox. While it stays, an observer (`proxy.observer`) reads along in one
more session that the same credentials open: one for each login, provider and process, however many clients there are.
The credentials are held in memory, nowhere else, and let go with the last client. No client ever notices its companion,
and a login that concerns nobody has none.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from engine.address import canonical
from engine.directory import Answer, Question
from proxy.capture import Captures
from proxy.imap.own_login import LoggedIn, LoginRefused
from proxy.imap.wire import Credentials
from proxy.limits import Deadlines
from proxy.looking import keep_looking
from proxy.mailbox_dial import MailboxLeg
from proxy.mailbox_login import open_mailbox
from proxy.observer import Observer, Rhythm, State
from proxy.route import Provider
from store.database import StoreUnavailable
from store.observed import Observed

__all__ = ["Companion", "Companions"]

log = structlog.get_logger("companions")

OPENING = 20  # sessions that are opened at a time: clients of a whole office log in at once
# A client that looks for mail again and again, and leaves each time, has a companion no more often than that.
SPACING = 5.0
LOOK_SECONDS = 10.0  # how late it is noticed that a user has withdrawn access
# How long one stays away that took the last place a provider has for its login. What comes meanwhile is found later.
ROOM_SECONDS = 300.0
STORE_SECONDS = 5.0  # until a store that is away is asked again whether a companion is wanted


@dataclass(slots=True, eq=False, kw_only=True)
class Companion:
    """That of one login at one provider. It began beside the session `client`, and there are so many `clients` now.

    Without `credentials` it is over, or waits for others than those whose digest is `refused`.
    """

    client: str
    address: str
    provider: Provider
    question: Question
    credentials: Credentials | None = field(default=None, repr=False)
    refused: bytes = b""
    clients: int = 0
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What there is one companion of."""
        return canonical(self.address), self.provider.name


class Companions:
    """Those of one relay process. `contexts` are for TLS with each provider."""

    def __init__(
        self,
        *,
        captures: Captures,
        observed: Observed,
        contexts: Mapping[Provider, ssl.SSLContext | None],
        deadlines: Deadlines,
        rhythm: Rhythm | None = None,
        spacing: float = SPACING,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._captures = captures
        self._observed = observed
        self._contexts = contexts
        self._deadlines = deadlines
        self._rhythm = rhythm
        self._spacing = spacing
        self._sleep = sleep
        self._clock = asyncio.get_running_loop().time
        self._doors = asyncio.Semaphore(OPENING)
        self._companions: dict[tuple[str, str], Companion] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._digest_key = os.urandom(32)
        self._is_over = False

    # -- as sessions tell it ------------------------------------------------------------------------------------------

    def join(self, session: str, address: str, provider: Provider, credentials: Credentials | None) -> Companion | None:
        """A client has logged in as `address`, with credentials that can be used again if there are any.

        What comes back is for `leave`; `None` where there is no companion.
        """
        if self._is_over or not provider.companion or credentials is None or not _is_of_itself(credentials):
            return None
        question = Question(login=address, addresses=frozenset((address,)))
        companion = Companion(client=session, address=address, provider=provider, question=question)
        answers = self._captures.directory.answer(companion.question)
        if answers is not None and not _concerns_somebody(answers, address):
            return None
        companion = self._companions.setdefault(companion.key, companion)
        companion.clients += 1
        if companion.task is not None:
            companion.credentials = credentials  # for the next opening: tokens are renewed, passwords changed
        elif self._digest(credentials) != companion.refused:
            companion.credentials = credentials
            companion.task = self._captures.tasks.create_task(self._run(companion))
        return companion

    def __len__(self) -> int:
        """How many there are, with those that wait for other credentials."""
        return len(self._companions)

    def leave(self, companion: Companion) -> None:
        """A client's session is over."""
        companion.clients -= 1
        if not companion.clients:
            self._end(companion)

    def make_room(self, address: str, provider: Provider) -> None:
        """The provider has no place for one more session of a client: the companion leaves it its own for a while."""
        companion = self._companions.get((canonical(address), provider.name))
        if companion is not None and companion.task is not None:
            companion.task.cancel()
            companion.task = self._captures.tasks.create_task(self._run_later(companion))

    # -- the process --------------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Ends the companions that are wanted no more."""
        now = self._clock()
        self._began = {key: at for key, at in self._began.items() if now - at < self._spacing}
        for each in tuple(self._companions.values()):
            try:
                is_wanted = _concerns_somebody(await self._answers(each), each.address)
            except StoreUnavailable:
                return
            if not is_wanted:
                self._end(each)

    async def keep_looking(self) -> None:
        """Looks again and again, for ever."""
        await keep_looking(self.look, LOOK_SECONDS)

    def stop(self) -> None:
        """Ends all, and there will be no others. Their connections are closed in the next turns of the loop."""
        self._is_over = True
        for each in tuple(self._companions.values()):
            self._end(each)

    # -- one companion ------------------------------------------------------------------------------------------------

    async def _run(self, companion: Companion) -> None:
        try:
            if await self._is_wanted(companion):
                await self._observe(companion)
        except Exception as error:  # of one strange login, which must not end every session of the process
            log.error("a companion failed", client=companion.client, cause=type(error).__name__)
        self._end(companion)

    async def _run_later(self, companion: Companion) -> None:
        await self._sleep(ROOM_SECONDS)
        await self._run(companion)

    async def _is_wanted(self, companion: Companion) -> bool:
        """Whether the login concerns somebody, and nobody else observes its mailbox. Asks until the store can say."""
        while True:
            try:
                if not _concerns_somebody(await self._answers(companion), companion.address):
                    return False
                return companion.provider.name not in await self._observed.connected_servers(companion.address)
            except StoreUnavailable:
                await self._sleep(STORE_SECONDS)

    async def _answers(self, companion: Companion) -> Sequence[Answer]:
        directory = self._captures.directory
        answers = directory.answer(companion.question)
        return answers if answers is not None else await directory.ask(companion.question)

    async def _observe(self, companion: Companion) -> None:
        """Observes until it is cancelled."""

        async def open_session() -> tuple[MailboxLeg, LoggedIn]:
            return await self._open(companion)

        def tell(state: State) -> None:
            if state is State.REFUSED:
                self._refuse(companion)

        if (pause := self._began.get(companion.key, -self._spacing) + self._spacing - self._clock()) > 0:
            await self._sleep(pause)
        self._began[companion.key] = self._clock()
        observer = Observer(
            address=companion.address,
            server=companion.provider.name,
            open_mailbox=open_session,
            captures=self._captures,
            observed=self._observed,
            rhythm=self._rhythm,
            notifies=False,
            tell=tell,
        )
        log.info("a companion begins", session=observer.session, client=companion.client)
        try:
            await observer.run()
        finally:
            log.info("a companion ends", session=observer.session)

    async def _open(self, companion: Companion) -> tuple[MailboxLeg, LoggedIn]:
        """As `open_mailbox`, with the credentials that were said last."""
        context = self._contexts[companion.provider]
        while True:
            credentials = companion.credentials
            assert credentials is not None, "whoever lets go of the credentials ends the task"
            try:
                async with self._doors:
                    return await open_mailbox(companion.provider, context, credentials, deadlines=self._deadlines)
            except LoginRefused as error:
                if error.is_passing or companion.credentials is credentials:
                    raise

    def _refuse(self, companion: Companion) -> None:
        """The provider takes the credentials no more. Trying on might lock the account: others have to come."""
        if companion.credentials is not None:
            companion.refused = self._digest(companion.credentials)
        self._let_go(companion)

    def _end(self, companion: Companion) -> None:
        if self._companions.get(companion.key) is companion:
            del self._companions[companion.key]
        self._let_go(companion)

    def _let_go(self, companion: Companion) -> None:
        companion.credentials = None
        task, companion.task = companion.task, None
        if task is not None:
            task.cancel()

    def _digest(self, credentials: Credentials) -> bytes:
        """By which credentials are known again without being kept."""
        digest = hashlib.blake2b(credentials.mechanism or b"", key=self._digest_key, digest_size=32)
        for each in credentials.said:
            digest.update(b"%d:" % len(each.reveal()) + each.reveal())
        return digest.digest()


def _concerns_somebody(answers: Sequence[Answer], address: str) -> bool:
    """Whether it is a connected address of an active user who has given access."""
    return any(
        user.active
        and user.personal_email_access
        and canonical(address, answer.portal.subaddressed_domains) in user.connected
        for answer in answers
        for users in answer.users.values()
        for user in users
    )


def _is_of_itself(credentials: Credentials) -> bool:
    """Whether they open the mailbox of whom they name; with an authzid a password may open another's (RFC 4616 §2)."""
    if credentials.mechanism != b"PLAIN":
        return True
    try:
        authzid, authcid, _ = base64.b64decode(credentials.said[0].reveal()).split(b"\0")
    except (binascii.Error, ValueError):
        return False
    return authzid in (b"", authcid)
