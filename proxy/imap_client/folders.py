"""The folders of a mailbox, and which of them are looked at: all but Drafts, Junk and Trash (rules.md 3.7).

The server says which these are (RFC 6154). Where it does not, they are known by their names, in the languages of the
common clients; only at the top or right below INBOX, because a folder deeper down is one that somebody made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.capture import Folder
from proxy.folder_names import folder_called
from proxy.imap.command import Arguments, BadCommand
from proxy.imap.mailbox import decode_name, encode_name
from proxy.imap_client.dialogue import Command

__all__ = ["INBOX", "MAX_FOLDERS", "Create", "List", "Mailbox", "Subscribe", "listed_in", "observable", "quoted"]

INBOX = "INBOX"
MAX_FOLDERS = 2000  # of one mailbox that are looked at
NAME = 1000  # characters of a folder's name, with those above it
LISTED = re.compile(rb"(?i)\* LIST \(([^()\r\n]*)\) (?:NIL|\"((?:[^\"\\\r\n]|\\[\"\\])?)\")(?= )")
USES = {b"\\drafts": Folder.DRAFTS, b"\\junk": Folder.JUNK, b"\\trash": Folder.TRASH}
# RFC 9051 §7.3.1; and RFC 6154 §2, RFC 8457 §3: these show again what lies in other folders.
UNSEEN = frozenset((b"\\noselect", b"\\nonexistent", b"\\flagged", b"\\important"))
ABOVE = frozenset(("", "inbox", "[gmail]", "[google mail]"))


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A folder as the server lists it: `name` as people know it, `octets` as the server does."""

    name: str
    octets: bytes
    attributes: frozenset[bytes] = frozenset()
    delimiter: str = ""

    @property
    def quoted(self) -> bytes:
        """The name as a command holds it."""
        return quoted(self.octets)


def quoted(octets: bytes) -> bytes:
    """A quoted string (RFC 9051 §4.3). There is no CR, LF or NUL in `octets`."""
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


class List(Command):
    """LIST of everything; `mailboxes` are those that can be asked for again, a bounded number."""

    def __init__(self, capabilities: frozenset[bytes]) -> None:
        self._tells_use = {b"SPECIAL-USE", b"LIST-EXTENDED"} <= capabilities
        self.mailboxes: list[Mailbox] = []
        self.is_cut = False

    def octets(self) -> bytes:
        return b'LIST "" "*"' + (b" RETURN (SPECIAL-USE)" if self._tells_use else b"") + b"\r\n"

    def untagged(self, parts: list[bytes]) -> None:
        mailbox = listed_in(parts)
        if mailbox is None:
            return
        if len(self.mailboxes) >= MAX_FOLDERS:
            self.is_cut = True
            return
        self.mailboxes.append(mailbox)


def listed_in(parts: list[bytes]) -> Mailbox | None:
    """The folder of a LIST response; `None` when it is another response, or has a name that cannot be asked for."""
    match = LISTED.match(parts[0])
    if match is None:
        return None
    try:
        octets = Arguments(parts, match.end()).take()
    except BadCommand:
        return None
    name = decode_name(octets)
    if not 0 < len(name) <= NAME or any(octet in b"\r\n\0" for octet in octets):
        return None
    delimiter = (match[2] or b"")[-1:].decode("ascii", "replace")
    return Mailbox(name, octets, frozenset(match[1].lower().split()), delimiter)


class Create(Command):
    """CREATE of a folder by the name that people know it by (RFC 9051 §6.3.4)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def octets(self) -> bytes:
        return b"CREATE " + quoted(encode_name(self.name)) + b"\r\n"


class Subscribe(Command):
    """SUBSCRIBE to it, so that clients show it (RFC 9051 §6.3.7)."""

    def __init__(self, name: str) -> None:
        self._name = name

    def octets(self) -> bytes:
        return b"SUBSCRIBE " + quoted(encode_name(self._name)) + b"\r\n"


def observable(mailboxes: Iterable[Mailbox]) -> list[Mailbox]:
    """The folders to look at, INBOX first. What lies below Drafts, Junk or Trash counts as they do."""
    everything = list({each.name: each for each in mailboxes}.values())
    missing = set(Folder).difference(*map(_uses, everything))
    private = [each for each in everything if each.name != INBOX and (_uses(each) or _guess(each) in missing)]
    roots = tuple(each.name + each.delimiter for each in private if each.delimiter)
    left_out = {each.name for each in private}
    found = [
        each
        for each in everything
        if each.name not in left_out and not each.attributes & UNSEEN and not each.name.startswith(roots)
    ]
    return sorted(found, key=lambda each: (each.name != INBOX, each.name))


def _uses(mailbox: Mailbox) -> set[Folder]:
    return {USES[each] for each in mailbox.attributes if each in USES}


def _guess(mailbox: Mailbox) -> Folder | None:
    above, _, leaf = mailbox.name.rpartition(mailbox.delimiter) if mailbox.delimiter else ("", "", mailbox.name)
    if above.casefold() not in ABOVE:
        return None
    return folder_called(leaf)
