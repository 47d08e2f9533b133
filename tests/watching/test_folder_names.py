"""Folders whose messages are no correspondence, by their names."""

from __future__ import annotations

import unicodedata

import pytest

from engine.capture import Folder
from proxy.folder_names import NAMES, folder_named


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("Drafts", Folder.DRAFTS),
        ("INBOX.Drafts", Folder.DRAFTS),
        ("[Gmail]/Entwürfe", Folder.DRAFTS),
        ("Outbox", Folder.DRAFTS),
        ("JUNK E-MAIL", Folder.JUNK),
        ("[Google Mail]/Spam", Folder.JUNK),
        ("Courrier indésirable", Folder.JUNK),
        ("Deleted Items", Folder.TRASH),
        ("Trash/2025/March", Folder.TRASH),
        ("ゴミ箱", Folder.TRASH),
        ("Корзина", Folder.TRASH),
        (unicodedata.normalize("NFD", "Gelöscht"), Folder.TRASH),
        ("INBOX", None),
        ("Sent", None),
        ("[Gmail]/All Mail", None),
        ("Spam filter project", None),
        ("", None),
        ("\ud800/\x00", None),
        ("/" * 100_000, None),
    ],
)
def test_a_folder_is_known_by_a_name_on_its_way(name: str, folder: Folder | None) -> None:
    assert folder_named(name) is folder


def test_no_name_means_two_folders() -> None:
    names = [" ".join(name.split()) for listed in NAMES.values() for name in listed.split(",")]
    assert len(names) == len(set(names))
    assert all(folder_named(name) is not None for name in names)
