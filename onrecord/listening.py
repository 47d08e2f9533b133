"""Listening sockets, bound before anything is forked, so that a port that is taken is told at once."""

from __future__ import annotations

import socket
from typing import Any

from proxy.relay import BACKLOG

__all__ = ["ServeError", "bind"]


class ServeError(Exception):
    """The program cannot start; the text names what and how to mend it."""


def bind(address: str, port: int, *, shared: bool) -> tuple[socket.socket, ...]:
    """A listening socket for each address family of `address`. Raises `ServeError`.

    `shared` sockets of several workers stand on one port, and the kernel deals connections out among them.
    """
    try:
        infos = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return tuple(_bound(info[0], info[4], shared=shared) for info in infos)
    except OSError as error:
        raise ServeError(
            f"listener on {address}:{port}: {error.strerror or error}; change its port, or stop the program that has it"
        ) from error


def _bound(family: int, address: Any, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound
