"""What a session does with what is not the log's: hand it to the provider, or, where there is none, refuse it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from proxy.smtp.command import BadCommand, Command, MailPath
from proxy.smtp.conversation import Conversation
from proxy.smtp.envelope import Envelope
from proxy.smtp.reply import Reply, reply
from proxy.smtp.reply_queue import Place

__all__ = ["Nowhere", "Onward", "ProviderOnward"]

NO_SUCH_RECIPIENT = "5.1.1 There is no such recipient here"  # for all alike: who asks must learn nothing
NO_SUCH_PARAMETER = "5.5.4 A parameter is not known here"
# RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.4
BODIES = (b"7BIT", b"8BITMIME")

OnReply = Callable[[Place, Reply], None]


class Onward(Protocol):
    """`fields` makes values for fields that a message lacks, where it may be completed."""

    fields: Callable[[], tuple[bytes, bytes]] | None

    def mail(self, command: Command, path: MailPath, envelope: Envelope, on_reply: OnReply) -> None:
        """MAIL. Raises `BadCommand`."""

    def require_rcpt(self, path: MailPath, envelope: Envelope) -> None:
        """RCPT, to whomever. Raises `BadCommand` when it can be told to be wrong."""

    def rcpt(self, command: Command, path: MailPath, on_reply: OnReply, *, is_known: bool) -> None:
        """RCPT to an address that is none of the log's, or, unless `is_known`, may be one. Raises `BadCommand`."""

    def require_recipients(self, envelope: Envelope) -> None:
        """Content is to come. Raises `BadCommand` when there is nobody for it."""

    def leave(self, on_reply: OnReply) -> None:
        """Ends the transaction elsewhere: the message is for the log only."""


class ProviderOnward:
    """Everything goes to the provider, whose replies are the replies."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self.fields: Callable[[], tuple[bytes, bytes]] | None = conversation.wire.fields

    def mail(self, command: Command, path: MailPath, envelope: Envelope, on_reply: OnReply) -> None:
        self._conversation.forward(command.line, on_reply, path.path)

    def require_rcpt(self, path: MailPath, envelope: Envelope) -> None:
        """The provider says so itself."""

    def rcpt(self, command: Command, path: MailPath, on_reply: OnReply, *, is_known: bool) -> None:
        # Should it be an address of the log after all, the provider finds the server that takes its mail.
        self._conversation.forward(command.line, on_reply, path.path)

    def require_recipients(self, envelope: Envelope) -> None:
        """The provider says so itself."""

    def leave(self, on_reply: OnReply) -> None:
        self._conversation.forward(b"RSET\r\n", on_reply)


class Nowhere:
    """There is no provider: nothing is relayed, and no message is altered."""

    fields: Callable[[], tuple[bytes, bytes]] | None = None

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def mail(self, command: Command, path: MailPath, envelope: Envelope, on_reply: OnReply) -> None:
        if envelope.reverse_path is not None:
            raise BadCommand(503, "5.5.1 The transaction has begun; finish it or say RSET")
        _require_mail_parameters(path.parameters)
        place = self._conversation.queue.reserve(path.path)
        on_reply(place, Reply(250, reply(250, "2.1.0 Ok")))

    def require_rcpt(self, path: MailPath, envelope: Envelope) -> None:
        if envelope.reverse_path is None:
            raise BadCommand(503, "5.5.1 Say MAIL first")
        if path.parameters.strip():
            raise BadCommand(555, NO_SUCH_PARAMETER)

    def rcpt(self, command: Command, path: MailPath, on_reply: OnReply, *, is_known: bool) -> None:
        if not is_known:
            self._conversation.queue.answer(reply(451, "4.3.0 Recipients cannot be looked up now; try again later"))
            return
        raise BadCommand(550, NO_SUCH_RECIPIENT)

    def require_recipients(self, envelope: Envelope) -> None:
        if not envelope.captures:
            raise BadCommand(503, "5.5.1 There is no recipient")

    def leave(self, on_reply: OnReply) -> None:
        place = self._conversation.queue.reserve()
        on_reply(place, Reply(250, reply(250, "2.0.0 Ok")))


def _require_mail_parameters(parameters: bytes) -> None:
    """RFC 5321 §4.1.1.11: a parameter that is not known must not pass."""
    for word in parameters.upper().split():
        name, _, value = word.partition(b"=")
        if not (name == b"SIZE" or word == b"SMTPUTF8" or (name == b"BODY" and value in BODIES)):
            raise BadCommand(555, NO_SUCH_PARAMETER)
