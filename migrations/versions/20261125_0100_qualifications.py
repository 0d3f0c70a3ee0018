"""Qualifications and their trial erasures."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611250100"
down_revision: str | None = "202611230903"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_qualifications()
    _create_trials()


def downgrade() -> None:
    op.drop_table("qualification_trials")
    op.drop_table("qualifications")


def _create_qualifications() -> None:
    op.create_table(
        "qualifications",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("base_version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=False),
        sa.Column("recipe_digest", sa.String(64), nullable=False),
        sa.Column("dataset_fingerprint", sa.String(64), nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("method_version", sa.String(32), nullable=True),
        sa.Column("hyperparameters", JSON, nullable=True),
        sa.Column("method_digest", sa.String(64), nullable=True),
        sa.Column("policy", JSON, nullable=False),
        sa.Column("policy_digest", sa.String(64), nullable=False),
        sa.Column("kinds", JSON, nullable=False),
        sa.Column("num_trials", sa.Integer(), nullable=False),
        sa.Column("num_references", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("erased", sa.LargeBinary(), nullable=False),
        sa.Column("results", JSON, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason_code", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("decided_at", TIME, nullable=True),
        sa.Column("expired_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_qualifications_tenant_id"), "qualifications", ["tenant_id"])
    op.create_index(
        op.f("ix_qualifications_model_id_state"), "qualifications", ["model_id", "state"]
    )


def _create_trials() -> None:
    op.create_table(
        "qualification_trials",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column(
            "qualification_id", sa.Uuid(), sa.ForeignKey("qualifications.id"), nullable=False
        ),
        sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("label", sa.Integer(), nullable=True),
        sa.Column("forget", sa.LargeBinary(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(24), nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.UniqueConstraint("job_id"),
        sa.UniqueConstraint("qualification_id", "number"),
    )
    op.create_index(
        op.f("ix_qualification_trials_tenant_id"), "qualification_trials", ["tenant_id"]
    )
