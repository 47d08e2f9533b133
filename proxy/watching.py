"""Watching a mailbox session that passes through: what its client reads and saves, on its way to the log.

What is wanted is decided when a header section is known, by the rule that holds for the relay. Nothing waits for it: a
message whose verdict must be asked for goes on, and so does one that could not be kept. What is not remembered as seen
is taken when it is read the next time. Of what is put into the folder for the log without its octets, that is logged
which is at hand because its reader had it (`proxy.recent`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import structlog

from engine.capture import Capture, Folder
from engine.decision import Source
from engine.directory import Question
from engine.message import Message
from proxy.capture import UNDECIDED_MEMORY, Captures
from proxy.content import Content
from proxy.folder_names import folder_of
from proxy.imap.message import Message as Passing
from proxy.imap.sequence_set import numbers_of
from proxy.imap.watch import Appended, CopiedToLog, FoldersChange, HeaderSeen, Place, Seen, Unobservable
from proxy.mailbox_sighting import MailboxSighting
from proxy.recent import RecentMessage
from proxy.verdict import Verdict
from store.database import StoreUnavailable
from store.entry import Entry, EntryKind

__all__ = ["MailboxWatcher"]

log = structlog.get_logger("watching")

# A provider on the same network may send small messages faster than the directory answers. Beyond so many that wait for
# it nobody is asked: the recorder decides, as it does while the store is away.
PROCESS_ASKING = 500
# Messages under way wait for the provider, the directory or the spool.
SESSION_MESSAGES = 2000
PROCESS_MESSAGES = 4000
# What a fast provider may put before a slow disk: beyond so much in memory even small messages go to files, and beyond
# so many files they are gaps.
PROCESS_OCTETS = 16 * 1024 * 1024
PROCESS_FILES = 200
MOST_COPIES = 1000  # of one command, that are looked for
DRAFT = "\\draft"


class MailboxWatcher:
    """Watches one session. Implements `proxy.imap.watch.Watcher`.

    `login` is an address, the provider's domain completed. One that no portal knows is not watched.
    """

    __slots__ = (
        "_asked",
        "_concerned_by",
        "_folder",
        "_is_closed",
        "_place",
        "_question",
        "_told",
        "captures",
        "login",
        "session",
        "under_way",
    )

    def __init__(self, captures: Captures, session_id: str, login: str) -> None:
        self.captures = captures
        self.session = session_id
        self.login = login
        self.under_way = 0
        self._told: set[str] = set()
        self._asked: dict[tuple[Place, int], tuple[Place, int | None]] = {}
        self._is_closed = False
        self._concerned_by: object | None = None  # the token of the directory when it knew the login last
        self._place: Place | None = None
        self._folder: Folder | None = None
        captures.recent.enter(login)
        self._question = Question(login=login, addresses=frozenset((login,)))
        if captures.directory.answer(self._question) is None:
            captures.tasks.create_task(self._ask())

    async def _ask(self) -> None:
        """So that the directory is at hand when the first message comes. Where it is not, each message asks itself."""
        try:
            await self.captures.directory.ask(self._question)
        except StoreUnavailable:
            return
        except Exception as error:  # of one strange login, which must not end every session of the process
            self.captures.tell_failure(error, self.session)

    def close(self) -> None:
        """The session is over. What was seen to its end still goes to the log."""
        if not self._is_closed:
            self._is_closed = True
            self.captures.recent.leave(self.login)

    # -- as the passage tells it --------------------------------------------------------------------------------------

    def is_known(self, place: Place, uid: int) -> bool:
        """Whether this process has handed the message to the spool (`proxy.seen`), or has it at hand."""
        captures = self.captures
        return captures.seen.has(self.login, place, uid) or captures.recent.get(self.login, place, uid) is not None

    def is_for_log(self, mailbox: str) -> bool:
        """Whether the user asks for what is put there to be logged (rules.md 7.4)."""
        return folder_of(mailbox, None, log_folder=self.captures.log_folder) is Folder.LOG

    def watch(self, place: Place) -> MessageWatch | None:
        """A watch for a message that begins to pass, where somebody may want it."""
        return None if self._is_closed else self._begin(place)

    def _begin(self, place: Place) -> MessageWatch | None:
        if not self._may_concern_somebody():
            return None
        if self.under_way >= SESSION_MESSAGES or self.captures.watched.messages >= PROCESS_MESSAGES:
            self.lose("too_many_messages")
            return None
        return MessageWatch(self, self._folder_of(place))

    def tell(self, event: HeaderSeen | CopiedToLog | FoldersChange | Unobservable) -> None:
        """Counts what concerns no single message. A header section alone is logged when its message is read."""
        match event:
            case HeaderSeen():
                self.captures.counts["header_only"] += 1
            case CopiedToLog():
                self._log_copies(event)
            case FoldersChange():
                self.captures.folder_changes.note(self.login)
            case Unobservable():
                self.lose(event.why)

    def _log_copies(self, event: CopiedToLog) -> None:
        """Logs the messages that are at hand, as if they had passed on their way to the folder."""
        try:
            pairs = list(islice(_pairs(event), MOST_COPIES + 1))
        except ValueError:
            pairs = []
        is_all = 0 < len(pairs) <= MOST_COPIES
        for uid, log_uid in pairs[:MOST_COPIES]:
            message = self.captures.recent.get(self.login, event.place, uid)
            if message is not None:
                self._pass(message, event.log, log_uid)
            elif self.under_way and len(self._asked) < MOST_COPIES:  # it may be among those that wait for a verdict
                self._asked[event.place, uid] = event.log, log_uid
            else:
                is_all = False
        if not is_all:
            self.lose("copied_to_log")

    def hold(self, ended: Seen | Appended, octets: bytes) -> None:
        """A message that its reader may ask for, or has asked for already."""
        message = RecentMessage(octets, ended.flags)
        self.captures.recent.add(self.login, ended.place, ended.uid, message)
        asked = self._asked.pop((ended.place, ended.uid), None) if ended.uid is not None else None
        if asked is not None:
            self._pass(message, *asked)

    def finish(self) -> None:
        """A message is done with. When none is left, nothing comes any more of what was asked for."""
        self.under_way -= 1
        if not self.under_way and self._asked:
            self._asked.clear()
            self.lose("copied_to_log")

    def _pass(self, message: RecentMessage, place: Place, uid: int | None) -> None:
        """Also when the session is over: then its verdict was late, and what was asked for was not."""
        watch = self._begin(place)
        if watch is not None:
            passing = Passing(watch, self.captures.limits.header_section)
            passing.feed(message.octets)
            passing.end(Seen(place, uid, message.flags, len(message.octets)))

    def _folder_of(self, place: Place) -> Folder | None:
        """Which folder it is. A client reads one after the other."""
        if place is not self._place:
            self._place, self._folder = (
                place,
                folder_of(place.mailbox, place.folder, log_folder=self.captures.log_folder),
            )
        return self._folder

    def _may_concern_somebody(self) -> bool:
        directory = self.captures.directory
        if (token := directory.token()) is not None and token is self._concerned_by:
            return True
        answers = directory.answer(self._question)
        if answers is None:
            return True  # where that is not at hand, the message itself will ask
        if answers:
            self._concerned_by = token
            return True
        if "unknown_login" not in self._told:
            self.lose("unknown_login")
        return False

    def lose(self, why: str) -> None:
        """Something passed unobserved: counted each time, said once a session."""
        self.captures.counts["unobservable"] += 1
        if why not in self._told:
            self._told.add(why)
            log.info("something of a mailbox session could not be observed", session=self.session, reason=str(why))


class MessageWatch:
    """Watches one message. Implements `proxy.imap.watch.Watch`."""

    __slots__ = (
        "_asking",
        "_captures",
        "_content",
        "_ended",
        "_has_file",
        "_is_over",
        "_is_spare",
        "_keeps",
        "_octets",
        "_sighting",
        "_watcher",
    )

    def __init__(self, watcher: MailboxWatcher, folder: Folder | None) -> None:
        self._watcher = watcher
        self._captures = captures = watcher.captures
        self._sighting = MailboxSighting(
            session=watcher.session, source=Source.IMAP_PROXY, mailbox=watcher.login, folder=folder
        )
        self._content = Content(captures.spool, captures.new_key)
        self._octets = 0
        self._has_file = False
        self._keeps = True
        self._is_spare = False
        self._asking = False
        self._ended: Seen | Appended | None = None
        self._is_over = False
        watcher.under_way += 1
        captures.watched.messages += 1

    # -- the message passes -------------------------------------------------------------------------------------------

    def header_section(self, section: bytes) -> bool:
        """Decides, or asks. What could not be understood is kept: the recorder tries again."""
        try:
            capture, message = self._sighting.read(section)
            verdict = self._captures.verdicts.at_hand(capture, message)
            if verdict is not None:
                self._decided(verdict)
            elif self._captures.watched.asking >= PROCESS_ASKING:
                self._captures.counts["undecided"] += 1
            else:
                self._captures.tasks.create_task(self._ask(capture, message))
                self._captures.watched.asking += 1
                self._asking = True
        except Exception as error:  # understanding mail may fail, passing it may not
            self._captures.tell_failure(error, self._watcher.session)
        return self._keeps

    async def _ask(self, capture: Capture, message: Message) -> None:
        verdict = await self._captures.ask_verdict(capture, message, self._watcher.session)
        self._captures.watched.asking -= 1
        self._asking = False
        try:
            if verdict is not None:
                self._decided(verdict)
        except Exception as error:  # as in header_section
            self._captures.tell_failure(error, self._watcher.session)
        if self._ended is not None:
            self._settle(self._ended)

    def _decided(self, verdict: Verdict) -> None:
        self._sighting.verdict = verdict
        if self._sighting.is_wanted:
            return
        # What its reader may ask for yet is held a while, but not on disk.
        may_ask = verdict.logs_when_asked and bool(self._captures.log_folder)
        self._is_spare = may_ask and self._content.file is None and self._has_room_to_spare(0)
        if not self._is_spare:
            self._drop()

    def _drop(self) -> None:
        self._keeps = False
        self._content.discard()
        self._account()

    def content(self, octets: bytes) -> bool:
        """Keeps what is wanted, or may be."""
        if not self._keeps:
            return False
        content, watched = self._content, self._captures.watched
        if self._is_spare and not self._has_room_to_spare(len(octets)):
            self._drop()
            return False
        memory = self._captures.limits.capture_memory if self._sighting.verdict is not None else UNDECIDED_MEMORY
        if watched.octets + len(octets) > PROCESS_OCTETS:
            memory = 0
        if content.file is None and content.in_memory + len(octets) > memory and watched.files >= PROCESS_FILES:
            content.fail(OSError("too many messages wait for the disk"))
        content.add(octets, memory=memory)
        self._account()
        return content.trouble is None

    def _has_room_to_spare(self, more: int) -> bool:
        is_small = self._content.in_memory + more <= self._captures.limits.capture_memory
        return is_small and self._captures.watched.octets + more <= PROCESS_OCTETS

    def _account(self) -> None:
        """Tells all that are watched what this one holds."""
        watched, octets = self._captures.watched, self._content.in_memory
        has_file = self._content.file is not None and not self._is_over
        watched.octets += octets - self._octets
        watched.files += has_file - self._has_file
        self._octets, self._has_file = octets, has_file

    # -- how it ended -------------------------------------------------------------------------------------------------

    def end(self, sighting: Seen | Appended) -> None:
        """All of it has passed: it goes to the spool, now or when the verdict is there."""
        self._ended = sighting
        if not self._asking:
            self._settle(sighting)

    def discard(self) -> None:
        """It came to nothing."""
        self._drop()
        self._finish()

    def _settle(self, ended: Seen | Appended) -> None:
        try:
            if DRAFT in (ended.flags or ()) and self._sighting.folder in (None, Folder.LOG):
                self._sighting.move(Folder.DRAFTS, self._captures.verdicts)
            if self._sighting.is_wanted:
                self._put(ended)
            else:
                octets = self._content.octets() if self._is_spare and self._keeps else None
                self._drop()
                self._hold(ended, octets)
                self._note_skip(ended, is_held=octets is not None)
        except Exception as error:  # as in header_section
            self._captures.tell_failure(error, self._watcher.session)
            self.discard()

    def _note_skip(self, ended: Seen | Appended, *, is_held: bool) -> None:
        if self._sighting.is_nobodys:
            self._captures.counts["unconcerned"] += 1
        else:
            self._captures.counts["skipped"] += 1
            self._captures.spool.note(self._entry(EntryKind.NOTE, ended))
            if not is_held:  # once it is forgotten, it is watched again
                self._remember(ended)
        self._finish()

    def _hold(self, ended: Seen | Appended, octets: bytes | None) -> None:
        """Holds the message for its reader, who may ask for it by hand."""
        captures, verdict = self._captures, self._sighting.verdict
        may_ask = verdict is not None and (verdict.logs or verdict.logs_when_asked) and bool(captures.log_folder)
        if not may_ask or octets is None or self._sighting.folder is Folder.LOG:
            return
        if len(octets) <= captures.limits.capture_memory:
            self._watcher.hold(ended, octets)

    def _put(self, ended: Seen | Appended) -> None:
        self._content.flush()
        self._account()
        if self._content.trouble is not None:
            self._leave_gap(ended, self._content.trouble)
            self._finish()
            return
        file = self._content.file
        path = file.path if file is not None else None
        octets = self._content.octets()
        entry = self._entry(EntryKind.MESSAGE, ended, content=octets, content_file=path)
        self._content.release()  # the entry has it; it counts until the spool has it too
        self._captures.spool.put(entry, lambda error: self._stored(ended, octets, error), file)

    def _stored(self, ended: Seen | Appended, octets: bytes | None, error: Exception | None) -> None:
        if error is None:
            self._captures.counts["captured"] += 1
            self._remember(ended)
            self._hold(ended, octets)
        else:
            self._leave_gap(ended, error)
            self._content.discard()
        self._finish()

    def _leave_gap(self, ended: Seen | Appended, cause: Exception) -> None:
        """It is a gap until the message is read once more."""
        self._captures.counts["capture_failed"] += 1
        log.error("a message to be logged was not captured", session=self._watcher.session, cause=str(cause))
        gap = {"gap": "capture_failed", "cause": type(cause).__name__}
        self._captures.spool.note(self._entry(EntryKind.GAP, ended, gap))

    def _entry(
        self,
        kind: EntryKind,
        ended: Seen | Appended,
        more: dict[str, Any] | None = None,
        *,
        content: bytes | None = None,
        content_file: Path | None = None,
    ) -> Entry:
        key = self._captures.hash_key
        return Entry(
            key=self._sighting.key(key, ended.size, uidvalidity=ended.place.uidvalidity, uid=ended.uid),
            at=time.time(),
            kind=kind,
            facts=self._sighting.facts(key, has_content=kind is EntryKind.MESSAGE) | (more or {}),
            content=content,
            content_file=content_file,
        )

    def _remember(self, ended: Seen | Appended) -> None:
        if ended.uid is not None:
            self._captures.seen.add(self._watcher.login, ended.place, ended.uid)

    def _finish(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._watcher.finish()
            self._captures.watched.messages -= 1
        self._account()


def _pairs(event: CopiedToLog) -> Iterator[tuple[int, int | None]]:
    """The messages that were copied, each with its UID in the folder for the log, where told.

    Raises `ValueError` where it was not told which messages.
    """
    if event.uids is None:
        raise ValueError("not told which")
    log_uids = numbers_of(event.log_uids) if event.log_uids is not None else repeat(None)
    return zip(numbers_of(event.uids), log_uids, strict=False)
