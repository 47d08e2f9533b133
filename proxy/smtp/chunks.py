"""BDAT: a message in chunks of a known size (RFC 3030 §2).

The first octets of a chunk wait until the header section is known or the chunk is whole: fields that it lacks make the
chunk longer, and the size stands before it.
"""

from __future__ import annotations

from proxy.smtp.command import BadCommand, Chunk, Command, parse_chunk
from proxy.smtp.conversation import Conversation
from proxy.smtp.reply import reply
from proxy.smtp.transaction import TOO_LARGE, MailTransaction
from proxy.smtp.transfer import Transfer

__all__ = ["Chunks"]


class Chunks:
    """The chunks of one session's messages."""

    def __init__(self, conversation: Conversation, transaction: MailTransaction) -> None:
        self._conversation = conversation
        self._transaction = transaction
        self._chunk: Chunk | None = None
        self._left = 0
        self._is_open = False

    @property
    def is_reading(self) -> bool:
        """Whether a chunk has begun that is not whole."""
        return self._chunk is not None

    def bdat(self, command: Command) -> None:
        """BDAT size [LAST]. Raises `BadCommand`."""
        # The tap needs the verdicts on MAIL and RCPT before the first content.
        if self._transaction.transfer is None and not self._transaction.is_settled(command):
            return
        chunk = parse_chunk(command)
        if chunk.size > self._conversation.limits.message:
            raise BadCommand(552, TOO_LARGE, closes=True)
        self._chunk, self._left = chunk, chunk.size
        self._is_open = False
        self._conversation.read = self._read_chunk
        if not self._may_take():
            self._conversation.read = self._skip_chunk
        elif self._transaction.transfer is None:
            self._transaction.transfer = self._transaction.begin(dot_stuffed=False)
        if not chunk.size:
            self._conversation.read()

    def _may_take(self) -> bool:
        conversation = self._conversation
        return (
            conversation.may_send
            and b"CHUNKING" in conversation.offered_extensions()
            and (self._transaction.transfer is not None or self._transaction.has_somebody)
        )

    def _skip_chunk(self) -> bool:
        """A chunk that cannot go on is swallowed, so that its octets are not taken for commands."""
        self._take_chunk()
        if self._left:
            return False
        self._chunk = None
        self._conversation.read = self._conversation.read_command
        self._conversation.refuse_command(BadCommand(503, "5.5.1 BDAT is not to be had here or now"))
        return True

    def _take_chunk(self) -> bytes:
        octets = self._conversation.take(self._left)
        self._left -= len(octets)
        return octets

    def _read_chunk(self) -> bool:
        transfer, chunk = self._transaction.transfer, self._chunk
        assert transfer is not None
        assert chunk is not None
        octets = self._take_chunk()
        if transfer.size + len(octets) > self._conversation.limits.message:
            self._transaction.discard()
            self._conversation.end(reply(552, TOO_LARGE))
            return False
        if chunk.is_last and not self._left:
            self._finish_chunks(transfer, octets)
            return True
        if self._is_open:
            transfer.pass_chunk(octets)
        elif transfer.collect_chunk(octets) or not self._left:
            self._open_chunk(transfer)
        if self._left:
            return False
        # A refused chunk fails the transaction until RSET (RFC 3030 §2). What was sent ahead still goes on as it is,
        # and the reply to the last chunk decides.
        self._transaction.destination.end_chunk(chunk.size)
        self._close_chunk()
        return True

    def _open_chunk(self, transfer: Transfer) -> None:
        """Sends BDAT with what is held of the chunk; fields that the section lacked make it longer."""
        assert self._chunk is not None
        held = transfer.release_chunk(is_last=self._chunk.is_last and not self._left)
        last = b" LAST" if self._chunk.is_last else b""
        self._transaction.destination.send(b"BDAT %d%s\r\n" % (len(held) + self._left, last))
        if held:
            transfer.show(held)
            self._transaction.destination.send(held)
        self._is_open = True

    def _finish_chunks(self, transfer: Transfer, octets: bytes) -> None:
        """The end of a BDAT message is its last octets: they go when the journal has them."""
        if self._is_open:
            transfer.show(octets)
            transfer.size += len(octets)
            ending = octets
        else:
            transfer.collect_chunk(octets)
            held = transfer.release_chunk(is_last=True)
            transfer.show(held)
            ending = b"BDAT %d LAST\r\n" % len(held) + held
        self._close_chunk()
        self._transaction.end_with(transfer, ending)

    def _close_chunk(self) -> None:
        self._chunk = None
        self._is_open = False
        self._conversation.read = self._conversation.read_command
