"""What an IMAP server has said, without what must differ between a server and a relay before it, or from time to time:
capabilities that are withheld, and what a server says of its own clock.
"""

from __future__ import annotations

import re

__all__ = ["comparable"]

WITHHELD = re.compile(rb" (?:LOGIN-REFERRALS|COMPRESS=DEFLATE|STARTTLS)\b")
CAPABILITIES = re.compile(rb"CAPABILITY IMAP4rev1 [^\]\r\n]*")
SECONDS = re.compile(rb"\([0-9.]+ \+ [0-9.]+(?: \+ [0-9.]+)? secs\)")
# A mailbox that is created within a conversation is numbered by the second.
NUMBERED = re.compile(rb"(UIDVALIDITY|APPENDUID|COPYUID) [0-9]+")
OUR_GO_AHEAD = b"+ Ready for the literal\r\n"  # LOGIN is read before the server gets it
WAITING = re.compile(rb"\* OK Waiting for authentication process to respond\.\.\r\n")  # of a busy machine


def comparable(transcript: bytes) -> bytes:
    """The transcript, as another one of the same conversation must be."""
    listed = CAPABILITIES.sub(lambda match: WITHHELD.sub(b"", match[0]), WAITING.sub(b"", transcript))
    return NUMBERED.sub(rb"\1 n", SECONDS.sub(b"(time)", listed.replace(OUR_GO_AHEAD, b"+ OK\r\n")))
