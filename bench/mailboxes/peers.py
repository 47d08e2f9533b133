"""What onrecord is measured against with mailboxes: haproxy, nginx's mail proxy and Dovecot's."""

from __future__ import annotations

from collections.abc import Callable

from peers import dovecot, haproxy, nginx
from processes import free_port
from system import processors

from mailboxes.cells import Legs
from mailboxes.system import Site, System

__all__ = ["PEERS"]

NGINX = """
  imap_auth plain login;
  imap_capabilities IMAP4rev1 IDLE SASL-IR ID;
  ssl_certificate {certificate.certificate};
  ssl_certificate_key {certificate.key};
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    protocol imap;
  }}
  server {{
    listen 127.0.0.1:{tls} ssl backlog=4096;
    protocol imap;
  }}
"""


def _direct(site: Site) -> System:
    """Nothing in between."""
    provider = site.provider
    return System(name="direct", ports={Legs.CLEAR: provider.plain, Legs.CLIENT_TLS: provider.tls})


def _haproxy(site: Site) -> System:
    """Octets from one side to the other: it does not even read the login."""
    provider = site.provider
    ports = {legs: free_port() for legs in Legs}
    doors = [
        (ports[Legs.CLEAR], False, provider.plain, False),
        (ports[Legs.CLIENT_TLS], True, provider.plain, False),
        (ports[Legs.BOTH_TLS], True, provider.tls, True),
    ]
    return System(name="haproxy", ports=ports, pid=haproxy.start_proxy(site.processes, site.certificate, doors))


def _nginx(site: Site) -> System:
    """It speaks no TLS to a mail server."""
    plain, tls = free_port(), free_port()
    servers = NGINX.format(certificate=site.certificate, plain=plain, tls=tls)
    pid = nginx.start_proxy(site.processes, servers, provider=site.provider.plain, ports=(plain, tls))
    return System(name="nginx", ports={Legs.CLEAR: plain, Legs.CLIENT_TLS: tls}, pid=pid)


def _dovecot(site: Site) -> System:
    """Its login processes, which stay between client and server."""
    ports, pid = _dovecot_proxy(site, "dovecot", f"host=127.0.0.1 port={site.provider.plain}")
    return System(name="dovecot", ports={Legs.CLEAR: ports[0], Legs.CLIENT_TLS: ports[1]}, pid=pid)


def _dovecot_tls(site: Site) -> System:
    """The same with TLS to the server."""
    ports, pid = _dovecot_proxy(site, "dovecot-tls", f"host=127.0.0.1 port={site.provider.tls} ssl=any-cert")
    return System(name="dovecot", ports={Legs.BOTH_TLS: ports[1]}, pid=pid)


def _dovecot_proxy(site: Site, name: str, proxied_to: str) -> tuple[tuple[int, int], int]:
    ports = free_port(), free_port()
    services = dovecot.IMAP.format(plain=ports[0], tls=ports[1], processors=processors())
    pid = dovecot.start(site.processes, site.certificate, name, services, ports=ports, proxied_to=proxied_to)
    return ports, pid


# "dovecot" twice: it has one way to its server, with TLS or without.
PEERS: dict[str, tuple[Callable[[Site], System], ...]] = {
    "direct": (_direct,),
    "haproxy": (_haproxy,),
    "nginx": (_nginx,),
    "dovecot": (_dovecot, _dovecot_tls),
}
