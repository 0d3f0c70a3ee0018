"""Copies of requested samples under other ids, and finding samples by their digest."""

import sqlalchemy as sa
from alembic import op

revision: str = "202611250200"
down_revision: str | None = "202611250100"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "request_copies",
        sa.Column("request_id", sa.Uuid(), sa.ForeignKey("deletion_requests.id"), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("included", sa.Integer(), nullable=False),
        sa.Column("byte_equal", sa.LargeBinary(), nullable=False),
        sa.Column("near", sa.LargeBinary(), nullable=False),
        sa.Column("searched_at", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index(op.f("ix_request_copies_tenant_id"), "request_copies", ["tenant_id"])
    op.create_index(op.f("ix_samples_dataset_id_sha256"), "samples", ["dataset_id", "sha256"])


def downgrade() -> None:
    op.drop_index(op.f("ix_samples_dataset_id_sha256"), "samples")
    op.drop_table("request_copies")
