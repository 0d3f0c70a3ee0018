"""How far a request or an audit has come, from the states of its run's jobs."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from service.ledger.graph import jobs_of
from service.ledger.planning import waiting_approval
from service.ledger.qualified import trial_jobs
from service.tables import (
    Audit,
    AuditStatus,
    DeletionRequest,
    Job,
    JobKind,
    JobStatus,
    Qualification,
    QualificationState,
    RequestStatus,
    Run,
)

WEIGHTS = {
    JobKind.REFERENCE: 5.0,
    JobKind.POOL: 50.0,
    JobKind.UNLEARN: 2.0,
    JobKind.AUDIT: 2.0,
}


@dataclass(frozen=True)
class Progress:
    """`percent` is of the present rung and look; `step` and `total` are the working job's own."""

    phase: str
    percent: int
    detail: str = ""
    step: int = 0
    total: int = 0


def progress_of(session: Session, request: DeletionRequest) -> Progress:
    """Return phase and percent; a closed request's phase is its status."""
    if request.status == RequestStatus.PENDING:
        return Progress("waiting", 0)
    if request.status != RequestStatus.IN_PROGRESS or request.run_id is None:
        done = request.status == RequestStatus.COMPLETED
        return Progress(str(request.status), 100 if done else 0)
    run = session.get_one(Run, request.run_id)
    if waiting_approval(session, run) is not None:
        return Progress("awaiting_approval", 99)
    return _of_jobs(jobs_of(session, run))


def audit_progress_of(session: Session, audit: Audit) -> Progress:
    """Return phase and percent; a closed audit's phase is its status."""
    if audit.status != AuditStatus.IN_PROGRESS:
        done = audit.status == AuditStatus.COMPLETED
        return Progress(str(audit.status), 100 if done else 0)
    return _of_jobs(jobs_of(session, audit))


def qualification_progress_of(session: Session, row: Qualification) -> Progress:
    """Return phase and percent over all trials; an ended qualification's phase is its state."""
    jobs = trial_jobs(session, row)
    ended = sum(job.status == JobStatus.COMPLETED for job in jobs)
    if row.state != QualificationState.RUNNING:
        percent = 100 if ended == len(jobs) else 0
        return Progress(str(row.state), percent, step=ended, total=len(jobs))
    percent = int(100 * sum(_fraction(job) for job in jobs) / len(jobs))
    detail = f"{ended} of {len(jobs)} trials"
    return Progress("trials", min(99, percent), detail, step=ended, total=len(jobs))


def _of_jobs(jobs: Sequence[Job]) -> Progress:
    """Look at the references and the last job of the other kinds: earlier ones are over.

    A pool that failed is over too: the run goes on without it.
    """
    ended = (JobStatus.CANCELLED, JobStatus.FAILED)
    jobs = [job for job in jobs if job.status not in ended]
    present = [job for job in jobs if job.kind == JobKind.REFERENCE]
    for kind in (JobKind.POOL, JobKind.UNLEARN, JobKind.AUDIT):
        present += [job for job in jobs if job.kind == kind][-1:]
    whole = sum(_weight(job) for job in present)
    done = sum(_weight(job) * _fraction(job) for job in present)
    live = [job for job in present if job.status != JobStatus.COMPLETED]
    running = [job for job in live if job.status == JobStatus.RUNNING]
    phase = _phase(running or live)
    shown = next((job.progress for job in running if job.progress), None) or {}
    return Progress(
        phase=phase,
        percent=min(99, int(100 * done / whole)) if whole else 0,
        detail=str(shown.get("detail", "")),
        step=int(shown.get("step", 0)),
        total=int(shown.get("total", 0)),
    )


def _phase(jobs: Sequence[Job]) -> str:
    kinds = {job.kind for job in jobs}
    if JobKind.POOL in kinds:
        return "pool"
    if JobKind.UNLEARN in kinds:
        return "unlearning"
    if JobKind.REFERENCE in kinds:
        return "references"
    return "auditing" if JobKind.AUDIT in kinds else "closing"


def _weight(job: Job) -> float:
    seeds = len(job.parameters.get("seeds", ())) if job.kind == JobKind.REFERENCE else 1
    return WEIGHTS.get(job.kind, 1.0) * seeds


def _fraction(job: Job) -> float:
    if job.status == JobStatus.COMPLETED:
        return 1.0
    total = float((job.progress or {}).get("total") or 0)
    if job.status != JobStatus.RUNNING or job.progress is None or total <= 0:
        return 0.0
    return min(1.0, float(job.progress.get("step") or 0) / total)
