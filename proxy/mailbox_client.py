"""A connection on which we ask a mailbox: the shell round `proxy.imap_client`, with a deadline for every wait.

A connection that is lost without a word is noticed by TCP while nothing is said on it, else by the deadline.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from proxy.imap.framing import BadFrame
from proxy.imap.own_login import LoggedIn
from proxy.imap_client.dialogue import Answer, Command, Dialogue, Idle
from proxy.imap_client.notify import Told
from proxy.imap_client.questions import Capability, Identify, Noop
from proxy.leg import Leg
from proxy.mailbox_dial import MailboxLeg

__all__ = ["CommandRefused", "MailboxClient", "MailboxLost", "NonsenseFromServer"]

# After these seconds of silence the kernel asks, every few seconds and three times, whether the other side is there: a
# peer that has gone is noticed in some 30 seconds, and a NAT does not forget a connection that only waits.
KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 30_000))

C = TypeVar("C", bound=Command)


class MailboxLost(Exception):
    """The connection is gone, or the server does not answer. The text holds nothing of the server's."""


class NonsenseFromServer(MailboxLost):
    """The server says what makes no sense, so that nobody knows what it will say next."""


class CommandRefused(Exception):
    """NO or BAD. The text names the command's kind and the response code."""


class MailboxClient:
    """A connection to a server. `seconds` is how long it may be silent when it should speak.

    `told` is what the server says of folders; whoever looks at it takes it away.
    """

    def __init__(self, leg: MailboxLeg, seconds: float) -> None:
        self.capabilities: frozenset[bytes] = frozenset()
        self._leg = leg
        self._seconds = seconds
        self.told = Told()
        self._dialogue = Dialogue(leg.outlet.write, self.told.hear)
        self._heard = asyncio.Event()
        self._trouble: MailboxLost | None = None

    async def begin(self, done: LoggedIn) -> None:
        """Begins to listen, says who we are, and asks what can be had. Raises `MailboxLost`."""
        _keep_alive(self._leg)
        self._leg.on_lost = lambda trouble: self._fail(MailboxLost(trouble))
        if done.rest:
            self._receive(done.rest)
        if (trouble := self._leg.is_broken()) is not None:
            self._fail(MailboxLost(trouble))
        self._leg.listen(self._receive)
        self.capabilities = done.capabilities or (await self.ask(Capability())).capabilities
        if b"ID" in self.capabilities:
            with suppress(CommandRefused):
                await self.ask(Identify())

    def drop(self) -> None:
        """Closes the connection."""
        self._fail(MailboxLost("the connection was dropped"))
        self._dialogue.close()
        self._leg.drop()

    @property
    def has_news(self) -> bool:
        """Whether the server has told of messages in the open folder since this was last cleared."""
        return self._dialogue.has_news

    def clear_news(self) -> None:
        """Whoever calls this looks at the folder now."""
        self._dialogue.has_news = False

    async def ask(self, command: C) -> C:
        """The command when it has ended well. Raises `CommandRefused` and `MailboxLost`."""
        answer = await self._ask(command)
        if not answer.is_ok:
            raise CommandRefused(f"{type(command).__name__} was refused: {answer.code}")
        return command

    async def wait_for_news(self, seconds: float, *, poll: float) -> None:
        """Waits until the server tells of messages or folders, for `seconds` at most; by IDLE (RFC 2177), else by
        asking now and then, every `poll` seconds. Raises `CommandRefused` and `MailboxLost`.
        """
        if b"IDLE" in self.capabilities:
            await self._idle(seconds)
        else:
            await self._heard_within(self._is_told, min(seconds, poll))
            await self.ask(Noop())

    async def _idle(self, seconds: float) -> None:
        idle = Idle()
        self._dialogue.ask(idle)
        await self._until(lambda: idle.is_idling or self._dialogue.answer is not None)
        await self._heard_within(lambda: self._is_told() or self._dialogue.answer is not None, seconds)
        if self._dialogue.answer is None:
            self._leg.outlet.write(idle.stop())
            await self._answer()
        elif not self._is_told():
            self.capabilities -= {b"IDLE"}  # refused, or ended at once: it must not be asked for again and again

    def _is_told(self) -> bool:
        return self.has_news or self.told.is_anything

    async def _ask(self, command: Command) -> Answer:
        if self._trouble is not None:
            raise self._trouble
        self._dialogue.ask(command)
        return await self._answer()

    async def _answer(self) -> Answer:
        await self._until(lambda: self._dialogue.answer is not None)
        assert self._dialogue.answer is not None
        return self._dialogue.answer

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Any octet of the server starts the wait anew."""
        while not holds():
            self._heard.clear()
            self._raise_trouble()
            try:
                async with asyncio.timeout(self._seconds):
                    await self._heard.wait()
            except TimeoutError as error:
                raise MailboxLost("the server does not answer") from error

    async def _heard_within(self, holds: Callable[[], bool], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():
                    self._heard.clear()
                    self._raise_trouble()
                    await self._heard.wait()

    def _raise_trouble(self) -> None:
        if self._trouble is not None:
            raise self._trouble

    def _receive(self, octets: bytes) -> None:
        if self._trouble is not None:
            return
        try:
            self._dialogue.receive(octets)
        except BadFrame as error:
            self._fail(NonsenseFromServer(str(error)))
        except OSError as error:  # of a disk that takes no more: the message comes again
            self._fail(MailboxLost(f"what came could not be kept: {type(error).__name__}"))
        if self._dialogue.is_over and self._dialogue.answer is None:
            self._fail(MailboxLost("the server said BYE"))
        self._heard.set()

    def _fail(self, trouble: MailboxLost) -> None:
        if self._trouble is None:
            self._trouble = trouble
        self._heard.set()


def _keep_alive(leg: Leg) -> None:
    assert leg.transport is not None
    found = leg.transport.get_extra_info("socket")
    if found is None:
        return
    with suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if (option := getattr(socket, name, None)) is not None:
                found.setsockopt(socket.IPPROTO_TCP, option, value)
