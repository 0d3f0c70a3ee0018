"""Keys can be rotated and say who made them; a tenant's open requests are counted quickly."""

import sqlalchemy as sa
from alembic import op

revision: str = "202611270900"
down_revision: str | None = "202611270800"
branch_labels: str | None = None
depends_on: str | None = None

OPEN = sa.text("status IN ('pending', 'in_progress', 'on_hold')")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("previous_hash", sa.LargeBinary()))
    op.add_column("api_keys", sa.Column("previous_until", sa.DateTime(timezone=True)))
    op.add_column("api_keys", sa.Column("rotated_at", sa.DateTime(timezone=True)))
    created_by = sa.Column("created_by", sa.String(), nullable=False, server_default="system")
    op.add_column("api_keys", created_by)
    op.create_index(
        "ix_deletion_requests_open",
        "deletion_requests",
        ["tenant_id"],
        postgresql_where=OPEN,
        sqlite_where=OPEN,
    )


def downgrade() -> None:
    op.drop_index("ix_deletion_requests_open", "deletion_requests")
    for name in ("created_by", "rotated_at", "previous_until", "previous_hash"):
        op.drop_column("api_keys", name)
