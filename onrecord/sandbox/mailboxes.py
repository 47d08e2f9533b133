"""The sandbox's mailboxes: served by pymap from memory, and kept as files so that a restart finds them again.

A delivered message is one file, its octets as they came. What IMAP clients change (flags, moves, deletions) is
forgotten with the process.
"""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from proxyprotocol.reader import ProxyProtocolReader
from pymap.backend.dict import Config, DictBackend, Identity
from pymap.imap import IMAPServer
from pymap.parsing.message import AppendMessage
from pymap.parsing.specials.flag import Flag, Seen
from pymap.user import Passwords, UserMetadata

__all__ = ["Mailboxes"]

FOLDERS = ("INBOX", "Sent", "Drafts", "Junk", "Trash")
ImapServer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Mailboxes:
    """Mailboxes below `folder`. `accounts` leads from each login to the account whose mailboxes it opens."""

    def __init__(self, folder: Path, accounts: Mapping[str, str]) -> None:
        self._folder = folder
        self._accounts = dict(accounts)
        arguments = Namespace(
            demo_data=False,
            demo_user="nobody",
            demo_password="",
            host=None,
            port=0,
            debug=False,
            cert=None,
            key=None,
            tls=False,
            passlib_cfg=None,
            proxy_protocol=None,
            inherited_sockets=None,
        )
        self._arguments = arguments
        self._backend: DictBackend | None = None
        self._config: Config | None = None
        self._serial = 0

    async def open(self, password: str) -> None:
        """Makes the accounts, each login with `password`, and loads what was delivered before."""
        self._backend, self._config = await DictBackend.init(self._arguments)
        self._config.apply_context()
        hashed = await Passwords(self._config).hash_password(password)
        for login in self._accounts:
            await self._identity(login).set(UserMetadata(self._config, login, password=hashed))
        for account in sorted(set(self._accounts.values())):
            await self._open_account(account)
        for login, account in self._accounts.items():
            self._config.set_cache[login] = self._config.set_cache[account]

    async def _open_account(self, account: str) -> None:
        async with self._identity(account).new_session() as session:
            for name in FOLDERS:
                if name != "INBOX":
                    await session.create_mailbox(name)
                folder = self._folder / account / name
                folder.mkdir(parents=True, exist_ok=True)
                for path in sorted(folder.glob("*.eml")):
                    self._serial = max(self._serial, int(path.stem))
                    date = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    await session.append_messages(name, [AppendMessage(path.read_bytes(), date, _flags(name))])

    async def deliver(self, account: str, name: str, content: bytes) -> None:
        """Puts a message into a mailbox; IMAP clients that wait for mail are told."""
        self._serial += 1
        path = self._folder / account / name / f"{self._serial:08}.eml"
        await asyncio.to_thread(path.write_bytes, content)
        async with self._identity(account).new_session() as session:
            await session.append_messages(name, [AppendMessage(content, datetime.now(UTC), _flags(name))])

    def server(self) -> ImapServer:
        """The callback of an IMAP server."""
        assert self._backend is not None, "open first"
        assert self._config is not None
        callback: ImapServer = ProxyProtocolReader(self._config.proxy_protocol).get_callback(
            IMAPServer(self._backend.login, self._config)
        )
        return callback

    def _identity(self, login: str) -> Identity:
        assert self._backend is not None, "open first"
        return Identity(login, self._backend.login, None, frozenset())


def _flags(name: str) -> frozenset[Flag]:
    return frozenset((Seen,)) if name == "Sent" else frozenset()
