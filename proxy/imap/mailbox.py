"""Mailbox names, and which mailbox a session has selected (RFC 9051 §5.1, §6.3.2)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from engine.capture import Folder
from proxy.imap.command import Arguments, BadCommand
from proxy.imap.watch import Place

__all__ = ["FLAGS", "Mailboxes", "decode_name", "encode_name", "flags_of"]

MAX_FOLDERS = 100  # names with a special use that are remembered
# RFC 3501 §5.1.3: "&" modified-base64 "-", with "," for "/"
SHIFTED = re.compile(r"&([^-]*)-")
PRINTABLE = re.compile(r"([ -~]+)")
UIDVALIDITY = re.compile(rb"(?i)\* OK \[UIDVALIDITY ([0-9]{1,10})\]")
SPECIAL_USE = re.compile(
    rb"(?i)\* (?:LIST|XLIST) \(([^()]*\\(Drafts|Junk|Trash)[^()]*)\) (?:NIL|\"[^\r\n]{1,2}\")(?= )"
)
FLAGS = rb"\(([^()\"]*)\)"


def decode_name(octets: bytes) -> str:
    """A mailbox name as people know it; one that is no modified UTF-7 stands for itself. INBOX is INBOX in any case."""
    name = octets.decode("utf-8", "replace")
    if name.isascii():
        try:
            name = SHIFTED.sub(_unshifted, name)
        except (binascii.Error, UnicodeDecodeError):
            return name
    return "INBOX" if name.upper() == "INBOX" else name


def encode_name(name: str) -> bytes:
    """The same as modified UTF-7, which every server takes (RFC 3501 §5.1.3)."""
    return b"".join(_shifted(each) for each in PRINTABLE.split(name)) if name else b""


def _shifted(piece: str) -> bytes:
    if PRINTABLE.fullmatch(piece):
        return piece.replace("&", "&-").encode()
    encoded = base64.b64encode(piece.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
    return b"&" + encoded + b"-" if piece else b""


def _unshifted(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    encoded = match[1].replace(",", "/")
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode("utf-16-be")


def flags_of(written: bytes) -> frozenset[str]:
    """A flag list without its parentheses, in small letters."""
    return frozenset(written.decode("ascii", "replace").lower().split())


@dataclass(slots=True)
class Mailboxes:
    """`selected` is where the client is, `opening` are the names that it asked for, in their order."""

    selected: Place | None = None
    opening: list[str] = field(default_factory=list)
    _uidvalidity: int | None = None
    _folders: dict[str, Folder] = field(default_factory=dict)

    def place(self, name: str, uidvalidity: int | None = None) -> Place:
        """A mailbox by its decoded name."""
        return Place(name, uidvalidity, self._folders.get(name))

    def read(self, text: bytes) -> None:
        """An untagged response that may tell of mailboxes."""
        if (match := UIDVALIDITY.match(text)) is not None:
            if self.opening:
                self._uidvalidity = int(match[1])
            elif self.selected is not None:
                self.selected = self.place(self.selected.mailbox, int(match[1]))
        elif (match := SPECIAL_USE.match(text)) is not None and len(self._folders) < MAX_FOLDERS:
            try:
                name = Arguments([text], match.end()).take()
            except BadCommand:
                return
            self._folders[decode_name(name)] = Folder(match[2].decode().lower())

    def opened(self, name: str, *, is_open: bool) -> None:
        """The provider has answered the first of `opening`."""
        self.opening.remove(name)
        self.selected = self.place(name, self._uidvalidity) if is_open else None
        self._uidvalidity = None
