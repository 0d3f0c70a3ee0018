"""Later audits of closed requests: why they were asked for, at which level, and what they found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611250300"
down_revision: str | None = "202611250200"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    purpose = sa.Column("purpose", sa.String(16), nullable=False, server_default="external")
    level = sa.Column("level", sa.String(16), nullable=False, server_default="references")
    op.add_column("audits", purpose)
    op.add_column("audits", level)
    op.create_table(
        "request_audits",
        sa.Column("audit_id", sa.Uuid(), sa.ForeignKey("audits.id"), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("request_id", sa.Uuid(), sa.ForeignKey("deletion_requests.id"), nullable=False),
        sa.Column(
            "candidate_version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=False
        ),
        sa.Column("comparison", JSON, nullable=True),
    )
    for column in ("tenant_id", "request_id"):
        op.create_index(op.f(f"ix_request_audits_{column}"), "request_audits", [column])


def downgrade() -> None:
    op.drop_table("request_audits")
    op.drop_column("audits", "level")
    op.drop_column("audits", "purpose")
