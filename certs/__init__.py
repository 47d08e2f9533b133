"""TLS: contexts, certificates that can be replaced, and a local authority. No key lies in this folder."""

from __future__ import annotations

from certs.authority import Authority
from certs.contexts import HTTP_PROTOCOLS, CertificateError, CertificatePair, Certificates, client_context

__all__ = ["HTTP_PROTOCOLS", "Authority", "CertificateError", "CertificatePair", "Certificates", "client_context"]
