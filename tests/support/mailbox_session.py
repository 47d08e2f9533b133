"""An IMAP session that passes through and is watched: what a client and its provider say, octet by octet.

The passage and the watcher are real, and so is all behind them; only the wires are lists.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.capture import Captures
from proxy.imap.passage import Passage
from proxy.watching import MailboxWatcher

__all__ = ["MailboxSession", "mail"]

DATE = "Tue, 3 Feb 2026 10:00:00 +0000"


def mail(
    author: str,
    to: str,
    msg_id: str,
    *,
    subject: str = "Offer",
    body: bytes = b"Hello.\r\n",
    date: str = DATE,
    more: str = "",
) -> bytes:
    """A message. `more` are further lines of the header section."""
    fields = f"From: {author}\r\nTo: {to}\r\nDate: {date}\r\nMessage-ID: <{msg_id}>\r\nSubject: {subject}\r\n{more}"
    return fields.encode() + b"\r\n" + body


class MailboxSession:
    """Each method is one command of the client with all that the provider says to it, in pieces of `piece` octets.

    What went on to either side is in `to_client` and `to_provider`, unless `keep` is false.
    """

    def __init__(
        self,
        captures: Captures,
        login: str = "ann@acme.example",
        *,
        session: str = "imap-1",
        piece: int = 65536,
        keep: bool = True,
    ) -> None:
        self.watcher = MailboxWatcher(captures, session, login)
        self.piece = piece
        self.to_client = bytearray()
        self.to_provider = bytearray()
        self.passage = Passage(
            self.to_client.extend if keep else lambda octets: None,
            self.to_provider.extend if keep else lambda octets: None,
            self.watcher,
            capabilities=frozenset({b"LITERAL+"}),
            header_limit=captures.limits.header_section,
        )

    def client(self, octets: bytes) -> None:
        for piece in self._pieces(octets):
            self.passage.client_octets(piece)

    def provider(self, octets: bytes) -> None:
        for piece in self._pieces(octets):
            self.passage.provider_octets(piece)

    def _pieces(self, octets: bytes) -> Iterator[bytes]:
        return (octets[start : start + self.piece] for start in range(0, len(octets), self.piece))

    def list(self, name: str, use: str) -> None:
        """The provider says what a mailbox is for."""
        self.client(b'a LIST "" * RETURN (SPECIAL-USE)\r\n')
        self.provider(f'* LIST (\\HasNoChildren \\{use}) "/" "{name}"\r\na OK done\r\n'.encode())

    def select(self, name: str = "INBOX", *, uidvalidity: int | None = 7) -> None:
        told = f"* OK [UIDVALIDITY {uidvalidity}] x\r\n" if uidvalidity is not None else ""
        self.client(f'b SELECT "{name}"\r\n'.encode())
        self.provider(f"{told}b OK [READ-WRITE] done\r\n".encode())

    def fetch(self, uid: int | None, content: bytes, *, flags: str = "", item: str = "BODY[]") -> None:
        """The client reads one message."""
        known = f"UID {uid} " if uid is not None else ""
        self.client(f"c UID FETCH {uid or 1} ({item})\r\n".encode())
        self.provider(f"* 1 FETCH ({known}FLAGS ({flags}) {item} {{{len(content)}}}\r\n".encode())
        self.provider(content)
        self.provider(b")\r\nc OK done\r\n")

    def append(self, name: str, content: bytes, *, flags: str = "\\Seen", uid: int | None = 5, ok: bool = True) -> None:
        """The client saves one message."""
        self.client(f'd APPEND "{name}" ({flags}) {{{len(content)}+}}\r\n'.encode())
        self.client(content)
        self.client(b"\r\n")
        told = f"[APPENDUID 7 {uid}] " if uid is not None else ""
        self.provider(f"d {'OK' if ok else 'NO'} {told}done\r\n".encode())

    def delete_all(self) -> None:
        """The client deletes all messages of the selected mailbox, which has one."""
        self.client(b"f STORE 1:* +FLAGS.SILENT (\\Deleted)\r\ng EXPUNGE\r\n")
        self.provider(b"f OK done\r\n* 1 EXPUNGE\r\ng OK done\r\n")

    def close(self) -> None:
        """Both sides hang up."""
        self.passage.client_lost()
        self.passage.provider_lost()
        self.passage.close()
        self.watcher.close()
