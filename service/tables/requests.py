"""What was asked for: deletion requests, the runs that serve them, audits of foreign weights."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import (
    AuditPurpose,
    AuditStatus,
    Base,
    JsonList,
    JsonObject,
    Key,
    RequestStatus,
    RunState,
    TenantKey,
)

_ACTIVE = text("state = 'active'")
_OPEN = text("status IN ('pending', 'in_progress', 'on_hold')")
_NAMED = text("status NOT IN ('cancelled', 'rejected', 'failed') AND group_id IS NULL")


class Run(Base):
    """Requests served together: one base version, one forget set, one candidate per rung.

    `erased` is E as frozen when the run was planned, `forget` the union of its requests' samples;
    both are bitmaps. `rung` counts from 0 in `ladder`, `look` from 1 in the policy's looks.
    `passed_over` has a note, {rung, method, code, detail}, on each rung that had no
    candidate to promote.
    `pool`: whether a pool may supply targets for single samples.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index(
            "uq_runs_active",
            "model_id",
            unique=True,
            postgresql_where=_ACTIVE,
            sqlite_where=_ACTIVE,
        ),
    )

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"), index=True)
    base_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    candidate_version_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    policy: Mapped[JsonObject]
    policy_digest: Mapped[str] = mapped_column(String(64))
    ladder: Mapped[JsonList]
    rung: Mapped[int]
    look: Mapped[int]
    audit: Mapped[str] = mapped_column(String(16))
    pool: Mapped[bool] = mapped_column(server_default=false())
    erased: Mapped[bytes]
    forget: Mapped[bytes]
    retain_digest: Mapped[str] = mapped_column(String(64))
    state: Mapped[RunState]
    reason: Mapped[str | None]
    tries: Mapped[JsonList]
    passed_over: Mapped[JsonList] = mapped_column(server_default="[]")
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class DeletionRequest(Base):
    """A person's or a company's wish that a model forget samples.

    `submitted_time`: when the data subject asked; `due_at` follows from `due_rule`, `first_due_at`
    is what it was before an extension. The commitment is over the sample ids; `commitment_salt` may
    be destroyed to make it unlinkable. `order_digest`: HMAC under that salt of what was asked, for
    telling a repeated request from another one. `group_id`, without a foreign key for SQLite's
    sake: the group that it is a member of, whose `subject_request_id` it repeats.
    """

    __tablename__ = "deletion_requests"
    __table_args__ = (
        Index(None, "model_id", "status"),
        Index(
            "uq_deletion_requests_subject",
            "tenant_id",
            "subject_request_id",
            unique=True,
            postgresql_where=_NAMED,
            sqlite_where=_NAMED,
        ),
        Index(None, "tenant_id", "due_at"),
        Index("ix_deletion_requests_open", "tenant_id", postgresql_where=_OPEN, sqlite_where=_OPEN),
        Index(None, "group_id"),
    )

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    group_id: Mapped[uuid.UUID | None]
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("runs.id"), index=True)
    base_version_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    result_version_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    subject_request_id: Mapped[str | None]
    regulation: Mapped[str] = mapped_column(String(16))
    submitted_time: Mapped[datetime]
    received_at: Mapped[datetime]
    due_at: Mapped[datetime]
    due_rule: Mapped[str]
    first_due_at: Mapped[datetime | None]
    extended_at: Mapped[datetime | None]
    extension_reason: Mapped[str | None] = mapped_column(String(32))
    held_at: Mapped[datetime | None]
    hold_reason: Mapped[str | None] = mapped_column(String(32))
    needs_approval: Mapped[bool] = mapped_column(server_default=false())
    order_digest: Mapped[str | None] = mapped_column(String(64))
    num_samples: Mapped[int]
    policy_name: Mapped[str]
    policy_version: Mapped[int]
    policy_digest: Mapped[str] = mapped_column(String(64))
    ladder: Mapped[JsonList]
    audit: Mapped[str] = mapped_column(String(16))
    pool: Mapped[bool] = mapped_column(server_default=false())
    commitment_root: Mapped[str] = mapped_column(String(64))
    commitment_salt: Mapped[bytes | None]
    status: Mapped[RequestStatus]
    verdict: Mapped[str | None] = mapped_column(String(24))
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    created_by: Mapped[str]
    origin: Mapped[str | None] = mapped_column(String(100))
    traceparent: Mapped[str | None] = mapped_column(String(55))
    closed_at: Mapped[datetime | None]


class RequestSamples(Base):
    """The only link from a request to its own samples: one bitmap of ordinals."""

    __tablename__ = "request_samples"

    request_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("deletion_requests.id"), primary_key=True
    )
    tenant_id: Mapped[TenantKey]
    ordinals: Mapped[bytes]


class RequestCopies(Base):
    """Samples outside a request's forget set that are copies of samples in it.

    `byte_equal` and `near` are bitmaps of ordinals, training and hold-out ones. `included` counts
    the byte-equal copies that came into the forget set with the request. `searched_at` is null
    until a worker has compared pixels; before that only equal files are known. Like
    `RequestSamples` it leads from a request to samples and is purged on the same schedule.
    """

    __tablename__ = "request_copies"

    request_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("deletion_requests.id"), primary_key=True
    )
    tenant_id: Mapped[TenantKey]
    included: Mapped[int]
    byte_equal: Mapped[bytes]
    near: Mapped[bytes]
    searched_at: Mapped[datetime | None]


class Audit(Base):
    """An audit of weights made elsewhere, or a later one of a closed request; it erases nothing.

    `forget` and `erased` are bitmaps; its retain set is D ∖ (E ∪ F). E is that of the time when it
    was opened, and for an audit of a closed request E as the request's run froze it, which holds F.
    `level` is `references`, or that of the run whose audit is reproduced.
    """

    __tablename__ = "audits"

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"), index=True)
    base_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    label: Mapped[str]
    num_samples: Mapped[int]
    forget: Mapped[bytes]
    erased: Mapped[bytes]
    retain_digest: Mapped[str] = mapped_column(String(64))
    weights_uri: Mapped[str]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    policy: Mapped[JsonObject]
    policy_digest: Mapped[str] = mapped_column(String(64))
    look: Mapped[int]
    purpose: Mapped[AuditPurpose] = mapped_column(server_default=AuditPurpose.EXTERNAL)
    level: Mapped[str] = mapped_column(String(16), server_default="references")
    commitment_root: Mapped[str] = mapped_column(String(64))
    commitment_salt: Mapped[bytes | None]
    status: Mapped[AuditStatus]
    verdict: Mapped[str | None] = mapped_column(String(24))
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]


class RequestAudit(Base):
    """What ties an audit to the closed request that it upgrades or reproduces.

    `candidate_version_id` is the version that it audits. `comparison` is what a reproduction found,
    as `service.ledger.comparison.compare` gives it, null until it is completed.
    """

    __tablename__ = "request_audits"

    audit_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("audits.id"), primary_key=True)
    tenant_id: Mapped[TenantKey]
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("deletion_requests.id"), index=True)
    candidate_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    comparison: Mapped[JsonObject | None]
