"""The tables. Keys lead with the portal, so that nothing of one portal is found by a question about another.

Times are Unix seconds (UTC) as floating point. Addresses are kept as written and in canonical form. JSON columns hold
what is only ever read whole.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "attachment",
    "capture",
    "contact",
    "contact_address",
    "content_part",
    "decision",
    "decision_hash",
    "directory_version",
    "email",
    "email_contact",
    "email_id",
    "email_recipient",
    "gap",
    "metadata",
    "never_log",
    "portal",
    "send_as",
    "spool_progress",
    "user",
    "user_address",
]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# -- the directory ----------------------------------------------------------------------------------------------------

portal = Table(
    "portal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("rule", String(20), nullable=False),
    Column("switches", JSON, nullable=False),
    Column("bcc_address", String(320)),
    Column("forward_address", String(320)),
    Column("subaddressed_domains", JSON, nullable=False),
    Column("service_logins", JSON, nullable=False),
)

user = Table(
    "user_account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("account", String(320), nullable=False),
    Column("name", String(200)),
    Column("personal_email_access", Boolean, nullable=False),
    Column("active", Boolean, nullable=False),
    UniqueConstraint("portal", "account"),
)

user_address = Table(
    "user_address",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("canonical", String(320), primary_key=True),
    Column("user", ForeignKey("user_account.id"), primary_key=True),
    Column("kind", String(10), primary_key=True),
    Column("written", String(320), nullable=False),
    Index("ix_user_address_canonical", "canonical"),
)

send_as = Table(
    "send_as",
    metadata,
    Column("user", ForeignKey("user_account.id"), primary_key=True),
    Column("other", ForeignKey("user_account.id"), primary_key=True),
)

contact = Table(
    "contact",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("primary_address", String(320), nullable=False),
    Column("name", String(200)),
    Column("owner", ForeignKey("user_account.id")),
    Index("ix_contact_portal_primary_address", "portal", "primary_address"),
)

contact_address = Table(
    "contact_address",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("canonical", String(320), primary_key=True),
    Column("contact", ForeignKey("contact.id"), nullable=False, index=True),
    Column("written", String(320), nullable=False),
)

never_log = Table(
    "never_log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("user", ForeignKey("user_account.id")),
    Column("entry", String(330), nullable=False),
    Index("ix_never_log_portal_user", "portal", "user"),
)

directory_version = Table(
    "directory_version", metadata, Column("id", Integer, primary_key=True), Column("version", Integer, nullable=False)
)

# -- the log ----------------------------------------------------------------------------------------------------------

email = Table(
    "email",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("identity", String(1400), nullable=False),
    Column("variant", Integer, nullable=False),  # 0, or counting up for other mail under the same identity
    Column("message_id", String(1000)),
    Column("fingerprint", String(64), nullable=False),
    Column("thread", Integer, nullable=False),
    Column("direction", String(10), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("attribution", String(40)),
    Column("user", ForeignKey("user_account.id")),
    Column("flags", JSON, nullable=False),
    Column("subject", Text, nullable=False),
    Column("date", Float),
    Column("at", Float, nullable=False),
    Column("from", JSON, nullable=False),
    Column("to", JSON, nullable=False),
    Column("cc", JSON, nullable=False),
    Column("parents", JSON, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("content", String(64)),
    UniqueConstraint("portal", "identity", "variant"),
    Index("ix_email_portal_at", "portal", "at"),
    Index("ix_email_portal_thread", "portal", "thread"),
)

email_id = Table(  # every id a message is known by (rules.md 4.4)
    "email_id",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("msg_id", String(1000), primary_key=True),
    Column("email", ForeignKey("email.id"), primary_key=True),
)

email_contact = Table(
    "email_contact",
    metadata,
    Column("email", ForeignKey("email.id"), primary_key=True),
    Column("contact", ForeignKey("contact.id"), primary_key=True),
    Column("bcc", Boolean, nullable=False),
    Index("ix_email_contact_contact", "contact"),
)

email_recipient = Table(  # the envelope, apart: who was only there is shown to the author and admins (rules.md 6.4)
    "email_recipient",
    metadata,
    Column("email", ForeignKey("email.id"), primary_key=True),
    Column("address", String(320), primary_key=True),
    Column("accepted", Boolean, nullable=False),
    Column("reply", Text, nullable=False),
)

capture = Table(
    "capture",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(32), nullable=False),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("email", ForeignKey("email.id"), index=True),
    Column("at", Float, nullable=False),
    Column("source", String(20), nullable=False),
    Column("session", String(64)),
    Column("reply", Text),
    UniqueConstraint("key", "portal"),
)

attachment = Table(
    "attachment",
    metadata,
    Column("email", ForeignKey("email.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("type", String(200), nullable=False),
    Column("size", Integer, nullable=False),
    Column("content", String(64)),  # none when it was over the limit
)

content_part = Table(  # zstd-compressed parts of raw messages and attachments, by SHA-256 of the whole
    "content_part",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("octets", LargeBinary, nullable=False),
)

decision = Table(
    "decision",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(32), nullable=False),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("at", Float, nullable=False),
    Column("source", String(20), nullable=False),
    Column("decision", String(10), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("value", JSON, nullable=False),
    Column("email", ForeignKey("email.id")),
    UniqueConstraint("key", "portal"),
    Index("ix_decision_portal_at", "portal", "at"),
    Index("ix_decision_decision_at", "decision", "at"),
)

decision_hash = Table(  # keyed hashes of ids and outside addresses (rules.md 8.2)
    "decision_hash",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("decision", ForeignKey("decision.id"), primary_key=True),
    Index("ix_decision_hash_decision", "decision"),
)

gap = Table(
    "gap",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(32), nullable=False),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("at", Float, nullable=False),
    Column("source", String(20), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("cause", String(100), nullable=False),
    Column("value", JSON, nullable=False),
    Column("hash", String(64), index=True),
    Column("closed_at", Float),
    UniqueConstraint("key", "portal"),
)

spool_progress = Table(
    "spool_progress",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("position", Integer, nullable=False),
)
