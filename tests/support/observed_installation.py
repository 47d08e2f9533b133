"""The whole program with Dovecot as the provider of mailboxes: processes, commands, and a line between that can break.

Mail is submitted to a recording provider by the first listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debian_peers import MAILBOX_DOMAIN, PASSWORD
from observed_mailbox import Dovecots, Line
from pki import Pki
from recording_provider import RecordingProvider
from served import Served

from store.directory import Directory

__all__ = ["Installation", "Told", "installation"]

PATIENCE = 60.0
POLL = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """What a command printed, and its exit status."""

    status: int
    text: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(kw_only=True)
class Installation:
    """`onrecord serve` at work. `told` is all that commands have printed; what is said of the log is since `begin`."""

    dovecot: Dovecots
    line: Line
    sending: RecordingProvider
    served: Served
    directory: Directory
    told: list[Told] = field(default_factory=list)
    _serial: itertools.count[int] = field(default_factory=itertools.count)
    _emails: int = 0
    _decisions: int = 0

    def begin(self) -> None:
        """Forgets what is in the log."""
        ((self._emails,),) = self.served.rows("select coalesce(max(id), 0) from email")
        ((self._decisions,),) = self.served.rows("select coalesce(max(id), 0) from decision")

    async def new_user(self) -> str:
        """The account of a user of the sample portal, with an empty mailbox that is not connected."""
        login = f"user-{next(self._serial)}@{MAILBOX_DOMAIN}"
        await self.directory.add_user("P1", login, connected=[login])
        return login

    async def onrecord(self, *words: str, standard_input: str = "", status: int = 0) -> Told:
        """A command of the program, which must end with that status."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "onrecord", "-c", str(self.served.config), *words),
            cwd=Path(__file__).parents[2],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, error = await process.communicate(standard_input.encode())
        assert process.returncode is not None
        told = Told(process.returncode, output.decode(), error.decode())
        self.told.append(told)
        assert told.status == status, told
        return told

    async def connect(self, address: str, *words: str, password: str = PASSWORD) -> Told:
        """`onrecord mailbox connect`."""
        command = ("mailbox", "connect", address, "--user", address, "--password-stdin", *words)
        return await self.onrecord(*command, standard_input=password + "\n")

    async def observed(self, *addresses: str, state: str | None = "watching") -> None:
        """Waits until the observers of these are in that state; `None` when they are to be stopped."""
        query = "select observer from connected_mailbox where address = ?"
        async with asyncio.timeout(PATIENCE):
            for address in addresses:
                while self.served.rows(query, address) != [(state,)]:
                    await asyncio.sleep(POLL)

    async def logged(self, *subjects: str) -> None:
        """Waits until these are logged; fails when anything else is, or one of them twice."""
        async with asyncio.timeout(PATIENCE):
            while len(found := self.subjects()) < len(subjects):
                await asyncio.sleep(POLL)
        assert sorted(found) == sorted(subjects)

    def subjects(self) -> list[str]:
        """Those of all that is logged."""
        return [subject for (subject,) in self.served.rows("select subject from email where id > ?", self._emails)]

    async def decided(self, *reasons: str) -> None:
        """Waits until there are as many decisions; these must be their reasons, in any order."""
        query = "select reason from decision where id > ?"
        async with asyncio.timeout(PATIENCE):
            while len(found := self.served.rows(query, self._decisions)) < len(reasons):
                await asyncio.sleep(POLL)
        assert sorted(reason for (reason,) in found) == sorted(reasons)

    async def observers(self) -> int:
        """The process of the observers: the one that has connections to the line."""
        async with asyncio.timeout(PATIENCE):
            while not (found := self._connected()):
                await asyncio.sleep(POLL)
        return found[0]

    async def left(self, login: str) -> None:
        """Waits until nobody has a connection to the mailbox."""
        async with asyncio.timeout(PATIENCE):
            while login.encode() in await self.dovecot.doveadm("who"):
                await asyncio.sleep(POLL)

    def _connected(self) -> list[int]:
        inodes = _inodes(self.line.port)
        return [each for each in self.served.children() if _has_socket(each, inodes)]


@contextlib.asynccontextmanager
async def installation(pki: Pki, folder: Path) -> AsyncIterator[Installation]:
    """All of it, started and stopped. Nobody is connected yet."""
    async with (
        Dovecots(pki) as dovecot,
        Line(dovecot.imap_implicit_port) as line,
        RecordingProvider() as sending,
    ):
        mailboxes = {"name": "mailboxes", "kind": "imap", "host": "localhost", "port": line.port, "tls": "implicit"}
        providers = [sending, mailboxes | {"ca_file": pki.ca_file, "domains": ["acme.example", MAILBOX_DOMAIN]}]
        async with Served(folder, pki, providers=providers, listeners=[{"provider": "provider"}]) as served:
            running = Installation(
                dovecot=dovecot, line=line, sending=sending, served=served, directory=await served.directory()
            )
            await running.onrecord("mailbox", "rekey")
            yield running


def _inodes(port: int) -> set[str]:
    """Those of the sockets that are connected to `port`, by what the kernel shows of all (proc_net_tcp)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {fields[9] for fields in lines if fields[2].endswith(f":{port:04X}")}


def _has_socket(pid: int, inodes: set[str]) -> bool:
    with contextlib.suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(each.readlink())[8:-1] in inodes:  # "socket:[4711]"
                    return True
    return False
