"""Models (networks) and their versions."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, JsonObject, Key, ModelStatus, TenantKey, VersionState

_CURRENT = text("state = 'current'")


class Model(Base):
    """A trained classifier, the data set it was trained on and, perhaps, the recipe.

    `dataset_revision` is the one that it was trained on. `erased`: bitmap of the ordinals that
    completed requests of this model erased. `suspect`: bitmap of the ordinals of E that it was, or
    may have been, trained on when it was registered; `trained_on_erased` is what its owner said.
    """

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    dataset_revision: Mapped[int] = mapped_column(server_default="1")
    trained_on_erased: Mapped[bool | None]
    suspect: Mapped[bytes | None]
    name: Mapped[str]
    architecture: Mapped[str]
    architecture_kwargs: Mapped[JsonObject]
    preprocessing: Mapped[JsonObject]
    classifier: Mapped[str | None]
    recipe: Mapped[JsonObject | None]
    recipe_digest: Mapped[str | None] = mapped_column(String(64))
    erased: Mapped[bytes]
    status: Mapped[ModelStatus]
    reason: Mapped[str | None]
    check_result: Mapped[JsonObject | None]
    created_at: Mapped[datetime]


class ModelVersion(Base):
    """One set of weights; `parent_id` is the version it was made from.

    `run_id` has no foreign key, for runs point at versions too. `method` is null for version 1.
    """

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        Index(
            "uq_model_versions_current",
            "model_id",
            unique=True,
            postgresql_where=_CURRENT,
            sqlite_where=_CURRENT,
        ),
    )

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    run_id: Mapped[uuid.UUID | None]
    weights_uri: Mapped[str]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    method: Mapped[JsonObject | None]
    seed: Mapped[int | None]
    seconds: Mapped[float | None]
    environment: Mapped[JsonObject | None]
    state: Mapped[VersionState]
    created_at: Mapped[datetime]
    promoted_at: Mapped[datetime | None]
    superseded_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]
