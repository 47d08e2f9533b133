"""What mail clients can use of us: one table, made from the listeners, that everything else here is made from.

A row is a listener for mail clients as a user is to enter it. Listeners on all addresses, or on one of the network, are
told by the installation's host name, which is the name in the certificate. Those on a loopback address are told by a
name of that address and marked: no other machine reaches them, and they are handed to clients only where there are no
others, as on a machine where somebody tries us out.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from onrecord.settings import Settings
from proxy.route import Listener, ListenerKind, Provider, ProviderKind, Tls, provider_of_login
from store.directory_record import DirectoryError, checked_domains

__all__ = [
    "LOGIN_FORM",
    "PROTOCOLS",
    "NotOffered",
    "Offer",
    "Reach",
    "Server",
    "checked_domain",
    "find_server",
    "offer_for",
    "servers",
    "servers_for",
]

# By the domain of the whole address the provider is found, and by the whole address the user is.
LOGIN_FORM = "the whole e-mail address"
LOCALHOST = ("127.0.0.1", "::1")
BEST_TLS = (Tls.IMPLICIT, Tls.STARTTLS, Tls.NONE)  # RFC 8314 §3
# RFC 8314 §7.3 and IANA's list: what clients try by themselves, and what networks let through.
USUAL_PORTS = {
    (ProviderKind.SUBMISSION, Tls.IMPLICIT): 465,
    (ProviderKind.SUBMISSION, Tls.STARTTLS): 587,
    (ProviderKind.SUBMISSION, Tls.NONE): 587,
    (ProviderKind.IMAP, Tls.IMPLICIT): 993,
    (ProviderKind.IMAP, Tls.STARTTLS): 143,
    (ProviderKind.IMAP, Tls.NONE): 143,
}
PROTOCOLS = {ProviderKind.SUBMISSION: "SMTP", ProviderKind.IMAP: "IMAP"}


class NotOffered(Exception):
    """There is not all that a mail client needs; the text says what is wrong or missing."""


class Reach(StrEnum):
    """From where a server can be reached."""

    NETWORK = "network"
    THIS_MACHINE = "this machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One row: what a user enters to send (`SUBMISSION`) or to read (`IMAP`).

    `provider` is who gets all of its sessions; without it the login's domain chooses one of `candidates`.
    """

    kind: ProviderKind
    host: str
    port: int
    tls: Tls
    reach: Reach
    provider: str | None
    candidates: tuple[Provider, ...]

    @property
    def protocol(self) -> str:
        """What is spoken there, as people write it."""
        return PROTOCOLS[self.kind]

    @property
    def domains(self) -> tuple[str, ...]:
        """The login domains that are known to find a provider here; with none of them every login may."""
        return tuple(dict.fromkeys(domain for each in self.candidates for domain in each.domains))

    def serves(self, domain: str) -> bool:
        """Whether logins of this domain find a provider here."""
        return not self.domains or self.names(domain)

    def names(self, domain: str) -> bool:
        """Whether the settings lead this very domain here."""
        return provider_of_login(f"@{domain}", self.candidates) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """All that clients of one domain's users need, best first; neither side is empty."""

    domain: str
    incoming: tuple[Server, ...]
    outgoing: tuple[Server, ...]


def servers(settings: Settings) -> tuple[Server, ...]:
    """The table, best first. What is listed twice, for IPv4 and for IPv6, is one row."""
    listeners = (each for each in settings.listener if each.kind is not ListenerKind.CAPTURE and each.port)
    rows = dict.fromkeys(_row(each, settings) for each in listeners)
    return tuple(sorted(rows, key=_rank))


def servers_for(table: tuple[Server, ...], domain: str) -> tuple[Server, ...]:
    """What users of a domain can use, best first: what is named for them before what takes everybody."""
    fitting = [each for each in table if each.serves(domain)]
    reached = [each for each in fitting if each.reach is Reach.NETWORK] or fitting
    return tuple(sorted(reached, key=lambda each: not each.names(domain)))


def offer_for(table: tuple[Server, ...], domain: str) -> Offer:
    """What clients of a domain's users set up. Raises `NotOffered` unless there is a way to send and one to read."""
    domain = checked_domain(domain)
    fitting = servers_for(table, domain)
    sides = {kind: tuple(each for each in fitting if each.kind is kind) for kind in ProviderKind}
    missing = " and no ".join(PROTOCOLS[kind] for kind, side in sides.items() if not side)
    if missing:
        raise NotOffered(f"there is no {missing} server here for {domain}; mail programs are set up by hand")
    return Offer(domain=domain, incoming=sides[ProviderKind.IMAP], outgoing=sides[ProviderKind.SUBMISSION])


def checked_domain(domain: str) -> str:
    """A domain that somebody typed, as logins have it: in lower case. Raises `NotOffered` when it is none."""
    wanted = domain.strip().removesuffix(".").lower()
    try:
        checked_domains([wanted])
    except DirectoryError as error:
        raise NotOffered(str(error)) from error
    return wanted


def find_server(table: tuple[Server, ...], host: str, port: int) -> Server | None:
    """The row that somebody entered, by name in any case and port; `None`: we are not there."""
    wanted = host.strip().rstrip(".").lower()
    return next((each for each in table if (each.host.lower(), each.port) == (wanted, port)), None)


def _row(listener: Listener, settings: Settings) -> Server:
    kind = ProviderKind(listener.kind)
    of_kind = tuple(each for each in settings.provider if each.kind is kind)
    bound = tuple(each for each in of_kind if each.name == listener.provider)
    reach = Reach.THIS_MACHINE if _is_loopback(listener.address) else Reach.NETWORK
    return Server(
        kind=kind,
        host=settings.hostname if reach is Reach.NETWORK else _local_name(listener.address),
        port=listener.port,
        tls=listener.tls,
        reach=reach,
        provider=listener.provider,
        candidates=bound if listener.provider is not None else of_kind,
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _local_name(address: str) -> str:
    """A name that leads to a loopback address and that our own authority's certificates hold, where there is one."""
    return "localhost" if address in LOCALHOST else address


def _rank(server: Server) -> tuple[bool, int, bool]:
    return (
        server.reach is Reach.THIS_MACHINE,
        BEST_TLS.index(server.tls),
        server.port != USUAL_PORTS[server.kind, server.tls],
    )
