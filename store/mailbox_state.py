"""Whether a connected mailbox can be opened, and may be read."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ColumnElement

from store import schema

__all__ = ["MailboxState", "is_observable", "may_be_read"]


class MailboxState(StrEnum):
    """Whether the mailbox can be opened. `NEEDS_RECONNECT`: only its user can help, by connecting it again."""

    OK = "ok"
    NEEDS_RECONNECT = "needs reconnect"


def may_be_read() -> ColumnElement[bool]:
    """What holds of a user whose mail may be read: active, with access given."""
    return schema.user.c.active & schema.user.c.personal_email_access


def is_observable() -> ColumnElement[bool]:
    """What holds of a mailbox, joined with its user, that is to be observed."""
    return (schema.connected_mailbox.c.state == MailboxState.OK) & may_be_read()
