"""A decision: log or skip, why, and everything the answer rests on.

A `Decision` is a value. It travels as JSON from the relay through the spool to the store, so `to_json` and `from_json`
stand side by side here and are inverse to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

__all__ = [
    "Attribution",
    "ContactRef",
    "Decision",
    "Direction",
    "Flag",
    "Outcome",
    "Reason",
    "Source",
    "UserRef",
]


class Outcome(StrEnum):
    """What becomes of the message in this portal's log."""

    LOG = "log"
    SKIP = "skip"


class Direction(StrEnum):
    """Outgoing when the author is a user of the portal, else incoming (rules.md section 1)."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"


class Source(StrEnum):
    """How the message was captured (rules.md 6.3)."""

    RELAY = "relay"
    BCC = "bcc"
    FORWARD = "forward"
    IMAP_PROXY = "imap_proxy"
    OBSERVER = "observer"
    GATEWAY = "gateway"
    JOURNAL = "journal"
    MANUAL = "manual"


class Reason(StrEnum):
    """The stable reason codes of rules.md section 9."""

    SENT_TO_CONTACT = "sent_to_contact"
    RECEIVED_FROM_CONTACT = "received_from_contact"
    REPLY_TO_LOGGED = "reply_to_logged"
    BCC_ADDRESS = "bcc_address"
    FORWARDING_ADDRESS = "forwarding_address"
    MANUAL_LOG = "manual_log"
    NO_EXISTING_CONTACT = "no_existing_contact"
    MODE_REPLIES_ONLY = "mode_replies_only"
    THREAD_UNPROVEN = "thread_unproven"
    PENDING_PARENT = "pending_parent"
    ALL_CONTACTS_NEVER_LOG = "all_contacts_never_log"
    NEVER_LOG_MESSAGE_SCOPE = "never_log_message_scope"
    PERSONAL_NEVER_LOG = "personal_never_log"
    NO_ELIGIBLE_USER = "no_eligible_user"
    USER_NO_PERMISSION = "user_no_permission"
    USER_INACTIVE = "user_inactive"
    USER_NOT_CONNECTED = "user_not_connected"
    INTERNAL_ONLY = "internal_only"
    BOUNCE = "bounce"
    RECEIPT = "receipt"
    DRAFT = "draft"
    SPAM_FOLDER = "spam_folder"
    LIST_MAIL = "list_mail"
    AUTO_SUBMITTED = "auto_submitted"
    CALENDAR = "calendar"
    BULK = "bulk"
    CAPTURE_SENDER_NOT_USER = "capture_sender_not_user"
    CAPTURE_SENDER_UNVERIFIED = "capture_sender_unverified"
    FORWARD_NOT_PARSED = "forward_not_parsed"
    ERASED_ADDRESS = "erased_address"
    NOT_DELIVERED = "not_delivered"
    UNAUTHENTICATED_SENDER = "unauthenticated_sender"
    UNPARSEABLE = "unparseable"
    THREAD_STOPPED = "thread_stopped"


class Attribution(StrEnum):
    """Which rule of section 5 chose the user."""

    AUTHOR = "author"
    LOGIN = "login"
    PARENT = "parent"
    SINGLE_RECIPIENT = "single_recipient"
    SINGLE_USER = "single_user"
    CONTACT_OWNER = "contact_owner"
    OWNER_MISSING = "owner_missing"
    OWNER_INACTIVE = "owner_inactive"
    ENVELOPE_RECIPIENT = "envelope_recipient"
    CAPTURED_MAILBOX = "captured_mailbox"
    FORWARDER = "forwarder"


class Flag(StrEnum):
    """What a reader of the record should know besides."""

    FROM_MISMATCH = "from_mismatch"
    GATEWAY_IDENTITY = "gateway_identity"
    AUTO_SUBMITTED = "auto_submitted"
    CALENDAR = "calendar"
    BULK = "bulk"
    UNMATCHED_SENDER = "unmatched_sender"
    AMBIGUOUS_CONTACT = "ambiguous_contact"
    MESSAGE_ID_REUSED = "message_id_reused"
    CAPTURE_ADDRESS_EXPOSED = "capture_address_exposed"
    UNVERIFIED_FORWARD = "unverified_forward"
    ATTACHMENT_TOO_LARGE = "attachment_too_large"
    BODY_TRUNCATED = "body_truncated"
    UNPARSED = "unparsed"
    UNAUTHENTICATED = "unauthenticated"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRef:
    """A contact of a decision. `bcc` when only the envelope named them (rules.md 6.4)."""

    id: int
    address: str
    bcc: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRef:
    """The attributed user, by account address."""

    id: int
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the rule said of one message in one portal.

    `creates` are the addresses, as written, for which a contact is made when the message is recorded.
    """

    portal: int
    source: Source
    outcome: Outcome
    reason: Reason
    direction: Direction | None = None
    contacts: tuple[ContactRef, ...] = ()
    user: UserRef | None = None
    attribution: Attribution | None = None
    flags: frozenset[Flag] = frozenset()
    creates: tuple[str, ...] = ()

    def with_those_of(self, other: Decision) -> Decision:
        """The same log with the contacts and flags of another log of the message besides."""
        known = {each.id for each in self.contacts}
        more = (each for each in other.contacts if each.id not in known)
        return replace(self, contacts=(*self.contacts, *more), flags=self.flags | other.flags)

    def skipped(self, reason: Reason) -> Decision:
        """A skip in the place of this log, about the same user and contacts."""
        return replace(self, outcome=Outcome.SKIP, reason=reason, attribution=None, flags=frozenset(), creates=())

    def to_json(self) -> dict[str, Any]:
        """A dictionary of JSON values; absent and empty members are left out."""
        value: dict[str, Any] = {
            "portal": self.portal,
            "source": self.source,
            "decision": self.outcome,
            "reason": self.reason,
        }
        if self.direction is not None:
            value["direction"] = self.direction
        if self.contacts:
            value["contacts"] = [[each.id, each.address, each.bcc] for each in self.contacts]
        if self.user is not None:
            value["user"] = [self.user.id, self.user.address]
        if self.attribution is not None:
            value["attribution"] = self.attribution
        if self.flags:
            value["flags"] = sorted(self.flags)
        if self.creates:
            value["creates"] = list(self.creates)
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Decision:
        """The inverse of `to_json`. Raises `ValueError` on a value it did not write."""
        try:
            return cls(
                portal=int(value["portal"]),
                source=Source(value["source"]),
                outcome=Outcome(value["decision"]),
                reason=Reason(value["reason"]),
                direction=Direction(value["direction"]) if "direction" in value else None,
                contacts=tuple(ContactRef(id=i, address=a, bcc=b) for i, a, b in value.get("contacts", ())),
                user=UserRef(id=value["user"][0], address=value["user"][1]) if "user" in value else None,
                attribution=Attribution(value["attribution"]) if "attribution" in value else None,
                flags=frozenset(Flag(each) for each in value.get("flags", ())),
                creates=tuple(value.get("creates", ())),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a decision: {error!r}") from error
