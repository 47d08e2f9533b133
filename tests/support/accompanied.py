"""The IMAP pass-through in the test's own event loop, with companions beside its clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from in_process import InProcess
from observed_mailbox import QUICK
from pki import Pki
from pretend_mailbox import PretendMailbox

from certs import client_context
from proxy.companions import Companions
from proxy.imap.wire import Credentials
from proxy.observer import Rhythm
from proxy.passthrough import Passthrough
from proxy.relay import Door, Relay
from proxy.route import Listener, ListenerKind, Provider, ProviderKind, Tls
from store.observed import Observed

__all__ = ["Accompanied", "open_connections", "pretend_provider"]


class Accompanied(InProcess):
    """An async context manager: one listener before one IMAP server, in clear to the client.

    `rhythm`, `spacing` and `sleep` are those of the companions. Without `spacing` they begin as often as they are
    wanted.
    """

    companions: Companions

    def __init__(
        self,
        folder: Path,
        provider: Provider,
        pki: Pki | None = None,
        *,
        rhythm: Rhythm = QUICK,
        spacing: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        **options: Any,
    ) -> None:
        listener = Listener(kind=ListenerKind.IMAP, tls=Tls.NONE, provider=provider.name)
        super().__init__(folder, [provider], pki=pki, listeners=[listener], opens=False, **options)
        self.provider = provider
        self._options: dict[str, Any] = {"rhythm": rhythm, "spacing": spacing} | ({"sleep": sleep} if sleep else {})

    async def _open(self) -> None:
        await super()._open()
        context = client_context(self.provider.ca_file) if self.provider.tls is not Tls.NONE else None
        self.companions = self.relay.companions = Companions(
            captures=self.captures,
            observed=Observed(self.database),
            contexts={self.provider: context},
            deadlines=self.deadlines,
            **self._options,
        )
        await self.open()

    def _session(self, relay: Relay, door: Door) -> Any:
        return Passthrough(relay, door)

    def join(self, address: str, credentials: Credentials | None) -> Any:
        """As a client's session that has logged in."""
        return self.companions.join("client-1", address, self.provider, credentials)


def pretend_provider(mailbox: PretendMailbox, **more: Any) -> Provider:
    """The settings that lead to a pretend mailbox."""
    usual = {"name": "mail", "kind": ProviderKind.IMAP, "host": "127.0.0.1", "port": mailbox.port, "tls": Tls.NONE}
    return Provider(**usual | more)


def open_connections(mailbox: PretendMailbox) -> int:
    """How many it has at present."""
    return sum(not each.writer.is_closing() for each in mailbox._all)
