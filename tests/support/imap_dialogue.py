"""Commands of our own IMAP client, played against what a server says, cut in any way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from octets import cut, singly

from proxy.imap_client.dialogue import Command, Dialogue

__all__ = ["ask", "ways"]

C = TypeVar("C", bound=Command)
Cut = Callable[[bytes], list[bytes]]


def ways(places: list[int]) -> list[Cut]:
    """Whole, octet by octet, and cut at `places`."""
    return [lambda octets: [octets], singly, lambda octets: cut(octets, places)]


def ask(command: C, *turns: bytes, way: Cut = singly) -> tuple[C, bytes, Dialogue]:
    """Asks, and has the server say each of `turns`. The command, all that we said, and the dialogue."""
    said: list[bytes] = []
    dialogue = Dialogue(said.append)
    dialogue.ask(command)
    for turn in turns:
        for piece in way(turn):
            dialogue.receive(piece)
    return command, b"".join(said), dialogue
