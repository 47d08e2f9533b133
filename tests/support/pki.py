"""Certificates for tests: one authority, one certificate for localhost, and others as tests ask for them."""

from __future__ import annotations

import datetime
import ssl
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Pki", "old_client_context"]


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

    def issue_specially(
        self,
        name: str,
        *,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
        for_clients: bool = False,
        self_signed: bool = False,
        without_names: bool = False,
    ) -> tuple[Path, Path]:
        """A certificate with something wrong about it."""
        now = datetime.datetime.now(datetime.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.load_pem_x509_certificate(self.authority.cert_pem.bytes())
        issuer_key = serialization.load_pem_private_key(self.authority.private_key_pem.bytes(), None)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if for_clients else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self_signed else issuer.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or now - datetime.timedelta(days=10))
            .not_valid_after(not_after or now + datetime.timedelta(days=10))
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if not without_names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        signing_key = key if self_signed else cast("ec.EllipticCurvePrivateKey", issuer_key)
        certificate = builder.sign(signing_key, hashes.SHA256())
        path, key_path = _paths(self.folder)
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path, key_path

    def server_context(self, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """For a pretend provider: the certificate of localhost, or the one given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.certificate, key or self.key)
        return context

    def old_server_context(self) -> ssl.SSLContext:
        """For a provider that knows nothing newer than TLS 1.1."""
        context = self.server_context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        _limit(context, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a mail client that trusts the authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.ca_file))


def old_client_context() -> ssl.SSLContext:
    """For a mail client that knows nothing newer than TLS 1.1 and would trust anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    _limit(context, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
    return context


def _limit(context: ssl.SSLContext, lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context.minimum_version = lowest
        context.maximum_version = highest


def _issue(authority: trustme.CA, folder: Path, *names: str) -> tuple[Path, Path]:
    issued = authority.issue_cert(*names)
    certificate, key = _paths(folder)
    issued.private_key_pem.write_to_path(key)
    for place, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(certificate, append=place > 0)
    return certificate, key


def _paths(folder: Path) -> tuple[Path, Path]:
    number = len(list(folder.glob("*.key")))
    return folder / f"{number}.pem", folder / f"{number}.key"
