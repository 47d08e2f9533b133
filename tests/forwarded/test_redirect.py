"""Redirected messages: Resent-* fields."""

from __future__ import annotations

import pytest

from engine import read
from engine.forwarded import is_redirect, redirected_by


def header(*lines: str) -> bytes:
    """A header section of a mail of Kim's with further lines before its own."""
    return "".join(f"{line}\r\n" for line in (*lines, "From: kim@cust.example", "To: ann@acme.example")).encode()


@pytest.mark.parametrize(
    ("lines", "who"),
    [
        (["Resent-From: Ann <ann@acme.example>", "Resent-To: fwd-p1@cap.example"], "ann@acme.example"),
        (["Resent-Sender: ann@acme.example"], "ann@acme.example"),
        (["Resent-Sender: server@acme.example", "Resent-From: ann@acme.example"], "ann@acme.example"),
        (["Resent-From: ann@acme.example", "Resent-From: bob@acme.example"], "ann@acme.example"),
        (["RESENT-FROM:\r\n ann@acme.example"], "ann@acme.example"),
    ],
)  # fmt: skip
def test_who_redirected_a_message_last_is_named(lines: list[str], who: str) -> None:
    message = read(header(*lines))
    assert is_redirect(message)
    assert redirected_by(message) == who


@pytest.mark.parametrize(
    "lines", [[], ["Resent-To: fwd-p1@cap.example"], ["Resent-From: nobody"], ["X-Resent-From: ann@acme.example"]]
)
def test_a_message_that_names_nobody_who_sent_it_on_is_no_redirect(lines: list[str]) -> None:
    message = read(header(*lines))
    assert not is_redirect(message)
    assert redirected_by(message) is None


def test_a_redirect_keeps_its_author() -> None:
    assert read(header("Resent-From: ann@acme.example")).authors == ("kim@cust.example",)
