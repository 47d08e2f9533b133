"""Worked scenarios (`scenario`) in which mail lies in mailboxes: each is played, and the log compared with its row.

Mail that is sent goes through a relay. Who sees what lies in a mailbox is a `Watcher` of the test's own choice; all of
them must come to what the row says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from in_process import HASH_KEY, InProcess
from recording_provider import RecordingProvider
from scenario import SOURCES, Expected, Mail, Row
from smtp_client import Client
from sqlalchemy import select

from engine.decision import Decision, Source
from store import schema
from store.corrections import Corrections
from store.erasure import Erasure

__all__ = ["MailboxRow", "Watcher", "mailboxes_of", "named", "names_mailbox", "was_earlier", "why_not"]

HOME = 1  # the id of P1, which is made first


class Watcher(Protocol):
    """Who sees what lies in mailboxes. Its decisions have the `source`."""

    source: Source

    def looks_into(self, folder: str | None) -> bool:
        """Whether it looks at what lies there; a folder is named as rows name it."""
        ...

    async def show(self, mail: Mail, mailbox: str) -> None:
        """Puts the message into a mailbox; back when all that is to be seen of it was handed to the spool."""
        ...

    async def delete_all(self, mailbox: str) -> None:
        """The user deletes all messages of INBOX."""
        ...


def names_mailbox(row: Row) -> bool:
    """Whether the message, or one before or after it, is seen in a mailbox."""
    return any(each.path == "M" for each in _mails(row))


def mailboxes_of(row: Row) -> list[str]:
    """All mailboxes that any of the messages is seen in."""
    return sorted({mailbox for each in _mails(row) for mailbox in each.mailboxes})


def why_not(row: Row) -> str | None:
    """Why those who see mailboxes, and a relay beside them, cannot play the row; `None` when they can."""
    paths = {each.path for each in _mails(row)}
    if any(each.path == "M" and each.has_envelope for each in _mails(row)):
        return "nobody who reads a mailbox knows an envelope"
    if "L" in paths:
        return "it is asked for by name"
    return None if paths <= {"R", "M"} else "it is seen elsewhere, too"


def was_earlier(row: Row) -> bool:
    """Whether any of it was seen some time ago."""
    return any(each.minutes_ago for each in _mails(row))


def _mails(row: Row) -> list[Mail]:
    if row.get("refused_by_directory"):
        return []
    steps = (step for step in (*row.get("before", ()), *row.get("after", ())) if "mail" in step)
    return [row.mail(), *(row.mail(step) for step in steps)]


def named(rows: Sequence[Row]) -> list[Any]:
    """The rows as parameters of a test."""
    return [pytest.param(row, id=row.id) for row in rows]


@dataclass(frozen=True)
class MailboxRow:
    """One row in the installation `node`, which has no portals yet and sends through `provider`."""

    row: Row
    node: InProcess
    provider: RecordingProvider
    watcher: Watcher

    async def play(self) -> None:
        """Lets all of it happen, and compares decisions and records with the row."""
        row = self.row
        for number, step in enumerate(row.get("before", ()), start=1):
            await self._happen(step, number)
        found: list[Any] = []
        for _ in range(row.get("times", 1)):
            found += await self._passed(row.mail())
        if "at_first" in row.values:
            assert [each.reason for each in found] == [row.get("at_first")] * len(found)
        for number, step in enumerate(row.get("after", ()), start=100):
            await self._happen(step, number)
        keys = {each.key for each in found}
        await self._check([each for each in await self.node.decisions() if each.key in keys and each.portal == HOME])
        assert await self.node.gaps() == []

    # -- what happens -------------------------------------------------------------------------------------------------

    async def _happen(self, step: Mapping[str, Any], number: int) -> None:
        match step:
            case {"mail": _}:
                mail = self.row.mail(step, number=number)
                found = await self._passed(mail, step.get("reply"))
                if "reason" in step:
                    assert [each.reason for each in found] == [step["reason"]] * self._is_seen(mail)
            case {"erase": address}:
                erasure = Erasure(self.node.database, self.node.directory, HASH_KEY)
                await erasure.erase(await self.node.directory.portal("P1"), self.row.address(address))
            case {"stop": True}:
                corrections = Corrections(self.node.database, self.node.directory)
                await corrections.stop_thread((await self.node.emails())[-1].id)
            case {"deleted": name}:
                await self.watcher.delete_all(self.row.address(name))
            case _:
                await self.row.change(self.node.directory, step)

    async def _passed(self, mail: Mail, reply: str | None = None) -> list[Any]:
        """Lets the message be sent, or lie in mailboxes; the decisions on it."""
        known = {each.key for each in await self.node.decisions()}
        if mail.path == "R":
            await self._submit(mail, reply)
        for mailbox in mail.mailboxes:
            await self.watcher.show(mail, mailbox)
        return [each for each in await self.node.decisions() if each.key not in known]

    async def _submit(self, mail: Mail, reply: str | None) -> None:
        self.provider.replies = {"end of data": reply.encode() + b"\r\n"} if reply else {}
        async with Client(self.node.port) as client:
            await client.begin(mail.login)
            recipients = [each.encode() for each in (*mail.recipients, *mail.capture_addresses)]
            content = mail.content.replace(b"\r\n.", b"\r\n..")
            assert (await client.submit(content, *recipients, sender=mail.author.encode())).startswith(b"250")

    def _is_seen(self, mail: Mail) -> bool:
        return mail.path == "R" or self.watcher.looks_into(mail.folder)

    # -- what comes of it ---------------------------------------------------------------------------------------------

    async def _check(self, decisions: Sequence[Any]) -> None:
        """A message is decided once in each mailbox, however often it lies there."""
        row, mail, expected = self.row, self.row.mail(), self.row.expected
        times = max(1, len(mail.mailboxes)) if expected.decision != "none" and self._is_seen(mail) else 0
        assert [Expected.of(Decision.from_json(each.value)) for each in decisions] == [expected] * times
        if mail.path == "M":
            by_hand = mail.folder == "log"
            assert {each.source for each in decisions} <= {Source.MANUAL if by_hand else self.watcher.source}
        emails = await self.node.emails()
        assert len(emails) == row.get("records", int(expected.decision == "log"))
        assert {each.portal for each in emails} <= {HOME}
        if expected.decision == "log":
            (record,) = {each.email for each in decisions}
            (email,) = [each for each in emails if each.id == record]
            await self._check_record(email)

    async def _check_record(self, email: Any) -> None:
        row, mail, expected = self.row, self.row.mail(), self.row.expected
        assert (email.reason, email.direction, email.attribution) == (
            row.get("record_reason", expected.reason), expected.direction, expected.attribution
        )  # fmt: skip
        assert set(email.flags) == expected.flags | set(row.get("record_flags", ()))
        user, capture = schema.user, schema.capture
        async with self.node.database.read() as connection:
            account = await connection.scalar(select(user.c.account).where(user.c.id == email.user))
            captures = (await connection.scalars(select(capture.c.source).where(capture.c.email == email.id))).all()
        assert account == expected.user
        sources = row.get("captures", [SOURCES[mail.path]] * max(1, len(mail.mailboxes)))
        assert sorted(captures) == sorted(each.replace(Source.OBSERVER, self.watcher.source) for each in sources)
        assert await self.node.raw(email) == mail.content
