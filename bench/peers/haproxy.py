"""haproxy: octets from one side to the other, and TLS on both. It reads no mail: the least a relay can cost."""

from __future__ import annotations

from processes import free_port
from system import Site, System

__all__ = ["start"]

CONFIGURATION = """
global
  maxconn 9000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen plain
  bind 127.0.0.1:{plain}
  server sink 127.0.0.1:{sink.plain}
listen tls
  bind 127.0.0.1:{tls} ssl crt {pem}
  server sink 127.0.0.1:{sink.tls} ssl verify required ca-file {authority} verifyhost localhost
"""


def start(site: Site) -> System:
    """Starts haproxy with as many threads as there are processors, which is its default."""
    folder = site.processes.subfolder("haproxy")
    pem = folder / "server.pem"
    pem.write_text(site.certificate.certificate.read_text() + site.certificate.key.read_text())
    plain, tls = free_port(), free_port()
    configuration = folder / "haproxy.cfg"
    authority = site.certificate.certificate
    configuration.write_text(CONFIGURATION.format(plain=plain, tls=tls, sink=site.sink, pem=pem, authority=authority))
    pid = site.processes.start("haproxy", ["haproxy", "-db", "-f", configuration], ports=(plain, tls))
    return System(name="haproxy", plain=plain, tls=tls, pid=pid)
