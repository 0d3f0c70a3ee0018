"""Idempotency keys, unique subject requests, extensions, legal hold and approval."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611250400"
down_revision: str | None = "202611250300"
branch_labels: str | None = None
depends_on: str | None = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
NAMED = sa.text("status NOT IN ('cancelled', 'rejected', 'failed')")
REQUESTS = "deletion_requests"
COLUMNS = (
    ("first_due_at", TIME),
    ("extended_at", TIME),
    ("extension_reason", sa.String(32)),
    ("held_at", TIME),
    ("hold_reason", sa.String(32)),
    ("order_digest", sa.String(64)),
)


def upgrade() -> None:
    _refuse_doubles()
    _create_idempotency_keys()
    _create_approvals()
    for name, kind in COLUMNS:
        op.add_column(REQUESTS, sa.Column(name, kind, nullable=True))
    needs: sa.Column[bool] = sa.Column(
        "needs_approval", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column(REQUESTS, needs)
    op.drop_index(op.f("ix_deletion_requests_tenant_id_subject_request_id"), REQUESTS)
    op.create_index(
        "uq_deletion_requests_subject",
        REQUESTS,
        ["tenant_id", "subject_request_id"],
        unique=True,
        postgresql_where=NAMED,
        sqlite_where=NAMED,
    )


def _refuse_doubles() -> None:
    """Stop before anything is changed when open or completed requests share a subject request."""
    doubles = """
        SELECT count(*) FROM (
            SELECT 1 FROM deletion_requests
            WHERE subject_request_id IS NOT NULL
              AND status NOT IN ('cancelled', 'rejected', 'failed')
            GROUP BY tenant_id, subject_request_id HAVING count(*) > 1
        ) AS doubles
    """
    if found := op.get_bind().execute(sa.text(doubles)).scalar_one():
        raise RuntimeError(
            f"{found} subject_request_ids are used by several open or completed requests;"
            " change all but one of each in deletion_requests, then migrate again"
        )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("key_digest", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("locked_until", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("headers", JSON, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.UniqueConstraint(
            "tenant_id",
            "route",
            "key_digest",
            name=op.f("uq_idempotency_keys_tenant_id_route_key_digest"),
        ),
    )
    op.create_index(op.f("ix_idempotency_keys_expires_at"), "idempotency_keys", ["expires_at"])


def _create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=False),
        sa.Column("verdicts", JSON, nullable=False),
        sa.Column("result", JSON, nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("decision", sa.String(16), nullable=True),
        sa.Column("reason_code", sa.String(32), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("decided_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_approvals_tenant_id"), "approvals", ["tenant_id"])
    op.create_index(op.f("ix_approvals_run_id_decision"), "approvals", ["run_id", "decision"])


def downgrade() -> None:
    op.drop_index("uq_deletion_requests_subject", REQUESTS)
    op.create_index(
        op.f("ix_deletion_requests_tenant_id_subject_request_id"),
        REQUESTS,
        ["tenant_id", "subject_request_id"],
    )
    op.drop_column(REQUESTS, "needs_approval")
    for name, _ in reversed(COLUMNS):
        op.drop_column(REQUESTS, name)
    op.drop_table("approvals")
    op.drop_table("idempotency_keys")
