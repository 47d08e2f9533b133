"""The IMAP pass-through inside the test's own event loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from in_process import InProcess
from pki import Pki
from scripted_mailbox import ScriptedMailbox

from proxy.passthrough import Passthrough
from proxy.relay import Door, Relay
from proxy.route import Listener, ListenerKind, Tls

__all__ = ["InProcessMailbox"]


class InProcessMailbox(InProcess):
    """An async context manager: one listener before one IMAP server. `options` are those of `InProcess`."""

    def __init__(
        self,
        folder: Path,
        mailbox: ScriptedMailbox,
        *,
        pki: Pki,
        tls: Tls = Tls.NONE,
        known_users_only: bool = False,
        **options: Any,
    ) -> None:
        listener = Listener(kind=ListenerKind.IMAP, tls=tls, provider="provider", known_users_only=known_users_only)
        super().__init__(folder, [mailbox.provider(pki.ca_file)], pki=pki, listeners=[listener], **options)

    def _session(self, relay: Relay, door: Door) -> Any:
        return Passthrough(relay, door)
