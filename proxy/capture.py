"""Capturing what the relay carries: the tap of one message, from its header section to the spool.

The engine decides when the header section is whole. Content is kept only when it says so; what is kept goes to memory,
then to a file, and is durable before the client hears that its mail was accepted. Whatever fails here fails alone:
under policy `open` mail goes on and a gap tells what is missing, under `closed` the client is asked to try again.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

import engine
from engine.address import canonical
from engine.capture import Capture
from engine.decision import Decision, Outcome, Source
from engine.directory import Answer, Question
from engine.message import Message
from proxy.limits import CapturePolicy, Deadlines, Limits
from proxy.smtp.reply import Reply
from proxy.smtp.session import Envelope
from store.database import StoreUnavailable
from store.entry import Entry, EntryKind
from store.hashes import keyed_hash
from store.spool import ContentFile, Spool

__all__ = ["Captures", "Directory"]

log = structlog.get_logger("capture")

REMEMBERED = 10_000  # verdicts; people write to the same people
UNDECIDED_MEMORY = 1024 * 1024  # a message that is not decided yet goes to no file below this
ASK_SECONDS = 2.0  # a store that is slower than this counts as away


class Directory(Protocol):
    """Who answers the engine's questions (`store.lookups.Lookups`)."""

    def answer(self, question: Question) -> tuple[Answer, ...] | None:
        """The answer, when it is at hand."""

    async def ask(self, question: Question) -> tuple[Answer, ...]:
        """The answer from the store. Raises `StoreUnavailable`."""

    def token(self) -> object | None:
        """An object that stays the same while answers stay true; `None` when that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What the engine said, as the spool keeps it: decisions, and keyed hashes of the addresses that are no user's."""

    answers: tuple[Answer, ...]
    decisions: tuple[Decision, ...]
    values: list[dict[str, Any]]
    addresses: list[str]
    logs: bool


@dataclass(slots=True, kw_only=True)
class _Judgement:
    """What was captured, and what the engine said. `verdict` is `None` while nobody could be asked."""

    message: Message
    capture: Capture
    verdict: _Verdict | None = None

    @property
    def logs(self) -> bool:
        """Whether any portal logs the message."""
        return self.verdict is not None and self.verdict.logs


