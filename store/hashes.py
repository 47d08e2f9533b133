"""Keyed hashes: how mail that was not logged can be found again by those who know what to look for (rules.md 8.2).

The key never leaves this installation, so a hash says nothing to anybody who has only the database.
"""

from __future__ import annotations

import hmac

from engine.fingerprint import date_of, header_print
from engine.message import Message

__all__ = ["keyed_hash", "message_hashes"]


def keyed_hash(key: bytes, value: str) -> str:
    """HMAC-SHA256 of a bare Message-ID or a canonical address, as 64 lower-case hexadecimal digits."""
    return hmac.digest(key, value.encode("utf-8", "surrogateescape"), "sha256").hex()


def message_hashes(key: bytes, message: Message, *, with_print: bool = True) -> dict[str, list[str]]:
    """What is kept of a message that is not logged (rules.md 4.3): its id, what it answers, what its copies share.

    A message without author or date shares too much with others to be known by that.
    """
    is_known = with_print and bool(message.authors) and date_of(message) is not None
    return {
        "message_ids": [keyed_hash(key, message.message_id)] if message.message_id else [],
        "parents": [keyed_hash(key, each) for each in message.parents],
        "prints": [keyed_hash(key, header_print(message))] if is_known else [],
    }
