"""Sealing: secrets that the store keeps so that the database alone does not give them away (AES-256-GCM).

A sealed value names the key that opens it and holds only at the place it was sealed for: moved to another row, altered,
or met with another key, it does not open.

    sealed = format (1 octet) key-id (8) nonce (12) ciphertext-with-tag

The first key seals, every key opens, so keys are rotated by putting a new one first and sealing all values anew. They
are asked for each time, since another process may just have rotated them. Random nonces serve 2^32 values a key (NIST
SP 800-38D §8.3); 2 000 mailboxes with a new token every hour take 245 years.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.secret import Secret

__all__ = ["Sealer", "SealingError", "SealingKey", "key_id_of"]

FORMAT = b"\x01"
KEY = 32
KEY_ID = 8
NONCE = 12
TAG = 16
ID_LABEL = b"onrecord sealing key id\0"


class SealingError(Exception):
    """A secret that cannot be sealed or opened; the text names the mend and holds no secret."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key. Its id is made from it, so that nobody has to keep both together."""

    secret: Secret
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        # 64 bits of a hash tell nothing about 256 random ones.
        object.__setattr__(self, "id", hashlib.sha256(ID_LABEL + self.secret.reveal()).digest()[:KEY_ID])

    @classmethod
    def parse(cls, text: str) -> SealingKey:
        """A key as 64 hexadecimal digits. Raises `SealingError`, which does not repeat them."""
        try:
            octets = bytes.fromhex(text)
        except ValueError as error:
            raise SealingError("a sealing key is written as 64 hexadecimal digits") from error
        if len(octets) != KEY:
            raise SealingError(f"a sealing key has 64 hexadecimal digits, not {len(octets) * 2}")
        return cls(Secret(octets))

    @classmethod
    def make(cls) -> SealingKey:
        """A new key."""
        return cls(Secret(secrets.token_bytes(KEY)))

    def text(self) -> str:
        """What `parse` reads."""
        return self.secret.reveal().hex()


class Sealer:
    """Seals and opens with the keys that `keys` gives, the one that seals first."""

    def __init__(self, keys: Callable[[], Sequence[SealingKey]]) -> None:
        self._keys = keys

    def seal(self, secret: Secret, place: bytes) -> bytes:
        """The sealed octets. They open at the same `place` only. Raises `SealingError` without a key."""
        key = self._keys()[0]
        head = FORMAT + key.id
        nonce = os.urandom(NONCE)
        cipher = AESGCM(key.secret.reveal())
        return head + nonce + cipher.encrypt(nonce, secret.reveal(), head + place)

    def open(self, sealed: bytes, place: bytes) -> Secret:
        """What was sealed for `place`. Raises `SealingError`."""
        head, nonce, rest = sealed[: 1 + KEY_ID], sealed[1 + KEY_ID :][:NONCE], sealed[1 + KEY_ID + NONCE :]
        keys = {each.id: each for each in self._keys()}
        key = keys.get(key_id_of(sealed))
        if key is None:
            there = ", ".join(sorted(each.hex() for each in keys))
            raise SealingError(
                f"it is sealed with key {key_id_of(sealed).hex()}, and the keys at hand are {there}: "
                "bring that key back from a backup, as a further line behind the first"
            )
        try:
            return Secret(AESGCM(key.secret.reveal()).decrypt(nonce, rest, head + place))
        except InvalidTag as error:
            raise SealingError("it was altered, or belongs to another row of the database") from error

    @property
    def current(self) -> bytes:
        """The id of the key that seals now. Raises `SealingError`."""
        return self._keys()[0].id


def key_id_of(sealed: bytes) -> bytes:
    """The id of the key that `sealed` was sealed with. Raises `SealingError` for what was never sealed."""
    if sealed[:1] != FORMAT or len(sealed) < 1 + KEY_ID + NONCE + TAG:
        raise SealingError("it is no sealed value")
    return sealed[1 : 1 + KEY_ID]
