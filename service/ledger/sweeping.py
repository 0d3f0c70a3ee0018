"""The sweep finds what was lost: silent workers, swallowed messages, runs nobody planned."""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.config import Settings
from service.database import now
from service.ledger.calls import purge_calls
from service.ledger.graph import add_wake_up
from service.ledger.jobs import fail_job
from service.ledger.log import take_housekeeping, take_turn
from service.ledger.orders import JobError, SweepResult
from service.ledger.planning import plan_run
from service.ledger.qualified import expire_outdated
from service.ledger.yielding import yield_to_deadlines
from service.tables import (
    DeletionRequest,
    Job,
    JobStatus,
    Model,
    ModelStatus,
    Outbox,
    Qualification,
    QualificationState,
    RequestStatus,
    Run,
    RunState,
)

MAX_DOUBLINGS = 3  # a job in a long queue is woken at most every eight leases
KEPT_DAYS = 1  # how long wake-ups that were sent are kept


def sweep(session: Session, settings: Settings) -> SweepResult:
    """Put back what went silent, wake what was never claimed, plan what waits for no run.

    Safe to run in several processes: on PostgreSQL one does the work, the others do nothing.
    """
    if not take_housekeeping(session):
        return SweepResult()
    requeued, failed = _recover_silent(session, settings)
    woken = _wake_forgotten(session, settings)
    _expire_qualifications(session)
    yield_to_deadlines(session)
    planned = _plan_waiting(session)
    purge_calls(session)
    old = now(session) - timedelta(days=KEPT_DAYS)
    live = select(Job.id).where(Job.status.in_([JobStatus.WAITING, JobStatus.QUEUED]))
    session.execute(delete(Outbox).where(Outbox.sent_at < old, Outbox.job_id.not_in(live)))
    return SweepResult(requeued=requeued, failed=failed, redispatched=woken, planned=planned)


def _recover_silent(session: Session, settings: Settings) -> tuple[int, int]:
    """Fail transiently every job whose lease has run out; return (put back, ended)."""
    query = select(Job.id, Job.tenant_id).where(
        Job.status == JobStatus.RUNNING, Job.lease_expires_at < now(session)
    )
    requeued = failed = 0
    for job_id, tenant_id in session.execute(query).all():
        take_turn(session, tenant_id)
        job = session.get_one(Job, job_id, populate_existing=True, with_for_update=True)
        expires = job.lease_expires_at
        if job.status != JobStatus.RUNNING or expires is None or expires >= now(session):
            continue  # it was renewed, or its run ended, while this sweep waited for its turn
        times = job.failures + 1
        detail = (
            f"The worker stopped answering, {times} times in all. It may have been killed for"
            " want of memory, or its machine has failed; the worker's log tells more."
        )
        error = JobError("transient", "worker_lost", detail)
        job.lost_leases += 1
        if fail_job(session, job, error, settings.max_failures):
            failed += 1
        else:
            requeued += 1
    return requeued, failed


def _wake_forgotten(session: Session, settings: Settings) -> int:
    """Leave a new wake-up for queued jobs whose last one was sent long ago; return how many."""
    moment = now(session)
    query = (
        select(Job, func.max(Outbox.sent_at), func.count(Outbox.id))
        .outerjoin(Outbox, Outbox.job_id == Job.id)
        .where(Job.status == JobStatus.QUEUED)
        .group_by(Job.id)
        .having(func.count(Outbox.id) == func.count(Outbox.sent_at))  # none is still to be sent
    )
    woken = 0
    for job, sent_at, count in session.execute(query).all():
        wait_s = settings.lease_s * 2 ** min(max(count - 1, 0), MAX_DOUBLINGS)
        if sent_at is None or sent_at + timedelta(seconds=wait_s) <= moment:
            add_wake_up(session, job)
            woken += 1
    return woken


def _expire_qualifications(session: Session) -> None:
    """Expire qualifications that hold no more, as after an update that changed a policy."""
    query = select(Qualification.tenant_id, Qualification.model_id).where(
        Qualification.state.in_([QualificationState.RUNNING, QualificationState.LIVE])
    )
    for tenant_id, model_id in session.execute(query.distinct()).all():
        take_turn(session, tenant_id)
        expire_outdated(session, model_id)


def _plan_waiting(session: Session) -> int:
    """Plan a run for every ready model with waiting requests and no run; return how many."""
    active = select(Run.model_id).where(Run.state == RunState.ACTIVE)
    query = (
        select(DeletionRequest.model_id)
        .join(Model, Model.id == DeletionRequest.model_id)
        .where(
            DeletionRequest.status == RequestStatus.PENDING,
            Model.status == ModelStatus.READY,
            DeletionRequest.model_id.not_in(active),
        )
        .distinct()
    )
    models = session.scalars(query).all()
    return sum(plan_run(session, model_id) is not None for model_id in models)
