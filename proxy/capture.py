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
from typing import Any

import structlog

from engine.address import canonical
from engine.capture import Capture
from engine.decision import Source
from engine.directory import Question
from engine.message import Message
from proxy.content import Content, Held
from proxy.folder_changes import FolderChanges
from proxy.limits import CapturePolicy, Deadlines, Limits
from proxy.looking import keep_looking
from proxy.recent import RecentMessages
from proxy.seen import SeenMessages
from proxy.sighting import Sighting, address_of
from proxy.smtp.reply import Reply
from proxy.smtp.session import Envelope
from proxy.verdict import Directory, Verdict, Verdicts
from store.database import StoreUnavailable
from store.entry import Entry, EntryKind
from store.spool import Spool

__all__ = ["LOG_FOLDER", "UNDECIDED_MEMORY", "Captures"]

log = structlog.get_logger("capture")

LOG_FOLDER = "Log to CRM"
UNDECIDED_MEMORY = 1024 * 1024  # a message that is not decided yet goes to no file below this
ASK_SECONDS = 2.0  # a store that is slower than this counts as away
LOOK_SECONDS = 1.0  # how late a change that was made on another node is noticed, at most
AWAY_SECONDS = 10.0  # how long it then is not asked about recipients, so that a thousand of them cost one wait


class Captures:
    """Makes the taps of one relay process, and holds what its sessions share.

    `watched` is what the messages of watched mailboxes take at present, `seen` which of them are done with, `recent`
    those that their readers may ask for yet; `folder_changes` other processes share, too. `log_folder` is the name of
    the mailbox folder for the log, "" for none.
    """

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
        log_folder: str = LOG_FOLDER,
        folder_changes: FolderChanges | None = None,
    ) -> None:
        self.spool = spool
        self.directory = directory
        self.policy = policy
        self.limits = limits
        self.deadlines = deadlines
        self.tasks = tasks
        self.counts: Counter[str] = Counter()
        self.hash_key = hash_key
        self.verdicts = Verdicts(directory, hash_key)
        self.log_folder = log_folder
        self.folder_changes = folder_changes or FolderChanges()
        self.seen = SeenMessages()
        self.recent = RecentMessages()
        self.watched = Held()
        self._ask_again_at = float("-inf")
        self._prefix = os.urandom(12).hex()
        self._serial = 0

    def begin(
        self,
        session: str,
        login: str | None,
        envelope: Envelope,
        *,
        source: Source = Source.RELAY,
        host: str = "",
    ) -> MessageTap | None:
        """A tap for one message; `None` when its login cannot be known, so that it concerns nobody here.

        `host` is the provider's name: its replies are read by it.
        """
        if login is None and not envelope.captures:
            self.counts["unobservable"] += 1
            return None
        sighting = Sighting(session=session, login=login, envelope=envelope, source=source, host=host)
        return MessageTap(self, sighting)

    def is_capture_address(self, path: bytes) -> bool | None:
        """Whether mail to `path` is logged instead of sent; `None` when that must be asked first."""
        return self.directory.is_capture_address(address_of(path))

    async def ask_capture_address(self, path: bytes, login: str | None) -> bool | None:
        """As `is_capture_address`, asked; what is known from before while the store is away, if that says yes.

        The question is the one that the message will need answered, as far as it can be told now.
        """
        address = address_of(path)
        now = asyncio.get_running_loop().time()
        if now >= self._ask_again_at:
            addresses = frozenset((address,) if login is None else (address, login))
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await self.directory.ask(Question(login=login, addresses=addresses))
                return self.directory.was_capture_address(address)
            except (StoreUnavailable, TimeoutError):
                self.counts["recipients_unknown"] += 1
                self._ask_again_at = now + AWAY_SECONDS
        return self.directory.was_capture_address(address) or None

    async def look(self) -> None:
        """Sees what has changed in the directory, so that no recipient has to wait for that."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self.directory.look()
        except (StoreUnavailable, TimeoutError):
            self.counts["looked_in_vain"] += 1

    async def keep_looking(self) -> None:
        """Looks again and again, for ever."""
        await keep_looking(self.look, LOOK_SECONDS)

    def undelivered(self, session: str, login: str | None, envelope: Envelope) -> None:
        """A transaction whose every recipient was refused: there is no message, only what the envelope says."""
        if login is None:
            return
        author = b"From: <" + (envelope.reverse_path or b"") + b">\r\n"
        recipients = b"To: " + b", ".join(b"<" + each.path + b">" for each in envelope.recipients) + b"\r\n"
        sighting = Sighting(session=session, login=login, envelope=envelope, source=Source.RELAY, host="")
        tap = MessageTap(self, sighting)
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

    async def ask_verdict(self, capture: Capture, message: Message, session: str) -> Verdict | None:
        """What the engine says of a message; `None` when nobody can tell now, and the recorder will."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self.verdicts.ask(capture, message)
        except (StoreUnavailable, TimeoutError):
            self.counts["undecided"] += 1
        except Exception as error:  # of one strange message, which must not end every session of the process
            self.tell_failure(error, session)
        return None

    def tell_failure(self, error: Exception, session: str) -> None:
        """A message was not understood; it passes all the same."""
        self.counts["judging_failed"] += 1
        log.error("a message could not be judged", session=session, cause=type(error).__name__)

    def new_key(self) -> str:
        """A capture key that no other process and no later run makes again."""
        self._serial += 1
        return f"{self._prefix}{self._serial:08x}"


