"""New capture addresses: whoever knows one may try to log mail, so it must not be guessed (rules.md 7.1)."""

from __future__ import annotations

import base64
import re
import secrets

__all__ = ["rotated"]

TOKEN_OCTETS = 10  # 80 bits, 16 characters: nobody tries these out by mail
TOKEN = re.compile(r"-[a-z2-7]{16}$")
MAX_LOCAL_PART = 64  # RFC 5321 §4.5.3.1.1


def rotated(address: str) -> str:
    """Another address under the same name and domain: log@cap.example becomes log-x7k2...@cap.example."""
    local, _, domain = address.rpartition("@")
    token = base64.b32encode(secrets.token_bytes(TOKEN_OCTETS)).decode("ascii").lower()
    name = TOKEN.sub("", local)[: MAX_LOCAL_PART - len(token) - 1]
    return f"{name}-{token}@{domain}"
