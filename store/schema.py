"""The tables. Keys lead with the portal, so that nothing of one portal is found by a question about another.

Times are Unix seconds (UTC) as floating point. Addresses are kept as written and in canonical form. JSON columns hold
what is only ever read whole.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
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
    column,
    table,
)

__all__ = [
    "attachment",
    "audit",
    "capture",
    "connected_mailbox",
    "contact",
    "contact_address",
    "contact_words",
    "content_part",
    "decision",
    "decision_hash",
    "directory_version",
    "email",
    "email_contact",
    "email_id",
    "email_key",
    "email_parent",
    "email_recipient",
    "email_words",
    "erased_address",
    "gap",
    "metadata",
    "never_log",
    "notice",
    "observed_folder",
    "portal",
    "send_as",
    "spool_progress",
    "stopped_thread",
    "unlogged",
    "user",
    "user_address",
    "waiting",
    "waiting_hash",
    "web_account",
    "web_session",
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
    Column("authserv_ids", JSON, nullable=False),
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
    Column("made", String(80)),  # the moment of the capture that made it; none where people did
    Index("ix_contact_portal_primary_address", "portal", "primary_address"),
    sqlite_autoincrement=True,  # a decision may still name a contact that was erased: no other one gets its id
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

connected_mailbox = Table(  # `secret` is sealed, and opens in its own row only
    "connected_mailbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("user", ForeignKey("user_account.id"), nullable=False, index=True),
    Column("address", String(320), nullable=False),
    Column("canonical", String(320), nullable=False),
    Column("server", String(100), nullable=False),
    Column("login", String(320), nullable=False),
    Column("mechanism", String(20), nullable=False),
    Column("issuer", String(100)),  # of OAuth tokens; none for a password
    Column("secret", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),  # of the secret
    Column("state", String(20), nullable=False),
    Column("trouble", String(300)),
    Column("connected_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),  # the state
    Column("renewing_until", Float),  # somebody asks for a new token; nobody else may, or the issuer revokes both
    Column("observer", String(20)),  # what our session with it is doing, since `observer_at`; none: there is no session
    Column("observer_at", Float),
    UniqueConstraint("portal", "canonical"),
    sqlite_autoincrement=True,  # no other mailbox gets the id of one that was: secrets are bound to it
)

web_account = Table(  # who signs in to the pages; without a portal, in all of them
    "web_account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("login", String(320), nullable=False, unique=True),
    Column("name", String(200)),
    Column("portal", ForeignKey("portal.id")),
    Column("password", String(200), nullable=False),  # an argon2 hash with its parameters
    Column("created_at", Float, nullable=False),
    sqlite_autoincrement=True,
)

web_session = Table(  # by the SHA-256 of the token that the browser has
    "web_session",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("account", ForeignKey("web_account.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("begun_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

directory_version = Table(
    "directory_version", metadata, Column("id", Integer, primary_key=True), Column("version", Integer, nullable=False)
)

# Full-text indexes, which are none of the metadata: triggers keep them as `email` and `contact` are (migration 0010).
email_words = table("email_words", column("rowid"))
contact_words = table("contact_words", column("rowid"))

# -- the log ----------------------------------------------------------------------------------------------------------

email = Table(
    "email",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("message_id", String(1000)),
    Column("thread", Integer, nullable=False),
    Column("direction", String(10), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("attribution", String(40)),
    Column("user", ForeignKey("user_account.id")),
    Column("is_reassigned", Boolean, nullable=False),  # by hand; captures change the user no more
    Column("flags", JSON, nullable=False),
    Column("subject", Text, nullable=False),
    Column("date", Float),
    Column("at", Float, nullable=False),
    Column("from", JSON, nullable=False),
    Column("to", JSON, nullable=False),
    Column("cc", JSON, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
    Column(
        "other_text", Text, nullable=False, server_default=""
    ),  # searched too: HTML's where alone, attachments' names
    Column("size", Integer, nullable=False),
    Column("content", String(64)),
    Column("content_rank", String(80), nullable=False),  # of the capture that the content is of; the smallest counts
    Column("deleted_at", Float),  # its content is gone; the rest stays, so that a later capture does not bring it back
    Index("ix_email_portal_at", "portal", "at"),
    Index("ix_email_portal_thread", "portal", "thread"),
    Index("ix_email_content", "content"),
    sqlite_autoincrement=True,  # people write ids down, and threads are named by one
)

email_key = Table(  # what tells copies of one message (rules.md section 6)
    "email_key",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("email", ForeignKey("email.id"), nullable=False, index=True),
)

email_id = Table(  # every id a message is known by (rules.md 4.4), and the print of its header section, as keyed hashes
    "email_id",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("email", ForeignKey("email.id"), primary_key=True),
    Column("msg_id", String(1000)),
    Index("ix_email_id_email", "email"),
)

email_parent = Table(  # keyed hashes of the ids that a logged message answers, nearest first
    "email_parent",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("email", ForeignKey("email.id"), primary_key=True),
    Column("place", Integer, nullable=False),
    Index("ix_email_parent_email", "email"),
)

unlogged = Table(  # what a message that was not logged answers, or is the same as: keyed hashes only (rules.md 4.3)
    "unlogged",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("other", String(64), primary_key=True),
    Column("place", Integer, nullable=False),
    Column("is_same", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_unlogged_portal_other", "portal", "other"),
    Index("ix_unlogged_at", "at"),
)

waiting = Table(  # decisions that a parent, logged later, may change (rules.md 4.5)
    "waiting",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("key", String(40), nullable=False),
    Column("until", Float, nullable=False, index=True),
    Column("is_due", Boolean, nullable=False),
    Column("entry", JSON, nullable=False),
    UniqueConstraint("portal", "key"),
)

waiting_hash = Table(
    "waiting_hash",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("waiting", ForeignKey("waiting.id", ondelete="CASCADE"), primary_key=True),
)

stopped_thread = Table(  # nothing more of the thread of this email is logged
    "stopped_thread",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("email", ForeignKey("email.id"), primary_key=True),
)

erased_address = Table(  # keyed hashes of addresses that must not come back (rules.md 8.5)
    "erased_address",
    metadata,
    Column("portal", ForeignKey("portal.id"), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("at", Float, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("portal", ForeignKey("portal.id")),
    Column("at", Float, nullable=False),
    Column("who", String(320), nullable=False),
    Column("action", String(60), nullable=False),
    Column("subject", String(400), nullable=False),
    Column("before", JSON),
    Column("after", JSON),
    Index("ix_audit_portal_at", "portal", "at"),
)

notice = Table(  # when a user was last told that a capture was refused (rules.md 7.2)
    "notice",
    metadata,
    Column("user", ForeignKey("user_account.id"), primary_key=True),
    Column("at", Float, nullable=False),
)

email_contact = Table(
    "email_contact",
    metadata,
    Column("email", ForeignKey("email.id"), primary_key=True),
    Column("contact", ForeignKey("contact.id"), primary_key=True),
    Column("bcc", Boolean, nullable=False),
    Column("is_unlinked", Boolean, nullable=False),  # by hand; captures do not bring it back
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
    Column("key", String(40), nullable=False),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("email", ForeignKey("email.id"), index=True),
    Column("at", Float, nullable=False),
    Column("source", String(20), nullable=False),
    Column("session", String(64)),
    Column("reply", Text),
    UniqueConstraint("key", "portal", "source"),
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
    Index("ix_attachment_content", "content"),
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
    Column("key", String(40), nullable=False),
    Column("portal", ForeignKey("portal.id"), nullable=False),
    Column("at", Float, nullable=False),
    Column("source", String(20), nullable=False),
    Column("decision", String(10), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("value", JSON, nullable=False),
    Column("email", ForeignKey("email.id")),
    UniqueConstraint("key", "portal"),
    Index("ix_decision_portal_at", "portal", "at"),
    Index("ix_decision_email", "email"),
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
    Column("key", String(40), nullable=False),
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

observed_folder = Table(  # how far our own client has read a mailbox, which may be a user's of several portals
    "observed_folder",
    metadata,
    Column("server", String(100), primary_key=True),  # a provider by name; "" from before that was kept
    Column("account", String(320), primary_key=True),
    Column("name", String(1000), primary_key=True),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uidnext", BigInteger, nullable=False),
    Column("since", Float, nullable=False),  # what came before is not looked at
    Column("catch_up_from", Float),  # what came from then on is still to be searched for
    Column("at", Float, nullable=False),
)
