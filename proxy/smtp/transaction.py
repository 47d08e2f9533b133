"""A mail transaction: MAIL, RCPT, DATA and the mail data between the client and the provider (RFC 5321 §3.3).

- The end of data is sent only after all of it came and nothing was wrong with it. A client that dies, or a message
  that breaks a rule, costs the provider's connection and never produces an end of data.
- A reply to mail data waits for the capture when the message is to be logged (`Tap.deliver`).
- A capture address is a recipient of ours: accepted here, named to nobody else. A message for nobody else has no
  transaction at the provider: the one that MAIL began there is reset before content is taken.
- A transaction that ends without a message because every recipient was refused is told of, once (`Wire.undelivered`):
  most clients give up then and never say DATA.
"""

from __future__ import annotations

from proxy.smtp.command import BadCommand, Command, MailPath, parse_path
from proxy.smtp.conversation import Conversation
from proxy.smtp.destination import Destination, ToLog, ToProvider
from proxy.smtp.envelope import Envelope, Recipient
from proxy.smtp.mail_data import END_OF_DATA, DataReader, MendingReader
from proxy.smtp.onward import Onward
from proxy.smtp.reply import Reply, reply
from proxy.smtp.reply_queue import Place
from proxy.smtp.tap import Tap
from proxy.smtp.transfer import Transfer

__all__ = ["TOO_LARGE", "MailTransaction"]

TOO_LARGE = "5.3.4 The message is larger than this relay takes"


