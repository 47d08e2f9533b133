"""One sentence that says why (rules.md section 9), from a decision's own inputs."""

from __future__ import annotations

from engine.decision import Attribution, Decision, Direction, Flag, Outcome, Reason, Source

__all__ = ["explain"]

BECAUSE = {
    Reason.SENT_TO_CONTACT: "{user} sent it to {contacts}, and the portal logs all emails with existing contacts",
    Reason.RECEIVED_FROM_CONTACT: "{contacts} sent it, and the portal logs all emails with existing contacts",
    Reason.REPLY_TO_LOGGED: "{contacts} answers a message that was logged",
    Reason.BCC_ADDRESS: "{user} sent a copy to the portal's BCC address",
    Reason.FORWARDING_ADDRESS: "it was forwarded to the portal's forwarding address",
    Reason.MANUAL_LOG: "a user asked for it to be logged",
    Reason.NO_EXISTING_CONTACT: "nobody {side} is an existing contact",
    Reason.MODE_REPLIES_ONLY: "{are} but the portal logs replies only and {no_reply}",
    Reason.THREAD_UNPROVEN: "{are} but the portal logs replies only and nothing proves that it answers logged mail",
    Reason.PENDING_PARENT: "what it answers may still be logged, so it waits",
    Reason.ALL_CONTACTS_NEVER_LOG: "{contacts} {is_are} on the Never Log list",
    Reason.NEVER_LOG_MESSAGE_SCOPE: "an address on the message is on the Never Log list, which bars the whole message",
    Reason.PERSONAL_NEVER_LOG: "{contacts} {is_are} on the personal Never Log list of {user}",
    Reason.NO_ELIGIBLE_USER: "no user with a connected address takes part in it",
    Reason.USER_NO_PERMISSION: "{user} has not given access to personal email",
    Reason.USER_INACTIVE: "{user} is deactivated",
    Reason.USER_NOT_CONNECTED: "{user} has no connected address that it belongs to",
    Reason.INTERNAL_ONLY: "everybody on it is a user of the portal",
    Reason.BOUNCE: "it is a delivery report, not correspondence",
    Reason.RECEIPT: "it is a read receipt, not correspondence",
    Reason.DRAFT: "it is a draft, not a message that was sent",
    Reason.SPAM_FOLDER: "it lies in Junk or Trash",
    Reason.LIST_MAIL: "a mailing list sent it and no user is addressed in it",
    Reason.AUTO_SUBMITTED: "it is an automatic reply, and the portal does not log these",
    Reason.CALENDAR: "it is calendar mail, and the portal does not log it",
    Reason.BULK: "it is bulk mail, and the portal does not log it",
    Reason.CAPTURE_SENDER_NOT_USER: "the sender of the capture is no user of the portal",
    Reason.CAPTURE_SENDER_UNVERIFIED: "nothing proves that the sender of the capture is the user it names",
    Reason.FORWARD_NOT_PARSED: "no forwarded original was found in it, or not all of them could be read",
    Reason.ERASED_ADDRESS: "the address was erased and must not come back",
    Reason.NOT_DELIVERED: "the next hop accepted it for no recipient, so it was not sent",
    Reason.UNAUTHENTICATED_SENDER: "nothing proves that whoever stands in From sent it, and the portal asks for proof",
    Reason.THREAD_STOPPED: "somebody asked that nothing more of this thread be logged",
    Reason.UNPARSEABLE: "no author could be read from it",
}
# The same reason, where a decision has more to tell.
BORROWED = "the login does not belong to the contact whose address is in From"
NO_ASKER = "whoever asked for it to be logged is no user of the portal"
UNMATCHED = "somebody answered from another address what was logged with {contacts}"
REFERRED = "whoever wrote it is no contact, refers to logged mail only in passing, and answers none of it directly"
HOW = {
    Attribution.AUTHOR: "who wrote it",
    Attribution.LOGIN: "whose login sent it",
    Attribution.PARENT: "who wrote the message it answers",
    Attribution.SINGLE_RECIPIENT: "its only recipient",
    Attribution.SINGLE_USER: "the only user among its recipients",
    Attribution.CONTACT_OWNER: "the owner of the contact, because several users got it",
    Attribution.OWNER_MISSING: "the first user it names, because several got it and the contact has no owner",
    Attribution.OWNER_INACTIVE: "the first user it names, because several got it and the contact's owner is inactive",
    Attribution.ENVELOPE_RECIPIENT: "who got it without being named in it",
    Attribution.FORWARDER: "who forwarded it",
    Attribution.CAPTURED_MAILBOX: "in whose mailbox it was found",
}


def explain(decision: Decision) -> str:
    """One sentence. It names addresses of contacts and users, and nothing of the message."""
    contacts = _join([each.address for each in decision.contacts])
    is_are = "are" if len(decision.contacts) > 1 else "is"
    incoming = decision.direction is Direction.INCOMING
    nobody = "whoever wrote it" if incoming or decision.direction is None else "everybody it was sent to"
    because = _reason(decision).format(
        user=decision.user.address if decision.user else "the user",
        contacts=contacts or nobody,
        is_are=is_are,
        are=f"{contacts or nobody} {is_are} {'a contact' if is_are == 'is' else 'contacts'},",
        side="who wrote it" if incoming else "it was sent to",
        no_reply="this message answers nothing that was logged"
        if incoming
        else "what a user sends does not log by itself",
    )
    if decision.outcome is Outcome.SKIP:
        return f"Not logged: {because}."
    sentence = f"Logged: {because}"
    if decision.user is not None and decision.attribution is not None:
        sentence += f"; attributed to {decision.user.address}, {HOW[decision.attribution]}"
    if Flag.FROM_MISMATCH in decision.flags:
        sentence += " while From names somebody else"
    return sentence + "."


def _reason(decision: Decision) -> str:
    """The clause of the reason."""
    match decision.reason:
        case Reason.UNAUTHENTICATED_SENDER if decision.source in (Source.RELAY, Source.BCC):
            return BORROWED
        case Reason.CAPTURE_SENDER_NOT_USER if decision.source is Source.MANUAL:
            return NO_ASKER
        case Reason.REPLY_TO_LOGGED if Flag.UNMATCHED_SENDER in decision.flags:
            return UNMATCHED
        case Reason.THREAD_UNPROVEN if not decision.contacts:
            return REFERRED
    return BECAUSE[decision.reason]


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""
