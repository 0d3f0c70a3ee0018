"""Qualifications of methods on models, and the trial erasures that they rest on."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.tables.base import (
    Base,
    JsonList,
    JsonObject,
    Key,
    QualificationState,
    TenantKey,
)


class Qualification(Base):
    """How often a method passed its audit on a model, in trials that erased nothing.

    `base_version_id`, `recipe_digest` and `dataset_fingerprint` are the lineage that it holds for;
    `erased` is E, a bitmap, when it was opened. `method_version`, `hyperparameters` and
    `method_digest` are what the first trial used; the others must agree. `results`: by kind
    {trials, passes, rate, interval, confidence}, null until all trials are done.
    """

    __tablename__ = "qualifications"
    __table_args__ = (Index(None, "model_id", "state"),)

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    model_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("models.id"))
    base_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    recipe_digest: Mapped[str] = mapped_column(String(64))
    dataset_fingerprint: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(32))
    method_version: Mapped[str | None] = mapped_column(String(32))
    hyperparameters: Mapped[JsonObject | None]
    method_digest: Mapped[str | None] = mapped_column(String(64))
    policy: Mapped[JsonObject]
    policy_digest: Mapped[str] = mapped_column(String(64))
    kinds: Mapped[JsonList]
    num_trials: Mapped[int]
    num_references: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    erased: Mapped[bytes]
    results: Mapped[JsonObject | None]
    state: Mapped[QualificationState]
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    expired_at: Mapped[datetime | None]


class QualificationTrial(Base):
    """One trial erasure: which samples (a bitmap) it left out, and how its audit ended.

    `label` is the class left out, null where samples were planted with wrong labels. `result`:
    {influence, reasons, seconds, references}. All its networks were the job's own and ended with
    it.
    """

    __tablename__ = "qualification_trials"
    __table_args__ = (UniqueConstraint("qualification_id", "number"),)

    id: Mapped[Key]
    tenant_id: Mapped[TenantKey]
    qualification_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("qualifications.id"))
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id"), unique=True)
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    label: Mapped[int | None]
    forget: Mapped[bytes]
    seed: Mapped[int] = mapped_column(BigInteger)
    verdict: Mapped[str | None] = mapped_column(String(24))
    result: Mapped[JsonObject | None]
    finished_at: Mapped[datetime | None]
