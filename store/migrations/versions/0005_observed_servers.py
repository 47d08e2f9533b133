"""How far mailboxes have been read, by server too.

What was read of an address counts for each server at which it is connected. Where it is connected at none it is left
to whoever reads it next ("").
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

REST = "name, uidvalidity, uidnext, since, catch_up_from, at"


def upgrade() -> None:
    op.rename_table("observed_folder", "observed_before")
    op.create_table(
        "observed_folder",
        sa.Column("server", sa.String(length=100), nullable=False),
        sa.Column("account", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uidnext", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("catch_up_from", sa.Float(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("server", "account", "name", name=op.f("pk_observed_folder")),
    )
    op.execute(
        f"insert into observed_folder (server, account, {REST}) "  # noqa: S608
        f"select distinct coalesce(connected_mailbox.server, ''), account, {REST} "
        "from observed_before left join connected_mailbox on connected_mailbox.canonical = account"
    )
    op.drop_table("observed_before")


def downgrade() -> None:
    op.rename_table("observed_folder", "observed_after")
    op.create_table(
        "observed_folder",
        sa.Column("account", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=1000), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uidnext", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("catch_up_from", sa.Float(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("account", "name", name=op.f("pk_observed_folder")),
    )
    op.execute(f"insert or ignore into observed_folder (account, {REST}) select account, {REST} from observed_after")  # noqa: S608
    op.drop_table("observed_after")
