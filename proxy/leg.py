"""The connection to a provider, whatever is spoken on it: made, secured, paused, lost and dropped.

TLS is verified, always.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from proxy.failures import DialError, Failure
from proxy.outlet import HIGH_WATER, Outlet
from proxy.route import Provider, Tls

__all__ = ["Leg", "connect", "dialling", "secure"]


class Leg(asyncio.Protocol):
    """While dialling `news` tells that something came, or raises; then `on_lost` and `on_pause` tell what happens."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.outlet = Outlet()
        self.on_lost: Callable[[str], None] | None = None
        self.on_pause: Callable[[bool], None] | None = None
        self.last_activity = 0.0
        self._is_held = False
        self._waiter: asyncio.Future[None] | None = None
        self._trouble: str | None = None
        self._clock = asyncio.get_running_loop().time

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = self.outlet.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(HIGH_WATER)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("the connection was closed")
        self._forget()

    def pause_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(True)

    def resume_writing(self) -> None:
        if self.on_pause is not None:
            self.on_pause(False)

    def hold(self, *, on: bool) -> None:
        """Reads no more until told to go on: somebody does not take what comes."""
        self._is_held = on
        if self.transport is not None:
            self.transport.pause_reading() if on else self.transport.resume_reading()

    def take_turns(self) -> None:
        """Lets the loop see to all others before it reads on here.

        uvloop reads from one connection for as long as there is something, up to 8 MiB before anybody else has a turn.
        A fast provider that sends a mailbox would keep the directory's answers away for seconds.
        """
        if self.transport is not None and not self._is_held and not self.transport.is_closing():
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        if self.transport is not None and not self._is_held and not self.transport.is_closing():
            self.transport.resume_reading()

    def drop(self) -> None:
        """Closes at once and tells nobody."""
        self._forget()
        if self.transport is not None:
            self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def close(self) -> None:
        """Closes when all that was written has gone, and tells nobody."""
        self._forget()
        if self.transport is not None:
            self.transport.close()

    def is_broken(self) -> str | None:
        """Why the connection is of no use any more, or `None`."""
        return self._trouble

    async def news(self) -> None:
        """Waits until something came. Raises `DialError` when nothing will."""
        if self._trouble is not None:
            raise DialError(Failure.PROTOCOL, self._trouble)
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _forget(self) -> None:
        """Lets go of whoever is told."""
        self.on_lost = self.on_pause = None

    def _fail(self, trouble: str) -> None:
        if self._trouble is None:
            self._trouble = trouble
            self._wake()
            if self.on_lost is not None:
                self.on_lost(trouble)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@asynccontextmanager
async def dialling(leg: Leg, seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """A dial, whose first step may take `seconds`; each further one sets the deadline anew. What ends it closes `leg`.

    Raises `DialError` when a deadline passes.
    """
    try:
        async with asyncio.timeout(seconds) as deadline:
            yield deadline
    except TimeoutError as error:
        leg.drop()
        raise DialError(Failure.TIMED_OUT, "a deadline passed") from error
    except BaseException:
        leg.drop()
        raise


async def connect(leg: Leg, provider: Provider, context: ssl.SSLContext | None) -> None:
    """Connects `leg`, with TLS at once where the provider begins so. Raises `DialError`."""
    implicit = context if provider.tls is Tls.IMPLICIT else None
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: leg,
            provider.host,
            provider.port,
            ssl=implicit,
            server_hostname=provider.host if implicit is not None else None,
        )
    except UnicodeError as error:  # a label that is empty or too long: no resolver would know the name
        raise DialError(Failure.UNREACHABLE, f"{provider.host!r} is no host name") from error
    except (OSError, ssl.SSLError, ssl.CertificateError) as error:
        raise (
            _tls_failure(error)
            if isinstance(error, ssl.SSLError)
            else DialError(Failure.UNREACHABLE, type(error).__name__)
        ) from error


async def secure(leg: Leg, provider: Provider, context: ssl.SSLContext) -> None:
    """Starts TLS on a connection that is up. Raises `DialError`."""
    assert leg.transport is not None
    try:
        secured = await asyncio.get_running_loop().start_tls(leg.transport, leg, context, server_hostname=provider.host)
    except (OSError, ssl.SSLError, ssl.CertificateError) as error:
        raise _tls_failure(error) from error
    if secured is None:
        raise DialError(Failure.TLS_BROKEN, "the connection was closed during the handshake")
    leg.connection_made(secured)


def _tls_failure(error: Exception) -> DialError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return DialError(Failure.NOT_TRUSTED, f"the certificate was refused: {error.verify_message}")
    return DialError(Failure.TLS_BROKEN, f"TLS failed: {type(error).__name__}")
