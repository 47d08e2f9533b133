"""`onrecord sandbox` as a process, read line by line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path
from types import TracebackType

from ports import free_base

__all__ = ["SandboxProcess", "free_port_base"]

PATIENCE = 60.0  # seconds until a line that must come counts as missing
OFFSETS = (1, 2, 43, 65, 80, 87, 93)


def free_port_base() -> int:
    """A base whose sandbox ports are free now."""
    return free_base(OFFSETS)


class SandboxProcess:
    """An async context manager; inside it the sandbox has said `ready`."""

    def __init__(self, folder: Path, base: int, *options: str) -> None:
        self.folder = folder
        self.base = base
        self.lines: list[str] = []
        self._options = options
        self._process: Process | None = None

    async def __aenter__(self) -> SandboxProcess:
        command = ("-m", "onrecord", "sandbox", "--port-base", str(self.base), "--data", str(self.folder))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *command, *self._options, stdout=PIPE, stderr=STDOUT, env=os.environ | {"PYTHONUTF8": "1"}
        )
        await self.line("ready")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print("\n".join(self.lines))
        await self.end(signal.SIGTERM)

    async def line(self, part: str) -> str:
        """The next line that holds `part`."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := await self._process.stdout.readline():
                self.lines.append(line.decode().rstrip("\n"))
                if part in self.lines[-1]:
                    return self.lines[-1]
        raise AssertionError(f"the sandbox ended without saying {part!r}: {self.lines}")

    async def end(self, number: signal.Signals) -> int:
        """Ends it by a signal; its exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
            async with asyncio.timeout(PATIENCE):
                output, _ = await self._process.communicate()
            self.lines += output.decode().splitlines()
        assert self._process.returncode is not None
        return self._process.returncode
