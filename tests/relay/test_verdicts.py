"""Verdicts that are remembered: true as long as nothing that decides has changed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import engine
import engine.correspondence
from engine.capture import Capture, Folder
from engine.decision import Outcome, Source
from engine.directory import Answer, Portal, Question, Rule, User
from engine.message import DECIDING_FIELDS
from proxy.verdict import Verdicts

ANN = User(id=1, account="ann@a.example", connected=frozenset(("ann@a.example",)), personal_email_access=True)
CAPTURE = Capture(source=Source.RELAY, recipients=("kim@b.example",), login="ann@a.example")
PLAIN = b"From: ann@a.example\r\nTo: kim@b.example\r\nSubject: one\r\nMessage-ID: <1@a>\r\n"
FIELD = re.compile(r'b"([a-z]+(?:-[a-z]+)+)"')
NO_FIELDS = {"disposition-notification", "delivery-status", "report-type"}  # parameters of Content-Type


class Directory:
    """A directory whose token the test changes."""

    def __init__(self) -> None:
        self.now: object | None = object()

    def token(self) -> object | None:
        return self.now

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is not asked")


@pytest.fixture
def directory() -> Directory:
    return Directory()


def answers() -> tuple[Answer, ...]:
    portal = Portal(id=1, name="p", rule=Rule.ALL)
    return (Answer(portal=portal, users={"ann@a.example": (ANN,)}, contacts={}, owners={}),)


def remembering(directory: Directory, section: bytes = PLAIN) -> Verdicts:
    """Verdicts that have seen one message."""
    verdicts = Verdicts(directory, b"k" * 32)
    message = engine.read(section)
    assert verdicts.recall(CAPTURE, message) is None
    question = Question(login="ann@a.example", addresses=frozenset(("ann@a.example", "kim@b.example")))
    verdict = verdicts.reach(CAPTURE, message, question, answers())
    assert [each.outcome for each in verdict.decisions] == [Outcome.SKIP]
    verdicts.remember(CAPTURE, message, verdict)
    return verdicts


def test_another_message_between_the_same_parties_has_the_same_verdict(directory: Directory) -> None:
    other = engine.read(PLAIN.replace(b"one", b"two").replace(b"<1@a>", b"<2@a>"))
    assert remembering(directory).recall(CAPTURE, other) is not None


@pytest.mark.parametrize(
    "section",
    [
        PLAIN.replace(b"To: kim", b"To: lee"),
        PLAIN.replace(b"From: ann", b"From: bob"),
        PLAIN + b"Cc: lee@b.example\r\n",
        *(PLAIN + name + b": x\r\n" for name in DECIDING_FIELDS),
        PLAIN + b"Content-Type: multipart/report; report-type=delivery-status\r\n",
        PLAIN + b"Content-Type: text/calendar\r\n",
    ],
)
def test_a_message_that_differs_in_what_decides_is_decided_anew(directory: Directory, section: bytes) -> None:
    assert remembering(directory).recall(CAPTURE, engine.read(section)) is None
    assert remembering(directory, section).recall(CAPTURE, engine.read(PLAIN)) is None


def test_another_login_or_envelope_is_decided_anew(directory: Directory) -> None:
    verdicts, message = remembering(directory), engine.read(PLAIN)
    for capture in (
        Capture(source=Source.RELAY, recipients=("kim@b.example",), login="bob@a.example"),
        Capture(source=Source.RELAY, recipients=("kim@b.example", "lee@b.example"), login="ann@a.example"),
        Capture(source=Source.RELAY, recipients=(), refused=("kim@b.example",), login="ann@a.example"),
    ):
        assert verdicts.recall(capture, message) is None


def test_another_mailbox_folder_or_path_is_decided_anew(directory: Directory) -> None:
    verdicts, message = Verdicts(directory, b"k" * 32), engine.read(PLAIN)
    question = Question(login="ann@a.example", addresses=frozenset(("ann@a.example", "kim@b.example")))
    seen = Capture(source=Source.IMAP_PROXY, mailbox="ann@a.example")
    captures = (seen, replace(seen, mailbox="bob@a.example"), replace(seen, folder=Folder.JUNK))
    for capture in (*captures, replace(seen, source=Source.OBSERVER)):
        assert verdicts.recall(capture, message) is None
        verdicts.remember(capture, message, verdicts.reach(capture, message, question, answers()))
    assert verdicts.recall(seen, message) is not None


def test_a_change_of_the_directory_ends_all_verdicts(directory: Directory) -> None:
    verdicts = remembering(directory)
    before, directory.now = directory.now, object()
    assert verdicts.recall(CAPTURE, engine.read(PLAIN)) is None
    directory.now = before
    assert verdicts.recall(CAPTURE, engine.read(PLAIN)) is None


def test_a_directory_that_may_have_changed_is_asked(directory: Directory) -> None:
    verdicts = remembering(directory)
    before, directory.now = directory.now, None
    assert verdicts.recall(CAPTURE, engine.read(PLAIN)) is None
    directory.now = before
    assert verdicts.recall(CAPTURE, engine.read(PLAIN)) is not None


def test_every_field_that_correspondence_is_told_by_counts() -> None:
    """A rule that looks at another field must name it, or its verdicts would be remembered for mail without it."""
    source = Path(engine.correspondence.__file__).read_text()
    assert {*FIELD.findall(source)} - NO_FIELDS <= {each.decode() for each in DECIDING_FIELDS}
