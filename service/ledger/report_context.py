"""Everything that a signed statement is built from; `service.reports` turns it into one.

No field holds a sample id, an ordinal or a position.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class SubjectFacts:
    """The public facts of the deletion request or the audit that the report is about.

    `due_at`, `due_rule`, `regulation` and `subject_request_id` are null for an audit, whose
    `label` says who made the candidate. `scope` is class, instance or mixed, null without an audit
    result. `commitment_root` is the hex Merkle root of `service.commitment`.
    """

    kind: Literal["deletion_request", "audit"]
    id: uuid.UUID
    subject_request_id: str | None
    label: str | None
    regulation: str | None
    submitted_time: datetime
    received_at: datetime
    due_at: datetime | None
    due_rule: str | None
    closed_at: datetime
    num_samples: int
    commitment_root: str
    scope: str | None


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """One set of weights; `number` is null for a candidate made elsewhere."""

    number: int | None
    sha256: str
    created_at: datetime
    state: str


@dataclass(frozen=True, kw_only=True)
class ReferenceFacts:
    """One retrained reference of the audit."""

    seed: int
    sha256: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ResidualCopy:
    """Weights that still exist and were made with the forgotten samples or without them.

    A deployment is where its owner attested that a version serves, and `where` its environment.

    `contains` says whether the forgotten samples were in their training. `until`: ISO 8601 time
    by which they are purged, null where only the operator removes them, or, where `held`, while
    a legal hold on the data set keeps them: nobody knows when it ends.
    """

    what: Literal["version", "candidate", "reference", "cache", "pool", "deployment"]
    name: str
    digest: str | None
    where: str
    contains: bool
    until: str | None
    held: bool = False


@dataclass(frozen=True, kw_only=True)
class PoolFacts:
    """The pool that was made for a run's single samples; it decides nothing.

    `made`: {models, rounds, trained_on, groups, seed, seconds}, null where it could not be
    made, for the `reason`. `triage`: how far the original memorised this request's samples.
    `supplied_targets`: whether the candidate's method was taught by it.
    """

    made: dict[str, Any] | None
    triage: dict[str, Any] | None
    supplied_targets: bool
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class LogPosition:
    """The audit log's last link when the report was made."""

    seq: int
    hash: str


@dataclass(frozen=True, kw_only=True)
class ReportContext:
    """The one argument of `service.reports.build_statement`.

    `method`: {name, version, hyperparameters, seed, seconds, environment}, null for an audit.
    `ladder`: methods' names, or {method, hyperparameters} where some are not the defaults.
    `start`: {rung, reason}, where the run began, from 0, and why not lower; null for an audit.
    `passed_over`: a note on each rung without a candidate to promote, {rung, method, code, detail}.
    `tries`: one entry per audited candidate, {rung, method, hyperparameters, look, seconds,
    retrain_ratio, retrain_ratio_with_references, audits: {request id: {verdict, influence}}, at};
    only this request's audits. `audit`: AuditResult JSON; where the audit level is
    `none` or `qualified`, that of the reference-free checks. `qualification` is what a QUALIFIED
    verdict rests on, as `service.ledger.qualified.citation` gives it. `figures`: [{name, title,
    alt, sha256, media_type, uri, table}]. `environment` is the auditing worker's.
    `fingerprint_before` is the data set's as registered; `retain_digest` names the retain set R,
    `num_retain` and `num_erased` count R and E as this run froze them.
    `near_duplicates`: {byte_equal, near, in_holdout, included}, the copies of the samples left in R
    and in the hold-out, and those that came into the forget set with the request; `near` is null
    where nobody compared pixels, all is where nobody looked.
    `of_request`: {id, purpose, verdict, report_sha256, comparison}, the closed request that an
    audit upgrades or reproduces; `comparison` as `service.ledger.comparison.compare` gives it.
    `network` is what builds the network besides its architecture's name: {architecture_kwargs,
    preprocessing, classifier, num_classes}.
    """

    tenant_id: uuid.UUID
    subject: SubjectFacts
    run_id: uuid.UUID | None
    model_id: uuid.UUID
    model_name: str
    architecture: str
    dataset_id: uuid.UUID
    dataset_name: str
    fingerprint_before: str
    retain_digest: str
    num_train: int
    num_holdout: int
    num_retain: int
    num_erased: int
    base: VersionFacts
    candidate: VersionFacts
    promoted: bool
    method: dict[str, Any] | None
    ladder: tuple[Any, ...]
    audit_level: str
    tries: tuple[dict[str, Any], ...]
    references: tuple[ReferenceFacts, ...]
    recipe: dict[str, Any] | None
    recipe_digest: str | None
    policy_name: str
    policy_version: int
    policy_digest: str
    audit: dict[str, Any] | None
    verdict: str
    figures: tuple[dict[str, Any], ...]
    environment: dict[str, Any]
    residual_copies: tuple[ResidualCopy, ...]
    log: LogPosition
    near_duplicates: dict[str, int | None] | None = None
    qualification: dict[str, Any] | None = None
    of_request: dict[str, Any] | None = None
    pool: PoolFacts | None = None
    network: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] | None = None
    passed_over: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class SignedReport:
    """What `publish` gives back: DSSE bytes, their SHA-256, the statement, the page if rendered."""

    envelope: bytes
    sha256: str
    statement: dict[str, Any]
    html: bytes | None = None
