"""The DNS records by which clients find us for a domain, as lines that any zone file takes.

SRV records tell the mail servers (RFC 6186, and RFC 8314 §5.1 for submission with implicit TLS); the names autoconfig
and autodiscover lead to the web pages, where Thunderbird and Outlook ask. All names are absolute.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from engine.address import canonical_domain
from onrecord.web.autoconfig.servers import Server, checked_domain, servers_for
from proxy.route import ProviderKind, Tls

__all__ = ["records"]

SECONDS = 3600  # how long a mistake stays in caches, and a change takes
STEP = 10  # between priorities, so that something fits in between
HTTPS = 443
SERVICES = {
    (ProviderKind.IMAP, Tls.IMPLICIT): "_imaps",
    (ProviderKind.IMAP, Tls.STARTTLS): "_imap",
    (ProviderKind.SUBMISSION, Tls.IMPLICIT): "_submissions",
    (ProviderKind.SUBMISSION, Tls.STARTTLS): "_submission",
}


def records(
    table: tuple[Server, ...], domain: str, *, web_host: str | None = None, web_port: int = HTTPS
) -> tuple[str, ...]:
    """The lines for one domain of users; those that begin with ";" are comments. None when there is nothing to tell.

    `web_host` is where our pages are reached by HTTPS; without it they are not spoken of. Raises `NotOffered` when one
    of both is no domain.
    """
    domain = checked_domain(domain)
    zone = canonical_domain(domain)
    lines = [*_services(servers_for(table, domain), zone)]
    if web_host is not None and not _is_local(web_host):
        lines += _pages(zone, canonical_domain(checked_domain(web_host)), web_port)
    return tuple(lines)


def _services(fitting: tuple[Server, ...], zone: str) -> Iterator[str]:
    """Priorities count up over all services of a kind, for a client that knows several of them (RFC 6186 §3.3)."""
    shown = [each for each in fitting if _can_be_told(each)]
    for kind in ProviderKind:
        for place, each in enumerate(each for each in shown if each.kind is kind):
            service = f"{SERVICES[kind, each.tls]}._tcp.{zone}."
            yield f"{service} {SECONDS} IN SRV {place * STEP} 0 {each.port} {canonical_domain(each.host)}."
    for host in dict.fromkeys(canonical_domain(each.host) for each in shown):
        yield f"; {host} needs an A or AAAA record with the address of this machine, and no CNAME (RFC 2782)."


def _can_be_told(server: Server) -> bool:
    """SRV records name hosts, not addresses; and a local name means another host to everybody."""
    return server.tls is not Tls.NONE and not _is_local(server.host)


def _pages(zone: str, web_host: str, web_port: int) -> Iterator[str]:
    """CNAME records for where clients ask of themselves; they ask the usual port only."""
    names = [name for name in (f"autoconfig.{zone}", f"autodiscover.{zone}") if name != web_host]
    if web_port == HTTPS:
        yield f"; The certificate of {web_host} must hold these names too, for clients ask by HTTPS."
        yield from (f"{name}. {SECONDS} IN CNAME {web_host}." for name in names)
    yield f"_autodiscover._tcp.{zone}. {SECONDS} IN SRV 0 0 {web_port} {web_host}."


def _is_local(host: str) -> bool:
    """Whether it is an address, or a name that means something here only."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host
    return True
