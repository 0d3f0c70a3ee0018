"""Pools: cross-fitted predictions of a run's forget set, and who asked for them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611250700"
down_revision: str | None = "202611250600"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    for table in ("runs", "deletion_requests"):
        op.add_column(
            table, sa.Column("pool", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    op.create_table(
        "pools",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("forget_digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("predictions_uri", sa.String(), nullable=True),
        sa.Column("predictions_sha256", sa.String(64), nullable=True),
        sa.Column("facts", JSON, nullable=True),
        sa.Column("triage", JSON, nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ready_at", TIME, nullable=True),
        sa.Column("purged_at", TIME, nullable=True),
    )
    for column in ("tenant_id", "run_id", "job_id"):
        op.create_index(op.f(f"ix_pools_{column}"), "pools", [column])


def downgrade() -> None:
    op.drop_table("pools")
    for table in ("deletion_requests", "runs"):
        op.drop_column(table, "pool")
