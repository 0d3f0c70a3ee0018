"""Work for the workers: jobs, what they need, and the retrained references they make."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import (
    Base,
    JobKind,
    JobStatus,
    JsonObject,
    Key,
    PoolState,
    ReferenceState,
    TenantKey,
)

_USABLE = text("state IN ('training', 'ready')")


class Job(Base):
    """One piece of work; the row is the queue, a broker message only a wake-up.

    `attempt` is the fencing token: it grows with every claim. `failures` is the retry budget:
    only transient failures and lost leases use it up; `lost_leases` counts the latter alone.
    `origin`: `X-Request-Id` of the call that the job comes from, and `traceparent` its trace
    context; for logs and traces alone.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "status", "lease_expires_at"),)

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("runs.id"), index=True)
    audit_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("audits.id"), index=True)
    kind: Mapped[JobKind]
    status: Mapped[JobStatus]
    parameters: Mapped[JsonObject]
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    lost_leases: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    progress: Mapped[JsonObject | None]
    result: Mapped[JsonObject | None]
    error: Mapped[JsonObject | None]
    origin: Mapped[str | None] = mapped_column(String(100))
    traceparent: Mapped[str | None] = mapped_column(String(55))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobNeed(Base):
    """`job_id` may start once `need_id` is completed."""

    __tablename__ = "job_needs"

    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    need_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)
    tenant_id: Mapped[TenantKey]


class Reference(Base):
    """A model trained by the recipe on the retain set R, one seed each.

    Shared by every run and audit with the same model, recipe and R; purged when none needs it.
    """

    __tablename__ = "retrained_references"
    __table_args__ = (
        Index(
            "uq_retrained_references_usable",
            "model_id",
            "recipe_digest",
            "retain_digest",
            "seed",
            unique=True,
            postgresql_where=_USABLE,
            sqlite_where=_USABLE,
        ),
    )

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    recipe_digest: Mapped[str] = mapped_column(String(64))
    retain_digest: Mapped[str] = mapped_column(String(64))
    retain: Mapped[bytes]
    seed: Mapped[int]
    state: Mapped[ReferenceState]
    weights_uri: Mapped[str | None]
    weights_sha256: Mapped[str | None] = mapped_column(String(64))
    seconds: Mapped[float | None]
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]
    unneeded_since: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]


class Pool(Base):
    """Cross-fitted predictions of a run's forget set; the models that made them are never stored.

    `forget_digest` names the forget set: a run that goes on with fewer requests needs another
    pool. `facts` says what was trained, `triage` what was found by request. All but the facts is
    personal data and goes when the run is over.
    """

    __tablename__ = "pools"

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id"), index=True)
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), index=True)
    forget_digest: Mapped[str] = mapped_column(String(64))
    state: Mapped[PoolState]
    predictions_uri: Mapped[str | None]
    predictions_sha256: Mapped[str | None] = mapped_column(String(64))
    facts: Mapped[JsonObject | None]
    triage: Mapped[JsonObject | None]
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
    ready_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]
