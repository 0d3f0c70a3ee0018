"""What a failed job brings down with it, and how a run climbs or gives up."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import now
from service.ledger.graph import LIVE, cancel_jobs, drop_training, jobs_of, needed_elsewhere
from service.ledger.orders import JobError
from service.ledger.planning import (
    finish_run,
    pass_over,
    plan_run,
    reject_candidate,
    requests_of,
    start_rung,
)
from service.ledger.pools import go_on_without
from service.ledger.rungs import method_of, methods_of
from service.ledger.starting import NOT_APPROVED
from service.ledger.states import move, record
from service.ledger.trials import fail_qualification, trial_of
from service.tables import (
    Audit,
    AuditStatus,
    DeletionRequest,
    Job,
    JobKind,
    JobNeed,
    JobStatus,
    Model,
    ModelStatus,
    ModelVersion,
    RequestStatus,
    Run,
    RunState,
    VersionState,
)

DIVERGED = "non_finite_loss"
UNFIT = frozenset({DIVERGED, "method_not_usable", "invalid_problem"})
"""Codes of an unlearning job that speak against its method, not against the run."""
WHAT = {
    JobKind.CHECK: "The check of the weights",
    JobKind.REFERENCE: "The training of the retrained references",
    JobKind.UNLEARN: "The unlearning",
    JobKind.AUDIT: "The audit",
    JobKind.TRIAL: "A trial erasure",
    JobKind.POOL: "The training of the pool",
}


def job_failed(session: Session, job: Job, error: JobError) -> None:
    """End a job that will not be tried again, and all that cannot go on without it.

    An unlearning method that diverged, cannot be loaded or is not made for such a problem is only
    a rung that did not hold: the run climbs. Without its pool a run goes on.
    """
    move(session, job, JobStatus.FAILED, code=error.code, attempt=job.attempt)
    job.finished_at = now(session)
    drop_training(session, job)
    session.flush()
    reason = f"{WHAT[job.kind]} failed: {error.detail}"
    if job.kind == JobKind.CHECK:
        _reject_model(session, job, error.detail)
    if job.kind == JobKind.TRIAL:
        fail_qualification(session, trial_of(session, job)[0], error.code, reason)
    run = None if job.run_id is None else session.get_one(Run, job.run_id)
    if job.kind == JobKind.POOL:
        go_on_without(session, job, error)
        return
    if job.kind == JobKind.UNLEARN and run is not None and _speaks_against_method(run, error):
        pass_over(session, run, error.code, error.detail)
        climb(session, run)
        return
    for owner in _owners_needing(session, job):
        if isinstance(owner, Run):
            fail_run(session, owner, error.code, reason)
        else:
            fail_audit(session, owner, error.code, reason)


def _speaks_against_method(run: Run, error: JobError) -> bool:
    """Say whether the run may go on with another method; only divergence is a rung's own end."""
    return error.code == DIVERGED or (error.code in UNFIT and run.rung + 1 < len(run.ladder))


def climb(session: Session, run: Run) -> None:
    """Start the next rung with all requests of the run, or fail them when there is none."""
    if run.rung + 1 >= len(run.ladder):
        methods = ", ".join(methods_of(run.ladder))
        unfit = [f" {e['method']}: {e['detail']}" for e in run.passed_over if e["code"] in UNFIT]
        refused = any(entry["code"] == NOT_APPROVED for entry in run.passed_over)
        passed = "passed its audit and was approved" if refused else "passed its audit"
        reason = (
            f"No method of the ladder ({methods}) {passed}.{''.join(unfit)} The current"
            " version still contains the data. Request the samples again with `retrain` as the"
            " last rung."
        )
        fail_run(session, run, "no_rung_left", reason)
        return
    reject_candidate(session, run)
    cancel_jobs(session, jobs_of(session, run, JobKind.UNLEARN, JobKind.AUDIT))
    run.rung, run.look = run.rung + 1, 1
    record(session, run, "climbed", rung=run.rung, method=method_of(run.ladder[run.rung]))
    start_rung(session, run)


def fail_run(session: Session, run: Run, code: str, reason: str) -> None:
    """Fail a run with its requests; their samples stay in E and may be requested again."""
    if run.state != RunState.ACTIVE:
        return
    for request in requests_of(session, run):
        move(session, request, RequestStatus.FAILED, code=code)
        request.reason_code, request.reason, request.closed_at = code, reason, now(session)
    finish_run(session, run, RunState.FAILED, reason)
    plan_run(session, run.model_id)


def fail_audit(session: Session, audit: Audit, code: str, reason: str) -> None:
    """Fail an audit and stop its jobs."""
    if audit.status != AuditStatus.IN_PROGRESS:
        return
    move(session, audit, AuditStatus.FAILED, code=code)
    audit.reason_code, audit.reason, audit.closed_at = code, reason, now(session)
    jobs = jobs_of(session, audit)
    cancel_jobs(session, [job for job in jobs if not needed_elsewhere(session, job, audit)])


def _owners_needing(session: Session, job: Job) -> list[Run | Audit]:
    """Return the run or audit of a job and those whose live jobs need it."""
    query = (
        select(Job)
        .join(JobNeed, JobNeed.job_id == Job.id)
        .where(JobNeed.need_id == job.id, Job.status.in_(LIVE))
        .order_by(Job.id)
    )
    dependents = list(session.scalars(query))
    if job.kind != JobKind.REFERENCE:
        dependents.append(job)
    owners: dict[object, Run | Audit] = {}
    for dependent in dependents:
        if dependent.run_id is not None:
            owners[dependent.run_id] = session.get_one(Run, dependent.run_id)
        elif dependent.audit_id is not None:
            owners[dependent.audit_id] = session.get_one(Audit, dependent.audit_id)
    return list(owners.values())


def _reject_model(session: Session, job: Job, reason: str) -> None:
    """Refuse a model whose weights failed their check, with all requests that wait for it."""
    model = session.get_one(Model, job.model_id)
    move(session, model, ModelStatus.REJECTED)
    model.reason = reason
    version = session.scalars(select(ModelVersion).where(ModelVersion.model_id == model.id)).one()
    move(session, version, VersionState.REJECTED, number=version.number)
    waiting = select(DeletionRequest).where(
        DeletionRequest.model_id == model.id,
        DeletionRequest.status.in_([RequestStatus.PENDING, RequestStatus.ON_HOLD]),
    )
    for request in session.scalars(waiting).all():
        move(session, request, RequestStatus.REJECTED, code="model_rejected")
        request.reason_code, request.closed_at = "model_rejected", now(session)
        request.reason = f"The model's weights failed their check: {reason}"
