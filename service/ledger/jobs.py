"""The protocol between ledger and workers: claim, renew, release, fail, and the fence.

A claim's attempt is its fencing token. Every write checks it under the tenant's turn, so a worker
that lost its lease changes nothing however late it comes back.
"""

import uuid
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from service.database import limits, now
from service.ledger.failing import job_failed
from service.ledger.graph import queue_job
from service.ledger.log import take_turn
from service.ledger.orders import Claim, JobError
from service.ledger.states import move
from service.origins import Origin
from service.tables import DeletionRequest, Job, JobKind, JobStatus, RequestStatus

MAX_DOUBLINGS = 6  # of the back-off: five minutes, with the settings as they come
UNDATED_DAYS = 30


def claim(session: Session, job_id: uuid.UUID, owner: str, lease_s: float) -> Claim | None:
    """Take a job if it is queued and due, or if its lease has run out; add one to its attempt.

    A lease found run out is a failure; with the budget spent the job is left to the sweep.
    """
    job = _in_turn(session, job_id)
    if job is None:
        return None
    moment = now(session)
    if job.status == JobStatus.QUEUED:
        if job.not_before is not None and job.not_before > moment:
            return None
    elif job.status == JobStatus.RUNNING:
        silent = job.lease_expires_at is None or job.lease_expires_at < moment
        if not silent or job.failures + 1 >= limits(session).max_failures:
            return None
        job.failures += 1
        job.lost_leases += 1
    else:
        return None
    job.attempt += 1
    move(session, job, JobStatus.RUNNING, actor=owner, attempt=job.attempt, kind=str(job.kind))
    job.lease_owner, job.lease_expires_at = owner, moment + timedelta(seconds=lease_s)
    job.heartbeat_at, job.started_at = moment, job.started_at or moment
    job.not_before = job.progress = None
    session.flush()
    origin = Origin(job.origin, job.traceparent)
    return Claim(job.id, str(job.kind), job.attempt, job.run_id, origin)


def urgent_jobs(session: Session, limit: int = 16) -> list[uuid.UUID]:
    """Return the queued jobs that are due, the earliest deadline first.

    A job's deadline is the earliest of the requests that its run serves. The check of a model comes
    first, for it is short and requests may wait for it. Audits and trials have no deadline in law:
    they rank as if they were due `UNDATED_DAYS` after they were asked for, so none waits for ever.
    """
    due = (
        select(func.min(DeletionRequest.due_at))
        .where(
            DeletionRequest.run_id == Job.run_id,
            DeletionRequest.status == RequestStatus.IN_PROGRESS,
        )
        .scalar_subquery()
    )
    moment = now(session)
    queued = (
        select(Job.id, Job.created_at, due.label("due"))
        .where(Job.status == JobStatus.QUEUED)
        .where(or_(Job.not_before.is_(None), Job.not_before <= moment))
        .limit(limit)
    )
    check = Job.kind == JobKind.CHECK
    dated = queued.where(~check, due.is_not(None)).order_by(due, Job.id)
    undated = queued.where(~check, due.is_(None)).order_by(Job.created_at, Job.id)
    ranked = [
        (row.due or row.created_at + timedelta(days=UNDATED_DAYS), row.id)
        for query in (dated, undated)
        for row in session.execute(query)
    ]
    first = [row.id for row in session.execute(queued.where(check).order_by(Job.id))]
    return [*first, *(job_id for _, job_id in sorted(ranked))][:limit]


def renew(
    session: Session, claim: Claim, lease_s: float, progress: dict[str, Any] | None = None
) -> Literal["ok", "cancel", "lost"]:
    """Extend a lease by the database's clock; say if the job was cancelled or has been lost."""
    moment = now(session)
    values: dict[str, Any] = {
        "lease_expires_at": moment + timedelta(seconds=lease_s),
        "heartbeat_at": moment,
    }
    if progress is not None:
        values["progress"] = progress
    mine = (Job.id == claim.job_id) & (Job.attempt == claim.attempt)
    renewed = session.execute(
        update(Job).where(mine, Job.status == JobStatus.RUNNING).values(values).returning(Job.id)
    )
    if renewed.first() is not None:
        return "ok"
    cancelled = session.scalar(select(Job.id).where(mine, Job.status == JobStatus.CANCELLED))
    return "lost" if cancelled is None else "cancel"


def release(session: Session, claim: Claim) -> bool:
    """Give a job back unharmed, as a worker does that was told to end; no failure is counted.

    True as well for a job that was cancelled under this claim: there is nothing to give back.
    """
    job = _in_turn(session, claim.job_id)
    if job is None or job.attempt != claim.attempt:
        return False
    if job.status == JobStatus.RUNNING:
        queue_job(session, job)
        return True
    return job.status == JobStatus.CANCELLED


def fail(session: Session, claim: Claim, error: JobError) -> bool:
    """Write down a failure: transient ones are tried again while the budget lasts.

    Return False, with nothing changed, when the claim is no longer held.
    """
    job = fenced(session, claim)
    if job is None:
        return False
    fail_job(session, job, error)
    return True


def fail_job(session: Session, job: Job, error: JobError, max_failures: int | None = None) -> bool:
    """Queue a running job again with back-off, or end it and what depends on it.

    Return whether the job ended.
    """
    budget = max_failures or limits(session).max_failures
    job.error = {"kind": error.kind, "code": error.code, "detail": error.detail}
    if error.kind == "transient":
        job.failures += 1
        if job.failures < budget:
            doublings = min(job.failures - 1, MAX_DOUBLINGS)
            queue_job(session, job, limits(session).back_off_s * 2**doublings)
            return False
    job_failed(session, job, error)
    return True


def fenced(session: Session, claim: Claim) -> Job | None:
    """Return the job if the claim still holds it, None otherwise."""
    job = _in_turn(session, claim.job_id)
    if job is None or job.attempt != claim.attempt or job.status != JobStatus.RUNNING:
        return None
    return job


def _in_turn(session: Session, job_id: uuid.UUID) -> Job | None:
    """Return a job as it is once it is this transaction's turn."""
    tenant_id = session.scalar(select(Job.tenant_id).where(Job.id == job_id))
    if tenant_id is None:
        return None
    take_turn(session, tenant_id)
    return session.get(Job, job_id, populate_existing=True, with_for_update=True)
