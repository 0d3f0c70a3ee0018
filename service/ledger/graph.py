"""Jobs and what they need: a job wakes up once all its needs are completed."""

import uuid
from collections.abc import Collection, Iterable
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from service.database import now
from service.ledger.states import move, record
from service.origins import Origin
from service.tables import (
    Audit,
    DeletionRequest,
    Job,
    JobKind,
    JobNeed,
    JobStatus,
    Model,
    Outbox,
    Pool,
    PoolState,
    Qualification,
    Reference,
    ReferenceState,
    Run,
    new_id,
)

LIVE = (JobStatus.WAITING, JobStatus.QUEUED, JobStatus.RUNNING)


def add_job(
    session: Session,
    owner: Model | Run | Audit | Qualification,
    kind: JobKind,
    parameters: dict[str, object],
    needs: Collection[Job] = (),
) -> Job:
    """Add a job that waits for its needs; `parameters` are ids and numbers, never sample ids."""
    origin = _origin(session, owner)
    job = Job(
        id=new_id(),
        tenant_id=owner.tenant_id,
        model_id=owner.id if isinstance(owner, Model) else owner.model_id,
        run_id=owner.id if isinstance(owner, Run) else None,
        audit_id=owner.id if isinstance(owner, Audit) else None,
        kind=kind,
        status=JobStatus.WAITING,
        parameters=parameters,
        origin=origin.request_id,
        traceparent=origin.traceparent,
        created_at=now(session),
    )
    session.add(job)
    session.flush()
    for need in {need.id for need in needs}:
        session.add(JobNeed(job_id=job.id, need_id=need, tenant_id=owner.tenant_id))
    session.flush()
    record(session, job, "added", kind=str(kind), needs=len(needs))
    return job


def _origin(session: Session, owner: Model | Run | Audit | Qualification) -> Origin:
    """Return the call behind a run's oldest request, whoever plans its jobs, or the present one."""
    if not isinstance(owner, Run):
        return Origin.present()
    query = (
        select(DeletionRequest.origin, DeletionRequest.traceparent)
        .where(DeletionRequest.run_id == owner.id)
        .order_by(DeletionRequest.received_at, DeletionRequest.id)
        .limit(1)
    )
    found = session.execute(query).first()
    return Origin(*found) if found else Origin()


def queue_job(session: Session, job: Job, delay_s: float = 0) -> None:
    """Queue a waiting or running job and leave a wake-up in the outbox, due after `delay_s`."""
    moment = now(session) + timedelta(seconds=delay_s)
    move(session, job, JobStatus.QUEUED, attempt=job.attempt, failures=job.failures)
    job.lease_owner = job.lease_expires_at = job.heartbeat_at = None
    job.not_before = moment if delay_s else None
    add_wake_up(session, job, delay_s)


def add_wake_up(session: Session, job: Job, delay_s: float = 0) -> None:
    """Leave a wake-up for a job in the outbox; it is sent after the commit."""
    moment = now(session)
    session.add(
        Outbox(
            tenant_id=job.tenant_id,
            job_id=job.id,
            created_at=moment,
            send_after=moment + timedelta(seconds=delay_s),
        )
    )
    session.flush()


def queue_ready(session: Session, jobs: Iterable[Job]) -> None:
    """Queue those of the given jobs that wait for nothing any more."""
    for job in jobs:
        if job.status == JobStatus.WAITING and not _missing_needs(session, job.id):
            queue_job(session, job)


def queue_dependents(session: Session, done: Job) -> None:
    """Queue the jobs whose last missing need was the job just completed."""
    session.flush()
    query = (
        select(Job)
        .join(JobNeed, JobNeed.job_id == Job.id)
        .where(JobNeed.need_id == done.id, Job.status == JobStatus.WAITING)
        .order_by(Job.id)
    )
    queue_ready(session, session.scalars(query).all())


def cancel_jobs(session: Session, jobs: Iterable[Job]) -> None:
    """Cancel live jobs; what one of them was to train is free to be trained again."""
    for job in jobs:
        if job.status in LIVE:
            move(session, job, JobStatus.CANCELLED)
            job.finished_at = now(session)
            drop_training(session, job)


def drop_training(session: Session, job: Job) -> None:
    """Mark the references, or the pool, that an ended job leaves untrained as failed."""
    query = select(Reference).where(
        Reference.job_id == job.id, Reference.state == ReferenceState.TRAINING
    )
    for reference in session.scalars(query).all():
        move(session, reference, ReferenceState.FAILED)
    pools = select(Pool).where(Pool.job_id == job.id, Pool.state == PoolState.TRAINING)
    for pool in session.scalars(pools).all():
        move(session, pool, PoolState.FAILED)


def jobs_of(session: Session, owner: Run | Audit, *kinds: JobKind) -> list[Job]:
    """Return a run's or an audit's own jobs of some kinds (all: none given), oldest first."""
    mine = Job.run_id == owner.id if isinstance(owner, Run) else Job.audit_id == owner.id
    query = select(Job).where(mine).order_by(Job.id)
    if kinds:
        query = query.where(Job.kind.in_(kinds))
    return list(session.scalars(query.execution_options(populate_existing=True)))


def needed_elsewhere(session: Session, job: Job, owner: Run | Audit) -> bool:
    """Say whether a live job of another run or audit needs this one."""
    other = aliased(Job)
    mine = other.run_id == owner.id if isinstance(owner, Run) else other.audit_id == owner.id
    query = (
        select(func.count())
        .select_from(JobNeed)
        .join(other, other.id == JobNeed.job_id)
        .where(JobNeed.need_id == job.id, other.status.in_(LIVE), mine.is_not(True))
    )
    return session.execute(query).scalar_one() > 0


def _missing_needs(session: Session, job_id: uuid.UUID) -> int:
    query = (
        select(func.count())
        .select_from(JobNeed)
        .join(Job, Job.id == JobNeed.need_id)
        .where(JobNeed.job_id == job_id, Job.status != JobStatus.COMPLETED)
    )
    return session.execute(query).scalar_one()
