"""Keyed hashes: how mail that was not logged can be found again by those who know what to look for (rules.md 8.2).

The key never leaves this installation, so a hash says nothing to anybody who has only the database.
"""

from __future__ import annotations

import hmac

__all__ = ["keyed_hash"]


def keyed_hash(key: bytes, value: str) -> str:
    """HMAC-SHA256 of a bare Message-ID or a canonical address, as 64 lower-case hexadecimal digits."""
    return hmac.digest(key, value.encode("utf-8", "surrogateescape"), "sha256").hex()
