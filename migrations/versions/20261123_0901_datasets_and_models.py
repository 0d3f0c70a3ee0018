"""Data sets, E, models and their versions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "202611230901"
down_revision: str | None = "202611230900"
branch_labels: str | None = None
depends_on: str | None = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_datasets()
    _create_samples()
    _create_tombstones()
    _create_models()
    _create_model_versions()


def downgrade() -> None:
    for table in ("model_versions", "models", "tombstones", "samples", "datasets"):
        op.drop_table(table)


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("manifest_uri", sa.String(), nullable=False),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("root", sa.String(), nullable=False),
        sa.Column("class_names", JSON, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("num_train", sa.Integer(), nullable=False),
        sa.Column("num_holdout", sa.Integer(), nullable=False),
        sa.Column("train_ordinals", sa.LargeBinary(), nullable=False),
        sa.Column("holdout_ordinals", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("tenant_id", "name"),
    )
    op.create_index(op.f("ix_datasets_tenant_id"), "datasets", ["tenant_id"])


def _create_samples() -> None:
    op.create_table(
        "samples",
        sa.Column("dataset_id", sa.Uuid(), sa.ForeignKey("datasets.id"), primary_key=True),
        sa.Column("ordinal", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("sample_id", sa.String(), nullable=False),
        sa.Column("label", sa.Integer(), nullable=False),
        sa.Column("split", sa.String(8), nullable=False),
        sa.Column("uri", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.UniqueConstraint("dataset_id", "sample_id"),
    )
    op.create_index(
        op.f("ix_samples_dataset_id_label_ordinal"), "samples", ["dataset_id", "label", "ordinal"]
    )
    op.create_index(
        op.f("ix_samples_dataset_id_subject_id_ordinal"),
        "samples",
        ["dataset_id", "subject_id", "ordinal"],
    )


def _create_tombstones() -> None:
    op.create_table(
        "tombstones",
        sa.Column("dataset_id", sa.Uuid(), sa.ForeignKey("datasets.id"), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("ordinals", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
    )
    op.create_index(op.f("ix_tombstones_tenant_id"), "tombstones", ["tenant_id"])


def _create_models() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("dataset_id", sa.Uuid(), sa.ForeignKey("datasets.id"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("architecture", sa.String(), nullable=False),
        sa.Column("architecture_kwargs", JSON, nullable=False),
        sa.Column("preprocessing", JSON, nullable=False),
        sa.Column("classifier", sa.String(), nullable=True),
        sa.Column("recipe", JSON, nullable=True),
        sa.Column("recipe_digest", sa.String(64), nullable=True),
        sa.Column("erased", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("check_result", JSON, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("tenant_id", "name"),
    )
    op.create_index(op.f("ix_models_dataset_id"), "models", ["dataset_id"])
    op.create_index(op.f("ix_models_tenant_id"), "models", ["tenant_id"])


def _create_model_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("model_id", sa.Uuid(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), sa.ForeignKey("model_versions.id"), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("weights_uri", sa.String(), nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("method", JSON, nullable=True),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("environment", JSON, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("promoted_at", TIME, nullable=True),
        sa.Column("superseded_at", TIME, nullable=True),
        sa.Column("purged_at", TIME, nullable=True),
        sa.UniqueConstraint("model_id", "number"),
    )
    op.create_index(op.f("ix_model_versions_tenant_id"), "model_versions", ["tenant_id"])
    where = sa.text("state = 'current'")
    op.create_index(
        op.f("uq_model_versions_current"),
        "model_versions",
        ["model_id"],
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )
