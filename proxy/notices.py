"""Notices: a user whose capture was refused is told so by mail (rules.md 7.2).

A notice goes to the account address of a user of the portal and to nobody else, at most one an hour, and never in
answer to automatic mail: anybody can write to a capture address, and nobody must be able to make us write to others, or
to talk with another machine for ever. It quotes nothing of the message it speaks of. Mail that fails is logged and
dropped; recording does not wait for it.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path

import structlog

from engine.decision import Decision, Outcome, Reason, Source
from engine.message import Message
from proxy.route import Tls
from proxy.sasl import Secret
from store.database import StoreUnavailable
from store.notice_record import NoticeRecord

__all__ = ["NoticeOptions", "Notices"]

log = structlog.get_logger("notices")

HOUR = 3600.0
SECONDS = 30.0  # for each step of the conversation with the server
QUEUED = 100  # more are dropped: most would be held back by the hour anyhow
WHY = {
    Reason.CAPTURE_SENDER_UNVERIFIED: "nothing proves that it came from you. Send it through the server of your own "
    "domain, or through the relay.",
    Reason.USER_NO_PERMISSION: "you have not given access to personal email.",
    Reason.FORWARD_NOT_PARSED: (
        "no forwarded original was found in it, or not all could be read. Forward each message as an attachment."
    ),
    Reason.ALL_CONTACTS_NEVER_LOG: "everybody it could be logged to is on the Never Log list.",
    Reason.ERASED_ADDRESS: "everybody it could be logged to was erased, and must not come back.",
}
AUTOMATIC = (b"bulk", b"junk", b"list")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeOptions:
    """The server that takes the notices; without `host` there are none. `sender` is the address in From."""

    host: str | None = None
    port: int = 587
    tls: Tls = Tls.STARTTLS
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    sender: str = ""


@dataclass(frozen=True, slots=True)
class _Told:
    decision: Decision
    authors: tuple[str, ...]
    at: float


class Notices:
    """Sends notices, one after another, while `run` runs. `password` and `context` are those of `options`."""

    def __init__(
        self,
        options: NoticeOptions,
        record: NoticeRecord,
        *,
        password: Secret,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._record = record
        self._password = password
        self._context = context
        self._clock = clock
        self._queue: asyncio.Queue[_Told] = asyncio.Queue(QUEUED)

    def concerns(self, decision: Decision) -> bool:
        """Whether users are told of such a decision."""
        is_refused = decision.outcome is Outcome.SKIP and decision.reason in WHY
        return is_refused and decision.source in (Source.BCC, Source.FORWARD)

    def consider(self, decision: Decision, message: Message, reverse_path: str, at: float) -> None:
        """Tells the user later of a decision on what was sent as `message`, if it is one to be told of."""
        if not self.concerns(decision) or not reverse_path or _is_automatic(message):
            return
        try:
            self._queue.put_nowait(_Told(decision, message.authors, at))
        except asyncio.QueueFull:
            log.warning("a notice is dropped", cause="too many wait")

    async def run(self) -> None:
        """Sends what comes, until it is cancelled."""
        while True:
            told = await self._queue.get()
            try:
                await self._tell(told)
            finally:
                self._queue.task_done()

    async def finish(self, seconds: float) -> None:
        """Waits until all that was considered is sent or dropped, but not longer than so many seconds."""
        try:
            await asyncio.wait_for(self._queue.join(), seconds)
        except TimeoutError:
            log.warning("notices are dropped", cause="stopping")

    async def _tell(self, told: _Told) -> None:
        decision = told.decision
        try:
            found = await self._record.recipient(decision.portal, decision.user, told.authors)
            if found is None or not await self._record.claim(found[0], self._clock(), seconds=HOUR):
                return
            await asyncio.to_thread(self._send, found[1], _notice(self._options.sender, found[1], told))
        except (OSError, smtplib.SMTPException, StoreUnavailable) as error:
            log.warning("a notice could not be sent", cause=type(error).__name__)

    def _send(self, recipient: str, notice: EmailMessage) -> None:
        """One conversation. Blocks. Raises `OSError` or `SMTPException`."""
        options = self._options
        host = options.host or "localhost"
        if options.tls is Tls.IMPLICIT:
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, options.port, timeout=SECONDS, context=self._context or ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(host, options.port, timeout=SECONDS)
        with server:
            if options.tls is Tls.STARTTLS:
                server.starttls(context=self._context or ssl.create_default_context())
            if options.username is not None:
                server.login(options.username, self._password.reveal().decode())
            # The null reverse-path: a notice that cannot be delivered must not come back (RFC 5321 §4.5.5).
            server.sendmail("", [recipient], notice.as_bytes())


def _is_automatic(message: Message) -> bool:
    """Whether a program sent it (RFC 3834 §2): nobody would read the answer, or a program would answer it."""
    header = message.header
    submitted = header.first(b"auto-submitted")
    if submitted is not None and submitted.partition(b";")[0].strip().lower() != b"no":
        return True
    precedence = header.first(b"precedence")
    return (precedence is not None and precedence.strip().lower() in AUTOMATIC) or header.has(
        (b"list-id", b"list-post")
    )


def _notice(sender: str, recipient: str, told: _Told) -> EmailMessage:
    notice = EmailMessage()
    notice["From"] = sender
    notice["To"] = recipient
    notice["Subject"] = "A message you sent to the log was not logged"
    notice["Date"] = format_datetime(datetime.now(UTC))
    notice["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    notice["Auto-Submitted"] = "auto-replied"  # RFC 3834 §5
    at = datetime.fromtimestamp(told.at, UTC)
    notice.set_content(
        f"A message in your name reached the log's address on {at:%Y-%m-%d} at {at:%H:%M} UTC and was not logged:\n"
        f"{WHY[told.decision.reason]}\n\n"
        "Further messages may be refused for such reasons; you are told at most once an hour.\n"
        "If you did not send one, somebody uses your address.\n"
    )
    return notice
