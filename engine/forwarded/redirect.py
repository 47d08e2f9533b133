"""Messages that were sent on unchanged: the Resent-* fields (RFC 5322 §3.6.6).

A redirected message counts as itself (rules.md 7.3). Who redirected it is a claim like any other field, to be proven
as for any use of a capture address.
"""

from __future__ import annotations

from engine.address import read_addresses
from engine.message import Message

__all__ = ["is_redirect", "redirected_by"]

RESENT = (b"resent-from", b"resent-sender", b"resent-to", b"resent-date")


def is_redirect(message: Message) -> bool:
    """Whether the message says that somebody sent it on, and who."""
    return redirected_by(message) is not None


def redirected_by(message: Message) -> str | None:
    """Who redirected it last, as an addr-spec; each resending puts its fields before those that are there."""
    if not message.header.has(RESENT):
        return None
    for name in (b"resent-from", b"resent-sender"):
        for value in message.header.all(name)[:1]:
            if found := read_addresses(value):
                return found[0]
    return None
