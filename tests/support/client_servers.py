"""Settings with providers and listeners of a usual installation, and the table that is made of them."""

from __future__ import annotations

from collections.abc import Sequence

from onrecord.settings import Settings
from onrecord.web.autoconfig import Server, servers
from proxy.route import Listener, ListenerKind, Provider, ProviderKind, Tls

__all__ = ["DOMAIN", "HOST", "LISTENERS", "PROVIDERS", "listener", "table"]

HOST = "relay.example.com"
DOMAIN = "acme.example"
PROVIDERS = (
    Provider(name="main", host="smtp.acme.example", domains=(DOMAIN,)),
    Provider(name="main-imap", kind=ProviderKind.IMAP, host="imap.acme.example", domains=(DOMAIN,)),
)


def listener(
    port: int, tls: Tls, *, kind: str = "submission", address: str = "0.0.0.0", provider: str | None = None
) -> Listener:
    """One listener; on all addresses unless another is named."""
    return Listener(kind=ListenerKind(kind), address=address, port=port, tls=tls, provider=provider)


LISTENERS = (
    listener(587, Tls.STARTTLS),
    listener(465, Tls.IMPLICIT),
    listener(143, Tls.STARTTLS, kind="imap"),
    listener(993, Tls.IMPLICIT, kind="imap"),
    listener(25, Tls.STARTTLS, kind="capture"),
)


def table(*listeners: Listener, hostname: str = HOST, providers: Sequence[Provider] = PROVIDERS) -> tuple[Server, ...]:
    """The table of these listeners, or of all the usual ones."""
    return servers(Settings(hostname=hostname, provider=tuple(providers), listener=listeners or LISTENERS))
