"""What stays of what was purged: a record of each thing, and keyed hashes of erased samples."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, Key, TenantKey

_PENDING = text("done_at IS NULL")


class Purge(Base):
    """One thing that the ledger gave up: an artifact, a request's list of samples, dropped samples.

    `what`: version, candidate, reference, pool, samples or dropped_samples. `resource` is
    the row it was of, `uri` and `digest` name the artifact (null for rows of the database) and
    `size` its bytes, or how many rows there were. `reason`: a word of `service.ledger.purging`.
    `done_at` is null until it is really gone: an artifact is deleted some time after `decided_at`,
    when no row of anybody names it.
    """

    __tablename__ = "purges"
    __table_args__ = (
        Index("ix_purges_pending", "uri", postgresql_where=_PENDING, sqlite_where=_PENDING),
        Index(None, "model_id"),
    )

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    model_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("models.id"))
    request_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("deletion_requests.id"))
    what: Mapped[str] = mapped_column(String(16))
    name: Mapped[str]
    resource: Mapped[str]
    uri: Mapped[str | None]
    digest: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(32))
    decided_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


class ErasedHash(Base):
    """What keeps an erased sample out after its row was dropped: an HMAC of its id, or of its file.

    The key is the installation's (`service.erased`), so that a reader of the database can try out
    no ids. `key_id` tells when the key has changed since.
    """

    __tablename__ = "erased_hashes"

    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(primary_key=True)
    dataset_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    key_id: Mapped[str] = mapped_column(String(16))