class Captures:
    """Makes the taps of one relay process."""

    def __init__(
        self,
        *,
        spool: Spool,
        directory: Directory,
        policy: CapturePolicy,
        limits: Limits,
        deadlines: Deadlines,
        hash_key: bytes,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.spool = spool
        self.directory = directory
        self.policy = policy
        self.limits = limits
        self.deadlines = deadlines
        self.tasks = tasks
        self.counts: Counter[str] = Counter()
        self._remembered: dict[object, _Verdict] = {}
        self._token: object | None = None
        self._hash_key = hash_key
        self._prefix = os.urandom(12).hex()
        self._serial = 0

    def begin(self, session: str, login: str | None, envelope: Envelope) -> MessageTap | None:
        """A tap for one message; `None` when its login cannot be known, so that it concerns nobody here."""
        if login is None:
            self.counts["unobservable"] += 1
            return None
        return MessageTap(self, session, login, envelope)

    def undelivered(self, session: str, login: str | None, envelope: Envelope) -> None:
        """A transaction whose every recipient was refused: there is no message, only what the envelope says."""
        if login is None:
            return
        author = b"From: <" + (envelope.reverse_path or b"") + b">\r\n"
        recipients = b"To: " + b", ".join(b"<" + each.path + b">" for each in envelope.recipients) + b"\r\n"
        tap = MessageTap(self, session, login, envelope)
        tap.header_section(author + recipients, dot_stuffed=False)
        tap.refuse(envelope.recipients[-1].reply)

    async def is_known(self, login: str) -> bool:
        """Whether `login` is an address of an active user, or a service login, of any portal."""
        question = Question(login=login, addresses=frozenset((login,)))
        try:
            answers = self.directory.answer(question)
            if answers is None:
                answers = await self.directory.ask(question)
        except StoreUnavailable:
            return False
        return any(
            canonical(login) in answer.portal.service_logins
            or any(user.active for users in answer.users.values() for user in users)
            for answer in answers
        )

    def new_key(self) -> str:
        """A capture key that no other process and no later run makes again."""
        self._serial += 1
        return f"{self._prefix}{self._serial:08x}"

    def message_ids(self, message: Message) -> list[str]:
        """The keyed hash of the message's id, if it has one."""
        return [keyed_hash(self._hash_key, message.message_id)] if message.message_id else []

    def remembered(self, judgement: _Judgement) -> _Verdict | None:
        """The verdict on an earlier message of which everything that decides was the same, if it is still true."""
        if not judgement.message.is_plain or (token := self.directory.token()) is None:
            return None
        if token is not self._token:
            self._token = token
            self._remembered.clear()
        return self._remembered.get(_what_decides(judgement))

    def decide(self, judgement: _Judgement, question: Question, answers: tuple[Answer, ...]) -> _Verdict:
        """The verdict of the engine."""
        decisions = engine.decide_each(judgement.capture, judgement.message, answers)
        users = {address for answer in answers for address in answer.users}
        outside = {canonical(address) for address in question.addresses} - users
        return _Verdict(
            answers=answers,
            decisions=decisions,
            values=[each.to_json() for each in decisions],
            addresses=sorted(keyed_hash(self._hash_key, address) for address in outside),
            logs=any(each.outcome is Outcome.LOG for each in decisions),
        )

    def remember(self, judgement: _Judgement, verdict: _Verdict) -> None:
        """Keeps a verdict that rests on what the directory says now, for messages like this one."""
        if judgement.message.is_plain and self.directory.token() is self._token is not None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[_what_decides(judgement)] = verdict


class MessageTap:
    """Watches one message. Implements `proxy.smtp.transfer.Tap`."""

    __slots__ = (
        "_asking",
        "_captures",
        "_chunks",
        "_continue",
        "_dot_stuffed",
        "_envelope",
        "_file",
        "_in_memory",
        "_journal_key",
        "_judgement",
        "_keeps",
        "_login",
        "_session",
        "_trouble",
    )

    def __init__(self, captures: Captures, session: str, login: str, envelope: Envelope) -> None:
        self._captures = captures
        self._session = session
        self._login = login
        self._envelope = envelope
        self._judgement: _Judgement | None = None
        self._keeps = True
        self._asking = False
        self._continue: Callable[[], None] | None = None
        self._chunks: list[bytes] = []
        self._in_memory = 0
        self._file: ContentFile | None = None
        self._dot_stuffed = False
        self._trouble: Exception | None = None
        self._journal_key: str | None = None

    # -- the message passes -------------------------------------------------------------------------------------------

    def header_section(self, section: bytes, *, dot_stuffed: bool) -> None:
        self._dot_stuffed = dot_stuffed
        try:
            self._judge(_unstuff(section) if dot_stuffed else section)
        except Exception as error:  # understanding mail may fail, passing it may not: the recorder tries again
            self._captures.counts["judging_failed"] += 1
            log.error("a message could not be judged", session=self._session, cause=type(error).__name__)

    def _judge(self, section: bytes) -> None:
        verdicts = [(each.path.decode("utf-8", "surrogateescape"), each.reply) for each in self._envelope.recipients]
        message = engine.read(section)
        capture = Capture(
            source=Source.RELAY,
            recipients=tuple(path for path, verdict in verdicts if verdict.is_positive),
            refused=tuple(path for path, verdict in verdicts if not verdict.is_positive),
            login=self._login,
        )
        self._judgement = judgement = _Judgement(message=message, capture=capture)
        if (verdict := self._captures.remembered(judgement)) is not None:
            self._decided(verdict)
            return
        question = engine.question(capture, message)
        answers = self._captures.directory.answer(question)
        if answers is not None:
            verdict = self._captures.decide(judgement, question, answers)
            self._captures.remember(judgement, verdict)
            self._decided(verdict)
        else:
            self._asking = True
            self._captures.tasks.create_task(self._ask(judgement, question))

    async def _ask(self, judgement: _Judgement, question: Question) -> None:
        answers: tuple[Answer, ...] | None = None
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answers = await self._captures.directory.ask(question)
        except (StoreUnavailable, TimeoutError):
            self._captures.counts["undecided"] += 1
        except Exception as error:  # of one strange message, which must not end every session of the process
            self._captures.counts["judging_failed"] += 1
            log.error("a message could not be judged", session=self._session, cause=type(error).__name__)
        self._asking = False
        if answers is not None:
            try:
                self._decided(self._captures.decide(judgement, question, answers))
            except Exception as error:  # as in header_section
                self._captures.counts["judging_failed"] += 1
                log.error("a message could not be judged", session=self._session, cause=type(error).__name__)
        if self._continue is not None:
            then, self._continue = self._continue, None
            then()

    def _decided(self, verdict: _Verdict) -> None:
        assert self._judgement is not None
        self._judgement.verdict = verdict
        if not verdict.logs:
            self._keeps = False
            self._drop_content()

    def content(self, octets: bytes) -> None:
        if not self._keeps:
            return
        self._chunks.append(octets)
        self._in_memory += len(octets)
        is_decided = self._judgement is not None and self._judgement.verdict is not None
        if self._in_memory > (self._captures.limits.capture_memory if is_decided else UNDECIDED_MEMORY):
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = self._captures.spool.content_file(self._captures.new_key())
            self._file.write(self._chunks)
        except OSError as error:
            self._keeps = False
            self._trouble = error
            self._drop_content()
        else:
            self._chunks.clear()
            self._in_memory = 0

    def _flush(self) -> None:
        if self._file is not None and self._chunks:
            self._spill()

    # -- how it ended -------------------------------------------------------------------------------------------------

    def journal(self, then: Callable[[bool], None]) -> bool:
        if self._captures.policy is not CapturePolicy.CLOSED:
            return False
        if self._asking:
            self._continue = lambda: self._journal_now(then)
            return True
        if self._is_nobodys():
            return False
        self._journal_now(then)
        return True

    def _journal_now(self, then: Callable[[bool], None]) -> None:
        self._flush()
        if self._is_nobodys():
            then(True)
        elif self._trouble is not None:
            then(False)
        else:
            self._journal_key = self._captures.new_key()
            self._put(self._message_entry(self._journal_key, None, settled=False), lambda error: then(error is None))

    def deliver(self, reply: Reply, then: Callable[[], None]) -> bool:
        if self._asking:
            self._continue = lambda: then() if not self._deliver_now(reply, then) else None
            return True
        return self._deliver_now(reply, then)

    def _deliver_now(self, reply: Reply, then: Callable[[], None]) -> bool:
        """True when `then` will be called later."""
        if self._is_nobodys():
            self._note_skip()
            return False
        self._flush()
        if self._journal_key is not None:
            entry = self._message_entry(self._journal_key, reply, settled=True)
            self._captures.spool.settle(entry, lambda error: then())
            return True
        if self._trouble is not None:
            self._leave_gap("capture_failed", self._trouble)
            return False
        self._put(
            self._message_entry(self._captures.new_key(), reply, settled=True),
            lambda error: self._stored(error, then),
        )
        return True

    def _stored(self, error: Exception | None, then: Callable[[], None]) -> None:
        if error is None:
            self._captures.counts["captured"] += 1
        else:
            self._leave_gap("capture_failed", error)
            self._drop_content()
        then()

    def refuse(self, reply: Reply) -> None:
        judgement = self._judgement
        self._drop_content()
        if self._asking:
            self._continue = lambda: self.refuse(reply)
            return
        self._decide_as_undelivered()
        if self._journal_key is not None:
            self._settle_as_nothing()
        elif judgement is not None and judgement.verdict is not None:
            self._note_skip()

    def lose(self) -> None:
        if self._asking:
            self._continue = self.lose
            return
        self._drop_content()
        if self._is_nobodys():
            return
        if self._journal_key is None:
            self._leave_gap("outcome_unknown", None)
        else:
            gap = {"gap": "outcome_unknown", "cause": ""}
            entry = self._note_entry(self._journal_key, EntryKind.GAP, gap)
            self._captures.spool.settle(entry, lambda error: None)

    def discard(self) -> None:
        self._keeps = False
        if self._journal_key is not None:  # no verdict will come; the row must not wait for one
            self._decide_as_undelivered()
            self._settle_as_nothing()
        self._drop_content()

    # -- entries ------------------------------------------------------------------------------------------------------

    def _is_nobodys(self) -> bool:
        """Whether it is settled that no portal logs the message."""
        judgement = self._judgement
        return judgement is not None and judgement.verdict is not None and not judgement.logs

    def _put(self, entry: Entry, done: Callable[[Exception | None], None]) -> None:
        """Hands `entry` to the spool and calls `done` once, at the latest when the capture's deadline has passed."""
        waiting = True

        def once(error: Exception | None) -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                timer.cancel()
                done(error)

        seconds = self._captures.deadlines.capture
        timer = asyncio.get_running_loop().call_later(seconds, once, TimeoutError("the spool did not answer in time"))
        self._captures.spool.put(entry, once, self._file)

    def _message_entry(self, key: str, reply: Reply | None, *, settled: bool) -> Entry:
        file = self._file
        return Entry(
            key=key,
            at=time.time(),
            kind=EntryKind.MESSAGE,
            facts=self._facts()
            | {
                "reverse_path": _text(self._envelope.reverse_path or b""),
                "recipients": [
                    {"address": _text(each.path), "accepted": each.reply.is_positive, "reply": each.reply.line()}
                    for each in self._envelope.recipients
                ],
                "reply": reply.line() if reply is not None else None,
                "outcome": "delivered" if reply is not None else None,
                # A message whose outcome stays unknown becomes a gap, which must know it when it comes again.
                "message_ids": self._captures.message_ids(self._judgement.message) if self._judgement else [],
            },
            content=b"".join(self._chunks) if file is None else None,
            content_file=file.path if file is not None else None,
            dot_stuffed=self._dot_stuffed,
            settled=settled,
        )

    def _note_entry(self, key: str, kind: EntryKind, more: dict[str, Any]) -> Entry:
        facts = self._facts() | more
        if (judgement := self._judgement) is not None:
            facts["message_ids"] = self._captures.message_ids(judgement.message)
            facts["addresses"] = judgement.verdict.addresses if judgement.verdict is not None else []
        return Entry(key=key, at=time.time(), kind=kind, facts=facts)

    def _facts(self) -> dict[str, Any]:
        verdict = self._judgement.verdict if self._judgement is not None else None
        return {
            "source": Source.RELAY,
            "session": self._session,
            "login": self._login,
            "decisions": None if verdict is None else verdict.values,
        }

    def _note(self, kind: EntryKind, more: dict[str, Any]) -> None:
        self._captures.spool.note(self._note_entry(self._captures.new_key(), kind, more))

    def _note_skip(self) -> None:
        judgement = self._judgement
        if judgement is not None and judgement.verdict is not None and judgement.verdict.decisions:
            self._captures.counts["skipped"] += 1
            self._note(EntryKind.NOTE, {})
        else:
            self._captures.counts["unconcerned"] += 1

    def _leave_gap(self, gap: str, cause: Exception | None) -> None:
        self._captures.counts[gap] += 1
        log.error("a message to be logged was not captured", session=self._session, gap=gap, cause=str(cause or ""))
        self._note(EntryKind.GAP, {"gap": gap, "cause": type(cause).__name__ if cause is not None else ""})

    def _decide_as_undelivered(self) -> None:
        """Decides again, now that nobody has got the message."""
        judgement = self._judgement
        if judgement is not None and judgement.verdict is not None:
            question = engine.question(judgement.capture, judgement.message)
            judgement.capture = Capture(source=Source.RELAY, recipients=(), login=self._login)
            judgement.verdict = self._captures.decide(judgement, question, judgement.verdict.answers)

    def _settle_as_nothing(self) -> None:
        if self._journal_key is not None:
            entry = self._note_entry(self._journal_key, EntryKind.NOTE, {})
            self._captures.spool.settle(entry, lambda error: None)

    def _drop_content(self) -> None:
        self._chunks.clear()
        self._in_memory = 0
        if self._file is not None and self._journal_key is None:
            self._file.discard()
            self._file = None


def _what_decides(judgement: _Judgement) -> object:
    """All that the verdict on a plain message rests on, besides the directory."""
    message, capture = judgement.message, judgement.capture
    return capture.login, capture.recipients, capture.refused, message.authors, message.to, message.cc


def _unstuff(section: bytes) -> bytes:
    """RFC 5321 §4.5.2: a leading dot of a line was doubled by the client."""
    if section[:1] == b".":
        section = section[1:]
    return section.replace(b"\r\n.", b"\r\n") if b"\r\n." in section else section


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")
