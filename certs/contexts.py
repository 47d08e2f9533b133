"""TLS contexts: for our listeners, with several certificates that can be replaced, and for the way to a provider.

Listeners keep one `SSLContext` for ever, the front. Each handshake asks `Certificates` which certificate the client's
server name means, so new files take effect for new connections and no open one notices.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

__all__ = ["HTTP_PROTOCOLS", "CertificateError", "CertificatePair", "Certificates", "client_context"]

# ALPACA: a browser is recognised by the protocol it asks for, and gets nothing. OpenSSL as Python wraps it cannot
# refuse an unknown protocol, so these are selected, and the session closes when it sees them.
HTTP_PROTOCOLS = ("h2", "http/1.1")


class CertificateError(Exception):
    """A certificate that cannot be used; the text names the file, the trouble and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePair:
    """A certificate chain and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class _Loaded:
    pair: CertificatePair
    names: frozenset[str]
    expires: datetime
    context: ssl.SSLContext


class Certificates:
    """The certificates of our listeners. `context` is for `create_server` and `start_tls`; it stays the same."""

    def __init__(self, pairs: Sequence[CertificatePair]) -> None:
        """Loads all of them. Raises `CertificateError` when one cannot be used, or there is none."""
        if not pairs:
            raise CertificateError("no certificate is set; name one under [tls] certificates, or run: onrecord init")
        self._pairs = tuple(pairs)
        self._stamps = self._stat()
        self._loaded = [_load(pair) for pair in self._pairs]
        self.context = _new_context(self._pairs[0])
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Loads all files again; when one cannot be used the old ones stay, all of them. Raises `CertificateError`."""
        self._stamps = self._stat()
        loaded = [_load(pair) for pair in self._pairs]
        self.context.load_cert_chain(self._pairs[0].certificate, self._pairs[0].key)
        self._loaded = loaded

    def have_changed(self) -> bool:
        """Whether a file is another one than when it was last looked at."""
        return self._stat() != self._stamps

    def expiries(self) -> list[tuple[Path, datetime]]:
        """When each certificate ends."""
        return [(each.pair.certificate, each.expires) for each in self._loaded]

    def _choose(self, connection: ssl.SSLObject, name: str | None, front: ssl.SSLContext) -> None:
        connection.context = self._for(name)

    def _for(self, name: str | None) -> ssl.SSLContext:
        """The context for a server name (RFC 6066 §3); the first one where none fits."""
        wanted = (name or "").rstrip(".").lower()  # quirk_trailing_dot: Outlook for macOS sends one
        wildcard = "*." + wanted.partition(".")[2]
        for form in (wanted, wildcard):
            for each in self._loaded:
                if form in each.names:
                    return each.context
        return self._loaded[0].context

    def _stat(self) -> list[tuple[int, int] | None]:
        return [_stamp(path) for pair in self._pairs for path in (pair.certificate, pair.key)]


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """For the way to a provider: names and chains are always verified, against the system's roots or `ca_file`.

    Raises `CertificateError` when `ca_file` holds none that can be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"{ca_file}: no usable certificate authorities in it: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525 §2: a name in the subject identifies no server
    return context


def _load(pair: CertificatePair) -> _Loaded:
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        context = _new_context(pair)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise CertificateError(f"{pair.certificate} with {pair.key}: cannot be loaded: {error}") from error
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise CertificateError(f"{pair.certificate}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}; renew it")
    return _Loaded(pair, _names(certificate), certificate.not_valid_after_utc, context)


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


def _new_context(pair: CertificatePair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # Microsoft's senders mishandle session tickets, and a ticket would outlive its certificate.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    context.set_alpn_protocols(list(HTTP_PROTOCOLS))
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
