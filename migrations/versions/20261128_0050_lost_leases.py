"""Jobs count the leases that were lost with them, apart from other failures."""

import sqlalchemy as sa
from alembic import op

revision: str = "202611280050"
down_revision: str | None = "202611271100"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column(
        "jobs", sa.Column("lost_leases", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    op.drop_column("jobs", "lost_leases")
