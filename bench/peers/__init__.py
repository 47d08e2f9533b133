"""What onrecord is measured against, by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from processes import free_port
from system import Site, System

from peers import dovecot, haproxy, nginx, postfix

__all__ = ["PEERS"]

PLAIN_RELAY = Path(__file__).with_name("plain_relay.py")


def _direct(site: Site) -> System:
    """Nothing in between."""
    return System(name="direct", plain=site.sink.plain, tls=site.sink.tls)


def _plain_relay(site: Site) -> System:
    port = free_port()
    database = site.processes.subfolder("aiosmtpd") / "messages.sqlite"
    command = [sys.executable, PLAIN_RELAY, port, site.sink.plain, database]
    pid = site.processes.start("aiosmtpd", command, ports=(port,))
    # It holds every message in memory several times and needs seconds for 10 MB.
    return System(name="aiosmtpd", plain=port, pid=pid, max_size=1_000_000)


PEERS: dict[str, Callable[[Site], System]] = {
    "direct": _direct,
    "haproxy": haproxy.start,
    "nginx": nginx.start,
    "postfix": postfix.start,
    "dovecot": dovecot.start_submission,
    "aiosmtpd": _plain_relay,
}
