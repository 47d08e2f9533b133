"""Connecting to a provider: greeting, EHLO, STARTTLS and EHLO again, each under its deadline.

TLS is verified, always. A provider that should offer STARTTLS and does not is not used in clear, and octets that it
sends between its 220 and the handshake end the attempt: they came from somebody in between (CVE-2011-0411).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from proxy.failures import DialError, Failure
from proxy.limits import Deadlines, Limits
from proxy.outlet import Outlet
from proxy.route import Provider, Tls
from proxy.smtp.extension import parse_extensions
from proxy.smtp.reply import ProviderViolation, Reply, ReplyReader

__all__ = ["ProviderLeg", "dial"]

HIGH_WATER = 256 * 1024  # octets waiting in a transport before the other side is asked to pause


class ProviderLeg(asyncio.Protocol):
    """The connection to a provider. While dialling replies are awaited one by one; then they go to `on_replies`."""

    def __init__(self, limits: Limits) -> None:
        self.transport: asyncio.Transport | None = None
        self.outlet = Outlet()
        self.extensions: dict[bytes, bytes] = {}
        self.on_replies: Callable[[list[Reply]], None] | None = None
        self.on_lost: Callable[[str], None] | None = None
        self.on_pause: Callable[[bool], None] | None = None
        self.last_activity = 0.0
        self._limits = limits
        self._reader = ReplyReader(max_line=limits.reply_line, max_lines=limits.reply_lines)
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._trouble: str | None = None
        self._clock = asyncio.get_running_loop().time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = self.outlet.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(HIGH_WATER)

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

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("the connection was closed")
        self.on_replies = self.on_lost = self.on_pause = None

    def pause_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(True)

    def resume_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(False)

    def drop(self) -> None:
        """Closes at once and tells nobody."""
        self.on_replies = self.on_lost = self.on_pause = None
        if self.transport is not None:
            self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    async def reply(self) -> Reply:
        """The next reply while dialling. Raises `DialError`."""
        while not self._replies:
            if self._trouble is not None:
                raise DialError(Failure.PROTOCOL, self._trouble)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._replies.popleft()

    async def command(self, line: bytes) -> Reply:
        """Sends one command line and awaits its reply. Raises `DialError`."""
        self.outlet.write(line)
        return await self.reply()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come that was not asked for."""
        return not self._replies and self._reader.is_empty and self._trouble is None

    def is_broken(self) -> str | None:
        """Why the connection is of no use any more, or `None`."""
        return self._trouble

    def _fail(self, trouble: str) -> None:
        if self._trouble is None:
            self._trouble = trouble
            self._wake()
            if self.on_lost is not None:
                self.on_lost(trouble)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def dial(
    provider: Provider, context: ssl.SSLContext | None, hostname: bytes, *, limits: Limits, deadlines: Deadlines
) -> ProviderLeg:
    """A provider that is ready for AUTH, or for MAIL. Raises `DialError`; nothing is left open then."""
    leg = ProviderLeg(limits)
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(deadlines.provider_connect) as deadline:
            await _connect(leg, provider, context if provider.tls is Tls.IMPLICIT else None)
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
    except TimeoutError as error:
        leg.drop()
        raise DialError(Failure.TIMED_OUT, "a deadline passed") from error
    except BaseException:
        leg.drop()
        raise
    return leg


async def _connect(leg: ProviderLeg, provider: Provider, context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(
            lambda: leg,
            provider.host,
            provider.port,
            ssl=context,
            server_hostname=provider.host if context is not None else None,
        )
    except (OSError, ssl.SSLError, ssl.CertificateError) as error:
        raise (
            _tls_failure(error)
            if isinstance(error, ssl.SSLError)
            else DialError(Failure.UNREACHABLE, type(error).__name__)
        ) from error


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
    assert leg.transport is not None
    try:
        secure = await asyncio.get_running_loop().start_tls(leg.transport, leg, context, server_hostname=provider.host)
    except (OSError, ssl.SSLError, ssl.CertificateError) as error:
        raise _tls_failure(error) from error
    if secure is None:
        raise DialError(Failure.TLS_BROKEN, "the connection was closed during the handshake")
    if not leg.is_quiet:
        raise DialError(Failure.TLS_BROKEN, "octets came before they were asked for")
    leg.connection_made(secure)


def _tls_failure(error: Exception) -> DialError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return DialError(Failure.NOT_TRUSTED, f"the certificate was refused: {error.verify_message}")
    return DialError(Failure.TLS_BROKEN, f"TLS failed: {type(error).__name__}")
