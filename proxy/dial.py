"""Connecting to a submission server: greeting, EHLO, STARTTLS and EHLO again, each under its deadline.

A provider that should offer STARTTLS and does not is not used in clear, and octets that it sends between its 220 and
the handshake end the attempt: they came from somebody in between (CVE-2011-0411).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable

from proxy.failures import DialError, Failure
from proxy.leg import Leg, connect, dialling, secure
from proxy.limits import Deadlines, Limits
from proxy.route import Provider, Tls
from proxy.smtp.extension import parse_extensions
from proxy.smtp.reply import ProviderViolation, Reply, ReplyReader

__all__ = ["ProviderLeg", "dial"]


class ProviderLeg(Leg):
    """The connection to a provider. While dialling replies are awaited one by one; then they go to `on_replies`."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.extensions: dict[bytes, bytes] = {}
        self.on_replies: Callable[[list[Reply]], None] | None = None
        self._reader = ReplyReader(max_line=limits.reply_line, max_lines=limits.reply_lines)
        self._replies: deque[Reply] = deque()

    def data_received(self, data: bytes) -> None:
        self.last_activity = self._clock()
        if self._trouble is not None:
            return
        violation: ProviderViolation | None = None
        try:
            replies = self._reader.feed(data)
        except ProviderViolation as error:
            replies, violation = error.replies, error
        if self.on_replies is not None:
            self.on_replies(replies)
        elif replies:
            self._replies += replies
            self._wake()
        if violation is not None:
            self._fail(str(violation))

    async def reply(self) -> Reply:
        """The next reply while dialling. Raises `DialError`."""
        while not self._replies:
            await self.news()
        return self._replies.popleft()

    async def command(self, line: bytes) -> Reply:
        """Sends one command line and awaits its reply. Raises `DialError`."""
        self.outlet.write(line)
        return await self.reply()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come that was not asked for."""
        return not self._replies and self._reader.is_empty and self._trouble is None

    def _forget(self) -> None:
        super()._forget()
        self.on_replies = None


async def dial(
    provider: Provider, context: ssl.SSLContext | None, hostname: bytes, *, limits: Limits, deadlines: Deadlines
) -> ProviderLeg:
    """A provider that is ready for AUTH, or for MAIL. Raises `DialError`; nothing is left open then."""
    leg = ProviderLeg(limits)
    clock = asyncio.get_running_loop().time
    async with dialling(leg, deadlines.provider_connect) as deadline:
        await connect(leg, provider, context)
        deadline.reschedule(clock() + deadlines.provider_greeting)
        greeting = await leg.reply()
        if greeting.code != 220:
            raise DialError(Failure.REFUSED, f"the greeting was {greeting.code}")
        _require_quiet(leg)
        deadline.reschedule(clock() + deadlines.provider_command)
        await _hello(leg, hostname)
        if provider.tls is Tls.STARTTLS:
            assert context is not None
            await _start_tls(leg, provider, context)
            await _hello(leg, hostname)
    return leg


async def _hello(leg: ProviderLeg, hostname: bytes) -> None:
    answer = await leg.command(b"EHLO " + hostname + b"\r\n")
    if not answer.is_positive:
        raise DialError(Failure.PROTOCOL, f"EHLO was answered {answer.code}")
    _require_quiet(leg)
    leg.extensions = parse_extensions(answer.texts()[1:])


def _require_quiet(leg: ProviderLeg) -> None:
    """A reply ahead of its command would be taken for the answer to the next one."""
    if not leg.is_quiet:
        raise DialError(Failure.PROTOCOL, "octets came before they were asked for")


async def _start_tls(leg: ProviderLeg, provider: Provider, context: ssl.SSLContext) -> None:
    if b"STARTTLS" not in leg.extensions:
        raise DialError(Failure.NO_STARTTLS, "STARTTLS is not offered")
    answer = await leg.command(b"STARTTLS\r\n")
    if answer.code != 220:
        raise DialError(Failure.NO_STARTTLS, f"STARTTLS was answered {answer.code}")
    if not leg.is_quiet:
        raise DialError(Failure.TLS_BROKEN, "octets came in clear behind the reply to STARTTLS")
    await secure(leg, provider, context)
    _require_quiet(leg)
