"""Mail of senseless size: deciding it takes steps in proportion to its size, or a bounded number, and never fails.

Steps are calls of functions, so that a busy machine changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from people import answer

import engine
from engine.capture import Capture
from engine.decision import Source
from engine.fingerprint import header_print, keys
from engine.message import MAX_PARENTS, Message

HEAD = b"From: kim@cust.example\r\nTo: ann@acme.example\r\nMessage-ID: <1@cust.example>\r\n"
SLACK = 200  # calls that do not depend on size

SIZES: dict[str, Callable[[int], bytes]] = {
    "references": lambda n: HEAD + b"References: " + b" ".join(b"<%d@x>" % each for each in range(n)) + b"\r\n",
    "folded references": lambda n: (
        HEAD + b"References:" + b"".join(b"\r\n <%d@x>" % each for each in range(n)) + b"\r\n"
    ),
    "answers": lambda n: HEAD + b"In-Reply-To: " + b"<" * n + b"\r\n",
    "one field": lambda n: HEAD + b"X-Long: " + b"x" * (100 * n) + b"\r\n",
    "subject": lambda n: HEAD + b"Subject: " + b"=?utf-8?q?=3D?= " * n + b"\r\n",
    "reply marks": lambda n: HEAD + b"Subject: " + b"re: " * n + b"\r\n",
    "recipients": lambda n: HEAD + b"Cc: " + b", ".join(b"r%d@x.example" % each for each in range(n)) + b"\r\n",
    "brackets": lambda n: HEAD + b"Cc: " + b"<" * n + b"\r\n",
    "comments": lambda n: HEAD + b"Cc: " + b"(" * n + b"\r\n",
    "fields": lambda n: HEAD + b"Received: from x\r\n" * n,
}


def decide(section: bytes, recipients: tuple[str, ...]) -> Message:
    """The whole way of a header section through the engine."""
    message = engine.read(section)
    capture = Capture(source=Source.GATEWAY, recipients=recipients)
    engine.question(capture, message)
    engine.explain(engine.decide(capture, message, answer()))
    keys(message, "0" * 64)
    header_print(message)
    return message


def steps(section: bytes, recipients: tuple[str, ...] = ("ann@acme.example",)) -> int:
    """How many calls it takes."""
    count = 0

    def called(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    decide(section, recipients)  # what is compiled once is compiled now
    sys.setprofile(called)
    try:
        decide(section, recipients)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("kind", SIZES)
def test_twice_the_size_takes_at_most_twice_the_steps(kind: str) -> None:
    make = SIZES[kind]
    assert steps(make(20_000)) <= 2 * steps(make(10_000)) + SLACK


def test_three_thousand_recipients_are_looked_at_once_each() -> None:
    def envelope(size: int) -> tuple[str, ...]:
        return tuple(f"r{number}@x.example" for number in range(size))

    assert steps(HEAD, envelope(6000)) <= 2 * steps(HEAD, envelope(3000)) + SLACK


def test_of_ten_thousand_references_the_nearest_count() -> None:
    message = decide(SIZES["references"](10_000), ())
    assert message.parents[:2] == ("9999@x", "9998@x")
    assert len(message.parents) == MAX_PARENTS
