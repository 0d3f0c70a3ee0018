"""Where versions serve, as their owners attest."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, Key, TenantKey


class Deployment(Base):
    """The owner's word that a version serves, or served, in an environment from some time on.

    `deployed_by` and `deployed_at` are what the owner said, `attested_by` and `attested_at` who
    said it and when. `ended_at`: when another one took its place, or the owner ended it.
    """

    __tablename__ = "deployments"
    __table_args__ = (Index(None, "model_id", "environment", "deployed_at"),)

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    environment: Mapped[str] = mapped_column(String(100))
    deployed_by: Mapped[str] = mapped_column(String(200))
    deployed_at: Mapped[datetime]
    attested_by: Mapped[str]
    attested_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
