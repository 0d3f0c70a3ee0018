"""Runs note the rungs that gave no candidate to audit, and why."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611250600"
down_revision: str | None = "202611250500"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("passed_over", JSON, nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("runs", "passed_over")
