"""Connected mailboxes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "connected_mailbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("portal", sa.Integer(), nullable=False),
        sa.Column("user", sa.Integer(), nullable=False),
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("canonical", sa.String(length=320), nullable=False),
        sa.Column("server", sa.String(length=100), nullable=False),
        sa.Column("login", sa.String(length=320), nullable=False),
        sa.Column("mechanism", sa.String(length=20), nullable=False),
        sa.Column("issuer", sa.String(length=100), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("trouble", sa.String(length=300), nullable=True),
        sa.Column("connected_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("renewing_until", sa.Float(), nullable=True),
        sa.Column("observer", sa.String(length=20), nullable=True),
        sa.Column("observer_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["portal"], ["portal.id"], name=op.f("fk_connected_mailbox_portal")),
        sa.ForeignKeyConstraint(["user"], ["user_account.id"], name=op.f("fk_connected_mailbox_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connected_mailbox")),
        sa.UniqueConstraint("portal", "canonical", name=op.f("uq_connected_mailbox_portal_canonical")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("connected_mailbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_connected_mailbox_user"), ["user"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("connected_mailbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_connected_mailbox_user"))

    op.drop_table("connected_mailbox")
