"""Checkpoints of the audit log, no two entries after the same one, and records of purges."""

import sqlalchemy as sa
from alembic import op

revision: str = "202611271000"
down_revision: str | None = "202611270900"
branch_labels: str | None = None
depends_on: str | None = None

TIME = sa.DateTime(timezone=True)
REFUSE = "the audit log is append-only"
FORK = "uq_audit_events_tenant_id_prev_hash"


def upgrade() -> None:
    op.create_index(FORK, "audit_events", ["tenant_id", "prev_hash"], unique=True)
    _create_audit_checkpoints()
    _create_purges()
    _create_erased_hashes()
    op.add_column("tombstones", sa.Column("dropped", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    _refuse_dropped()
    op.drop_column("tombstones", "dropped")
    op.drop_table("erased_hashes")
    op.drop_table("purges")
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


def _refuse_dropped() -> None:
    """Stop where samples were dropped: older code would count on their rows."""
    query = sa.text("SELECT count(*) FROM tombstones WHERE dropped IS NOT NULL")
    if found := op.get_bind().execute(query).scalar_one():
        raise RuntimeError(
            f"samples of {found} data sets were dropped for good, which the older schema cannot"
            " say; restore a backup of its time instead"
        )


def _create_purges() -> None:
    op.create_table(
        "purges",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=True),
        sa.Column("request_id", sa.Uuid(), sa.ForeignKey("deletion_requests.id"), nullable=True),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("uri", sa.String(), nullable=True),
        sa.Column("digest", sa.String(64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.Column("done_at", TIME, nullable=True),
    )
    for column in ("tenant_id", "model_id"):
        op.create_index(op.f(f"ix_purges_{column}"), "purges", [column])
    where = sa.text("done_at IS NULL")
    op.create_index(
        op.f("ix_purges_pending"), "purges", ["uri"], sqlite_where=where, postgresql_where=where
    )


def _create_erased_hashes() -> None:
    op.create_table(
        "erased_hashes",
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), primary_key=True),
        sa.Column("hash", sa.LargeBinary(), primary_key=True),
        sa.Column("dataset_id", sa.Uuid(), sa.ForeignKey("datasets.id"), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
    )
    op.create_index(op.f("ix_erased_hashes_dataset_id"), "erased_hashes", ["dataset_id"])


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
