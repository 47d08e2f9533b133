"""Connecting to an IMAP server: greeting, TLS and capabilities, under one deadline each (RFC 9051 §3.1).

Octets that came in clear between the answer to STARTTLS and the handshake end the attempt (CVE-2011-0411).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from proxy.failures import DialError, Failure
from proxy.imap.opening import Opened, Opening, Send, StartTls
from proxy.leg import Leg, connect, dialling, secure
from proxy.limits import Deadlines
from proxy.route import Provider, Tls

__all__ = ["MailboxLeg", "dial_mailbox"]

MUCH = 128 * 1024  # octets of one read, behind which there may be more


class MailboxLeg(Leg):
    """The connection to an IMAP server. While dialling its octets are kept; `listen` says who gets them later."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[bytes] = []
        self._on_octets: Callable[[bytes], None] | None = None

    def data_received(self, data: bytes) -> None:
        self.last_activity = self._clock()
        if self._on_octets is not None:
            self._on_octets(data)
            if len(data) >= MUCH:
                self.take_turns()
        else:
            self._kept.append(data)
            self._wake()

    async def octets(self) -> bytes:
        """What came since it was asked last. Raises `DialError` when nothing will."""
        while not self._kept:
            await self.news()
        return self.take_kept()

    def take_kept(self) -> bytes:
        """What nobody has got yet."""
        octets = b"".join(self._kept)
        self._kept.clear()
        return octets

    def listen(self, on_octets: Callable[[bytes], None]) -> None:
        """From now on octets go to `on_octets`; what was kept goes first."""
        self._on_octets = on_octets
        if kept := self.take_kept():
            on_octets(kept)

    def _forget(self) -> None:
        super()._forget()
        self._on_octets = None


async def dial_mailbox(
    provider: Provider, context: ssl.SSLContext | None, *, deadlines: Deadlines
) -> tuple[MailboxLeg, Opened]:
    """A provider that is ready for a login. Raises `DialError`; nothing is left open then."""
    leg = MailboxLeg()
    clock = asyncio.get_running_loop().time
    async with dialling(leg, deadlines.provider_connect) as deadline:
        await connect(leg, provider, context)
        deadline.reschedule(clock() + deadlines.provider_greeting)
        opened = await _open(leg, provider, context)
    return leg, opened


async def _open(leg: MailboxLeg, provider: Provider, context: ssl.SSLContext | None) -> Opened:
    opening = Opening(starttls=provider.tls is Tls.STARTTLS)
    while True:
        step = opening.receive(await leg.octets())
        if isinstance(step, StartTls):
            assert context is not None
            if leg.take_kept():
                raise DialError(Failure.TLS_BROKEN, "octets came in clear behind the response to STARTTLS")
            await secure(leg, provider, context)
            step = opening.secured()
        if isinstance(step, Opened):
            return step
        if isinstance(step, Send):
            leg.outlet.write(step.octets)
