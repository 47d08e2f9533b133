"""onrecord with two relay processes, rule `all` and durable capture; one installation for mail that is logged and one
for mail that is not, so that neither's recorder works for the other.

`start` is what all installations have in common, those for mailboxes too.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import sys
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from cells import LOGGED, UNLOGGED
from processes import Processes, free_port, nice, tree
from sink import Certificate
from system import AUTHOR, CONTACT, STRANGER, Site, System

from engine.directory import Rule
from store.database import Database
from store.directory import Directory

__all__ = ["count", "relay_workers", "start", "start_logged", "start_unlogged"]

WORKERS = 2
PATIENCE = 20.0  # seconds
SETTINGS = """
hostname = "localhost"
data = "{folder}"
workers = {workers}
hash_key_file = "hash.key"

[[tls.certificates]]
certificate = "{certificate.certificate}"
key = "{certificate.key}"

[log]
level = "warning"
"""
SUBMISSION = """
[[provider]]
name = "sink"
host = "127.0.0.1"
port = {sink.plain}
tls = "none"

[[provider]]
name = "sink-tls"
host = "localhost"
port = {sink.tls}
tls = "implicit"
ca_file = "{authority}"

[[listener]]
port = {plain}
tls = "none"
provider = "sink"

[[listener]]
port = {tls}
tls = "implicit"
provider = "sink-tls"
"""


def start_logged(site: Site) -> System:
    """Mail of a connected user to a contact; what counts are the records of the log."""
    return _start(site, LOGGED, CONTACT, "select count(*) from email")


def start_unlogged(site: Site) -> System:
    """Mail of a connected user to a stranger; what counts are the decisions, and a record would be one too many."""
    return _start(
        site, UNLOGGED, STRANGER, "select count(*) filter (where email is null and decision = 'skip') from decision"
    )


def _start(site: Site, name: str, recipient: str, statement: str) -> System:
    plain, tls = free_port(), free_port()
    doors = SUBMISSION.format(authority=site.certificate.certificate, sink=site.sink, plain=plain, tls=tls)
    pid, database = start(
        site.processes, site.certificate, name, doors, ports=(plain, tls), users=(AUTHOR,), contacts=(CONTACT,)
    )
    return System(
        name=name, plain=plain, tls=tls, pid=pid, recipient=recipient, recorded=lambda: count(database, statement)
    )


def start(
    processes: Processes,
    certificate: Certificate,
    name: str,
    doors: str,
    *,
    ports: Collection[int],
    users: Collection[str],
    contacts: Collection[str],
) -> tuple[int, Path]:
    """Starts an installation; its process id and its database. `doors` are its providers and listeners, as settings."""
    folder = processes.subfolder(name)
    (folder / "hash.key").write_text(secrets.token_hex(32))
    settings = folder / "onrecord.toml"
    settings.write_text(SETTINGS.format(folder=folder, workers=WORKERS, certificate=certificate) + doors)
    asyncio.run(_fill_directory(folder, users, contacts))
    command = [sys.executable, "-m", "onrecord", "-c", settings, "serve"]
    pid = processes.start(name, command, ports=ports)
    _wait_for_workers(pid)
    return pid, folder / "onrecord.sqlite"


async def _fill_directory(folder: Path, users: Collection[str], contacts: Collection[str]) -> None:
    database = await Database.open(f"sqlite:///{folder / 'onrecord.sqlite'}")
    directory = Directory(database, folder / "directory.bell")
    await directory.add_portal("bench", rule=Rule.ALL)
    for each in users:
        await directory.add_user("bench", each, connected=(each,))
    for each in contacts:
        await directory.add_contact("bench", each)
    await database.close()


def relay_workers(family: Collection[int]) -> list[int]:
    """Of our processes, the supervisor first, those that carry mail: recorder and observers are nice."""
    return [pid for pid in list(family)[1:] if nice(pid) == 0]


def _wait_for_workers(supervisor: int) -> None:
    """The supervisor binds the ports, so they answer before there is anybody behind them."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        family = tree(supervisor)
        if len(relay_workers(family)) == WORKERS and len(family) > WORKERS + 1:
            return
        time.sleep(0.02)
    raise RuntimeError("the relay processes did not start")


def count(database: Path, statement: str) -> int:
    """What `statement` counts in an installation's database."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        return int(connection.execute(statement).fetchone()[0])
