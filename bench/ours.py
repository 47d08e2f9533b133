"""onrecord with two relay processes, rule `all` and durable capture; one installation for mail that is logged and one
for mail that is not, so that neither's recorder works for the other.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from cells import LOGGED, UNLOGGED
from processes import free_port, nice, tree
from system import AUTHOR, CONTACT, STRANGER, Site, System

from engine.directory import Rule
from store.database import Database
from store.directory import Directory

__all__ = ["start_logged", "start_unlogged"]

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
ca_file = "{certificate.certificate}"

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


def _start(site: Site, name: str, recipient: str, count: str) -> System:
    folder = site.processes.subfolder(name)
    plain, tls = free_port(), free_port()
    (folder / "hash.key").write_text(secrets.token_hex(32))
    settings = folder / "onrecord.toml"
    settings.write_text(
        SETTINGS.format(
            folder=folder, workers=WORKERS, certificate=site.certificate, sink=site.sink, plain=plain, tls=tls
        )
    )
    asyncio.run(_fill_directory(folder))
    command = [sys.executable, "-m", "onrecord", "-c", settings, "serve"]
    pid = site.processes.start(name, command, ports=(plain, tls))
    _wait_for_workers(pid)
    database = folder / "onrecord.sqlite"
    return System(
        name=name, plain=plain, tls=tls, pid=pid, recipient=recipient, recorded=lambda: _count(database, count)
    )


async def _fill_directory(folder: Path) -> None:
    database = await Database.open(f"sqlite:///{folder / 'onrecord.sqlite'}")
    directory = Directory(database, folder / "directory.bell")
    await directory.add_portal("bench", rule=Rule.ALL)
    await directory.add_user("bench", AUTHOR, connected=(AUTHOR,))
    await directory.add_contact("bench", CONTACT)
    await database.close()


def _wait_for_workers(supervisor: int) -> None:
    """The supervisor binds the ports, so they answer before there is anybody behind them."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        priorities = [nice(pid) for pid in tree(supervisor)[1:]]
        if priorities.count(0) == WORKERS and len(priorities) > WORKERS:
            return
        time.sleep(0.02)
    raise RuntimeError("the relay processes did not start")


def _count(database: Path, statement: str) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        return int(connection.execute(statement).fetchone()[0])
