"""The whole program as a process: settings file, key, database, `serve`, and what a test asks of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from database_template import database_template
from pki import Pki
from ports import free_port
from recording_provider import RecordingProvider, Tls

from engine.directory import Rule
from store.database import Database
from store.directory import Directory
from store.spool import NOTE_DELAY
from store.spool_reader import open_readers

__all__ = ["Served", "provider_table", "to_toml"]

START_SECONDS = 30.0
STOP_SECONDS = 60.0
POLL = 0.02
GREETINGS = (b"220", b"* O")  # the beginnings of those of SMTP and IMAP
LISTEN = "0A"  # the state of a socket, as /proc/net/tcp writes it
RECORDER_IS_NICER = 10  # than the supervisor, at least; the observers' process is only somewhat nicer
TRIES = 3  # a port that was free may be taken by the time the program binds it


def provider_table(provider: RecordingProvider, pki: Pki, *, name: str = "provider", **more: Any) -> dict[str, Any]:
    """The `[[provider]]` table of a recording provider."""
    table: dict[str, Any] = {"name": name, "host": provider.host, "port": provider.port, "tls": provider.tls.value}
    if provider.tls is not Tls.NONE:
        table |= {"host": "localhost", "ca_file": pki.ca_file}
    return table | more


def to_toml(values: Mapping[str, Any]) -> str:
    """Settings as TOML: plain values first, then tables, then lists of tables."""
    lines: list[str] = []
    tables: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            tables.append(f"\n[{key}]\n{to_toml(value)}")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            tables += [f"\n[[{key}]]\n{to_toml(each)}" for each in value]
        else:
            lines.append(f"{key} = {_literal(value)}\n")
    return "".join(lines + tables)


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Served:
    """An async context manager: `onrecord serve` on settings made from the arguments.

    `providers` are recording providers or `[[provider]]` tables; the first recording one is named "provider", the
    next "provider-2". `listeners` are `[[listener]]` tables: what is left out is 127.0.0.1, a free port, no TLS and the
    first provider (unless a provider has domains). `settings` is laid over the rest, table by table. The sample
    portal is there unless `sample` is false.
    """

    def __init__(
        self,
        folder: Path,
        pki: Pki,
        *,
        providers: Sequence[RecordingProvider | Mapping[str, Any]],
        listeners: Sequence[Mapping[str, Any]] = ({},),
        settings: Mapping[str, Any] | None = None,
        sample: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.config = folder / "onrecord.toml"
        self.data = folder / "data"
        self.database_url = f"sqlite:///{self.data / 'onrecord.sqlite'}"
        self.ports: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._pki = pki
        self._providers = providers
        self._listeners = listeners
        self._settings = dict(settings or {})
        self._sample = sample
        self._environment = dict(environment or {})
        self._log = folder / "serve.log"
        self._databases: list[Database] = []

    async def __aenter__(self) -> Served:
        self.data.mkdir(parents=True, exist_ok=True)
        keys = self.data / "keys"
        keys.mkdir(exist_ok=True, mode=0o700)
        (keys / "hash.key").write_text(secrets.token_hex(32) + "\n")
        if not (database := self.data / "onrecord.sqlite").exists():
            shutil.copyfile(await database_template(Rule.ALL if self._sample else None), database)
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for database in self._databases:
            await database.close()
        if self.process is not None:
            await self.terminate()
        if kind is not None:
            print(self.log_text())

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self.ports[0]

    @property
    def pid(self) -> int:
        """The process that supervises the others."""
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[int]:
        """The processes of the supervisor: relays, recorder and observers."""
        return [int(each) for each in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def relays(self) -> list[int]:
        """The relay processes: those of the children that listen."""
        listening = {f"socket:[{inode}]" for inode in _listening()}
        return [each for each in self.children() if listening & set(_open_files(each))]

    async def recorder(self) -> int:
        """The recorder's process, once it is at work: the ports accept before. It has the lowest priority of all."""
        low = os.getpriority(os.PRIO_PROCESS, self.pid) + RECORDER_IS_NICER
        async with asyncio.timeout(START_SECONDS):
            while not (found := [each for each in self.children() if os.getpriority(os.PRIO_PROCESS, each) >= low]):
                await asyncio.sleep(POLL)
        return found[0]

    async def start(self) -> None:
        """Starts the program; back when every listener accepts. A port that was taken meanwhile is chosen anew."""
        for _ in range(TRIES):
            if not self.ports:
                self.ports = [int(each.get("port") or free_port(_address(each))) for each in self._listeners]
            self.config.write_text(to_toml(self._tables()))
            if await self._started():
                return
            if "change its port" not in self.log_text():
                break
            self.ports = []
        raise AssertionError(f"the program did not start:\n{self.log_text()}")

    async def terminate(self) -> int:
        """SIGTERM; the exit status. Everything captured is in the log then."""
        process = self.process
        assert process is not None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(process.wait, STOP_SECONDS)
        self.process = None
        return status

    async def kill(self) -> None:
        """SIGKILL to all of its processes; back when they are gone."""
        process = self.process
        assert process is not None
        family = [process.pid, *self.children()]
        for each in family:
            os.kill(each, signal.SIGKILL)
        await asyncio.to_thread(process.wait, STOP_SECONDS)
        self.process = None
        async with asyncio.timeout(STOP_SECONDS):
            while any(Path(f"/proc/{each}").exists() and not _is_zombie(each) for each in family):
                await asyncio.sleep(POLL)

    async def restart(self) -> None:
        """Ends the program if it runs, and starts it on the same ports."""
        if self.process is not None:
            await self.terminate()
        await self.start()

    def hang_up(self) -> None:
        """SIGHUP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    async def directory(self) -> Directory:
        """The directory of the same database."""
        return Directory(await self.database(), self.data / "directory.bell")

    async def database(self) -> Database:
        """The same database."""
        database = await Database.open(self.database_url, migrate_first=False)
        self._databases.append(database)
        return database

    async def drained(self) -> None:
        """Waits until all that was captured before this call is in the log.

        Notes about mail that is not logged wait a moment for company before they are written; so does this.
        """
        await asyncio.sleep(2 * NOTE_DELAY)
        async with asyncio.timeout(STOP_SECONDS):
            while not await asyncio.to_thread(self._is_drained):
                await asyncio.sleep(POLL)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query on the database."""
        connection = sqlite3.connect(self.data / "onrecord.sqlite", timeout=10)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def log_text(self) -> str:
        """All that the program has written."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def logged(self, text: str) -> None:
        """Waits until the program has written `text`."""
        async with asyncio.timeout(START_SECONDS):
            while text not in self.log_text():
                await asyncio.sleep(POLL)

    def resident_memory(self) -> int:
        """Octets resident in the relay processes together, as the kernel counts them; shared pages count in each."""
        return sum(_resident(each) for each in self.relays())

    # -- starting -----------------------------------------------------------------------------------------------------

    def _tables(self) -> dict[str, Any]:
        providers, number = [], 0
        for each in self._providers:
            if isinstance(each, RecordingProvider):
                number += 1
                name = "provider" if number == 1 else f"provider-{number}"
                providers.append(provider_table(each, self._pki, name=name))
            else:
                providers.append(dict(each))
        has_domains = any("domains" in each for each in providers)
        chosen: dict[str, Any] = {} if has_domains else {"provider": providers[0]["name"]}
        listeners = [
            _listener(each, chosen) | {"port": port} for each, port in zip(self._listeners, self.ports, strict=True)
        ]
        pair = {"certificate": self._pki.certificate, "key": self._pki.key}
        tables: dict[str, Any] = {
            "hostname": "relay.example",
            "data": self.data,
            "tls": {"certificates": [pair]},
            "deadlines": {"failed_login_delay": 0.0, "drain": 5.0},
        }
        for key, value in self._settings.items():
            tables[key] = tables.get(key, {}) | dict(value) if isinstance(value, Mapping) else value
        certificates = tables.pop("tls")["certificates"]
        return tables | {"tls.certificates": certificates, "provider": providers, "listener": listeners}

    async def _started(self) -> bool:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "onrecord", "-c", str(self.config), "serve"],
                cwd=Path(__file__).parents[2],
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(START_SECONDS):
            for listener, port in zip(self._listeners, self.ports, strict=True):
                while not await asyncio.to_thread(_answers, _address(listener), port, listener.get("tls", "none")):
                    if self.process.poll() is not None:
                        return False
                    await asyncio.sleep(POLL)
        return True

    def _is_drained(self) -> bool:
        recorded = dict(self.rows("select name, position from spool_progress"))
        readers = open_readers(self.data / "spool")
        try:
            return all(not each.read(recorded.get(each.name, 0), rows=1, octets=1) for each in readers)
        except sqlite3.Error:
            return False  # the recorder is just removing it
        finally:
            for each in readers:
                each.close()


def _listener(table: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What is left out of a `[[listener]]` table; one for capture addresses has no provider."""
    usual = {"address": "127.0.0.1", "tls": "none"}
    return usual | dict(table) if table.get("kind") == "capture" else usual | dict(chosen) | dict(table)


def _address(listener: Mapping[str, Any]) -> str:
    return str(listener.get("address", "127.0.0.1"))


def _answers(host: str, port: int, tls: str) -> bool:
    """Whether a relay process takes connections: the sockets are there before it is, so it must have said something."""
    try:
        with socket.create_connection((host, port), timeout=START_SECONDS) as probe:
            if tls == "implicit":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                context.wrap_socket(probe).close()
                return True
            return probe.recv(3) in GREETINGS
    except OSError:
        return False


def _listening() -> list[str]:
    """The inodes of all sockets that listen for TCP connections."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [row[9] for row in rows if row[3] == LISTEN]


def _open_files(pid: int) -> list[str]:
    found = []
    with contextlib.suppress(OSError):  # it has ended
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it has closed that
                found.append(str(each.readlink()))
    return found


def _resident(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) * 1024


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
