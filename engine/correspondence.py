"""What is not correspondence, and what is correspondence of a special kind (rules.md 3.7)."""

from __future__ import annotations

import re

from engine.decision import Flag, Reason
from engine.directory import Switches
from engine.message import Message

__all__ = ["is_list_mail", "kinds", "why_no_correspondence"]

BULK = (b"bulk", b"junk", b"list")
AUTOMATIC = (b"x-autoreply", b"x-autorespond")  # Gmail, and older vacation programs
UNSUBSCRIBE = (b"list-unsubscribe",)
BUSY = (b"x-microsoft-cdo-busystatus",)
MEETING = b"urn:content-classes:calendarmessage"  # Exchange, whose invitations are multipart
NOT_AUTOMATIC = re.compile(rb"no(?![A-Za-z-])", re.IGNORECASE)  # RFC 3834 §5: "no", perhaps with a comment
NO_FLAGS: frozenset[Flag] = frozenset()
KINDS = {
    Flag.AUTO_SUBMITTED: ("log_auto_submitted", Reason.AUTO_SUBMITTED),
    Flag.CALENDAR: ("log_calendar", Reason.CALENDAR),
    Flag.BULK: ("log_bulk", Reason.BULK),
}


def why_no_correspondence(message: Message) -> Reason | None:
    """The reason to skip delivery reports and read receipts (RFC 6522 §3, RFC 3464 §2, RFC 8098 §3), else `None`.

    A report that does not name its kind is a bounce: that is what old mailers leave out.
    """
    content_type = message.content_type
    if not content_type.startswith(b"multipart/report"):
        return None
    if b"disposition-notification" in content_type:
        return Reason.RECEIPT
    return Reason.BOUNCE if b"delivery-status" in content_type or b"report-type" not in content_type else None


def is_list_mail(message: Message) -> bool:
    """Whether a mailing list sent it (RFC 2919 §3, RFC 2369 §3.4)."""
    return message.header.has((b"list-id", b"list-post"))


def kinds(message: Message, switches: Switches) -> tuple[frozenset[Flag], Reason | None]:
    """The flags of the message, and the reason to skip it where a switch says that one of them is not logged."""
    flags = set()
    header = message.header
    automatic = header.first(b"auto-submitted")
    if (automatic is not None and not NOT_AUTOMATIC.match(automatic)) or header.has(AUTOMATIC):
        flags.add(Flag.AUTO_SUBMITTED)
    content_class = header.first(b"content-class")
    is_meeting = content_class is not None and content_class.lower() == MEETING
    if is_meeting or message.content_type.startswith(b"text/calendar") or header.has(BUSY):
        flags.add(Flag.CALENDAR)
    precedence = header.first(b"precedence")
    if (precedence is not None and precedence.lower() in BULK) or header.has(UNSUBSCRIBE):
        flags.add(Flag.BULK)
    if not flags:
        return NO_FLAGS, None
    switched_off = (
        reason for flag, (switch, reason) in KINDS.items() if flag in flags and not getattr(switches, switch)
    )
    return frozenset(flags), next(switched_off, None)
