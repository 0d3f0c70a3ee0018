"""The deletion request as a caller sees it."""

import uuid
from collections.abc import Collection
from datetime import date, datetime
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, Field

from service import ledger, tables
from service.copy_resources import NearDuplicates
from service.ladders import PassedOver, Rung
from service.request_audit_resources import RequestAudit
from service.resources import Influence, Links, Progress

Status = Literal[
    "pending", "in_progress", "on_hold", "completed", "cancelled", "rejected", "failed"
]


class Attempt(BaseModel):
    """One audited try of a method."""

    method: str
    hyperparameters: dict[str, Any] | None
    look: int
    verdict: str | None
    influence: Influence | None
    seconds: float | None
    retrain_ratio: float | None
    retrain_ratio_with_references: float | None

    @classmethod
    def of(cls, attempt: dict[str, Any], request_id: uuid.UUID) -> Self:
        """Return a request's own part of a run's try."""
        own = attempt.get("audits", {}).get(str(request_id)) or {}
        values = {name: attempt.get(name) for name in cls.model_fields}
        told = {"verdict": own.get("verdict"), "influence": own.get("influence")}
        return cls.model_validate({**values, **told})


class Approval(BaseModel):
    """The last question whether a candidate may be promoted; `decision` is null while it waits."""

    candidate_version: int
    verdict: str | None
    asked_at: datetime
    decision: Literal["approved", "rejected", "withdrawn"] | None
    reason_code: str | None
    decided_by: str | None
    decided_at: datetime | None

    @classmethod
    def of(cls, row: tables.Approval | None, candidate: int | None, key: uuid.UUID) -> Self | None:
        """Return what a caller sees of a row beside one of its requests."""
        if row is None or candidate is None:
            return None
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in set(cls.model_fields) - _OF_VERSION},
                "candidate_version": candidate,
                "verdict": row.verdicts.get(str(key)),
            }
        )


_OF_VERSION = {"candidate_version", "verdict"}


class RequestFacts(NamedTuple):
    """What lies outside a request's own row."""

    progress: ledger.Progress
    now: datetime
    tries: list[dict[str, Any]]
    passed_over: list[dict[str, Any]]
    copies: ledger.CopyCounts | None
    base_version: int | None
    result_version: int | None
    audits: list[RequestAudit]
    approval: Approval | None
    holidays: Collection[date]


class DeletionRequest(BaseModel):
    """A deletion request and where it stands. It never names a sample."""

    id: uuid.UUID
    model_id: uuid.UUID
    group_id: uuid.UUID | None = Field(description="The group that it is a member of.")
    status: Status
    progress: Progress
    verdict: str | None
    reason_code: str | None
    reason: str | None
    subject_request_id: str | None
    regulation: str
    submitted_time: datetime
    received_at: datetime
    due_at: datetime
    due_rule: str
    lapses_at: datetime = Field(
        description="When the period is over by law, where that is later than `due_at`: at the end "
        "of the last day, rolled past weekends and holidays (Regulation 1182/71, Art. 3)."
    )
    first_due_at: datetime | None = Field(description="`due_at` before it was extended.")
    extended_at: datetime | None
    extension_reason: str | None
    days_left: int | None
    held_at: datetime | None = Field(description="Since when it is on legal hold.")
    hold_reason: str | None
    needs_approval: bool
    approval: Approval | None
    num_samples: int
    near_duplicates: NearDuplicates | None
    commitment: str
    commitment_salt: str | None
    policy: str
    policy_digest: str
    ladder: list[str | Rung]
    audit: str
    pool: bool
    base_version: int | None
    result_version: int | None
    tries: list[Attempt]
    passed_over: list[PassedOver]
    audits: list[RequestAudit]
    created_by: str
    closed_at: datetime | None
    links: Links

    @classmethod
    def of(cls, row: tables.DeletionRequest, facts: RequestFacts) -> Self:
        """Return what a caller sees of a row."""
        computed: dict[str, Any] = {
            "progress": Progress.model_validate(facts.progress),
            "near_duplicates": NearDuplicates.of(facts.copies, row.id),
            "lapses_at": ledger.lapses_at(row.due_at, row.regulation, facts.holidays),
            "approval": facts.approval,
            "days_left": None if row.closed_at else (row.due_at - facts.now).days,
            "commitment": row.commitment_root,
            "commitment_salt": row.commitment_salt.hex() if row.commitment_salt else None,
            "policy": f"{row.policy_name}/{row.policy_version}",
            "base_version": facts.base_version,
            "result_version": facts.result_version,
            "tries": [Attempt.of(attempt, row.id) for attempt in facts.tries],
            "passed_over": [PassedOver.model_validate(entry) for entry in facts.passed_over],
            "audits": facts.audits,
            "links": Links.of("deletion-requests", row.id),
        }
        own = set(cls.model_fields) - set(computed)
        return cls(**computed, **{name: getattr(row, name) for name in own})
