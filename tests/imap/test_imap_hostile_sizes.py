"""Sessions of senseless size: what passes costs steps in proportion to its size, and a bounded memory.

Steps are calls of functions, so that a busy machine changes nothing.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import repeat
from types import FrameType
from typing import Any

import pytest
from imap_stage import Stage, Watch, Watcher

from proxy.imap.passage import Passage
from proxy.imap.watch import Place

MESSAGE = b"From: kim@cust.example\r\n\r\n"
PIECE = b"x" * 65536
Chunks = Iterator[bytes]
SLACK = 2000  # calls that do not depend on size

# What a client, or a provider, may say n times.
CLIENT: dict[str, Callable[[int], bytes]] = {
    "small literals": lambda n: b"a SEARCH" + b" {1+}\r\nx" * n + b"\r\n",
    "small literals of a message": lambda n: b"a APPEND x" + b" {1+}\r\nx" * n + b"\r\n",
    "parentheses": lambda n: b"a SEARCH " + b"(" * n + b"\r\n",
    "open strings before a literal": lambda n: b"a SEARCH " + b'"\\' * n + b'" {1+}\r\nx\r\n',
    "commands": lambda n: b"a NOOP\r\n" * n,
    "appends without end": lambda n: b"".join(b"t%d APPEND x {1+}\r\ny\r\n" % each for each in range(n)),
    "stretches": lambda n: b"a FETCH 1 (" + b"BODY[]<1.2> " * n + b")\r\n",
    "line feeds": lambda n: b"a NOOP" + b"\n" * n + b"\r\n",
    "selects": lambda n: b"".join(b"t%d SELECT x\r\n" % each for each in range(n)),
}
PROVIDER: dict[str, Callable[[int], bytes]] = {
    "small literals": lambda n: b"* 1 FETCH (" + b" X {1}\r\nx" * n + b")\r\n",
    "messages": lambda n: (b"* 1 FETCH (UID 1 BODY[] {26}\r\n" + MESSAGE + b")\r\n") * n,
    "parentheses": lambda n: b"* 1 FETCH (BODYSTRUCTURE " + b"(" * n + b" BODY[] {1}\r\nx)\r\n",
    "open strings": lambda n: b"* 1 FETCH (ENVELOPE " + b'"\\' * n + b" BODY[] {1}\r\nx)\r\n",
    "stretches": lambda n: b"".join(
        b"* 1 FETCH (UID %d BODY[]<0> {26}\r\n" % each + MESSAGE + b")\r\n" for each in range(n)
    ),
    "lines": lambda n: b"* 1 FETCH (FLAGS ())\r\n" * n,
    "folders": lambda n: b"".join(b'* LIST (\\Junk) "/" x%d\r\n' % each for each in range(n)),
    "capabilities": lambda n: b"* CAPABILITY " + b"COMPRESS=DEFLATE " * n + b"\r\n",
    "uid set": lambda n: b"a OK [APPENDUID 1 " + b"1," * n + b"1:4294967295] Done\r\n",
    "continuations": lambda n: b"+ go\r\n" * n,
}


class Forgetful(Watcher):
    """Keeps nothing of what it is told."""

    def note(self, event: str) -> None: ...

    def watch(self, place: Place) -> Watch:
        return Watch(self, place)


def passage() -> Passage:
    found = Passage(
        lambda octets: None,
        lambda octets: None,
        Forgetful(),
        capabilities=frozenset({b"LITERAL+"}),
        header_limit=4096,
    )
    found.client_octets(b"s SELECT INBOX\r\na APPEND x {26+}\r\n" + MESSAGE + b"\r\n")
    found.provider_octets(b"* OK [UIDVALIDITY 7]\r\ns OK\r\n")
    return found


def steps(doing: Callable[[bytes], None], octets: bytes) -> int:
    """How many calls it takes to pass `octets`."""
    count = 0

    def called(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    pieces = [octets[start : start + 65536] for start in range(0, len(octets), 65536)]
    sys.setprofile(called)
    try:
        for piece in pieces:
            doing(piece)
    finally:
        sys.setprofile(None)
    return count


def require_proportion(written: Callable[[int], bytes], side: str) -> None:
    small, large = (steps(getattr(passage(), side), written(n)) for n in (1000, 8000))
    assert large <= 8 * small + SLACK


@pytest.mark.parametrize("name", CLIENT)
def test_what_a_client_says_costs_steps_in_proportion(name: str) -> None:
    require_proportion(CLIENT[name], "client_octets")


@pytest.mark.parametrize("name", PROVIDER)
def test_what_a_provider_says_costs_steps_in_proportion(name: str) -> None:
    require_proportion(PROVIDER[name], "provider_octets")


def test_a_literal_costs_steps_by_the_chunk_and_not_by_the_octet() -> None:
    def written(size: int) -> bytes:
        return b"* 1 FETCH (UID 5 BODY[1] {%d}\r\n" % size + b"x" * size + b")\r\n"

    assert steps(passage().provider_octets, written(64 * 65536)) <= 64 * 8 + SLACK


ENDLESS: dict[str, tuple[str, bytes, bytes]] = {
    "a line of the client": ("client_octets", b"a NOOP ", PIECE),
    "line feeds of the client": ("client_octets", b"a NOOP ", b"\n" * 4096),
    "a line of the provider": ("provider_octets", b"* SEARCH ", PIECE),
    "line feeds of the provider": ("provider_octets", b"* SEARCH ", b"\n" * 4096),
    "a capability list": ("provider_octets", b"* CAPABILITY ", b"COMPRESS=DEFLATE " * 4096),
    "a literal of 4 GiB": ("provider_octets", b"* 1 FETCH (UID 5 BODY[] {4294967296}\r\n", PIECE),
    "a header section": ("provider_octets", b"* 1 FETCH (UID 5 BODY[] {4294967296}\r\nSubject: ", PIECE),
    "a header section alone": ("provider_octets", b"* 1 FETCH (UID 5 BODY[HEADER] {4294967296}\r\n", PIECE),
    "a message that is saved": ("client_octets", b"b APPEND x {4294967296+}\r\n", PIECE),
    "the name of a mailbox": ("client_octets", b"b SELECT {4294967296+}\r\n", PIECE),
    "the name of a mailbox to save to": ("client_octets", b"b APPEND {4294967296+}\r\n", PIECE),
    "small literals": ("client_octets", b"b SELECT", b" {1+}\r\nx" * 512),
    "appends of one header section": (
        "client_octets",
        b"b NOOP\r\n",
        b"".join(b"c%d APPEND x {4000+}\r\n" % each + b"y" * 4000 + b"\r\n" for each in range(16)),
    ),
    "appends": ("client_octets", b"b NOOP\r\n", b"c APPEND x {1+}\r\ny\r\n" * 200),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_takes_no_memory(name: str) -> None:
    side, start, piece = ENDLESS[name]
    receive = getattr(passage(), side)
    receive(start)
    tracemalloc.start()
    try:
        for octets in repeat(piece, 64):  # 4 MiB of most, and more than is kept of any
            receive(octets)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 512 * 1024


def test_before_login_no_size_is_waited_for() -> None:
    for octets in (
        b"a LOGIN {4294967295}\r\n",
        b"a ID (" + b"(" * 100000 + b"\r\n",
        b"a LOGIN" + b" {1+}\r\nx" * 10000,
    ):
        stage = Stage({"listener": "implicit"})
        stage.session.start()
        stage.provider_is_ready()
        assert steps(stage.session.receive, octets) < 8192 * 12
        assert stage.wire.client_is_closed
        assert not stage.wire.provider
