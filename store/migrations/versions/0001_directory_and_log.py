"""The directory and the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "directory_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_version")),
    )
    op.create_table(
        "portal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("rule", sa.String(length=20), nullable=False),
        sa.Column("switches", sa.JSON(), nullable=False),
        sa.Column("bcc_address", sa.String(length=320), nullable=True),
        sa.Column("forward_address", sa.String(length=320), nullable=True),
        sa.Column("authserv_ids", sa.JSON(), nullable=False),
        sa.Column("subaddressed_domains", sa.JSON(), nullable=False),
        sa.Column("service_logins", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_portal")),
        sa.UniqueConstraint("name", name=op.f("uq_portal_name")),
    )
    op.create_table(
        "spool_progress",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_spool_progress")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("who", sa.String(length=320), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=400), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_audit_portal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index("ix_audit_portal_at", ["portal", "at"], unique=False)

    op.create_table(
        "content_part",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_content_part_portal")),
        sa.PrimaryKeyConstraint("portal", "hash", "number", name=op.f("pk_content_part")),
    )
    op.create_table(
        "erased_address",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_erased_address_portal")),
        sa.PrimaryKeyConstraint("portal", "hash", name=op.f("pk_erased_address")),
    )
    op.create_table(
        "gap",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("cause", sa.String(length=100), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=True),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_gap_portal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gap")),
        sa.UniqueConstraint("key", "portal", name=op.f("uq_gap_key_portal")),
    )
    with op.batch_alter_table("gap", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gap_hash"), ["hash"], unique=False)

    op.create_table(
        "unlogged",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("other", sa.String(length=64), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("is_same", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_unlogged_portal")),
        sa.PrimaryKeyConstraint("portal", "hash", "other", name=op.f("pk_unlogged")),
    )
    with op.batch_alter_table("unlogged", schema=None) as batch_op:
        batch_op.create_index("ix_unlogged_at", ["at"], unique=False)
        batch_op.create_index("ix_unlogged_portal_other", ["portal", "other"], unique=False)

    op.create_table(
        "user_account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("account", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("personal_email_access", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_user_account_portal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("portal", "account", name=op.f("uq_user_account_portal_account")),
    )
    op.create_table(
        "waiting",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("is_due", sa.Boolean(), nullable=False),
        sa.Column("entry", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_waiting_portal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiting")),
        sa.UniqueConstraint("portal", "key", name=op.f("uq_waiting_portal_key")),
    )
    with op.batch_alter_table("waiting", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_waiting_until"), ["until"], unique=False)

    op.create_table(
        "contact",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("primary_address", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("owner", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["owner"], ["user_account.id"], name=op.f("fk_contact_owner")),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_contact_portal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("contact", schema=None) as batch_op:
        batch_op.create_index("ix_contact_portal_primary_address", ["portal", "primary_address"], unique=False)

    op.create_table(
        "email",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(length=1000), nullable=True),
        sa.Column("thread", sa.Integer(), nullable=False),
        sa.Column("direction", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("attribution", sa.String(length=40), nullable=True),
        sa.Column("user", sa.Integer(), nullable=True),
        sa.Column("is_reassigned", sa.Boolean(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("date", sa.Float(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("from", sa.JSON(), nullable=False),
        sa.Column("to", sa.JSON(), nullable=False),
        sa.Column("cc", sa.JSON(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=True),
        sa.Column("content_rank", sa.String(length=80), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_email_portal")),
        sa.ForeignKeyConstraint(["user"], ["user_account.id"], name=op.f("fk_email_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("email", schema=None) as batch_op:
        batch_op.create_index("ix_email_content", ["content"], unique=False)
        batch_op.create_index("ix_email_portal_at", ["portal", "at"], unique=False)
        batch_op.create_index("ix_email_portal_thread", ["portal", "thread"], unique=False)

    op.create_table(
        "never_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("user", sa.Integer(), nullable=True),
        sa.Column("entry", sa.String(length=330), nullable=False),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_never_log_portal")),
        sa.ForeignKeyConstraint(["user"], ["user_account.id"], name=op.f("fk_never_log_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_never_log")),
    )
    with op.batch_alter_table("never_log", schema=None) as batch_op:
        batch_op.create_index("ix_never_log_portal_user", ["portal", "user"], unique=False)

    op.create_table(
        "send_as",
        sa.Column("user", sa.Integer(), nullable=False),
        sa.Column("other", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["other"], ["user_account.id"], name=op.f("fk_send_as_other")),
        sa.ForeignKeyConstraint(["user"], ["user_account.id"], name=op.f("fk_send_as_user")),
        sa.PrimaryKeyConstraint("user", "other", name=op.f("pk_send_as")),
    )
    op.create_table(
        "user_address",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("canonical", sa.String(length=320), nullable=False),
        sa.Column("user", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("written", sa.String(length=320), nullable=False),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_user_address_portal")),
        sa.ForeignKeyConstraint(["user"], ["user_account.id"], name=op.f("fk_user_address_user")),
        sa.PrimaryKeyConstraint("portal", "canonical", "user", "kind", name=op.f("pk_user_address")),
    )
    with op.batch_alter_table("user_address", schema=None) as batch_op:
        batch_op.create_index("ix_user_address_canonical", ["canonical"], unique=False)

    op.create_table(
        "waiting_hash",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_waiting_hash_portal")),
        sa.ForeignKeyConstraint(["waiting"], ["waiting.id"], name=op.f("fk_waiting_hash_waiting"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("portal", "hash", "waiting", name=op.f("pk_waiting_hash")),
    )
    op.create_table(
        "attachment",
        sa.Column("email", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.String(length=200), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_attachment_email")),
        sa.PrimaryKeyConstraint("email", "number", name=op.f("pk_attachment")),
    )
    with op.batch_alter_table("attachment", schema=None) as batch_op:
        batch_op.create_index("ix_attachment_content", ["content"], unique=False)

    op.create_table(
        "notice",
        sa.Column("user", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["user_account.id"], name=op.f("fk_notice_user")),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_notice")),
    )
    op.create_table(
        "capture",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("email", sa.Integer(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("session", sa.String(length=64), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_capture_email")),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_capture_portal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_capture")),
        sa.UniqueConstraint("key", "portal", "source", name=op.f("uq_capture_key_portal_source")),
    )
    with op.batch_alter_table("capture", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_capture_email"), ["email"], unique=False)

    op.create_table(
        "contact_address",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("canonical", sa.String(length=320), nullable=False),
        sa.Column("contact", sa.Integer(), nullable=False),
        sa.Column("written", sa.String(length=320), nullable=False),
        sa.ForeignKeyConstraint(["contact"], ["contact.id"], name=op.f("fk_contact_address_contact")),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_contact_address_portal")),
        sa.PrimaryKeyConstraint("portal", "canonical", name=op.f("pk_contact_address")),
    )
    with op.batch_alter_table("contact_address", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_contact_address_contact"), ["contact"], unique=False)

    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=40), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("decision", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("email", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_decision_email")),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_decision_portal")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        sa.UniqueConstraint("key", "portal", name=op.f("uq_decision_key_portal")),
    )
    with op.batch_alter_table("decision", schema=None) as batch_op:
        batch_op.create_index("ix_decision_decision_at", ["decision", "at"], unique=False)
        batch_op.create_index("ix_decision_portal_at", ["portal", "at"], unique=False)

    op.create_table(
        "email_contact",
        sa.Column("email", sa.Integer(), nullable=False),
        sa.Column("contact", sa.Integer(), nullable=False),
        sa.Column("bcc", sa.Boolean(), nullable=False),
        sa.Column("is_unlinked", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["contact"], ["contact.id"], name=op.f("fk_email_contact_contact")),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_email_contact_email")),
        sa.PrimaryKeyConstraint("email", "contact", name=op.f("pk_email_contact")),
    )
    with op.batch_alter_table("email_contact", schema=None) as batch_op:
        batch_op.create_index("ix_email_contact_contact", ["contact"], unique=False)

    op.create_table(
        "email_id",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("email", sa.Integer(), nullable=False),
        sa.Column("msg_id", sa.String(length=1000), nullable=True),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_email_id_email")),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_email_id_portal")),
        sa.PrimaryKeyConstraint("portal", "hash", "email", name=op.f("pk_email_id")),
    )
    with op.batch_alter_table("email_id", schema=None) as batch_op:
        batch_op.create_index("ix_email_id_email", ["email"], unique=False)

    op.create_table(
        "email_key",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("email", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_email_key_email")),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_email_key_portal")),
        sa.PrimaryKeyConstraint("portal", "key", name=op.f("pk_email_key")),
    )
    with op.batch_alter_table("email_key", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_email_key_email"), ["email"], unique=False)

    op.create_table(
        "email_parent",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("email", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_email_parent_email")),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_email_parent_portal")),
        sa.PrimaryKeyConstraint("portal", "hash", "email", name=op.f("pk_email_parent")),
    )
    with op.batch_alter_table("email_parent", schema=None) as batch_op:
        batch_op.create_index("ix_email_parent_email", ["email"], unique=False)

    op.create_table(
        "email_recipient",
        sa.Column("email", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_email_recipient_email")),
        sa.PrimaryKeyConstraint("email", "address", name=op.f("pk_email_recipient")),
    )
    op.create_table(
        "stopped_thread",
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("email", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["email"], ["email.id"], name=op.f("fk_stopped_thread_email")),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_stopped_thread_portal")),
        sa.PrimaryKeyConstraint("portal", "email", name=op.f("pk_stopped_thread")),
    )
    op.create_table(
        "decision_hash",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("decision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["decision"], ["decision.id"], name=op.f("fk_decision_hash_decision")),
        sa.PrimaryKeyConstraint("hash", "decision", name=op.f("pk_decision_hash")),
    )
    with op.batch_alter_table("decision_hash", schema=None) as batch_op:
        batch_op.create_index("ix_decision_hash_decision", ["decision"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("decision_hash", schema=None) as batch_op:
        batch_op.drop_index("ix_decision_hash_decision")

    op.drop_table("decision_hash")
    op.drop_table("email_recipient")
    op.drop_table("email_id")
    with op.batch_alter_table("email_contact", schema=None) as batch_op:
        batch_op.drop_index("ix_email_contact_contact")

    op.drop_table("email_contact")
    with op.batch_alter_table("decision", schema=None) as batch_op:
        batch_op.drop_index("ix_decision_portal_at")
        batch_op.drop_index("ix_decision_decision_at")

    op.drop_table("decision")
    with op.batch_alter_table("contact_address", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_contact_address_contact"))

    op.drop_table("contact_address")
    with op.batch_alter_table("capture", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_capture_email"))

    op.drop_table("capture")
    op.drop_table("notice")
    with op.batch_alter_table("attachment", schema=None) as batch_op:
        batch_op.drop_index("ix_attachment_content")

    op.drop_table("attachment")
    with op.batch_alter_table("user_address", schema=None) as batch_op:
        batch_op.drop_index("ix_user_address_canonical")

    op.drop_table("user_address")
    op.drop_table("send_as")
    with op.batch_alter_table("never_log", schema=None) as batch_op:
        batch_op.drop_index("ix_never_log_portal_user")

    op.drop_table("never_log")
    with op.batch_alter_table("email", schema=None) as batch_op:
        batch_op.drop_index("ix_email_content")
        batch_op.drop_index("ix_email_portal_thread")
        batch_op.drop_index("ix_email_portal_at")

    op.drop_table("email")
    with op.batch_alter_table("contact", schema=None) as batch_op:
        batch_op.drop_index("ix_contact_portal_primary_address")

    op.drop_table("contact")
    op.drop_table("user_account")
    with op.batch_alter_table("gap", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gap_hash"))

    op.drop_table("gap")
    op.drop_table("content_part")
    op.drop_table("spool_progress")
    op.drop_table("portal")
    op.drop_table("directory_version")
