"""Records of the log as values for programs, and as sentences for people."""

from __future__ import annotations

from typing import Any

from engine.decision import Outcome
from engine.explanation import explain
from onrecord.written import moment
from store.reading import DecisionRecord, EmailRecord, Explanation, GapRecord, bare_message_id

__all__ = ["decision_value", "email_value", "nothing_known", "tell"]

GAPS = {
    "capture_failed": "it could not be kept",
    "outcome_unknown": "the provider's last word on it is not known, so it may have been sent or not",
}


def email_value(email: EmailRecord) -> dict[str, Any]:
    """An email as `emails --json` and `show --json` give it."""
    return {
        "id": email.id,
        "portal": email.portal,
        "message_id": email.message_id,
        "direction": email.direction,
        "subject": email.subject,
        "date": moment(email.date),
        "from": list(email.sender),
        "to": list(email.to),
        "cc": list(email.cc),
        "contacts": list(email.contacts),
        "user": email.user,
        "attribution": email.attribution,
        "reason": email.reason,
        "flags": list(email.flags),
        "captures": [
            {"source": each.source, "at": moment(each.at, timespec="milliseconds")} for each in email.captures
        ],
        "thread": email.thread,
        "attachments": [{"name": each.name, "type": each.type, "size": each.size} for each in email.attachments],
        "size": email.size,
    }


def decision_value(record: DecisionRecord) -> dict[str, Any]:
    """A decision as `decisions --json` and `explain --json` give it."""
    value = record.value
    return {
        "at": moment(record.at, timespec="milliseconds"),
        "portal": record.portal,
        "source": value.source,
        "decision": value.outcome,
        "reason": value.reason,
        "direction": value.direction,
        "contacts": [each.address for each in value.contacts],
        "user": value.user.address if value.user else None,
        "attribution": value.attribution,
        "flags": sorted(value.flags),
        "explanation": explain(value),
    }


def tell(found: Explanation) -> str:
    """Why the message was logged or not: the decision that made the record, else the last one; then what is missing."""
    if found.is_empty:
        return nothing_known(found.message_id)
    logged = [each for each in found.decisions if each.value.outcome is Outcome.LOG]
    told = logged[-1:] or list(found.decisions[:1])
    sentences = [explain(each.value) for each in told]
    if not sentences and (found.emails or found.deleted):
        sentences.append("Logged; the decision itself is no longer kept.")
    if len(found.emails) > 1:
        ids = ", ".join(str(each.id) for each in found.emails)
        sentences.append(f"Several different messages carry this id: emails {ids}.")
    sentences += [f"The record (email {each}) was deleted at {moment(at)}." for each, at in found.deleted]
    sentences += [_tell_gap(each) for each in found.gaps]
    return " ".join(sentences)


def nothing_known(message_id: str) -> str:
    """What an id that is not found may mean."""
    return (
        f"Nothing is known of a message with the id <{bare_message_id(message_id)}>: no relay of this installation has "
        "seen it (yet), or no user of this portal took part in it, or it was not logged and the decision is older than "
        "the time for which these are kept (recorder.keep_skipped_days)."
    )


def _tell_gap(gap: GapRecord) -> str:
    why = GAPS.get(gap.kind, gap.kind)
    cause = f" ({gap.cause})" if gap.cause else ""
    sentence = f"Missing from the log: a message with this id passed at {moment(gap.at)}, but {why}{cause}."
    if gap.value.outcome is Outcome.LOG:
        sentence += f" It was to be logged: {explain(gap.value).removeprefix('Logged: ')}"
    return sentence
