"""`onrecord sandbox`: a whole mail provider, a sample portal and the relay on loopback, with no set-up.

The provider is a process beside the relay's. When the whole path answers, it prints what to try and then `ready`.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from datetime import datetime
from pathlib import Path

from certs import Certificates
from engine import explain
from engine.decision import Decision
from onrecord.app import serve
from onrecord.installing import make_keys
from onrecord.listening import bind
from onrecord.process import listen_to_signals
from onrecord.sandbox.guide import guide
from onrecord.sandbox.ports import Ports
from onrecord.sandbox.provider import Provider
from onrecord.sandbox.sample import addresses, connect, fill, open_pages
from onrecord.settings import Settings, SettingsError, load
from onrecord.supervisor import Child
from store.database import Database
from store.directory import Directory
from store.mailboxes import Mailboxes
from store.sealing import Sealer
from store.web_accounts import WebAccounts

__all__ = ["run_sandbox"]

MARK = ".onrecord-sandbox"  # only a folder with this file in it is ever removed


def run_sandbox(*, port_base: int, folder: Path, fresh: bool) -> int:
    """Runs until SIGTERM or Ctrl-C; the exit status. Raises `SettingsError` or `ServeError`."""
    folder = folder.resolve()
    ports = Ports(port_base)
    _prepare(folder, ports, fresh=fresh)
    settings = load(folder / "onrecord.toml")
    for _ in make_keys(settings):
        pass
    asyncio.run(_fill(settings))
    smtp = bind("127.0.0.1", ports.smtp, shared=False)
    imap = bind("127.0.0.1", ports.imap, shared=False)

    def run_provider(life: int) -> int:
        asyncio.run(_provide(settings, ports, smtp, imap, life))
        return 0

    provider = Child(name="provider", run=run_provider, stage=3)
    return serve(settings, companions=(provider,), on_decision=_tell)


def _prepare(folder: Path, ports: Ports, *, fresh: bool) -> None:
    """The folder, with settings for these ports."""
    mark, path = folder / MARK, folder / "onrecord.toml"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise SettingsError(f"{folder}: holds something else than a sandbox; give an empty folder with --data")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    text = ports.settings()
    if not path.exists() or path.read_text("utf-8").partition("\n")[0] != text.partition("\n")[0]:
        path.write_text(text, "utf-8")


async def _fill(settings: Settings) -> None:
    database = await Database.open(settings.database_url)
    directory = Directory(database, settings.bell)
    await fill(directory)
    await open_pages(WebAccounts(database, who="sandbox"))
    await connect(directory, Mailboxes(database, Sealer(settings.key_ring().read)))
    await database.close()


async def _provide(
    settings: Settings, ports: Ports, smtp: tuple[socket.socket, ...], imap: tuple[socket.socket, ...], life: int
) -> None:
    stop = asyncio.Event()
    listen_to_signals(stop, asyncio.Event(), life)
    provider = Provider(settings.data / "mail", addresses())
    servers = await provider.serve(smtp, imap, Certificates(settings.tls.certificates).context)
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.starttls)
    await reader.readline()  # the relay greets: the whole path stands
    writer.close()
    text = guide(settings.data, ports)
    _print(f"{text}\nready")
    await stop.wait()
    for server in servers:
        server.close()


def _tell(decision: Decision) -> None:
    _print(f"{datetime.now():%H:%M:%S} {decision.source}: {explain(decision)}")


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201
