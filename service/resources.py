"""Bodies of responses: what a caller sees of a row."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

from service import ledger, tables
from service.deployment_resources import Deployment
from service.ledger.deployments import Placed
from service.ledger.holding import Held
from service.request_audit_resources import Comparison, Purpose

_MODEL_STATUS: dict[str, Literal["registering", "ready", "failed"]] = {
    "checking": "registering",
    "ready": "ready",
    "rejected": "failed",
}


class Dataset(BaseModel):
    """A registered data set in its newest revision."""

    id: uuid.UUID
    name: str
    manifest_uri: str
    format: str
    class_names: list[str]
    fingerprint: str
    num_train: int
    num_holdout: int
    revision: int
    created_at: datetime

    @classmethod
    def of(cls, row: tables.Dataset) -> Self:
        """Return what a caller sees of a row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class DatasetRevision(BaseModel):
    """A data set as it was from `created_at` on; `manifest_uri` lists what was added with it."""

    dataset_id: uuid.UUID
    number: int
    manifest_uri: str
    format: str
    fingerprint: str
    num_train: int
    num_holdout: int
    created_by: str
    created_at: datetime

    @classmethod
    def of(cls, row: tables.DatasetRevision) -> Self:
        """Return what a caller sees of a row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class Sample(BaseModel):
    """One sample of a data set."""

    sample_id: str
    label: int
    class_name: str
    split: Literal["train", "holdout"]
    subject_id: str | None
    uri: str
    sha256: str

    @classmethod
    def of(cls, row: tables.Sample, class_names: list[str]) -> Self:
        """Return what a caller sees of a row."""
        names = set(cls.model_fields) - {"class_name"}
        values = {name: getattr(row, name) for name in names}
        return cls(class_name=class_names[row.label], **values)


class ModelFacts(NamedTuple):
    """What lies outside a model's own row."""

    current: int | None
    reason_code: str | None
    suspect: int
    serving: Sequence[Placed]


class Model(BaseModel):
    """A registered classifier; `reason_code` and `reason` say why it failed."""

    id: uuid.UUID
    name: str
    dataset_id: uuid.UUID
    dataset_revision: int
    trained_on_erased: bool | None
    suspect_samples: int = Field(
        description="Erased samples that its current version was trained on, or may have been: "
        "accepted for erasure before it was registered, and not erased from it since."
    )
    architecture: str
    architecture_kwargs: dict[str, Any]
    preprocessing: dict[str, Any]
    classifier: str | None
    recipe: dict[str, Any] | None
    status: Literal["registering", "ready", "failed"]
    reason_code: str | None
    reason: str | None
    current_version: int | None
    deployments: list[Deployment] = Field(
        description="Where versions serve now, as attested; `stale_since` tells of erased data."
    )
    created_at: datetime

    @classmethod
    def of(cls, row: tables.Model, facts: ModelFacts) -> Self:
        """Return what a caller sees of a row."""
        own = set(cls.model_fields) - _OF_MODEL
        values = {name: getattr(row, name) for name in own}
        status = _MODEL_STATUS[row.status]
        return cls(
            status=status,
            current_version=facts.current,
            reason_code=facts.reason_code,
            suspect_samples=facts.suspect,
            deployments=[Deployment.of(one) for one in facts.serving],
            **values,
        )


_OF_MODEL = {"status", "reason_code", "current_version", "suspect_samples", "deployments"}


_OF_VERSION = {"sha256", "weights_url", "erased_samples", "holds_erased_since"}


class ModelVersion(BaseModel):
    """One set of weights of a model."""

    number: int
    state: str
    sha256: str
    method: dict[str, Any] | None
    seed: int | None
    seconds: float | None
    created_at: datetime
    promoted_at: datetime | None
    superseded_at: datetime | None
    purged_at: datetime | None
    erased_samples: int = Field(description="Samples that were erased and it holds.")
    holds_erased_since: datetime | None = Field(
        description="When the first of them had to be gone: from then on it may not be deployed."
    )
    weights_url: str | None

    @classmethod
    def of(cls, row: tables.ModelVersion, held: Held) -> Self:
        """Return what a caller sees of a row."""
        own = set(cls.model_fields) - _OF_VERSION
        values = {name: getattr(row, name) for name in own}
        url = f"/v1/models/{row.model_id}/versions/{row.number}/weights"
        kept = None if row.purged_at is not None else url
        return cls(
            sha256=row.weights_sha256,
            weights_url=kept,
            erased_samples=held.samples,
            holds_erased_since=held.since,
            **values,
        )


class Progress(BaseModel):
    """Where the work stands; `percent` is of the present method and may start again with the next.

    `step` and `total` are those of the job at work.
    """

    model_config = ConfigDict(from_attributes=True)
    phase: str
    percent: int
    detail: str
    step: int
    total: int


class Influence(BaseModel):
    """Remaining influence λ: 0 as if never trained on, 1 as before."""

    value: float | None
    lower: float | None
    upper: float | None
    confidence: float = 0.95


class Links(BaseModel):
    """Where to go from here."""

    self: str
    events: str
    report: str

    @classmethod
    def of(cls, collection: str, key: uuid.UUID) -> "Links":
        """Return the links of a request or an audit."""
        base = f"/v1/{collection}/{key}"
        return cls.model_validate(
            {"self": base, "events": f"{base}/events", "report": f"{base}/report"}
        )


class Audit(BaseModel):
    """An audit of a candidate made elsewhere, or a later one of the closed request `request_id`.

    `comparison` is null unless it is a completed reproduction.
    """

    id: uuid.UUID
    model_id: uuid.UUID
    purpose: Purpose
    request_id: uuid.UUID | None
    comparison: Comparison | None
    level: str
    base_version: int | None
    label: str
    status: Literal["in_progress", "completed", "failed"]
    progress: Progress
    verdict: str | None
    reason_code: str | None
    reason: str | None
    num_samples: int
    commitment: str
    commitment_salt: str | None
    weights_sha256: str
    policy_digest: str
    created_by: str
    created_at: datetime
    closed_at: datetime | None
    links: Links

    @classmethod
    def of(
        cls,
        row: tables.Audit,
        link: tables.RequestAudit | None,
        progress: ledger.Progress,
        base_version: int | None,
    ) -> Self:
        """Return what a caller sees of a row."""
        computed: dict[str, Any] = {
            "request_id": link and link.request_id,
            "comparison": link and Comparison.of(link.comparison),
            "progress": Progress.model_validate(progress),
            "base_version": base_version,
            "commitment": row.commitment_root,
            "commitment_salt": row.commitment_salt.hex() if row.commitment_salt else None,
            "links": Links.of("audits", row.id),
        }
        own = set(cls.model_fields) - set(computed)
        return cls(**computed, **{name: getattr(row, name) for name in own})


class Health(BaseModel):
    """Whether the process lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether requests can be served: each check with its result."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, bool]
