"""Decisions by the email they made or joined."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_decision_email", "decision", ["email"])


def downgrade() -> None:
    op.drop_index("ix_decision_email", "decision")
