"""Messages signed as a provider signs them (RFC 6376), and the DNS records that go with the keys."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["Signer"]

FIELDS = ("from", "to", "cc", "subject", "date", "message-id", "resent-from")


class Signer:
    """A domain with a key. `records` are what its DNS zone must hold."""

    def __init__(self, domain: str, *, selector: str = "s1", policy: str = "v=DMARC1; p=reject") -> None:
        self.domain = domain
        self._selector = selector
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.records = {
            f"{selector}._domainkey.{domain}": f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}",
            f"_dmarc.{domain}": policy,
        }

    def sign(
        self, message: bytes, *, fields: Sequence[str] = FIELDS, length: bool = False, body: bytes = b"simple"
    ) -> bytes:
        """The message with a signature on top; `length` leaves room for more text below, `body` is how strictly the
        body counts (RFC 6376 §3.4).
        """
        present = [name for name in fields if f"\r\n{name}:".encode() in b"\r\n" + message.lower()]
        signature = dkim.sign(
            message,
            self._selector.encode(),
            self.domain.encode(),
            self._key,
            canonicalize=(b"relaxed", body),
            include_headers=[name.encode() for name in present],
            length=length,
        )
        return bytes(signature) + message
