"""Kept decisions judged anew by today's rules (rules.md 7.5), from what was kept of them: no header section, no body.

A decision to skip says which step ended it, so the steps before it are known to have let the message through. What
ended it is asked again, of the portal, the users and the contacts as they are today, and then the steps behind it, as
far as the kept facts reach. Where they do not reach, the answer is `UNKNOWN`, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.decision import Decision, Direction, Outcome, Reason
from engine.directory import Contact, NeverLogScope, Portal, Rule, User
from engine.never_log import compile_entries

__all__ = ["Kept", "Verdict", "reconsider", "stays_logged"]


# The gate let these through, and only the portal's rule did not.
BY_RULE = {Reason.MODE_REPLIES_ONLY, Reason.THREAD_UNPROVEN, Reason.PENDING_PARENT}
BY_NEVER_LOG = {Reason.ALL_CONTACTS_NEVER_LOG, Reason.NEVER_LOG_MESSAGE_SCOPE, Reason.PERSONAL_NEVER_LOG}
BY_USER = {Reason.USER_NO_PERMISSION, Reason.USER_INACTIVE, Reason.USER_NOT_CONNECTED}
BY_SWITCH: Mapping[Reason, str] = {
    Reason.AUTO_SUBMITTED: "log_auto_submitted",
    Reason.CALENDAR: "log_calendar",
    Reason.BULK: "log_bulk",
}
# Logged under either rule: somebody asked for it, or it answers what was logged.
UNDER_EITHER_RULE = {Reason.BCC_ADDRESS, Reason.FORWARDING_ADDRESS, Reason.MANUAL_LOG, Reason.REPLY_TO_LOGGED}


class Verdict(StrEnum):
    """What today's rules say. `UNKNOWN` when only the message itself could tell."""

    LOG = "log"
    SKIP = "skip"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is known of a kept decision today.

    `contacts` are those of the decision that still exist, with all of their addresses, and those made since that
    take part in the message: the latter are `is_new`. `user` is the decision's. `answers_logged` when what the message
    answers is in the log, in a thread of one of the contacts.
    """

    decision: Decision
    contacts: Sequence[Contact]
    user: User | None
    is_new: bool = False
    answers_logged: bool = False


def reconsider(kept: Kept, portal: Portal) -> tuple[Verdict, tuple[Contact, ...]]:
    """Whether `portal`, by its rule and lists, would log the message now, and to which contacts."""
    decision = kept.decision
    if decision.outcome is Outcome.LOG:
        stays = stays_logged(decision.reason, portal.rule)
        return (Verdict.LOG if stays else Verdict.SKIP), tuple(kept.contacts)
    reason = decision.reason
    if reason is Reason.NO_EXISTING_CONTACT and not kept.is_new:
        return Verdict.SKIP, ()
    if reason in BY_SWITCH and not getattr(portal.switches, BY_SWITCH[reason]):
        return Verdict.SKIP, ()
    if reason not in {Reason.NO_EXISTING_CONTACT, *BY_RULE, *BY_NEVER_LOG, *BY_USER, *BY_SWITCH}:
        return Verdict.SKIP, ()
    contacts = _loggable(kept, portal)
    if not contacts:
        return Verdict.SKIP, ()
    if portal.switches.never_log_scope is NeverLogScope.MESSAGE and portal.never_log and reason in BY_NEVER_LOG:
        return Verdict.UNKNOWN, contacts  # whom else it names is not kept
    if reason is Reason.NO_EXISTING_CONTACT and decision.direction is Direction.INCOMING:
        return Verdict.UNKNOWN, contacts  # whether the contact wrote it is not kept
    if not _opens(kept.user):
        return (Verdict.SKIP if kept.user is not None else Verdict.UNKNOWN), contacts
    if portal.rule is Rule.ALL or (decision.direction is Direction.INCOMING and kept.answers_logged):
        return Verdict.LOG, contacts
    return Verdict.SKIP, contacts


def stays_logged(reason: str, rule: Rule) -> bool:
    """Whether what was logged for `reason` would be logged under `rule`."""
    return rule is Rule.ALL or reason in UNDER_EITHER_RULE


def _loggable(kept: Kept, portal: Portal) -> tuple[Contact, ...]:
    """The contacts that neither list holds, by any of their addresses: which of them was used is not kept."""
    entries = portal.never_log + (kept.user.never_log if kept.user is not None else ())
    compiled = compile_entries(entries)
    return tuple(
        contact
        for contact in kept.contacts
        if not any(compiled.covers(each, portal.subaddressed_domains) for each in (contact.primary, *contact.addresses))
    )


def _opens(user: User | None) -> bool:
    """Whether the user's connected mail is logged today; that it was connected mail is taken for granted."""
    return user is not None and user.active and user.personal_email_access and bool(user.connected)
