"""Capabilities: the list that a provider gives, and what of it a client is told (RFC 9051 §7.2.2).

The list stands in CAPABILITY responses and in response codes of greetings and tagged responses. Only words are taken
out of it; every other octet stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

__all__ = ["capabilities_of", "capability_list", "may_be_capability", "mechanisms", "takes_at_once", "withhold"]

# RFC 9051 §9: capability-data = "CAPABILITY" *(SP capability) SP "IMAP4rev2" *(SP capability)
LIST = re.compile(rb"(?i)(?:\* |[^ \r\n]{1,128} (?:OK|NO|BAD|PREAUTH|BYE) \[)CAPABILITY((?: [^\]\r\n]*)?)(?=[\]\r])")
WORD = re.compile(rb" ([^ ]+)")
NON_SYNCHRONISING = 4096  # RFC 7888 §5: what LITERAL- allows; RFC 9051 §4.3 has it in IMAP4rev2
BEGINNINGS = (b"OK [CAPABILITY", b"NO [CAPABILITY", b"BAD [CAPABILITY", b"PREAUTH [CAPABILITY", b"BYE [CAPABILITY")
WITHHELD = frozenset(
    (
        b"COMPRESS=DEFLATE",  # RFC 4978: nobody could follow the session
        b"STARTTLS",  # TLS with the client is ours, and up or not to be had
        b"LOGIN-REFERRALS",  # RFC 2221: the client would go elsewhere
        b"UNAUTHENTICATE",  # RFC 8437: the session would be somebody else's
    )
)


def capabilities_of(line: bytes) -> frozenset[bytes] | None:
    """The capabilities, in capitals, that a response line lists; `None` when it lists none."""
    match = LIST.match(line)
    return frozenset(match[1].upper().split()) if match else None


def capability_list(line: bytes) -> bytes | None:
    """The list itself, as written."""
    match = LIST.match(line)
    return match[1].strip() if match else None


def may_be_capability(start: bytes) -> bool:
    """Whether a response that begins with `start` may list capabilities."""
    tag, space, rest = start.partition(b" ")
    if len(tag) > 128 or tag == b"+":
        return False
    if not space:
        return True
    beginning = rest[:20].upper()
    wanted = (b"CAPABILITY", *BEGINNINGS) if tag == b"*" else BEGINNINGS
    return any(each.startswith(beginning) or beginning.startswith(each) for each in wanted)


def mechanisms(capabilities: Iterable[bytes]) -> list[bytes]:
    """The SASL mechanisms that can be relayed step by step.

    Channel binding (`-PLUS`) ties a login to one TLS connection and there are two here; ANONYMOUS is no login.
    """
    offered = [each[5:] for each in capabilities if each.startswith(b"AUTH=")]
    return [each for each in offered if not each.endswith(b"-PLUS") and each != b"ANONYMOUS"]


def withhold(line: bytes, may_offer: Callable[[bytes], bool] | None = None) -> bytes:
    """The response line without the capabilities that cannot be had through us.

    `may_offer` tells of a SASL mechanism whether it can, where that depends on more than its name.
    """
    match = LIST.match(line)
    if match is None:
        return line

    def kept(word: re.Match[bytes]) -> bytes:
        name = word[1].upper()
        if name.startswith(b"AUTH="):
            return word[0] if mechanisms([name]) and (may_offer is None or may_offer(name[5:])) else b""
        return b"" if name in WITHHELD else word[0]

    return line[: match.start(1)] + WORD.sub(kept, match[1]) + line[match.end(1) :]


def takes_at_once(capabilities: frozenset[bytes], size: int) -> bool:
    """Whether a server with these reads a literal of `size` that did not wait (RFC 7888 §4, §5)."""
    if b"LITERAL+" in capabilities:
        return True
    return size <= NON_SYNCHRONISING and not capabilities.isdisjoint((b"LITERAL-", b"IMAP4REV2"))