class MailTransaction:
    """The transactions of one session, one after another. `transfer` is there while a message is on its way to
    `destination`.
    """

    def __init__(self, conversation: Conversation, onward: Onward) -> None:
        self._conversation = conversation
        self._queue = conversation.queue
        self._limits = conversation.limits
        self._onward = onward
        self._envelope = Envelope()
        self._recipients_asked = 0
        self._has_left = False
        self._is_told = False  # the log knows of the transaction already
        self.transfer: Transfer | None = None
        self._to_provider = ToProvider(conversation, self.on_end_of_data, self.forget)
        self._to_log = ToLog(conversation, self.forget)
        self.destination: Destination = self._to_provider
        self._reader: DataReader | MendingReader | None = None
        self._refusal: bytes | None = None

    @property
    def is_open(self) -> bool:
        """Whether MAIL has begun a transaction that has not ended (RFC 5321 §3.3)."""
        return self.transfer is not None or self._envelope.reverse_path is not None

    @property
    def reads_data(self) -> bool:
        """Whether what the client sends is mail data, so that the provider owes no reply."""
        return self._reader is not None

    @property
    def relays_data(self) -> bool:
        """Whether it is mail data that goes to the provider."""
        return self._reader is not None and self.destination.needs_provider

    def mail(self, command: Command) -> None:
        """MAIL FROM. Raises `BadCommand`."""
        self._conversation.require_login()
        self._require_no_message()
        path = parse_path(command)
        if path.size is not None and path.size > self._limits.message:
            self._queue.answer(reply(552, TOO_LARGE))
            return
        self._recipients_asked = 0
        self._onward.mail(command, path, self._envelope, self._on_mail)

    def _on_mail(self, place: Place, answer: Reply) -> None:
        if answer.is_positive and isinstance(place.detail, bytes):
            self.forget()
            self._envelope.reverse_path = place.detail
        self._queue.resolve(place, answer.octets)

    def rcpt(self, command: Command) -> None:
        """RCPT TO. Raises `BadCommand`."""
        self._conversation.require_login()
        self._require_no_message()
        path = parse_path(command)
        had = len(self._envelope.recipients) + len(self._envelope.captures)
        if max(self._recipients_asked, had) >= self._limits.recipients:
            self._queue.answer(reply(452, "4.5.3 Too many recipients; send the rest in another transaction"))
            return
        self._onward.require_rcpt(path, self._envelope)
        is_capture = self._conversation.wire.is_capture_address(path.path)
        if is_capture is None:
            self._conversation.hold()
            self._conversation.wire.ask_capture_address(path.path, lambda found: self._asked(command, path, found))
        else:
            self._take_recipient(command, path, is_capture)

    def _asked(self, command: Command, path: MailPath, is_capture: bool | None) -> None:
        if self._conversation.is_closing:
            return
        try:
            self._take_recipient(command, path, is_capture)
        except BadCommand as error:
            self._conversation.refuse_command(error)
        self._conversation.resume()

    def _take_recipient(self, command: Command, path: MailPath, is_capture: bool | None) -> None:
        if is_capture and self._conversation.queue.awaited is not None:
            self._conversation.stall(command.line)  # whether there is a transaction is for the provider to say first
        elif is_capture:
            self._accept_capture(path)
        else:
            self._onward.rcpt(command, path, self._on_rcpt, is_known=is_capture is not None)
            self._recipients_asked += 1

    def _accept_capture(self, path: MailPath) -> None:
        if self._envelope.reverse_path is None:
            raise BadCommand(503, "5.5.1 Say MAIL first")
        self._recipients_asked += 1
        self._envelope.captures.append(path.path)
        self._conversation.queue.answer(reply(250, "2.1.5 Recipient ok"))

    def _on_rcpt(self, place: Place, answer: Reply) -> None:
        if self._envelope.reverse_path is not None and isinstance(place.detail, bytes):
            self._envelope.recipients.append(Recipient(place.detail, answer))
        self._queue.resolve(place, answer.octets)

    def data(self, command: Command) -> None:
        """DATA. Raises `BadCommand`."""
        self._conversation.require_login()
        self._require_no_message()
        if command.argument:
            raise BadCommand(501, "5.5.4 DATA takes no argument")
        try:
            self._onward.require_recipients(self._envelope)
        except BadCommand as error:
            self._conversation.refuse_command(error)
            self._refuse_sent_ahead()
            return
        if self._envelope.captures and not self.is_settled(command):
            return
        if self._envelope.is_for_log_only:
            self._begin_data()
            self._conversation.queue.answer(reply(354, "End the message with a line that holds a dot alone"))
            return
        self._conversation.forward(command.line, self.on_data)
        self._conversation.hold()

    @property
    def has_somebody(self) -> bool:
        """Whether content may come, for somebody."""
        try:
            self._onward.require_recipients(self._envelope)
        except BadCommand:
            return False
        return True

    def is_settled(self, command: Command) -> bool:
        """Whether content may come: every recipient has its verdict, and only who gets the message knows of it.

        If not, the command was put back, and comes again when that is so.
        """
        if self._conversation.queue.awaited is None and self._envelope.is_for_log_only and not self._has_left:
            self._onward.leave(self._on_left)
        if self._conversation.queue.awaited is None:
            return True
        self._conversation.stall(command.line)
        return False

    def _on_left(self, place: Place, answer: Reply) -> None:
        """The provider forgot the transaction. The client did not ask for that, unless the provider leaves."""
        self._has_left = True
        self._conversation.queue.resolve(place, answer.octets if answer.code == 421 else b"")

    def on_data(self, place: Place, answer: Reply) -> None:
        """The answer to DATA: mail data follows, or nothing does."""
        if answer.code == 354:
            self._begin_data()
        else:
            self._tell_undelivered()
        self._queue.resolve(place, answer.octets)
        if self.transfer is None:
            self._refuse_sent_ahead()
        self._conversation.resume()

    def _begin_data(self) -> None:
        self.transfer = self.begin(dot_stuffed=True)
        self._reader = MendingReader() if self._conversation.wire.mending() else DataReader()
        self._conversation.read = self._read_data

    def _refuse_sent_ahead(self) -> None:
        """RFC 2920 §3.1: DATA is the last of a group. What was sent ahead is content, and never commands."""
        if self._conversation.has_input:
            self._conversation.end(reply(503, "5.5.0 The message was sent before it was asked for"))

    def reset(self) -> None:
        """RSET and EHLO end the transaction, now and once more in their turn: a MAIL before them may be open still."""
        self._recipients_asked = 0
        self.discard()
        self._envelope = Envelope()

    def forget(self) -> None:
        """The transaction has ended, and every verdict that it had is there."""
        self._tell_undelivered()
        self._envelope = Envelope()
        self._has_left = False
        self._is_told = False

    def _tell_undelivered(self) -> None:
        envelope = self._envelope
        if not self._is_told and envelope.recipients and not envelope.captures and not envelope.has_accepted:
            self._is_told = True
            self._conversation.wire.undelivered(envelope)

    def begin(self, *, dot_stuffed: bool) -> Transfer:
        """A message begins: its tap sees the envelope as it is now."""
        self._is_told = True
        self.destination = self._to_log if self._envelope.is_for_log_only else self._to_provider
        return Transfer(
            self._conversation.wire.tap(self._envelope),
            self.destination.send,
            self._onward.fields,
            header_limit=self._limits.header_section,
            dot_stuffed=dot_stuffed,
        )

    def end_with(self, transfer: Transfer, octets: bytes) -> None:
        """All of the message came: `octets` are its end, and go when the journal has the message."""
        self.transfer = None
        self.destination.end(octets, transfer.tap)

    def refuse(self, octets: bytes) -> None:
        """The message must not end well: the provider goes at once, the client is read to the end of its data."""
        self._refusal = octets
        if self.transfer is not None and self.transfer.tap is not None:
            self.transfer.tap.discard()
        self._conversation.drop_provider()

    def discard(self) -> None:
        """The message on its way, if there is one, comes to nothing, and so does the transaction."""
        transfer, self.transfer = self.transfer, None
        if transfer is not None and transfer.tap is not None and self._refusal is None:
            transfer.tap.discard()
        if self._queue.awaited is None:  # else verdicts are to come, and the end in its turn
            self.forget()

    def provider_is_lost(self) -> None:
        """The provider went during mail data: the client is read to the end of it, then told."""
        if self._refusal is None and self.destination.needs_provider:
            self.refuse(reply(451, "4.4.2 The mail provider closed the connection during the message"))

    def verdict_is_lost(self, place: Place) -> None:
        """The provider was lost after the end of data, before its reply."""
        if place.detail is not None:
            _tap_of(place).lose()
        lost = reply(451, "4.4.2 The mail provider was lost before it answered; the outcome is unknown")
        self._queue.resolve(place, lost)

    def on_end_of_data(self, place: Place, answer: Reply) -> None:
        """The provider's verdict on the message. It waits for the capture."""
        if place.detail is not None:
            tap = _tap_of(place)
            if not answer.is_positive:
                tap.refuse(answer)
            elif tap.deliver(answer, lambda: self._conclude(place, answer)):
                return
        self._conclude(place, answer)

    def _read_data(self) -> bool:
        reader, transfer = self._reader, self.transfer
        assert reader is not None
        content, rest = reader.feed(self._conversation.take_all())
        if self._refusal is None:
            assert transfer is not None
            if reader.violation is not None:
                self.refuse(reply(550, f"5.6.11 The message holds what servers may misread: {reader.violation}"))
            elif reader.size > self._limits.message:
                self.refuse(reply(552, TOO_LARGE))
            elif content:
                transfer.feed(content)
        if rest is None:
            return False
        self._conversation.put_back(rest)
        self._conversation.read = self._conversation.read_command
        self._reader = None
        self._finish_data()
        return True

    def _finish_data(self) -> None:
        transfer = self.transfer
        if self._refusal is not None:
            self.transfer = None
            self._conversation.end(self._refusal)
            return
        assert transfer is not None
        transfer.finish()
        self.end_with(transfer, END_OF_DATA)

    def _conclude(self, place: Place, answer: Reply) -> None:
        self._queue.resolve(place, answer.octets)
        self._conversation.unstall()
        self._conversation.close_when_answered()

    def _require_no_message(self) -> None:
        """RFC 3030 §2: between chunks there is no MAIL, RCPT or DATA; the tap knows one envelope and one content."""
        if self.transfer is not None:
            raise BadCommand(503, "5.5.1 The message has begun; finish it or say RSET")


def _tap_of(place: Place) -> Tap:
    return place.detail  # type: ignore[return-value]  # the only thing _send_end ever puts there
