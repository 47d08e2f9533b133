"""What a client is told before anybody knows which provider its login leads to."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["UNLEARNED", "common_offer"]

# Until every provider was seen: what any server of today has.
UNLEARNED = (b"IMAP4rev1", b"ID", b"AUTH=PLAIN")
# All that matters before login; after it the client asks again (RFC 9051 §6.1.1).
BEFORE_LOGIN = frozenset((b"IMAP4REV1", b"IMAP4REV2", b"SASL-IR", b"LITERAL+", b"LITERAL-"))


def common_offer(lists: Sequence[bytes]) -> tuple[bytes, ...]:
    """What every one of several capability lists, as written by providers, has of what matters before login."""
    if not lists:
        return UNLEARNED
    others = [frozenset(each.upper().split()) for each in lists]
    shared = [each for each in lists[0].split() if all(each.upper() in other for other in others)]
    kept = (each for each in shared if each.upper() in BEFORE_LOGIN or each.upper().startswith(b"AUTH="))
    return tuple(dict.fromkeys((*kept, b"ID")))  # ID is answered here (RFC 2971)
