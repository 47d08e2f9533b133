"""Folders whose messages are no correspondence, by their names."""

from __future__ import annotations

import unicodedata

import pytest

from engine.capture import Folder
from proxy.folder_names import NAMES, folder_named, folder_of


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


@pytest.mark.parametrize(
    ("name", "wanted", "is_for_log"),
    [
        ("Log to CRM", "Log to CRM", True),
        ("  log  to crm ", "Log to CRM", True),
        ("INBOX.Log to CRM", "Log to CRM", True),
        ("Work/2026/LOG TO CRM", "Log to CRM", True),
        ("Work\\Log to CRM", "Log to CRM", True),
        (unicodedata.normalize("NFD", "INBOX/Für die Akte"), "für die akte", True),
        ("INBOX.Log v1.0", "Log v1.0", True),
        ("ＣＲＭ", "CRM", False),
        ("Log to CRM/old", "Log to CRM", False),
        ("My Log to CRM", "Log to CRM", False),
        ("Trash/Log to CRM", "Log to CRM", False),
        ("INBOX", "", False),
        ("", "", False),
        ("INBOX/", "", False),
        ("", "Log to CRM", False),
        ("/" * 100_000 + "Log to CRM", "Log to CRM", False),
        ("\ud800/Log to CRM", "Log to CRM", True),
    ],
)
def test_the_folder_for_the_log_is_known_by_its_last_level(name: str, wanted: str, is_for_log: bool) -> None:
    assert (folder_of(name, None, log_folder=wanted) is Folder.LOG) == is_for_log


@pytest.mark.parametrize("use", [Folder.DRAFTS, Folder.JUNK, Folder.TRASH])
def test_what_the_server_says_of_a_folder_counts_first(use: Folder) -> None:
    assert folder_of("Log to CRM", use, log_folder="Log to CRM") is use
    assert folder_of("INBOX", use, log_folder="Log to CRM") is use
    assert folder_of("Spam", None, log_folder="Log to CRM") is Folder.JUNK
