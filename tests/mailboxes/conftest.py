"""A store with the sample portal P1 and another portal, and the mailboxes in it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sample import sample_directory
from sqlalchemy import select, update

from engine.secret import Secret
from store import schema
from store.audit import AuditEntry, audit_entries
from store.database import Database
from store.directory import Directory
from store.mailbox_secret import MailboxSecret, Password
from store.mailboxes import Mailboxes, MailboxRecord, NewMailbox
from store.sealing import Sealer, SealingKey


@dataclass
class Clock:
    """Unix time as a test sets it."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stored:
    """An open store. `keys` are the sealing keys, for the test to change."""

    folder: Path
    database: Database
    directory: Directory
    keys: list[SealingKey] = field(default_factory=lambda: [SealingKey.make()])
    clock: Clock = field(default_factory=Clock)

    @property
    def mailboxes(self) -> Mailboxes:
        """As another process has them."""
        return Mailboxes(self.database, Sealer(lambda: self.keys), clock=self.clock)

    async def connect(
        self,
        address: str = "ann@acme.example",
        secret: MailboxSecret | None = None,
        *,
        user: str | None = None,
        portal: str = "P1",
        **more: Any,
    ) -> MailboxRecord:
        """Connects a mailbox, with the password "hunter2" unless told otherwise."""
        usual = {"server": "imap", "login": address, "mechanism": "PLAIN", "issuer": None}
        new = NewMailbox(address=address, secret=secret or Password(Secret(b"hunter2")), **usual | more)
        home = await self.directory.portal(portal)
        owner = await self.directory.user(portal, user or address)
        return await self.mailboxes.connect(self.directory, home, owner, new)

    async def row(self, mailbox: int) -> Any:
        """The row as it stands in the database."""
        table = schema.connected_mailbox
        async with self.database.read() as connection:
            return (await connection.execute(select(table).where(table.c.id == mailbox))).first()

    async def tamper(self, mailbox: int, **values: Any) -> None:
        """Changes the row behind everybody's back."""
        table = schema.connected_mailbox
        async with self.database.write() as connection:
            await connection.execute(update(table).where(table.c.id == mailbox).values(**values))

    async def audit(self) -> list[AuditEntry]:
        """What the trail has of mailboxes, the oldest first."""
        entries = await audit_entries(self.database)
        return [each for each in reversed(entries) if each.action.startswith("mailbox.")]

    def octets(self) -> bytes:
        """Everything that lies in the folder, as a thief of it would have it."""
        return b"".join(each.read_bytes() for each in sorted(self.folder.rglob("*")) if each.is_file())


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the portals P1 and P2, made once and copied for each test."""
    path = tmp_path_factory.mktemp("template") / "store.sqlite"
    asyncio.run(_fill(path))
    return path


async def _fill(path: Path) -> None:
    database = await Database.open(f"sqlite:///{path}")
    directory = Directory(database, path.with_name("bell"))
    await sample_directory(directory)
    await directory.add_portal("P2")
    await directory.add_user("P2", "ann@acme.example", connected=["ann@acme.example"])
    await database.close()


@pytest_asyncio.fixture
async def stored(tmp_path: Path, template: Path) -> AsyncIterator[Stored]:
    """The store of a test's own."""
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(template, folder)
    database = await Database.open(f"sqlite:///{folder / template.name}", migrate_first=False)
    try:
        yield Stored(folder, database, Directory(database, folder / "bell", who="admin"))
    finally:
        await database.close()
