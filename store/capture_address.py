"""Capture addresses: made so that nobody guesses them, and known at once where they change (rules.md 7.1).

Whoever knows one may try to log mail. Where a new one is not known yet, mail to it goes to the provider.
"""

from __future__ import annotations

import base64
import re
import secrets
from pathlib import Path

__all__ = ["capture_bell", "rotated"]

TOKEN_OCTETS = 10  # 80 bits, 16 characters: nobody tries these out by mail
TOKEN = re.compile(r"-[a-z2-7]{16}$")
MAX_LOCAL_PART = 64  # RFC 5321 §4.5.3.1.1


def rotated(address: str) -> str:
    """Another address under the same name and domain: log@cap.example becomes log-x7k2...@cap.example."""
    local, _, domain = address.rpartition("@")
    token = base64.b32encode(secrets.token_bytes(TOKEN_OCTETS)).decode("ascii").lower()
    name = TOKEN.sub("", local)[: MAX_LOCAL_PART - len(token) - 1]
    return f"{name}-{token}@{domain}"


def capture_bell(bell: Path) -> Path:
    """The bell beside the directory's that only changes of a portal ring."""
    return bell.with_name(f"{bell.stem}.portals{bell.suffix}")
