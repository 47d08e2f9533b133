"""The programs under measurement as our children, and what /proc says of them.

Everything runs in the session of the harness: with the kernel's autogroup each session gets an equal share of the
processors, and the low priority of our recorder would mean nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

__all__ = ["PROGRAMS", "Processes", "cpu_seconds", "free_port", "memory", "nice", "tree", "wait_for_port"]

PROGRAMS = Path(__file__).parent / "bin"  # made by bench/install
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 20.0  # seconds for a program to listen, or to end when told to


class Processes:
    """Children in a folder of their own; both are gone at the end. The folder is on a disk, for fsync to cost."""

    def __init__(self, *, keep: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/var/tmp"))  # /tmp may be in memory
        self.folder.chmod(0o755)  # some of them change to a user of their own
        self._keep = keep
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            _stop(child)
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def subfolder(self, name: str, mode: int = 0o755) -> Path:
        """A folder for one program."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        return folder

    def start(self, name: str, command: Iterable[object], *, ports: Iterable[int]) -> int:
        """Starts a program and waits until it listens; its process id. What it says is in `name`.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen([str(each) for each in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._children.append(child)
        for port in ports:
            try:
                wait_for_port(port)
            except TimeoutError as error:
                said = (self.folder / f"{name}.log").read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"{name} does not listen: {said}") from error
        return child.pid


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ends a child, and by their ids those of its own that it leaves behind."""
    family = tree(child.pid)
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    for pid in family:
        if pid != child.pid and _is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Returns once somebody listens. Raises `TimeoutError`."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError as error:
            if time.monotonic() > end:
                raise TimeoutError(f"nobody listens on port {port}") from error
            time.sleep(0.05)
        else:
            return


def tree(root: int) -> list[int]:
    """`root` and all that descends from it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """What the processes have used, and their children that have ended."""
    return sum(int(each) for pid in pids for each in _stat(pid)[11:15]) / TICKS


def nice(pid: int) -> int:
    """The process's priority; 0 is the usual one, 19 the lowest."""
    fields = _stat(pid)
    return int(fields[16]) if fields else 0


def memory(pid: int) -> int:
    """Octets in memory, of shared pages the process's part (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _is_alive(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
