"""Dovecot with the mailboxes that the worked scenarios name, and who looks into them: our own client, or a client that
reads through us.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debian_peers import PASSWORD
from imap_client import ImapClient
from in_process import InProcess
from observed_mailbox import Dovecots, Observing, provider_at
from pki import Pki
from recording_provider import RecordingProvider
from scenario import Mail

from engine.address import canonical
from engine.decision import Source
from proxy.passthrough import Passthrough
from proxy.relay import Door, Relay
from proxy.route import Listener, ListenerKind, Tls
from store.observed import Observed

__all__ = ["KeptMailboxes", "Observers", "Readers", "RelayAndPassthrough"]

DOMAIN = "acme.example"
FOLDERS = {"drafts": "Drafts", "junk": "Junk", "trash": "Trash", "log": "Log to CRM"}
NO_MAIL_YET = ("Drafts", "Junk", "Trash")
BESIDES = "Archive"
SETTINGS = "".join(
    f'  mailbox "{name}" {{\n    auto = create\n  }}\n' for name in (FOLDERS["junk"], FOLDERS["log"], BESIDES)
)
PATIENCE = 30.0
POLL = 0.01


class KeptMailboxes(Dovecots):
    """Every name at acme.example is a login; its mailbox has all folders that rows name."""

    def __init__(self, pki: Pki) -> None:
        super().__init__(pki)
        self._uids: Counter[tuple[str, str]] = Counter()
        self._lying: dict[tuple[str, bytes], str] = {}

    async def empty(self) -> None:
        """All mailboxes are as if they had never been."""
        self._uids.clear()
        self._lying.clear()
        for home in (self.folder / "home").iterdir():
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)

    async def put(self, mail: Mail, mailbox: str) -> tuple[str, int]:
        """The message comes to lie in its folder; from where it is no mail yet, it is moved. Its folder and UID.

        Where it lies in a folder already, it comes to lie in another one besides.
        """
        folder = self._folder(mail, mailbox)
        before = self._lying.get((mailbox, mail.content))
        if before in NO_MAIL_YET:
            await self.doveadm("move", "-u", mailbox, folder, "mailbox", before, "all")
        else:
            folder = BESIDES if folder == before else folder
            await self.deliver(mailbox, mail.content, folder)
        self._lying[mailbox, mail.content] = folder
        self._uids[mailbox, folder] += 1
        return folder, self._uids[mailbox, folder]

    def _folder(self, mail: Mail, mailbox: str) -> str:
        if mail.folder is not None:
            return FOLDERS[mail.folder]
        return "Sent" if mail.author == mailbox else "INBOX"

    async def delete_all(self, mailbox: str) -> None:
        """All messages of INBOX are gone."""
        await self.doveadm("expunge", "-u", mailbox, "mailbox", "INBOX", "all")

    def _write_logins(self) -> None:
        super()._write_logins()
        with (self.folder / "domains").open("a") as domains:
            domains.write(f"{DOMAIN}:{{PLAIN}}{PASSWORD}::::::\n")

    def _imap(self) -> str:
        return super()._imap().replace("separator = /\n", f"separator = /\n{SETTINGS}")


class RelayAndPassthrough(InProcess):
    """A relay before `provider` and a pass-through before the mailboxes, over one empty directory."""

    def __init__(self, folder: Path, provider: RecordingProvider, kept: KeptMailboxes, nameserver: str) -> None:
        mailboxes = provider_at(kept.imap_implicit_port, kept.pki)
        listeners = (
            Listener(tls=Tls.NONE, provider="provider"),
            Listener(kind=ListenerKind.IMAP, tls=Tls.NONE, provider=mailboxes.name),
        )
        super().__init__(
            folder, [provider, mailboxes], listeners=listeners, sample=False, nameservers=(nameserver,), pki=kept.pki
        )

    def _session(self, relay: Relay, door: Door) -> Any:
        if door.listener.kind is ListenerKind.IMAP:
            return Passthrough(relay, door)
        return super()._session(relay, door)


@dataclass
class Observers:
    """Our own client at each mailbox. Implements `mailbox_rows.Watcher`."""

    node: InProcess
    kept: KeptMailboxes
    source: Source = Source.OBSERVER
    _names: Iterator[str] = field(default_factory=lambda: (f"Zz{number}" for number in itertools.count()))

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls, node: InProcess, kept: KeptMailboxes, mailboxes: Sequence[str], *, minutes_ago: float = 0.0
    ) -> AsyncIterator[Observers]:
        """Observers that have read all there was, with a clock that is so much behind."""
        observing = Observing(here=node, pki=kept.pki)
        provider = provider_at(kept.imap_implicit_port, kept.pki)
        async with contextlib.AsyncExitStack() as stack:
            observers = [
                await stack.enter_async_context(
                    observing.observer(each, provider, clock=lambda: time.time() - 60.0 * minutes_ago)
                )
                for each in mailboxes
            ]
            for each in observers:
                await observing.until_watching(each)
            yield cls(node, kept)

    def looks_into(self, folder: str | None) -> bool:
        return folder is None or FOLDERS[folder] not in NO_MAIL_YET

    async def show(self, mail: Mail, mailbox: str) -> None:
        folder, uid = await self.kept.put(mail, mailbox)
        if not self.looks_into(mail.folder):
            # A folder made now is found by a round that begins now, and looked into after all others.
            folder, uid = next(self._names), 0
            await self.kept.doveadm("mailbox", "create", "-u", mailbox, folder)
        await self._until_read(mailbox, folder, uid)

    async def delete_all(self, mailbox: str) -> None:
        await self.kept.delete_all(mailbox)

    async def _until_read(self, mailbox: str, folder: str, uid: int) -> None:
        """All up to the UID was looked at. The database is not interrupted at its work."""
        observed, clock = Observed(self.node.database), asyncio.get_running_loop().time
        end = clock() + PATIENCE
        server = provider_at(self.kept.imap_implicit_port, self.kept.pki).name
        while True:
            progress = (await observed.progress(server, canonical(mailbox))).get(folder)
            if progress is not None and progress.uidnext > uid and progress.catch_up_from is None:
                return
            assert clock() < end, f"{mailbox}, {folder}: read as far as {progress}"
            await asyncio.sleep(POLL)


@dataclass
class Readers:
    """A client that reads each message through us, over the wire. Implements `mailbox_rows.Watcher`."""

    node: RelayAndPassthrough
    kept: KeptMailboxes
    source: Source = Source.IMAP_PROXY

    def looks_into(self, folder: str | None) -> bool:
        return True

    async def show(self, mail: Mail, mailbox: str) -> None:
        folder, uid = await self.kept.put(mail, mailbox)
        read = await self._say(mailbox, f'a SELECT "{folder}"', f"b UID FETCH {uid} (FLAGS BODY.PEEK[])")
        assert mail.content in read
        await self.node.until(lambda: not self.node.captures.watched.messages)

    async def delete_all(self, mailbox: str) -> None:
        await self._say(mailbox, "a SELECT INBOX", "b STORE 1:* +FLAGS.SILENT (\\Deleted)", "c EXPUNGE")

    async def _say(self, mailbox: str, *lines: str) -> bytes:
        """What the server says to these commands."""
        async with ImapClient(self.node.ports[1]) as client:
            await client.begin(mailbox)
            answers = [await client.command(each.encode()) for each in lines]
            await client.command(b"z LOGOUT")
        assert all(f"{line[0]} OK".encode() in answer for line, answer in zip(lines, answers, strict=True)), answers
        return b"".join(answers)
