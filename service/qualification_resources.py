"""Bodies of responses about qualifications."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel

from service import ledger, tables
from service.resources import Influence, Progress


class KindResult(BaseModel):
    """How the trials of one kind ended; `interval` is Wilson's, at `confidence`."""

    trials: int
    passes: int
    rate: float
    interval: tuple[float, float]
    confidence: float
    verdicts: dict[str, int]


class Trial(BaseModel):
    """One trial erasure; `label` is the class that it left out. It never names a sample."""

    number: int
    kind: Literal["class", "mislabelled"]
    label: int | None
    verdict: str | None
    influence: Influence | None
    reasons: list[str]
    seconds: float | None
    references: list[dict[str, Any]]
    finished_at: datetime | None

    @classmethod
    def of(cls, row: tables.QualificationTrial) -> Self:
        """Return what a caller sees of a row."""
        result = row.result or {}
        own = ("number", "kind", "label", "verdict", "finished_at")
        return cls(
            **{name: getattr(row, name) for name in own},
            influence=result.get("influence"),
            reasons=result.get("reasons", []),
            seconds=result.get("seconds"),
            references=result.get("references", []),
        )


class QualificationLinks(BaseModel):
    """Where to go from here."""

    self: str


class Qualification(BaseModel):
    """How often a method passed its audit on a model; `results` by kind once all trials ended."""

    id: uuid.UUID
    model_id: uuid.UUID
    state: Literal["running", "live", "unqualified", "expired", "failed"]
    progress: Progress
    method: str
    method_version: str | None
    hyperparameters: dict[str, Any] | None
    method_digest: str | None
    policy: str
    policy_digest: str
    kinds: list[Literal["class", "mislabelled"]]
    num_trials: int
    num_references: int
    seed: int
    base_version: int | None
    recipe_digest: str
    dataset_fingerprint: str
    results: dict[str, KindResult] | None
    trials: list[Trial]
    reason_code: str | None
    reason: str | None
    created_by: str
    created_at: datetime
    decided_at: datetime | None
    expired_at: datetime | None
    links: QualificationLinks

    @classmethod
    def of(
        cls,
        row: tables.Qualification,
        trials: Sequence[tables.QualificationTrial],
        progress: ledger.Progress,
        base_version: int | None,
    ) -> Self:
        """Return what a caller sees of a row."""
        link = f"/v1/models/{row.model_id}/qualifications/{row.id}"
        computed: dict[str, Any] = {
            "progress": Progress.model_validate(progress),
            "policy": f"{row.policy['name']}/{row.policy['version']}",
            "base_version": base_version,
            "trials": [Trial.of(trial) for trial in trials],
            "links": QualificationLinks.model_validate({"self": link}),
        }
        own = set(cls.model_fields) - set(computed)
        return cls(**computed, **{name: getattr(row, name) for name in own})
