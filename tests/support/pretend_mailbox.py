"""A pretend IMAP server for our own client: it knows the commands that we use, and misbehaves as a test wants it to.

Only what we ask for is answered; every other command is BAD and so fails the test that sees it in `commands`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

__all__ = ["Kept", "PretendMailbox"]

COMMAND = re.compile(rb"(\S+) (UID \S+|\S+) ?(.*)\r\n", re.DOTALL)
PARTIAL = re.compile(rb"BODY\.PEEK\[HEADER\]<0\.([0-9]+)>")


@dataclass(slots=True)
class Kept:
    """A message of a folder."""

    uid: int
    content: bytes
    flags: str = ""
    received: float = field(default_factory=time.time)
    size: int | None = None

    @property
    def header(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@dataclass(slots=True, kw_only=True)
class PretendMailbox:
    """An async context manager; `port` is where it listens, in clear.

    `without` are things it lacks: "uidnext", "partial" (it sends all), "body" (messages have gone when asked for).
    `idle` is "yes", "refused", "short" (ended at once by the server), "deaf" (it tells nothing) or "bye". `logins` are
    answers to the next logins, OK when there are none left. `poison` are UIDs that make it speak nonsense, `refused`
    those it says NO to; `uses` are attributes of folders. `silent` holds verbs that are never answered; `on_search` is
    called when one searches, and `on_examine` with the name when a folder is opened.

    With NOTIFY among the capabilities `notify` is "yes", "refused", "deaf" (it takes it and tells nothing), "silent"
    (it does not even say how far folders are) or "bye"; `untold` are folders it never tells of.
    """

    capabilities: str = "IMAP4rev1 IDLE AUTH=PLAIN SASL-IR ID"
    without: frozenset[str] = frozenset()
    idle: str = "yes"
    logins: list[str] = field(default_factory=list)
    poison: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    uses: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    folders: dict[str, list[Kept]] = field(default_factory=lambda: {"INBOX": []})
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    on_search: Callable[[], object] = lambda: None
    on_examine: Callable[[str], object] = lambda name: None
    notify: str = "yes"
    untold: frozenset[str] = frozenset()
    port: int = 0
    _idling: list[_Connection] = field(default_factory=list)
    _all: list[_Connection] = field(default_factory=list)
    _open: list[_Connection] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> PretendMailbox:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for each in self._all:
            each.writer.close()

    def deliver(self, content: bytes, folder: str = "INBOX", *, is_told: bool = True, **more: object) -> int:
        """A new message, and whoever idles on INBOX is told, or has asked to be told of other folders. Its UID."""
        messages = self.folders.setdefault(folder, [])
        uid = messages[-1].uid + 1 if messages else 1
        messages.append(Kept(uid, content, **more))  # type: ignore[arg-type]
        for each in self._idling:
            each.tell()
        for each in self._all if is_told else ():
            each.tell_of(folder)
        return uid

    def make(self, folder: str) -> None:
        """A new folder; whoever has asked to be told of those is told."""
        self.folders[folder] = []
        self.say(f'* LIST () "/" "{folder}"')

    def say(self, line: str) -> None:
        """Says something that nobody has asked for, to whoever has asked for such."""
        for each in self._all:
            if each.is_notified:
                each.say(line.encode())

    @property
    def is_used(self) -> bool:
        """Whether a connection is open."""
        return bool(self._open)

    def next(self, folder: str) -> int:
        """The UID that the next message will have."""
        messages = self.folders[folder]
        return messages[-1].uid + 1 if messages else 1

    def verbs(self) -> Counter[str]:
        """How often each command came."""
        return Counter(each.split(" ", 1)[0] if not each.startswith("UID") else each[:10] for each in self.commands)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = _Connection(self, reader, writer)
        self._all.append(connection)
        self._open.append(connection)
        try:
            await connection.serve()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.remove(connection)
            if connection in self._idling:
                self._idling.remove(connection)
            writer.close()


class _Connection:
    def __init__(self, mailbox: PretendMailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.mailbox = mailbox
        self.reader = reader
        self.writer = writer
        self.folder = "INBOX"
        self.told = 0
        self.is_notified = False

    def tell_of(self, folder: str) -> None:
        """How far a folder is that is not open."""
        mailbox = self.mailbox
        if self.is_notified and mailbox.notify != "deaf" and folder not in {self.folder, *mailbox.untold}:
            self.say(f'* STATUS "{folder}" (MESSAGES 1 UIDNEXT {mailbox.next(folder)})'.encode())

    def tell(self) -> None:
        """How many messages there are, where the client does not know."""
        count = len(self.mailbox.folders[self.folder])
        if count > self.told and self.mailbox.idle != "deaf":
            self.told = count
            self.say(b"* %d EXISTS" % count)

    def say(self, line: bytes) -> None:
        if not self.writer.is_closing():
            self.writer.write(line + b"\r\n")

    async def serve(self) -> None:
        self.say(b"* OK [CAPABILITY " + self.mailbox.capabilities.encode() + b"] ready")
        while line := await self.reader.readline():
            match = COMMAND.fullmatch(line)
            assert match is not None, line
            tag, verb, rest = match[1], match[2].decode().upper(), match[3]
            self.mailbox.commands.append(f"{verb} {rest.decode('latin-1')}".strip())
            if verb in self.mailbox.silent:
                await self.reader.read()
                return
            ending = await self._answer(verb, rest)
            if ending is None:
                return
            self.tell()
            self.say(tag + b" " + ending)

    async def _answer(self, verb: str, rest: bytes) -> bytes | None:
        mailbox = self.mailbox
        if verb in ("LOGIN", "AUTHENTICATE"):
            return (mailbox.logins.pop(0) if mailbox.logins else "OK welcome").encode()
        if verb == "CAPABILITY":
            self.say(b"* CAPABILITY " + mailbox.capabilities.encode())
        elif verb == "LIST":
            for name in mailbox.folders:
                self.say(f'* LIST ({mailbox.uses.get(name, "")}) "/" "{name}"'.encode())
        elif verb == "STATUS":
            name = rest.split(b'"')[1].decode()
            self.say(f'* STATUS "{name}" (UIDNEXT {mailbox.next(name)} UIDVALIDITY 7)'.encode())
        elif verb == "NOTIFY":
            return self._notify()
        elif verb == "EXAMINE":
            self._examine(rest.strip(b'"').decode())
        elif verb == "UID FETCH":
            return self._fetch(rest)
        elif verb == "UID SEARCH":
            mailbox.on_search()
            self.say(b"* SEARCH " + b" ".join(b"%d" % each.uid for each in mailbox.folders[self.folder]))
        elif verb == "IDLE":
            return await self._idle()
        elif verb == "NOOP":
            self.tell()
        elif verb != "ID":
            return b"BAD what"
        return b"OK done"

    def _notify(self) -> bytes | None:
        mailbox = self.mailbox
        if mailbox.notify == "refused":
            return b"NO [NOTIFICATIONOVERFLOW] too much"
        if mailbox.notify == "bye":
            return None
        self.is_notified = mailbox.notify != "silent"
        for name in mailbox.folders.keys() - {self.folder, *mailbox.untold} if self.is_notified else ():
            self.say(f'* STATUS "{name}" (MESSAGES 1 UIDNEXT {mailbox.next(name)} UIDVALIDITY 7)'.encode())
        return b"OK done"

    def _examine(self, name: str) -> None:
        self.mailbox.on_examine(name)
        self.folder = name
        self.told = len(self.mailbox.folders[name])
        self.say(b"* %d EXISTS" % self.told)
        self.say(b"* OK [UIDVALIDITY 7] valid")
        if "uidnext" not in self.mailbox.without:
            self.say(b"* OK [UIDNEXT %d] next" % self.mailbox.next(name))

    def _fetch(self, rest: bytes) -> bytes:
        written, _, items = rest.partition(b" ")
        messages = self.mailbox.folders[self.folder]
        wanted = [each for each in messages if each.uid in _uids(written, messages)]
        if any(each.uid in self.mailbox.refused for each in wanted) and b"BODY" in items:
            return b"NO [SERVERBUG] not this one"
        for each in wanted:
            number = messages.index(each) + 1
            if each.uid in self.mailbox.poison and b"BODY" in items:
                self.say(b"what is this?")
            elif b"BODY.PEEK[]" in items:
                if "body" not in self.mailbox.without:
                    self._send(number, b"UID %d BODY[]" % each.uid, each.content)
            elif (match := PARTIAL.search(items)) is not None:
                octets = each.header if "partial" in self.mailbox.without else each.header[: int(match[1])]
                self._send(number, self._facts(each) + b" BODY[HEADER]<0>", octets)
            else:
                self.say(b"* %d FETCH (UID %d)" % (number, each.uid))
        return b"OK done"

    def _facts(self, kept: Kept) -> bytes:
        date = datetime.fromtimestamp(kept.received, UTC).strftime("%d-%b-%Y %H:%M:%S +0000")
        size = kept.size or len(kept.content)
        return f'UID {kept.uid} FLAGS ({kept.flags}) INTERNALDATE "{date}" RFC822.SIZE {size}'.encode()

    def _send(self, number: int, items: bytes, octets: bytes) -> None:
        self.say(b"* %d FETCH (" % number + items + b" {%d}\r\n" % len(octets) + octets + b")")

    async def _idle(self) -> bytes | None:
        if self.mailbox.idle == "refused":
            return b"NO not now"
        self.say(b"+ idling")
        if self.mailbox.idle == "short":
            return b"OK enough"
        if self.mailbox.idle == "bye":
            self.mailbox.idle = "yes"
            self.say(b"* BYE for maintenance")
            return None
        self.mailbox._idling.append(self)
        self.tell()
        try:
            line = await self.reader.readline()
        finally:
            self.mailbox._idling.remove(self)
        assert line in (b"DONE\r\n", b""), line
        return b"OK done" if line else None


def _uids(written: bytes, messages: Iterable[Kept]) -> set[int]:
    known = [each.uid for each in messages]
    found: set[int] = set()
    for part in written.split(b","):
        first, _, last = part.partition(b":")
        ends = [max(known, default=0) if each == b"*" else int(each) for each in (first, last or first)]
        found.update(each for each in known if min(ends) <= each <= max(ends))
    return found
