"""Passwords of accounts: hashed with argon2id (RFC 9106), a few at a time, because each takes 64 MiB."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from engine.secret import Secret
from store.directory import DirectoryError

__all__ = ["Passwords", "hashed"]

SHORTEST, LONGEST = 12, 1024  # characters; octets
AT_A_TIME = 2

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


def hashed(password: Secret) -> str:
    """The hash to keep. Raises `DirectoryError` when the password is too short, or no text."""
    octets = password.reveal()
    try:
        length = len(octets.decode())
    except UnicodeDecodeError as error:
        raise DirectoryError("the password is no UTF-8 text; write one that is") from error
    if length < SHORTEST or len(octets) > LONGEST:
        raise DirectoryError(f"the password has {length} characters; write at least {SHORTEST}, such as four words")
    return _hasher.hash(octets)


class Passwords:
    """Verifies passwords without stopping the loop. One that nobody has takes as long as a wrong one."""

    def __init__(self) -> None:
        self._doors = asyncio.Semaphore(AT_A_TIME)
        self._nobody = _hasher.hash(b"the password of nobody")

    async def is_right(self, known: str | None, password: str) -> bool:
        """Whether `password` is that of the hash `known`; never where there is none."""
        async with self._doors:
            is_right = await asyncio.to_thread(_verify, known or self._nobody, password)
        return is_right and known is not None

    async def rehashed(self, known: str, password: str) -> str | None:
        """A better hash of the right password, where `known` was made with weaker parameters."""
        if not _hasher.check_needs_rehash(known):
            return None
        async with self._doors:
            return await asyncio.to_thread(_hasher.hash, password)


def _verify(known: str, password: str) -> bool:
    octets = password.encode("utf-8", "surrogatepass")
    if len(octets) > LONGEST:
        return False
    try:
        return _hasher.verify(known, octets)
    except (VerificationError, InvalidHashError):
        return False
