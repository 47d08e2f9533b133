"""haproxy: octets from one side to the other, and TLS on both. It reads no mail: the least a relay can cost."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from processes import Processes, free_port
from sink import Certificate
from system import Site, System

__all__ = ["start", "start_proxy"]

CONFIGURATION = """
global
  maxconn 9000
defaults
  mode tcp
  timeout connect 5s
  timeout client 600s
  timeout server 600s
"""
SECURE = "ssl verify required ca-file {authority} verifyhost localhost"


def start(site: Site) -> System:
    """Starts it for submission."""
    plain, tls = free_port(), free_port()
    doors = [(plain, False, site.sink.plain, False), (tls, True, site.sink.tls, True)]
    return System(name="haproxy", plain=plain, tls=tls, pid=start_proxy(site.processes, site.certificate, doors))


def start_proxy(processes: Processes, certificate: Certificate, doors: Collection[tuple[int, bool, int, bool]]) -> int:
    """Starts haproxy with as many threads as there are processors, which is its default; its process id.

    A door is a port, whether it has TLS, and the same of the server behind it.
    """
    folder = processes.subfolder("haproxy")
    pem = folder / "server.pem"
    pem.write_text(certificate.certificate.read_text() + certificate.key.read_text())
    configuration = folder / "haproxy.cfg"
    configuration.write_text(CONFIGURATION + "".join(_door(pem, certificate.certificate, *each) for each in doors))
    return processes.start("haproxy", ["haproxy", "-db", "-f", configuration], ports=[each[0] for each in doors])


def _door(pem: Path, authority: Path, port: int, is_secure: bool, server: int, server_is_secure: bool) -> str:
    inside = f" ssl crt {pem}" if is_secure else ""
    outside = f" {SECURE.format(authority=authority)}" if server_is_secure else ""
    return f"listen door-{port}\n  bind 127.0.0.1:{port}{inside}\n  server provider 127.0.0.1:{server}{outside}\n"
