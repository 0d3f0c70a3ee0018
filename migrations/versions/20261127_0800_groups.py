"""Groups of requests over the models of a data set, data sets that grow, deployments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611270800"
down_revision: str | None = "202611250700"
branch_labels: str | None = None
depends_on: str | None = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
REQUESTS, GROUPS = "deletion_requests", "request_groups"
DEPLOYMENTS = "deployments"
REVISIONS = "dataset_revisions"
REVISION_COLUMNS = (("datasets", "revision"), ("models", "dataset_revision"))
NAMED = "status NOT IN ('cancelled', 'rejected', 'failed')"


def upgrade() -> None:
    _create_groups()
    _create_revisions()
    _create_deployments()


def _create_groups() -> None:
    op.create_table(
        GROUPS,
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), sa.ForeignKey("datasets.id"), nullable=False),
        sa.Column("subject_request_id", sa.String(), nullable=True),
        sa.Column("order_digest", sa.String(64), nullable=True),
        sa.Column("order_salt", sa.LargeBinary(), nullable=True),
        sa.Column("num_samples", sa.Integer(), nullable=False),
        sa.Column("left_out", JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("closed_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_request_groups_tenant_id"), GROUPS, ["tenant_id"])
    op.create_index(op.f("ix_request_groups_dataset_id"), GROUPS, ["dataset_id"])
    _unique_subject("uq_request_groups_subject", GROUPS, "status NOT IN ('cancelled', 'failed')")
    op.add_column(REQUESTS, sa.Column("group_id", sa.Uuid(), nullable=True))
    op.create_index(op.f("ix_deletion_requests_group_id"), REQUESTS, ["group_id"])
    op.drop_index("uq_deletion_requests_subject", REQUESTS)
    _unique_subject("uq_deletion_requests_subject", REQUESTS, f"{NAMED} AND group_id IS NULL")


def _unique_subject(name: str, table: str, condition: str) -> None:
    named = sa.text(condition)
    columns = ["tenant_id", "subject_request_id"]
    op.create_index(name, table, columns, unique=True, postgresql_where=named, sqlite_where=named)


def _create_revisions() -> None:
    op.create_table(
        REVISIONS,
        sa.Column("dataset_id", sa.Uuid(), sa.ForeignKey("datasets.id"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("manifest_uri", sa.String(), nullable=False),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("num_train", sa.Integer(), nullable=False),
        sa.Column("num_holdout", sa.Integer(), nullable=False),
        sa.Column("train_ordinals", sa.LargeBinary(), nullable=False),
        sa.Column("holdout_ordinals", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index(op.f("ix_dataset_revisions_tenant_id"), REVISIONS, ["tenant_id"])
    columns = "tenant_id, manifest_uri, format, fingerprint, num_train, num_holdout"
    columns += ", train_ordinals, holdout_ordinals, created_at"
    op.execute(
        f"INSERT INTO {REVISIONS} (dataset_id, number, created_by, {columns})"  # noqa: S608
        f" SELECT id, 1, 'system', {columns} FROM datasets"
    )
    for table, name in REVISION_COLUMNS:
        column: sa.Column[int] = sa.Column(name, sa.Integer(), nullable=False, server_default="1")
        op.add_column(table, column)
    op.add_column("models", sa.Column("trained_on_erased", sa.Boolean(), nullable=True))
    op.add_column("models", sa.Column("suspect", sa.LargeBinary(), nullable=True))


def _create_deployments() -> None:
    op.create_table(
        DEPLOYMENTS,
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("version_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=False),
        sa.Column("environment", sa.String(100), nullable=False),
        sa.Column("deployed_by", sa.String(200), nullable=False),
        sa.Column("deployed_at", TIME, nullable=False),
        sa.Column("attested_by", sa.String(), nullable=False),
        sa.Column("attested_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
    )
    op.create_index(op.f("ix_deployments_tenant_id"), DEPLOYMENTS, ["tenant_id"])
    columns = ["model_id", "environment", "deployed_at"]
    op.create_index(op.f(f"ix_{DEPLOYMENTS}_{'_'.join(columns)}"), DEPLOYMENTS, columns)


def downgrade() -> None:
    op.drop_table(DEPLOYMENTS)
    _drop_revisions()
    _drop_groups()


def _drop_revisions() -> None:
    """Go back to data sets that can't grow; one that did would lose what its models are about."""
    grown = "SELECT count(*) FROM datasets WHERE revision > 1"
    if found := op.get_bind().execute(sa.text(grown)).scalar_one():
        raise RuntimeError(f"{found} data sets have grown; the release before can't read them")
    op.drop_column("models", "suspect")
    op.drop_column("models", "trained_on_erased")
    for table, name in REVISION_COLUMNS:
        op.drop_column(table, name)
    op.drop_table(REVISIONS)


def _drop_groups() -> None:
    """Members become requests of their own; they keep no number, for it named the group."""
    op.execute("UPDATE deletion_requests SET subject_request_id = NULL WHERE group_id IS NOT NULL")
    op.drop_index("uq_deletion_requests_subject", REQUESTS)
    op.drop_index(op.f("ix_deletion_requests_group_id"), REQUESTS)
    op.drop_column(REQUESTS, "group_id")
    _unique_subject("uq_deletion_requests_subject", REQUESTS, NAMED)
    op.drop_table(GROUPS)
