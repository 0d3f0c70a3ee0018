"""Groups of deletion requests over the models of a data set."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611270800"
down_revision: str | None = "202611250700"
branch_labels: str | None = None
depends_on: str | None = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
REQUESTS, GROUPS = "deletion_requests", "request_groups"
NAMED = "status NOT IN ('cancelled', 'rejected', 'failed')"


def upgrade() -> None:
    _create_groups()


def _create_groups() -> None:
    op.create_table(
        GROUPS,
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), sa.ForeignKey("datasets.id"), nullable=False),
        sa.Column("subject_request_id", sa.String(), nullable=True),
        sa.Column("order_digest", sa.String(64), nullable=True),
        sa.Column("order_salt", sa.LargeBinary(), nullable=True),
        sa.Column("num_samples", sa.Integer(), nullable=False),
        sa.Column("left_out", JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_request_groups_tenant_id"), GROUPS, ["tenant_id"])
    op.create_index(op.f("ix_request_groups_dataset_id"), GROUPS, ["dataset_id"])
    _unique_subject("uq_request_groups_subject", GROUPS, "status NOT IN ('cancelled', 'failed')")
    op.add_column(REQUESTS, sa.Column("group_id", sa.Uuid(), nullable=True))
    op.create_index(op.f("ix_deletion_requests_group_id"), REQUESTS, ["group_id"])
    op.drop_index("uq_deletion_requests_subject", REQUESTS)
    _unique_subject("uq_deletion_requests_subject", REQUESTS, f"{NAMED} AND group_id IS NULL")


def _unique_subject(name: str, table: str, condition: str) -> None:
    named = sa.text(condition)
    columns = ["tenant_id", "subject_request_id"]
    op.create_index(name, table, columns, unique=True, postgresql_where=named, sqlite_where=named)


def downgrade() -> None:
    _drop_groups()


def _drop_groups() -> None:
    """Members become requests of their own; they keep no number, for it named the group."""
    op.execute("UPDATE deletion_requests SET subject_request_id = NULL WHERE group_id IS NOT NULL")
    op.drop_index("uq_deletion_requests_subject", REQUESTS)
    op.drop_index(op.f("ix_deletion_requests_group_id"), REQUESTS)
    op.drop_column(REQUESTS, "group_id")
    _unique_subject("uq_deletion_requests_subject", REQUESTS, NAMED)
    op.drop_table(GROUPS)