class MessageTap:
    """Watches one message. Implements `proxy.smtp.transfer.Tap`."""

    __slots__ = (
        "_asking",
        "_captures",
        "_content",
        "_continue",
        "_dot_stuffed",
        "_journal_key",
        "_keeps",
        "_section",
        "_sighting",
    )

    def __init__(self, captures: Captures, sighting: Sighting) -> None:
        self._captures = captures
        self._sighting = sighting
        self._section = b""
        self._keeps = True
        self._asking = False
        self._continue: Callable[[], None] | None = None
        self._content = Content(captures.spool, captures.new_key)
        self._dot_stuffed = False
        self._journal_key: str | None = None

    # -- the message passes -------------------------------------------------------------------------------------------

    def header_section(self, section: bytes, *, dot_stuffed: bool) -> None:
        self._dot_stuffed = dot_stuffed
        if self._sighting.is_asked_for:
            self._section = section
        try:
            self._judge(_unstuff(section) if dot_stuffed else section)
        except Exception as error:  # understanding mail may fail, passing it may not: the recorder tries again
            self._tell_failure(error)

    def _judge(self, section: bytes) -> None:
        capture, message = self._sighting.read(section)
        if self._sighting.is_asked_for:
            return
        verdict = self._captures.verdicts.at_hand(capture, message)
        if verdict is not None:
            self._decided(verdict)
        else:
            self._asking = True
            self._captures.tasks.create_task(self._ask(capture, message))

    async def _ask(self, capture: Capture, message: Message) -> None:
        verdict = await self._captures.ask_verdict(capture, message, self._sighting.session)
        self._asking = False
        if verdict is not None:
            try:
                self._decided(verdict)
            except Exception as error:  # as in header_section
                self._tell_failure(error)
        if self._continue is not None:
            then, self._continue = self._continue, None
            then()

    def _tell_failure(self, error: Exception) -> None:
        self._captures.tell_failure(error, self._sighting.session)

    def _decided(self, verdict: Verdict) -> None:
        self._sighting.verdict = verdict
        if not verdict.logs:
            self._keeps = False
            self._drop_content()

    def content(self, octets: bytes) -> None:
        if not self._keeps:
            return
        is_kept = self._sighting.verdict is not None or self._sighting.is_asked_for
        self._content.add(octets, memory=self._captures.limits.capture_memory if is_kept else UNDECIDED_MEMORY)

    # -- how it ended -------------------------------------------------------------------------------------------------

    def journal(self, then: Callable[[bool], None]) -> bool:
        if self._captures.policy is not CapturePolicy.CLOSED:
            return False
        if self._asking:
            self._continue = lambda: self._journal_now(then)
            return True
        if self._sighting.is_nobodys:
            return False
        self._journal_now(then)
        return True

    def _journal_now(self, then: Callable[[bool], None]) -> None:
        self._content.flush()
        if self._sighting.is_nobodys:
            then(True)
        elif self._content.trouble is not None:
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
        if self._sighting.is_nobodys:
            self._note_skip()
            return False
        self._content.flush()
        if self._journal_key is not None:
            entry = self._message_entry(self._journal_key, reply, settled=True)
            self._captures.spool.settle(entry, lambda error: then())
            return True
        if self._content.trouble is not None:
            self._leave_gap("capture_failed", self._content.trouble)
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

    def keep(self, then: Callable[[bool], None]) -> bool:
        self._content.flush()
        if self._content.trouble is not None:
            self._tell_loss(self._content.trouble)
            return False

        def stored(error: Exception | None) -> None:
            if error is None:
                self._captures.counts["captured"] += 1
            else:
                self._tell_loss(error)
                self._drop_content()
            then(error is None)

        self._put(self._message_entry(self._captures.new_key(), None, settled=True), stored)
        return True

    def _tell_loss(self, error: Exception) -> None:
        """The client keeps the message, so it is no gap."""
        self._captures.counts["not_kept"] += 1
        log.error("a message for the log was refused", session=self._sighting.session, cause=type(error).__name__)

    def refuse(self, reply: Reply) -> None:
        self._drop_content()
        if self._sighting.is_asked_for:
            self._note_refusal(reply)
            return
        if self._asking:
            self._continue = lambda: self.refuse(reply)
            return
        self._sighting.decide_as_undelivered(self._captures.verdicts)
        if self._journal_key is not None:
            self._settle_as_nothing()
        elif self._sighting.verdict is not None:
            self._note_skip()

    def _note_refusal(self, reply: Reply) -> None:
        """What a user asked to be logged and nobody got: its header section tells who asked."""
        key = self._journal_key
        sighting = self._sighting
        facts = sighting.facts() | {"recipients": sighting.recipients(reply), "reply": reply.line()}
        entry = Entry(
            key=key or self._captures.new_key(),
            at=time.time(),
            kind=EntryKind.NOTE,
            facts=facts,
            content=self._section + b"\r\n",
            dot_stuffed=self._dot_stuffed,
        )
        if key is None:
            self._captures.spool.note(entry)
        else:
            self._captures.spool.settle(entry, lambda error: None)

    def lose(self) -> None:
        if self._asking:
            self._continue = self.lose
            return
        self._drop_content()
        if self._sighting.is_nobodys:
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
            self._sighting.decide_as_undelivered(self._captures.verdicts)
            self._settle_as_nothing()
        self._drop_content()

    # -- entries ------------------------------------------------------------------------------------------------------

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
        self._captures.spool.put(entry, once, self._content.file)

    def _message_entry(self, key: str, reply: Reply | None, *, settled: bool) -> Entry:
        file = self._content.file
        return Entry(
            key=key,
            at=time.time(),
            kind=EntryKind.MESSAGE,
            facts=self._sighting.facts() | self._sighting.outcome(reply, self._captures.hash_key),
            content=self._content.octets(),
            content_file=file.path if file is not None else None,
            dot_stuffed=self._dot_stuffed,
            settled=settled,
        )

    def _note_entry(self, key: str, kind: EntryKind, more: dict[str, Any]) -> Entry:
        facts = self._sighting.facts() | more | self._sighting.hashes(self._captures.hash_key)
        return Entry(key=key, at=time.time(), kind=kind, facts=facts)

    def _note(self, kind: EntryKind, more: dict[str, Any]) -> None:
        self._captures.spool.note(self._note_entry(self._captures.new_key(), kind, more))

    def _note_skip(self) -> None:
        if self._sighting.verdict is not None and self._sighting.verdict.decisions:
            self._captures.counts["skipped"] += 1
            self._note(EntryKind.NOTE, {})
        else:
            self._captures.counts["unconcerned"] += 1

    def _leave_gap(self, gap: str, cause: Exception | None) -> None:
        self._captures.counts[gap] += 1
        log.error(
            "a message to be logged was not captured", session=self._sighting.session, gap=gap, cause=str(cause or "")
        )
        self._note(EntryKind.GAP, {"gap": gap, "cause": type(cause).__name__ if cause is not None else ""})

    def _settle_as_nothing(self) -> None:
        if self._journal_key is not None:
            nothing: dict[str, Any] = {"decisions": []} if self._sighting.is_asked_for else {}  # nothing to decide on
            entry = self._note_entry(self._journal_key, EntryKind.NOTE, nothing)
            self._captures.spool.settle(entry, lambda error: None)

    def _drop_content(self) -> None:
        if self._journal_key is None:
            self._content.discard()
        else:
            self._content.release()


def _unstuff(section: bytes) -> bytes:
    """RFC 5321 §4.5.2: a leading dot of a line was doubled by the client."""
    if section[:1] == b".":
        section = section[1:]
    return section.replace(b"\r\n.", b"\r\n") if b"\r\n." in section else section
