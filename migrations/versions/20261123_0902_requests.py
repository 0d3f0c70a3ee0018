"""Runs, deletion requests and audits."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611230902"
down_revision: str | None = "202611230901"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_runs()
    _create_deletion_requests()
    _create_request_samples()
    _create_audits()


def downgrade() -> None:
    for table in ("audits", "request_samples", "deletion_requests", "runs"):
        op.drop_table(table)


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("base_version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=False),
        sa.Column(
            "candidate_version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=True
        ),
        sa.Column("policy", JSON, nullable=False),
        sa.Column("policy_digest", sa.String(64), nullable=False),
        sa.Column("ladder", JSON, nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("audit", sa.String(16), nullable=False),
        sa.Column("erased", sa.LargeBinary(), nullable=False),
        sa.Column("forget", sa.LargeBinary(), nullable=False),
        sa.Column("retain_digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("tries", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_runs_model_id"), "runs", ["model_id"])
    op.create_index(op.f("ix_runs_tenant_id"), "runs", ["tenant_id"])
    where = sa.text("state = 'active'")
    op.create_index(
        op.f("uq_runs_active"),
        "runs",
        ["model_id"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )


def _create_deletion_requests() -> None:
    op.create_table(
        "deletion_requests",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("runs.id"), nullable=True),
        sa.Column("base_version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=True),
        sa.Column(
            "result_version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=True
        ),
        sa.Column("subject_request_id", sa.String(), nullable=True),
        sa.Column("regulation", sa.String(16), nullable=False),
        sa.Column("submitted_time", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("due_rule", sa.String(), nullable=False),
        sa.Column("num_samples", sa.Integer(), nullable=False),
        sa.Column("policy_name", sa.String(), nullable=False),
        sa.Column("policy_version", sa.Integer(), nullable=False),
        sa.Column("policy_digest", sa.String(64), nullable=False),
        sa.Column("ladder", JSON, nullable=False),
        sa.Column("audit", sa.String(16), nullable=False),
        sa.Column("commitment_root", sa.String(64), nullable=False),
        sa.Column("commitment_salt", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(24), nullable=True),
        sa.Column("reason_code", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
    )
    _index_deletion_requests()


def _index_deletion_requests() -> None:
    op.create_index(
        op.f("ix_deletion_requests_model_id_status"), "deletion_requests", ["model_id", "status"]
    )
    op.create_index(op.f("ix_deletion_requests_run_id"), "deletion_requests", ["run_id"])
    op.create_index(op.f("ix_deletion_requests_tenant_id"), "deletion_requests", ["tenant_id"])
    op.create_index(
        op.f("ix_deletion_requests_tenant_id_due_at"), "deletion_requests", ["tenant_id", "due_at"]
    )
    op.create_index(
        op.f("ix_deletion_requests_tenant_id_subject_request_id"),
        "deletion_requests",
        ["tenant_id", "subject_request_id"],
    )


def _create_request_samples() -> None:
    op.create_table(
        "request_samples",
        sa.Column("request_id", sa.Uuid(), sa.ForeignKey("deletion_requests.id"), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("ordinals", sa.LargeBinary(), nullable=False),
    )
    op.create_index(op.f("ix_request_samples_tenant_id"), "request_samples", ["tenant_id"])


def _create_audits() -> None:
    op.create_table(
        "audits",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("base_version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("num_samples", sa.Integer(), nullable=False),
        sa.Column("forget", sa.LargeBinary(), nullable=False),
        sa.Column("erased", sa.LargeBinary(), nullable=False),
        sa.Column("retain_digest", sa.String(64), nullable=False),
        sa.Column("weights_uri", sa.String(), nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("policy", JSON, nullable=False),
        sa.Column("policy_digest", sa.String(64), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("commitment_root", sa.String(64), nullable=False),
        sa.Column("commitment_salt", sa.LargeBinary(), nullable=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(24), nullable=True),
        sa.Column("reason_code", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_audits_model_id"), "audits", ["model_id"])
    op.create_index(op.f("ix_audits_tenant_id"), "audits", ["tenant_id"])
