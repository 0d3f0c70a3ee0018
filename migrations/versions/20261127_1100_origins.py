"""Requests and jobs know the call that they come from, so that logs can be joined."""

import sqlalchemy as sa
from alembic import op

revision: str = "202611271100"
down_revision: str | None = "202611271000"
branch_labels: str | None = None
depends_on: str | None = None

TABLES = ("deletion_requests", "jobs")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("origin", sa.String(100), nullable=True))
        op.add_column(table, sa.Column("traceparent", sa.String(55), nullable=True))


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "traceparent")
        op.drop_column(table, "origin")
