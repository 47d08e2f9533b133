"""Certificates for tests: one authority, one certificate for localhost, and others as tests ask for them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

__all__ = ["Pki"]


@dataclass(frozen=True)
class Pki:
    """An authority with the files that settings name. `certificate` and `key` are for localhost and 127.0.0.1."""

    folder: Path
    authority: trustme.CA
    ca_file: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Pki:
        """Makes authority and certificate below `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(ca_file)
        certificate, key = _issue(authority, folder, "localhost", "127.0.0.1", "::1")
        return cls(folder, authority, ca_file, certificate, key)

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Another certificate of the authority; the paths of certificate and key."""
        return _issue(self.authority, self.folder, *names)

    def server_context(self, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """For a pretend provider: the certificate of localhost, or the one given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.certificate, key or self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a mail client that trusts the authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.ca_file))


def _issue(authority: trustme.CA, folder: Path, *names: str) -> tuple[Path, Path]:
    issued = authority.issue_cert(*names)
    number = len(list(folder.glob("*.key")))
    certificate, key = folder / f"{number}.pem", folder / f"{number}.key"
    issued.private_key_pem.write_to_path(key)
    for place, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(certificate, append=place > 0)
    return certificate, key
