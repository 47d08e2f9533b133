"""onrecord that observes mailboxes: an installation whose users connect theirs when they are told to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from ours import count, start
from processes import free_port
from system import STRANGER

from engine.secret import Secret
from mailboxes.cells import CELLS, OBSERVED, Legs
from mailboxes.system import Site, System
from store.database import Database
from store.directory import Directory
from store.key_ring import KeyRing
from store.mailbox_secret import Password
from store.mailboxes import Mailboxes, NewMailbox
from store.sealing import Sealer, SealingKey

__all__ = ["start_observed"]

DOORS = """
[[provider]]
name = "secure"
kind = "imap"
host = "127.0.0.1"
port = {provider.tls}
tls = "implicit"
ca_file = "{authority}"

[[listener]]
kind = "imap"
port = {port}
tls = "implicit"
provider = "secure"
"""
PATIENCE = 180.0  # seconds until all are watched
LOOK_SECONDS = 0.2
WATCHED = "select count(*) from connected_mailbox where observer = 'watching'"


def start_observed(site: Site) -> System:
    """Nobody's mailbox is connected yet; what counts are those that are watched."""
    port, logins = free_port(), CELLS["observed"].logins
    doors = DOORS.format(provider=site.provider, authority=site.certificate.certificate, port=port)
    pid, database = start(
        site.processes, site.certificate, OBSERVED, doors, ports=(port,), users=logins, contacts=(STRANGER,)
    )
    keys = database.parent / "keys"
    keys.mkdir(exist_ok=True)
    ring = KeyRing(keys / "sealing.key", {})
    ring.write([SealingKey.make()])

    def observe() -> None:
        asyncio.run(_connect(database, ring, logins))
        end = time.monotonic() + PATIENCE
        while count(database, WATCHED) != len(logins):
            if time.monotonic() > end:
                raise RuntimeError(f"{count(database, WATCHED)} mailboxes of {len(logins)} are watched")
            time.sleep(LOOK_SECONDS)

    return System(name=OBSERVED, ports={Legs.BOTH_TLS: port}, pid=pid, observe=observe)


async def _connect(path: Path, ring: KeyRing, logins: list[str]) -> None:
    database = await Database.open(f"sqlite:///{path}")
    directory = Directory(database, path.parent / "directory.bell")
    mailboxes = Mailboxes(database, Sealer(ring.read))
    home = await directory.portal("bench")
    for login in logins:
        new = NewMailbox(
            address=login,
            server="secure",
            login=login,
            mechanism="PLAIN",
            issuer=None,
            secret=Password(Secret(b"p")),
        )
        await mailboxes.connect(directory, home, await directory.user("bench", login), new)
    await database.close()
