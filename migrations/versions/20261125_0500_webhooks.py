"""Webhook endpoints, what is sent to them, and requests that came by OpenDSR."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611250500"
down_revision: str | None = "202611250400"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)
OPEN = sa.text("delivered_at IS NULL AND given_up_at IS NULL")
TABLES = ("webhook_endpoints", "webhook_deliveries", "webhook_attempts", "opendsr_requests")


def upgrade() -> None:
    _endpoints()
    _deliveries()
    _attempts()
    op.create_table(
        "opendsr_requests",
        sa.Column("request_id", sa.Uuid(), sa.ForeignKey("deletion_requests.id"), primary_key=True),
        _tenant(),
        sa.Column("subject_request_id", sa.String(36), nullable=False),
        sa.Column("status_callback_urls", JSON, nullable=False),
        sa.UniqueConstraint("tenant_id", "subject_request_id"),
    )
    for table in TABLES:
        op.create_index(op.f(f"ix_{table}_tenant_id"), table, ["tenant_id"])
    columns = ["endpoint_id", "id"]
    op.create_index(op.f("ix_webhook_deliveries_endpoint_id_id"), "webhook_deliveries", columns)
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["next_attempt_at"],
        postgresql_where=OPEN,
        sqlite_where=OPEN,
    )


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False)


def _endpoints() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _tenant(),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=True),
        sa.Column("event_types", JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason_code", sa.String(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", TIME, nullable=True),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )


def _deliveries() -> None:
    endpoint = sa.ForeignKey("webhook_endpoints.id")
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), primary_key=True),
        _tenant(),
        sa.Column("endpoint_id", sa.Uuid(), endpoint, nullable=True),
        sa.Column("callback_url", sa.String(), nullable=True),
        sa.Column("event_type", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.Column("given_up_at", TIME, nullable=True),
    )


def _attempts() -> None:
    delivery = sa.ForeignKey("webhook_deliveries.id")
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Uuid(), delivery, primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        _tenant(),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=True),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(32), nullable=True),
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
