"""The parser process, and the other end of its pipes.

    request:   one JSON line {"size", "path", "dot_stuffed", "limits", "seconds"}, then `size` octets if `path` is null
    answer:    frames of a kind octet, a length (4 octets) and data: "P" a part (hash, number, octets), "J" the result

A process that takes too long or dies is replaced; its message counts as unparsed. What comes back is JSON and packed
octets, never anything that could run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import resource
import signal
import struct
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import engine
from engine.decision import Flag
from store.parsing import ParseLimits, described, packed, parse, split, unstuff

__all__ = ["Keep", "Parser"]

FRAME = struct.Struct(">cI")
PART_HEAD = struct.Struct(">64sI")
PIPE_LIMIT = 4 * 1024 * 1024
TRIES = 2
# What asking a process that has died raises; `RuntimeError` is uvloop's word for a pipe that it has closed already.
DIED = (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError, RuntimeError)
GRACE = 5  # seconds after which a process ends by itself whose asker has died without ending it

Keep = Callable[[str, int, bytes], Awaitable[None]]


class NotStarted(Exception):
    """The system gave us no process."""


class Parser:
    """One parser process, started when needed."""

    def __init__(self, *, seconds: float, memory: int, limits: ParseLimits) -> None:
        self._seconds = seconds
        self._memory = memory
        self._limits = limits
        self._process: asyncio.subprocess.Process | None = None

    async def parse(self, content: bytes | Path, *, dot_stuffed: bool, keep: Keep) -> dict[str, Any]:
        """The result of `store.parsing.parse`; `keep` is awaited for each part. Raises `OSError` when a file is gone.

        Without a result in time, the message is read as far as that is safe and flagged `unparsed`. A process that
        dies gets a successor once: it may have been killed for another's sake.
        """
        if isinstance(content, Path):
            await asyncio.to_thread(content.stat)
        trouble = "the parser died"
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._exchange(content, dot_stuffed, keep)
            except DIED:
                await self.close()
            except (TimeoutError, NotStarted) as error:
                await self.close()
                trouble = str(error) or "took too long"
                break
            except BaseException:
                await self.close()  # the rest of this answer would be taken for the answer about the next message
                raise
        return await _read_plainly(content, dot_stuffed, keep, trouble)

    async def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            # Reads what is left besides: asyncio's own loop never ends to wait for a process with a full pipe.
            await process.communicate()

    async def _exchange(self, content: bytes | Path, dot_stuffed: bool, keep: Keep) -> dict[str, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        request = {
            "size": 0 if isinstance(content, Path) else len(content),
            "path": str(content) if isinstance(content, Path) else None,
            "dot_stuffed": dot_stuffed,
            "limits": asdict(self._limits),
            "seconds": int(self._seconds) + GRACE,
        }
        process.stdin.write(json.dumps(request).encode() + b"\n" + (b"" if isinstance(content, Path) else content))
        await process.stdin.drain()
        while True:
            kind, length = FRAME.unpack(await process.stdout.readexactly(FRAME.size))
            data = await process.stdout.readexactly(length)
            if kind == b"J":
                result: dict[str, Any] = json.loads(data)
                return result
            digest, number = PART_HEAD.unpack_from(data)
            await keep(digest.decode("ascii"), number, data[PART_HEAD.size :])

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "store.parser",
                str(self._memory),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=PIPE_LIMIT,
            )
        except OSError as error:
            raise NotStarted(f"the parser did not start: {type(error).__name__}") from error


async def _read_plainly(content: bytes | Path, dot_stuffed: bool, keep: Keep, trouble: str) -> dict[str, Any]:
    """What the header section says, and the raw octets, part by part: nothing that a stranger could make slow."""
    octets = content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
    whole = unstuff(octets) if dot_stuffed else octets
    section, body = split(whole)
    message = engine.read(section[:65536])
    digest = hashlib.sha256(whole).hexdigest()
    for number, part in enumerate(packed(whole)):
        await keep(digest, number, part)
    return described(message, whole, body, content=digest) | {"flags": [Flag.UNPARSED], "trouble": trouble}


def main(memory: int, requests: BinaryIO, answers: BinaryIO) -> None:
    """The process: one request after the other until its input ends."""
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    while line := requests.readline():
        request = json.loads(line)
        signal.alarm(request["seconds"])
        octets = Path(request["path"]).read_bytes() if request["path"] else requests.read(request["size"])

        def keep(digest: str, number: int, part: bytes) -> None:
            data = PART_HEAD.pack(digest.encode("ascii"), number) + part
            answers.write(FRAME.pack(b"P", len(data)) + data)

        if request["dot_stuffed"]:
            octets = unstuff(octets)
        result = json.dumps(parse(octets, keep, ParseLimits(**request["limits"]))).encode()
        answers.write(FRAME.pack(b"J", len(result)) + result)
        answers.flush()
        signal.alarm(0)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # whoever asked has died
        main(int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
