"""Checkpoints of the audit log, and no two entries after the same one."""

import sqlalchemy as sa
from alembic import op

revision: str = "202611271000"
down_revision: str | None = "202611250700"
branch_labels: str | None = None
depends_on: str | None = None

TIME = sa.DateTime(timezone=True)
REFUSE = "the audit log is append-only"
FORK = "uq_audit_events_tenant_id_prev_hash"


def upgrade() -> None:
    op.create_index(FORK, "audit_events", ["tenant_id", "prev_hash"], unique=True)
    _create_audit_checkpoints()


def downgrade() -> None:
    op.drop_table("audit_checkpoints")
    op.drop_index(FORK, "audit_events")


def _create_audit_checkpoints() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("keyid", sa.String(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", TIME, nullable=False),
    )
    _append_only("audit_checkpoints")


def _append_only(table: str) -> None:
    """Refuse every change of a written row, whoever asks."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{REFUSE}'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE"
        f" ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
    )
