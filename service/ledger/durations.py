"""How long a run may take, by what jobs of the same model took before."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from service.ledger.orders import POOLED, RETRAIN, Rung
from service.ledger.rungs import method_of, methods_of, spelled
from service.tables import Job, JobKind, JobStatus, Reference

NEWEST = 5  # jobs of a kind that speak for the next; the longest of them counts


@dataclass(frozen=True)
class Durations:
    """Seconds of a model's jobs: unlearning by rung, one audit, one reference; null: none yet.

    `pool` is 0 where none was made yet, for most requests that want one need none.
    """

    unlearning: dict[str, float]
    audit: float | None
    reference: float | None
    pool: float = 0.0

    def climb(
        self,
        ladder: Sequence[Rung],
        start: int,
        references: Sequence[int],
        looks: int,
        *,
        pool: bool = False,
    ) -> float | None:
        """Return what a climb from a rung to the top may take, null where nothing tells.

        Every rung is taken to fail at each of its `looks`, and jobs to follow one another. A rung
        that never ran counts as a retraining. `references` are the numbers of the first look and
        of the last: retraining is looked at once. `pool`: whether methods that can use one get one.
        """
        retrain = self.unlearning.get(RETRAIN, self.reference)
        costs = [self.unlearning.get(spelled(rung), retrain) for rung in ladder[start:]]
        known = [cost for cost in costs if cost is not None]
        if len(known) < len(costs) or self.audit is None:
            return None
        approximate = sum(method_of(rung) != RETRAIN for rung in ladder[start:])
        count = references[-1] if approximate else references[0]
        if count and self.reference is None:
            return None
        audits = approximate * looks + (len(costs) - approximate)
        pooled = self.pool if pool and set(POOLED) & set(methods_of(ladder[start:])) else 0.0
        return sum(known) + audits * self.audit + count * (self.reference or 0.0) + pooled


def durations(session: Session, model_id: uuid.UUID) -> Durations:
    """Return the longest of a model's newest jobs of each kind, claim to completion."""
    trained = (
        select(Reference.seconds)
        .where(Reference.model_id == model_id, Reference.seconds.is_not(None))
        .order_by(Reference.ready_at.desc(), Reference.id.desc())
        .limit(NEWEST)
    )
    references = [seconds for seconds in session.scalars(trained) if seconds is not None]
    return Durations(
        unlearning=_unlearning(session, model_id),
        audit=max(_newest(session, model_id, JobKind.AUDIT), default=None),
        reference=max(references, default=None),
        pool=max(_newest(session, model_id, JobKind.POOL), default=0.0),
    )


def _unlearning(session: Session, model_id: uuid.UUID) -> dict[str, float]:
    query = _completed(model_id).where(Job.kind == JobKind.UNLEARN).order_by(Job.finished_at.desc())
    found: dict[str, list[float]] = {}
    for job in session.scalars(query.limit(50 * NEWEST)):
        given = job.parameters["hyperparameters"]
        name = job.parameters["method"]
        key = spelled({"method": name, "hyperparameters": given})
        found.setdefault(key, []).append(_seconds(job))
    return {key: max(times[:NEWEST]) for key, times in found.items()}


def _newest(session: Session, model_id: uuid.UUID, kind: JobKind) -> list[float]:
    """Return what the newest jobs of runs took; audits of foreign weights tell nothing of one."""
    query = _completed(model_id).where(Job.kind == kind, Job.run_id.is_not(None))
    jobs = session.scalars(query.order_by(Job.finished_at.desc()).limit(NEWEST))
    return [_seconds(job) for job in jobs]


def _completed(model_id: uuid.UUID) -> Select[Job]:
    return select(Job).where(Job.model_id == model_id, Job.status == JobStatus.COMPLETED)


def _seconds(job: Job) -> float:
    if job.started_at is None or job.finished_at is None:
        return 0.0
    return (job.finished_at - job.started_at).total_seconds()
