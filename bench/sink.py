"""The sinks: what plays the provider, and what gets Postfix's copies. They count what was delivered."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from processes import PROGRAMS, Processes, free_port

__all__ = ["Certificate", "Sink"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for loopback; it is its own authority."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        made = cls(folder / "tls.crt", folder / "tls.key")
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost"
        )
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run([*command.split(), *names, *files], check=True, stderr=subprocess.DEVNULL)
        made.key.chmod(0o644)  # it is worth nothing, and some peers read it as another user
        return made


@dataclass(frozen=True, slots=True)
class Sink:
    """A running sink: `plain` in clear, `tls` with implicit TLS."""

    plain: int
    tls: int
    counts: int

    @classmethod
    def start(cls, processes: Processes, name: str, certificate: Certificate) -> Sink:
        sink = cls(free_port(), free_port(), free_port())
        listeners = [f"{sink.plain}:none", f"{sink.tls}:implicit", "-stats", sink.counts]
        pair = ["-cert", certificate.certificate, "-key", certificate.key]
        processes.start(name, [PROGRAMS / "smtpsink", *pair, *listeners], ports=(sink.plain, sink.tls, sink.counts))
        return sink

    def delivered(self) -> tuple[int, int]:
        """Messages and octets of mail data so far."""
        with socket.create_connection(("127.0.0.1", self.counts), 5) as connection, connection.makefile() as file:
            messages, octets, _ = file.read().split()
        return int(messages), int(octets)
