"""Jobs, retrained references, reports and the outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611230903"
down_revision: str | None = "202611230902"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_jobs()
    _create_job_needs()
    _create_retrained_references()
    _create_reports()
    _create_outbox()


def downgrade() -> None:
    for table in ("outbox", "reports", "retrained_references", "job_needs", "jobs"):
        op.drop_table(table)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("runs.id"), nullable=True),
        sa.Column("audit_id", sa.Uuid(), sa.ForeignKey("audits.id"), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_expires_at", TIME, nullable=True),
        sa.Column("heartbeat_at", TIME, nullable=True),
        sa.Column("not_before", TIME, nullable=True),
        sa.Column("progress", JSON, nullable=True),
        sa.Column("result", JSON, nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_jobs_audit_id"), "jobs", ["audit_id"])
    op.create_index(op.f("ix_jobs_run_id"), "jobs", ["run_id"])
    op.create_index(op.f("ix_jobs_status_lease_expires_at"), "jobs", ["status", "lease_expires_at"])
    op.create_index(op.f("ix_jobs_tenant_id"), "jobs", ["tenant_id"])


def _create_job_needs() -> None:
    op.create_table(
        "job_needs",
        sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("need_id", sa.Uuid(), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
    )
    op.create_index(op.f("ix_job_needs_need_id"), "job_needs", ["need_id"])
    op.create_index(op.f("ix_job_needs_tenant_id"), "job_needs", ["tenant_id"])


def _create_retrained_references() -> None:
    op.create_table(
        "retrained_references",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("recipe_digest", sa.String(64), nullable=False),
        sa.Column("retain_digest", sa.String(64), nullable=False),
        sa.Column("retain", sa.LargeBinary(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("weights_uri", sa.String(), nullable=True),
        sa.Column("weights_sha256", sa.String(64), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ready_at", TIME, nullable=True),
        sa.Column("unneeded_since", TIME, nullable=True),
        sa.Column("purged_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_retrained_references_job_id"), "retrained_references", ["job_id"])
    op.create_index(
        op.f("ix_retrained_references_tenant_id"), "retrained_references", ["tenant_id"]
    )
    where = sa.text("state IN ('training', 'ready')")
    op.create_index(
        op.f("uq_retrained_references_usable"),
        "retrained_references",
        ["model_id", "recipe_digest", "retain_digest", "seed"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )


def _create_reports() -> None:
    op.create_table(
        "reports",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("request_id", sa.Uuid(), sa.ForeignKey("deletion_requests.id"), nullable=True),
        sa.Column("audit_id", sa.Uuid(), sa.ForeignKey("audits.id"), nullable=True),
        sa.Column("verdict", sa.String(24), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("statement", JSON, nullable=False),
        sa.Column("html", sa.LargeBinary(), nullable=True),
        sa.Column("figures", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("audit_id"),
        sa.UniqueConstraint("request_id"),
    )
    op.create_index(op.f("ix_reports_tenant_id"), "reports", ["tenant_id"])


def _create_outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("send_after", TIME, nullable=False),
        sa.Column("sent_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_outbox_job_id"), "outbox", ["job_id"])
    op.create_index(op.f("ix_outbox_tenant_id"), "outbox", ["tenant_id"])
    where = sa.text("sent_at IS NULL")
    op.create_index(
        op.f("ix_outbox_unsent"), "outbox", ["id"], sqlite_where=where, postgresql_where=where
    )
