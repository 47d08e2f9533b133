"""What one sighting in a mailbox is known by: seen again it is the same, asked for again it is not."""

from __future__ import annotations

from typing import Any

import pytest

from engine.capture import Folder
from engine.decision import Source
from proxy.mailbox_sighting import KEY_LENGTH, MailboxSighting

HASH_KEY = b"k" * 32
SECTION = b"From: kim@cust.example\r\nTo: ann@acme.example\r\n\r\n"


def key(*, place: dict[str, int] | None = None, **more: Any) -> str:
    facts = {"session": "1", "source": Source.OBSERVER, "mailbox": "ann@acme.example", "folder": None}
    sighting = MailboxSighting(**(facts | more))
    sighting.read(SECTION)
    return sighting.key(HASH_KEY, 100, **(place or {}))


HERE, THERE = {"uidvalidity": 7, "uid": 5}, {"uidvalidity": 7, "uid": 6}


def test_a_message_that_is_seen_again_has_the_same_key_wherever_it_lies() -> None:
    keys = {key(), key(session="2"), key(place=HERE), key(place=THERE), key(mailbox="Ann@ACME.example")}
    assert len(keys) == 1
    assert {len(each) for each in keys} == {KEY_LENGTH}


@pytest.mark.parametrize(
    "other", [{"source": Source.IMAP_PROXY}, {"mailbox": "bob@acme.example"}, {"folder": Folder.JUNK}]
)
def test_seen_otherwise_it_has_another(other: dict[str, Any]) -> None:
    assert key() != key(**other)


def test_each_copy_in_the_folder_for_the_log_has_its_own() -> None:
    copies = [key(folder=Folder.LOG, place=place) for place in (HERE, THERE, {"uidvalidity": 8, "uid": 5}, None)]
    assert len({*copies, key()}) == 5
    assert key(folder=Folder.LOG, place=HERE, session="2") == copies[0]


def test_each_request_by_name_has_its_own() -> None:
    by_name: dict[str, Any] = {"source": Source.MANUAL, "folder": Folder.LOG}
    assert key(**by_name, session="1") != key(**by_name, session="2")
    assert key(**by_name, session="1") == key(**by_name, session="1", place=HERE)
