"""What the HTTP contract promises: calls that happen once, candidates that wait for approval."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import Base, JsonObject, Key, TenantKey


class IdempotencyKey(Base):
    """One creating call that a caller named, and its answer once it has one.

    `key_digest`: SHA-256 of the caller's key. `fingerprint`: HMAC of path and body under that key,
    so that without the key nobody can try out bodies. `attempt` fences: a call that was overtaken
    after `locked_until` keeps nothing. `status_code`, `headers` and `body` are null until then.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("tenant_id", "route", "key_digest"),)

    id: Mapped[Key]
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    route: Mapped[str]
    key_digest: Mapped[str] = mapped_column(String(64))
    fingerprint: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int]
    locked_until: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    status_code: Mapped[int | None]
    headers: Mapped[JsonObject | None]
    body: Mapped[bytes | None]


class Approval(Base):
    """A run's candidate that passed and waits for a person's word before it is promoted.

    `verdicts` by request and `result`, the audit's, are what closes the run once it is approved.
    `decision` is null while it waits; a candidate that went with its rung is `withdrawn`.
    """

    __tablename__ = "approvals"
    __table_args__ = (Index(None, "run_id", "decision"),)

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id"))
    version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    verdicts: Mapped[JsonObject]
    result: Mapped[JsonObject]
    asked_at: Mapped[datetime]
    decision: Mapped[str | None] = mapped_column(String(16))
    reason_code: Mapped[str | None] = mapped_column(String(32))
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
