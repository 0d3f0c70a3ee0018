"""One wish over all models of a data set: a group of deletion requests."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, GroupStatus, JsonList, Key, TenantKey

_NAMED = text("status NOT IN ('cancelled', 'failed')")


class RequestGroup(Base):
    """Deletion requests that were made together, one for each model of a data set.

    `status` follows the members'. `num_samples` counts a sample once, however many members name
    it. `left_out`: {model_id, code} for each model without a member. `order_digest` and
    `order_salt` as in `DeletionRequest`, for telling a repeated wish from another one.
    """

    __tablename__ = "request_groups"
    __table_args__ = (
        Index(
            "uq_request_groups_subject",
            "tenant_id",
            "subject_request_id",
            unique=True,
            postgresql_where=_NAMED,
            sqlite_where=_NAMED,
        ),
    )

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    subject_request_id: Mapped[str | None]
    order_digest: Mapped[str | None] = mapped_column(String(64))
    order_salt: Mapped[bytes | None]
    num_samples: Mapped[int]
    left_out: Mapped[JsonList]
    status: Mapped[GroupStatus]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
