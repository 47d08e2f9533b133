"""Threads: does a message answer one that was logged, and what follows from that (rules.md section 4).

The store finds what is known of the ids that a message names (`engine.directory.Thread`); here it is decided what they
prove. A sender who is a contact of the thread joins it through any logged ancestor. Anybody else must answer a logged
message directly, because others pass references on: a forward carries them too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.directory import Contact, Switches, Thread, User
from engine.fingerprint import normalised_subject
from engine.message import Message

__all__ = ["Joined", "join", "may_match_yet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The message belongs to a thread with these contacts.

    `parent` is the user of the nearest outgoing ancestor (rules.md 5.2). `is_matched` when the sender is one of the
    thread's contacts.
    """

    contacts: tuple[Contact, ...]
    parent: User | None
    is_matched: bool


def join(message: Message, thread: Thread | None, senders: Iterable[Contact], switches: Switches) -> Joined | None:
    """The thread that the message proves to belong to (rules.md 4.2), or `None`. `senders` are the contacts in From."""
    if thread is None:
        return None
    ancestors = thread.ancestors
    if switches.require_same_subject:
        subject = normalised_subject(message.subject)
        ancestors = tuple(each for each in ancestors if normalised_subject(each.subject) == subject)
    is_matched = _is_contact_of(thread, senders)
    if not (ancestors if is_matched else any(each.is_direct for each in ancestors)):
        return None
    parent = next((each.author for each in thread.ancestors if each.author is not None), None)
    return Joined(contacts=thread.contacts, parent=parent, is_matched=is_matched)


def may_match_yet(thread: Thread, senders: Iterable[Contact]) -> bool:
    """Whether a logged message is referred to by somebody who is no contact of its thread, and may become one."""
    return bool(thread.ancestors) and not _is_contact_of(thread, senders)


def _is_contact_of(thread: Thread, senders: Iterable[Contact]) -> bool:
    known = {each.id for each in thread.contacts}
    return any(each.id in known for each in senders)
