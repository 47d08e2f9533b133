"""A provider that sends a mailbox as fast as it can leaves the other sessions of the process their turns."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from proxy.leg import connect
from proxy.mailbox_dial import MailboxLeg
from proxy.route import Provider, ProviderKind, Tls

uvloop = pytest.importorskip("uvloop", reason="asyncio's own loop reads once a turn anyway")

SIZE = 48 * 1024 * 1024
BLOCK = b"x" * (1024 * 1024)


class Sender:
    """A context manager: a server that sends `SIZE` octets to who connects, from a thread of its own."""

    def __enter__(self) -> Sender:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes who still waits for a connection
        self._thread.join()
        self._listening.close()

    def _send(self) -> None:
        with contextlib.suppress(OSError), self._listening.accept()[0] as connection:
            for _ in range(SIZE // len(BLOCK)):
                connection.sendall(BLOCK)


def fast(port: int) -> Provider:
    return Provider(name="fast", kind=ProviderKind.IMAP, host="127.0.0.1", port=port, tls=Tls.NONE)


async def turns_of_reads(port: int) -> list[int]:
    """The turn of the loop in which each read of the leg came."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    turn, left = 0, SIZE
    reads: list[int] = []

    def count() -> None:
        nonlocal turn
        turn += 1
        loop.call_soon(count)

    def read(octets: bytes) -> None:
        nonlocal left
        reads.append(turn)
        left -= len(octets)
        time.sleep(0.0005)  # as long as it takes to look at as much: the provider is ahead again then
        if not left:
            done.set()

    leg = MailboxLeg()
    await connect(leg, fast(port), None)
    count()
    leg.listen(read)
    reads.clear()  # what had come before was read then
    await done.wait()
    leg.drop()
    return reads


def test_a_connection_is_read_from_once_in_a_turn() -> None:
    with Sender() as sender:
        reads = uvloop.run(turns_of_reads(sender.port))
    assert len(set(reads)) == len(reads)


def test_what_is_held_stays_unread_though_its_turn_comes() -> None:
    async def hold(port: int) -> None:
        heard = 0
        leg = MailboxLeg()

        def read(octets: bytes) -> None:
            nonlocal heard
            heard += len(octets)
            leg.hold(on=True)

        await connect(leg, fast(port), None)
        leg.listen(read)
        while not heard:
            await asyncio.sleep(0)
        first = heard
        for _ in range(1000):
            await asyncio.sleep(0)
        assert heard == first
        leg.hold(on=False)
        while heard == first:
            await asyncio.sleep(0)
        leg.drop()

    with Sender() as sender:
        uvloop.run(hold(sender.port))
