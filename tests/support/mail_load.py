"""Mail clients that keep sending: unique messages of many sizes, each sent again until its 250 was seen.

Some messages go to nobody the portal knows. They are not to be logged, and their bodies carry a marker that must not be
found on any disk of ours.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zstandard
from recording_provider import RecordingProvider
from smtp_client import Client

__all__ = ["MARKER", "Load", "Mail", "assert_marker_is_nowhere", "assert_once", "logged_contents", "make_mail"]

MARKER = b"not-for-the-log-5f1c9e"
CONTACTS = (b"kim@cust.example", b"lee@cust.example", b"max@other.example")
STRANGER = b"stranger@elsewhere.example"
LARGEST = 200_000  # octets; far beyond the `capture_memory` that tests set
RECONNECT = 0.02  # seconds between a client's tries to connect again


@dataclass
class Mail:
    """One message: `dots` counts how often its end was sent, for so often the provider may have it."""

    msg_id: str
    mail_data: bytes
    recipient: bytes
    is_logged: bool
    dots: int = 0
    replies: list[bytes] = field(default_factory=list)

    @property
    def is_accepted(self) -> bool:
        """Whether a client has seen its 250."""
        return any(each.startswith(b"250") for each in self.replies)

    @property
    def content(self) -> bytes:
        """What the log must hold: dot-stuffing undone."""
        return self.mail_data.replace(b"\r\n.", b"\r\n")


def make_mail(number: int, size: int, *, is_logged: bool = True, recipient: bytes | None = None) -> Mail:
    """A message of about `size` octets, with lines that begin with a dot."""
    to = recipient or (CONTACTS[number % len(CONTACTS)] if is_logged else STRANGER)
    msg_id = f"load-{number}@client.example"
    head = (
        b"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nFrom: Ann <ann@acme.example>\r\nTo: " + to + b"\r\n"
        b"Subject: message " + str(number).encode() + b"\r\nMessage-ID: <" + msg_id.encode() + b">\r\n\r\n"
    )
    line = b"..dotted line %d " % number + (b"logged" if is_logged else MARKER) + b"\r\n"
    body = line * max(1, (size - len(head)) // len(line))
    return Mail(msg_id=msg_id, mail_data=head + body, recipient=to, is_logged=is_logged)


class Load:
    """An async context manager: `clients` connections that send mail to the relay until `finish`.

    Each rests for `pause` seconds after a message.
    """

    def __init__(self, port: int, chance: random.Random, *, clients: int = 5, pause: float = 0.0) -> None:
        self.mails: list[Mail] = []
        self._port = port
        self._chance = chance
        self._clients = clients
        self._pause = pause
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._send()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *error: object) -> None:
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def finish(self) -> None:
        """Begins no further message; back when each that was begun has its 250."""
        self._ending = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raises what a client has met with."""
        for each in self._tasks:
            if each.done() and not self._ending:
                each.result()

    def _next(self) -> Mail:
        size = int(200 * (LARGEST / 200) ** self._chance.random())  # as many small ones as large ones
        mail = make_mail(len(self.mails), size, is_logged=self._chance.random() < 0.7)
        self.mails.append(mail)
        return mail

    async def _send(self) -> None:
        mail: Mail | None = None
        while mail is not None or not self._ending:
            try:
                async with Client(self._port) as client:
                    await client.begin()
                    while not self._ending or mail is not None:
                        mail = mail or self._next()
                        await self._submit(client, mail)
                        mail = None
                        await asyncio.sleep(self._pause)
            except (OSError, EOFError, AssertionError):
                # Whoever was killed, the relay or the whole program: a mail client tries again.
                await asyncio.sleep(RECONNECT)

    async def _submit(self, client: Client, mail: Mail) -> None:
        await client.address(mail.recipient)
        answer = await client.say(b"DATA\r\n")
        assert answer.startswith(b"354"), answer
        client.send(mail.mail_data)
        await client.flush()
        mail.dots += 1
        answer = await client.say(b".\r\n")
        mail.replies.append(answer)
        assert answer.startswith(b"250"), answer


def logged_contents(database: Path) -> dict[str, list[bytes]]:
    """The raw content of every record by Message-ID, oldest first."""
    found: dict[str, list[bytes]] = {}
    connection = sqlite3.connect(database, timeout=10)
    try:
        unpacker = zstandard.ZstdDecompressor()
        for msg_id, portal, digest in connection.execute("select message_id, portal, content from email order by id"):
            parts = connection.execute(
                "select octets from content_part where portal = ? and hash = ? order by number", (portal, digest)
            )
            found.setdefault(msg_id, []).append(b"".join(unpacker.decompress(part) for (part,) in parts))
    finally:
        connection.close()
    return found


def assert_once(mails: list[Mail], provider: RecordingProvider, database: Path) -> None:
    """Each accepted mail reached the provider, oftener only when it was sent oftener, and is in the log just once."""
    logged = logged_contents(database)
    taken = Counter(each.mail_data for each in provider.messages)
    assert sum(taken[mail.mail_data] for mail in mails) == len(provider.messages), "the provider has what nobody sent"
    for mail in mails:
        copies = taken[mail.mail_data]
        assert copies <= mail.dots, f"{mail.msg_id} is {copies} times at the provider, sent {mail.dots} times"
        assert copies or not mail.is_accepted, f"{mail.msg_id} had its 250 and is not at the provider"
        contents = logged.pop(mail.msg_id, [])
        if not mail.is_logged:
            assert not contents, f"{mail.msg_id} must not be in the log"
        elif mail.is_accepted:
            assert len(contents) == 1, f"{mail.msg_id} is {len(contents)} times in the log"
            assert contents[0] == mail.content, f"{mail.msg_id} is not in the log as it was sent"
    assert not logged, "the log has what nobody sent"


def assert_marker_is_nowhere(folder: Path) -> None:
    """No file below `folder` holds an octet of the body of a message that is not to be logged."""
    for path in _files(folder):
        try:
            octets = path.read_bytes()
        except FileNotFoundError:
            continue
        assert MARKER not in octets, f"{path} holds mail that is not to be logged"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
