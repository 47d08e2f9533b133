"""What the engine said of a message, remembered for messages like it.

People write to the same people. Of most messages nothing but their addresses decides, and then the verdict on an
earlier one between the same parties is true again, as long as the directory has not changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import engine
from engine.address import canonical
from engine.capture import Capture, Folder
from engine.decision import Decision, Outcome
from engine.directory import Answer, Question, Rule
from engine.message import Message
from store.hashes import keyed_hash

__all__ = ["Directory", "Verdict", "Verdicts"]

REMEMBERED = 10_000  # verdicts of one process


class Directory(Protocol):
    """Who answers the engine's questions (`store.lookups.Lookups`)."""

    def answer(self, question: Question) -> tuple[Answer, ...] | None:
        """The answer, when it is at hand."""

    async def ask(self, question: Question) -> tuple[Answer, ...]:
        """The answer from the store. Raises `StoreUnavailable`."""

    async def look(self) -> None:
        """Sees what has changed, ahead of any question. Raises `StoreUnavailable`."""

    def token(self) -> object | None:
        """An object that stays the same while answers stay true; `None` when that is not known."""

    def is_capture_address(self, address: str) -> bool | None:
        """Whether mail to `address` is logged instead of sent; `None` when that must be asked first."""

    def was_capture_address(self, address: str) -> bool:
        """The same as far as it is known, however old that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`values` are the decisions as JSON values, `addresses` keyed hashes of those that are no user's (rules.md 8.2).

    `follows_threads` where answers to a message that is not logged may have to find a thread over it.
    `logs_when_asked` where what is not logged would be, if the user of the mailbox asked for it (7.4).
    """

    answers: tuple[Answer, ...]
    decisions: tuple[Decision, ...]
    values: list[dict[str, Any]]
    addresses: list[str]
    follows_threads: bool
    logs: bool
    logs_when_asked: bool = False


class Verdicts:
    """Asks the engine for one relay process."""

    def __init__(self, directory: Directory, hash_key: bytes) -> None:
        self._directory = directory
        self._hash_key = hash_key
        self._remembered: dict[object, Verdict] = {}
        self._token: object | None = None

    def recall(self, capture: Capture, message: Message) -> Verdict | None:
        """The verdict on an earlier message of which everything that decides was the same, if it is still true."""
        if not message.is_plain or (token := self._directory.token()) is None:
            return None
        if token is not self._token:
            self._token = token
            self._remembered.clear()
        return self._remembered.get(_what_decides(capture, message))

    def at_hand(self, capture: Capture, message: Message) -> Verdict | None:
        """The verdict, where the directory need not be asked for it."""
        if (verdict := self.recall(capture, message)) is not None:
            return verdict
        question = engine.question(capture, message)
        answers = self._directory.answer(question)
        if answers is None:
            return None
        verdict = self.reach(capture, message, question, answers)
        self.remember(capture, message, verdict)
        return verdict

    async def ask(self, capture: Capture, message: Message) -> Verdict:
        """The verdict, the directory being asked. Raises `StoreUnavailable`."""
        question = engine.question(capture, message)
        return self.reach(capture, message, question, await self._directory.ask(question))

    def reach(self, capture: Capture, message: Message, question: Question, answers: tuple[Answer, ...]) -> Verdict:
        """The engine's verdict. `question` names the addresses to keep hashes of."""
        decisions = engine.decide_each(capture, message, answers)
        users = {address for answer in answers for address in answer.users}
        outside = {canonical(address) for address in question.addresses} - users
        logs = any(each.outcome is Outcome.LOG for each in decisions)
        return Verdict(
            answers=answers,
            decisions=decisions,
            values=[each.to_json() for each in decisions],
            addresses=sorted(keyed_hash(self._hash_key, address) for address in outside),
            follows_threads=any(each.portal.rule is Rule.REPLIES_ONLY for each in answers),
            logs=logs,
            logs_when_asked=not logs and _logs_when_asked(capture, message, answers),
        )

    def remember(self, capture: Capture, message: Message, verdict: Verdict) -> None:
        """Keeps a verdict that rests on what the directory says now, for messages like this one."""
        if message.is_plain and self._directory.token() is self._token is not None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[_what_decides(capture, message)] = verdict


def _logs_when_asked(capture: Capture, message: Message, answers: tuple[Answer, ...]) -> bool:
    """Asked of what is seen in mailboxes, and only where it names a contact at all, because most mail does not."""
    if capture.mailbox is None or capture.folder is Folder.LOG or not any(each.contacts for each in answers):
        return False
    decisions = engine.decide_each(replace(capture, folder=Folder.LOG), message, answers)
    return any(each.outcome is Outcome.LOG for each in decisions)


def _what_decides(capture: Capture, message: Message) -> object:
    """All that the verdict on a plain message rests on, besides the directory."""
    path = capture.source, capture.login, capture.mailbox, capture.folder, capture.recipients, capture.refused
    return path, message.authors, message.to, message.cc
