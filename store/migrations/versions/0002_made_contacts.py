"""Contacts that mail made remember by which capture.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("contact", sa.Column("made", sa.String(length=80), nullable=True))


def downgrade() -> None:
    op.drop_column("contact", "made")
