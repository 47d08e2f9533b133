"""The envelope of a mail transaction: who sends, to whom, and what the provider said to each (RFC 5321 §2.3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.smtp.reply import Reply

__all__ = ["Envelope", "Recipient"]


@dataclass(frozen=True, slots=True)
class Recipient:
    """A forward-path as written and the provider's verdict on it."""

    path: bytes
    reply: Reply


@dataclass(slots=True)
class Envelope:
    """RFC 5321 §2.3.1: the reverse-path as written (`b""` is the null path) and the forward-paths with verdicts.

    `captures` are the forward-paths that log the message instead of receiving it: ours to accept, and no provider's.
    """

    reverse_path: bytes | None = None
    recipients: list[Recipient] = field(default_factory=list)
    captures: list[bytes] = field(default_factory=list)

    @property
    def has_accepted(self) -> bool:
        """Whether the provider took at least one recipient."""
        return any(each.reply.is_positive for each in self.recipients)

    @property
    def is_for_log_only(self) -> bool:
        """Whether nobody is to get the message but the log."""
        return bool(self.captures) and not self.has_accepted
