"""Ids that the next hop gave a message: those its final reply names (rules.md 4.4).

Some providers write a Message-ID of their own over the one that was submitted; the recipient's answer names theirs.
"""

from __future__ import annotations

import re

__all__ = ["ids_named"]

# Exchange: "2.6.0 <id@host> [InternalId=..., Hostname=...] Queued mail for delivery".
ANGLE = re.compile(r"^250[ -](?:2\.6\.0 )?<([^<>\s@]{1,500}@[^<>\s]{1,255})> ")
# Amazon SES: "Ok 010f0187...-000000"; the domain of the id follows from the region in the server's name.
SES = re.compile(r"^250[ -]Ok ([0-9a-f]{16}-[0-9a-f-]{36}-[0-9]{6})$", re.IGNORECASE)
SES_HOST = re.compile(r"^email-smtp(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com$", re.IGNORECASE)
SES_FIRST_REGION = "us-east-1"  # whose ids are older than regions, and have none in their domain


def ids_named(reply: str, host: str) -> tuple[str, ...]:
    """The ids, without brackets, by which the server `host` says in its `reply` that it knows the message."""
    if match := ANGLE.match(reply):
        return (match[1],)
    region = SES_HOST.match(host)
    if region and (match := SES.match(reply)):
        name = region[1].lower()
        domain = "email" if name == SES_FIRST_REGION else name
        return (f"{match[1]}@{domain}.amazonses.com",)
    return ()
