"""How trials end, and what a qualification says once all of them did."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import unpack
from service.database import now
from service.ledger.graph import cancel_jobs
from service.ledger.qualified import expire, method_digest, outdated, qualifies, trial_jobs
from service.ledger.samples import trained_on, training_set
from service.ledger.states import move, record
from service.tables import (
    Job,
    Model,
    ModelVersion,
    Qualification,
    QualificationState,
    QualificationTrial,
)

CONFIDENCE = 0.95
VERDICTS = frozenset({"PASS", "FAIL", "INCONCLUSIVE", "NOTHING_TO_REMOVE"})
KEPT_OF_AUDIT = ("influence", "reasons", "direction")


def trial_of(session: Session, job: Job) -> tuple[Qualification, QualificationTrial]:
    """Return the trial that a job carries out, with its qualification."""
    trial = session.scalars(
        select(QualificationTrial).where(QualificationTrial.job_id == job.id)
    ).one()
    return session.get_one(Qualification, trial.qualification_id), trial


def trials_of(session: Session, row: Qualification) -> list[QualificationTrial]:
    """Return the trials of a qualification, in their order."""
    query = (
        select(QualificationTrial)
        .where(QualificationTrial.qualification_id == row.id)
        .order_by(QualificationTrial.number)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(query))


def trial_retain_set(session: Session, row: Qualification, trial: QualificationTrial) -> BitMap:
    """Return R of a trial: D ∖ (E ∪ F), E as it was when the qualification was opened."""
    model = session.get_one(Model, row.model_id)
    training = training_set(trained_on(session, model))
    return training - unpack(row.erased) - unpack(trial.forget)


def trial_spec(session: Session, row: Qualification, trial: QualificationTrial) -> dict[str, Any]:
    """Return what the child of a trial is told besides the samples.

    The original of a class trial is the base version; the other kind trains its own.
    """
    first = trial.seed + 2
    spec: dict[str, Any] = {
        "trial": str(trial.id),
        "trial_kind": trial.kind,
        "method": row.method,
        "hyperparameters": {},
        "seed": trial.seed,
        "original_seed": trial.seed + 1,
        "reference_seeds": list(range(first, first + row.num_references)),
        "policy": row.policy,
        "look": 1,
    }
    if trial.kind == "class":
        base = session.get_one(ModelVersion, row.base_version_id)
        spec |= {"original_key": base.weights_uri, "original_sha256": base.weights_sha256}
    return spec


def settle_trial(session: Session, job: Job, result: dict[str, Any]) -> None:
    """Write down a trial's verdict; the last one decides the qualification."""
    row, trial = trial_of(session, job)
    if row.state != QualificationState.RUNNING:
        return
    audit = result["audits"][str(trial.id)]
    verdict = str(audit["verdict"])
    if verdict not in VERDICTS:
        raise ValueError(f"a trial gave the unknown verdict {verdict!r}")
    if not _same_method(row, result["method"]):
        reason = "The trials used different versions or hyperparameters of the method."
        fail_qualification(session, row, "method_changed", reason)
        return
    trial.verdict, trial.finished_at = verdict, now(session)
    trial.result = {
        **{name: audit.get(name) for name in KEPT_OF_AUDIT},
        "seconds": result["seconds"],
        "references": result["references"],
    }
    record(session, row, "tried", number=trial.number, kind=trial.kind, verdict=verdict)
    session.flush()
    trials = trials_of(session, row)
    if all(entry.verdict is not None for entry in trials):
        _decide(session, row, trials)


def fail_qualification(session: Session, row: Qualification, code: str, reason: str) -> None:
    """End a qualification whose trials cannot be finished, and stop the others."""
    if row.state != QualificationState.RUNNING:
        return
    move(session, row, QualificationState.FAILED, code=code)
    row.reason_code, row.reason, row.decided_at = code, reason, now(session)
    cancel_jobs(session, trial_jobs(session, row))


def wilson(successes: int, n: int, level: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a share, n ≥ 1; source: Wilson (1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    lower = 0.0 if successes == 0 else max(0.0, centre - half)
    upper = 1.0 if successes == n else min(1.0, centre + half)
    return lower, upper


def _same_method(row: Qualification, method: dict[str, Any]) -> bool:
    """Adopt the first trial's method, and compare the others with it."""
    digest = method_digest(method)
    if row.method_digest is None:
        row.method_version = str(method["version"])
        row.hyperparameters, row.method_digest = method["hyperparameters"], digest
    return row.method == method["name"] and row.method_digest == digest


def _decide(session: Session, row: Qualification, trials: Sequence[QualificationTrial]) -> None:
    """Count PASS among all trials of each kind: whatever else was said counts against it."""
    row.results = {
        kind: _result([trial for trial in trials if trial.kind == kind]) for kind in row.kinds
    }
    row.decided_at = now(session)
    counts = {kind: [found["passes"], found["trials"]] for kind, found in row.results.items()}
    if any(qualifies(found) for found in row.results.values()):
        move(session, row, QualificationState.LIVE, passed=counts)
        if (reason := outdated(session, row)) is not None:
            expire(session, row, *reason)
        return
    move(session, row, QualificationState.UNQUALIFIED, passed=counts)
    row.reason_code = "trials_failed"
    row.reason = "The method passed too few of its trials to be relied on without references."


def _result(trials: Sequence[QualificationTrial]) -> dict[str, Any]:
    passes = sum(trial.verdict == "PASS" for trial in trials)
    verdicts = sorted(str(trial.verdict) for trial in trials)
    return {
        "trials": len(trials),
        "passes": passes,
        "rate": passes / len(trials),
        "interval": list(wilson(passes, len(trials))),
        "confidence": CONFIDENCE,
        "verdicts": {name: verdicts.count(name) for name in dict.fromkeys(verdicts)},
    }
