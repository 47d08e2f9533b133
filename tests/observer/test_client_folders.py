"""Which folders of a mailbox are looked at."""

from __future__ import annotations

import pytest
from imap_dialogue import ask, ways

from proxy.imap_client.folders import List, Mailbox, observable

OK = b"o1 OK done\r\n"


def listed(*lines: bytes) -> list[str]:
    said = b"".join(b"* LIST " + line + b"\r\n" for line in lines) + OK
    found = [ask(List(frozenset()), said, way=way)[0].mailboxes for way in ways([5, 30])]
    assert found[0] == found[1] == found[2]
    return [each.name for each in observable(found[0])]


def test_inbox_first_and_what_the_server_marks_not_at_all() -> None:
    assert listed(
        b'(\\HasNoChildren \\Sent) "/" Sent',
        b'(\\Drafts) "/" Entwurf',
        b'(\\Junk) "/" "Not wanted"',
        b'(\\Noselect \\HasChildren) "/" "[Gmail]"',
        b'(\\Trash \\HasChildren) "/" Bin',
        b'() "/" "Bin/Old"',
        b'() "/" "Binder"',
        b'(\\All) "/" "[Gmail]/All Mail"',
        b'(\\Flagged) "/" "[Gmail]/Starred"',
        b'(\\NonExistent) "/" "Gone"',
        b'() "/" inbox',
    ) == ["INBOX", "Binder", "Sent", "[Gmail]/All Mail"]


@pytest.mark.parametrize(
    "name",
    [
        "Drafts",
        "INBOX.Junk",
        "Spam",
        "Papierkorb",
        "INBOX.Gelöschte Objekte",
        "Éléments supprimés",
        "Корзина",
        "DELETED ITEMS",
    ],
)
def test_names_tell_where_the_server_does_not(name: str) -> None:
    encoded = Mailbox(name, name.encode())
    assert observable([Mailbox("INBOX", b"INBOX"), Mailbox(name, encoded.octets, frozenset(), ".")]) == [
        Mailbox("INBOX", b"INBOX")
    ]


def test_a_name_counts_for_nothing_where_the_server_marks_another_folder_so() -> None:
    assert listed(b'(\\Trash) "/" Bin', b'() "/" Trash', b'() "/" Spam') == ["Trash"]


def test_a_folder_deeper_down_is_one_that_somebody_made() -> None:
    assert listed(b'() "/" "Customers/Spam"', b'() "/" "INBOX/Spam"') == ["Customers/Spam"]


def test_names_are_read_in_every_form_and_asked_for_as_they_are() -> None:
    said = (
        b'* LIST () "/" Entw&APw-rfe\r\n* LIST () NIL {6}\r\na "b" \r\n* LIST () "\\\\" "a\\\\b \\"c\\""\r\n'
        b'* LIST () "/" {3}\r\na\nb\r\n* LIST (\r\n* LSUB () "/" no\r\n* LIST () "/" ""\r\n'
    )
    for way in ways([1, 8, 40]):
        found, sent, _ = ask(List(frozenset((b"SPECIAL-USE", b"LIST-EXTENDED"))), said + OK, way=way)
        assert [(each.name, each.quoted) for each in found.mailboxes] == [
            ("Entwürfe", b'"Entw&APw-rfe"'),
            ('a "b" ', b'"a \\"b\\" "'),
            ('a\\b "c"', b'"a\\\\b \\"c\\""'),
        ]
        assert sent == b'o1 LIST "" "*" RETURN (SPECIAL-USE)\r\n'
