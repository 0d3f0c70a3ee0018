"""What remains: signed reports, the hash-chained audit log, and the outbox."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, JsonList, JsonObject, Key, TenantKey

_UNSENT = text("sent_at IS NULL")


class Report(Base):
    """The signed report of one request or of one audit.

    `envelope` holds the DSSE bytes as signed and `sha256` their digest; `figures` are
    `{name, title, alt, sha256, media_type, uri, table}`.
    """

    __tablename__ = "reports"

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    request_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("deletion_requests.id"), unique=True
    )
    audit_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("audits.id"), unique=True)
    verdict: Mapped[str] = mapped_column(String(24))
    envelope: Mapped[bytes]
    sha256: Mapped[str] = mapped_column(String(64))
    statement: Mapped[JsonObject]
    html: Mapped[bytes | None]
    figures: Mapped[JsonList]
    created_at: Mapped[datetime]


class AuditEvent(Base):
    """One link of a tenant's hash chain: `hash` covers all other fields, `prev_hash` included.

    Triggers refuse every update and delete; no two links can follow the same one.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("uq_audit_events_tenant_id_prev_hash", "tenant_id", "prev_hash", unique=True),
    )

    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]
    resource: Mapped[str]
    payload: Mapped[JsonObject]
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditCheckpoint(Base):
    """The head of a tenant's log, entry `seq` with its `hash`, as signed at some time.

    `envelope` holds the DSSE bytes. Triggers refuse every update and delete.
    """

    __tablename__ = "audit_checkpoints"

    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(String(64))
    keyid: Mapped[str]
    envelope: Mapped[bytes]
    signed_at: Mapped[datetime]


class Outbox(Base):
    """A wake-up that must leave after the commit that made it, not before `send_after`."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_unsent", "id", postgresql_where=_UNSENT, sqlite_where=_UNSENT),
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
    )
    tenant_id: Mapped[TenantKey]
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    created_at: Mapped[datetime]
    send_after: Mapped[datetime]
    sent_at: Mapped[datetime | None]
