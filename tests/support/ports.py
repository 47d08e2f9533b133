"""Ports for programs that must be told one before they start.

They lie below those that the kernel gives to whoever asks for any, so neither a connection that goes out nor a server
bound to 0 can take one between the choice and the program's start. And each process that runs tests has a block of
its own: two programs that share ports (SO_REUSEPORT) would not notice that they were given the same one.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
from collections.abc import Iterator, Sequence

__all__ = ["free_base", "free_port", "free_ports"]

FIRST = 10240
BLOCK = 512
BLOCKS = 44  # up to 32768, where Linux begins to give ports away


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on now."""
    return free_base((0,), host)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; all different."""
    return [free_port() for _ in range(count)]


def free_base(offsets: Sequence[int], host: str = "127.0.0.1") -> int:
    """A number; nobody listens now on the ports that are `offsets` above it."""
    turns = _turns()
    for _ in range(BLOCK):
        base = next(turns)
        if (base - FIRST) % BLOCK + max(offsets) < BLOCK and all(_is_free(host, base + each) for each in offsets):
            for _ in range(max(offsets)):
                next(turns)
            return base
    raise AssertionError(f"all ports of this process are taken: {base - BLOCK + 1} to {base}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


@functools.cache
def _turns() -> Iterator[int]:
    """The ports of this process, again and again, so that the next port is the one that was last used longest ago."""
    first = FIRST + BLOCK * _own_block()
    return itertools.cycle(range(first, first + BLOCK))


def _own_block() -> int:
    """A block that no other process has. The sign is a UDP port, which the kernel takes back whatever happens here."""
    for each in range(BLOCKS):
        block = (os.getpid() + each) % BLOCKS
        sign = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sign.bind(("127.0.0.1", FIRST + BLOCK * block))
        except OSError:
            sign.close()
        else:
            _SIGNS.append(sign)
            return block
    raise AssertionError("too many processes run tests here: all ports for their programs are taken")


_SIGNS: list[socket.socket] = []  # never closed, so that they hold as long as the process lives
