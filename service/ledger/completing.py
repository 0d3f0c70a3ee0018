"""A job's result enters the ledger: fenced, and all or nothing."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.commitment import canonical_json
from service.database import now
from service.ledger.closing import promote_first
from service.ledger.copies import KEY, keep_found
from service.ledger.graph import queue_dependents
from service.ledger.jobs import fenced
from service.ledger.orders import Claim
from service.ledger.planning import plan_run
from service.ledger.pools import keep_pool
from service.ledger.report_context import ReportContext, SignedReport
from service.ledger.settling import settle_audit, settle_run
from service.ledger.states import move, record
from service.ledger.trials import settle_trial
from service.tables import (
    Audit,
    Job,
    JobKind,
    JobStatus,
    Model,
    ModelStatus,
    ModelVersion,
    Reference,
    ReferenceState,
    Run,
    VersionState,
)

Publish = Callable[[ReportContext], SignedReport]
_NOT_KEPT = ("audits", "figures", "triage", KEY)  # what reports, and the ledger's own tables, hold


def complete(session: Session, claim: Claim, result: dict[str, Any], publish: Publish) -> bool:
    """Write down a job's result and take the next step: a job, a rung, a look or signed reports.

    `result` is the child's (contract §2), its artifacts published, `uri` for `path`. `publish`
    builds and signs the statement of one report. Return False, with nothing changed, when the
    claim is no longer held.

    Raises:
        ValueError: the result lacks what it must have; the transaction has to be rolled back.
    """
    job = fenced(session, claim)
    if job is None:
        return False
    canonical_json(result)  # refuses NaN before anything is written
    # the claim's attempt, so that the log itself shows who completed what
    move(session, job, JobStatus.COMPLETED, actor=job.lease_owner, attempt=claim.attempt)
    job.finished_at, job.error = now(session), None
    job.result = {key: value for key, value in result.items() if key not in _NOT_KEPT}
    session.flush()
    try:
        _apply(session, job, result, publish)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"the result of a {job.kind} job lacks {error}") from error
    session.flush()
    return True


def _apply(session: Session, job: Job, result: dict[str, Any], publish: Publish) -> None:
    if job.kind == JobKind.CHECK:
        _apply_check(session, job, result)
    elif job.kind == JobKind.REFERENCE:
        _apply_references(session, job, result)
        queue_dependents(session, job)
    elif job.kind == JobKind.POOL:
        keep_pool(session, job, result)
        queue_dependents(session, job)
    elif job.kind == JobKind.UNLEARN:
        _apply_candidate(session, job, result)
        queue_dependents(session, job)
    elif job.kind == JobKind.TRIAL:
        settle_trial(session, job, result)
    elif job.run_id is not None:
        run = session.get_one(Run, job.run_id)
        settle_run(session, run, keep_found(session, job, run, result), publish)
    else:
        audit = session.get_one(Audit, job.audit_id)
        settle_audit(session, audit, keep_found(session, job, audit, result), publish)


def _apply_check(session: Session, job: Job, result: dict[str, Any]) -> None:
    """Make the model ready and its first version current."""
    model = session.get_one(Model, job.model_id)
    model.classifier = str(result["classifier"])
    model.check_result = {
        key: result[key] for key in ("classifier", "num_parameters", "feature_dim")
    }
    move(session, model, ModelStatus.READY)
    promote_first(session, model)
    plan_run(session, model.id)


def _apply_references(session: Session, job: Job, result: dict[str, Any]) -> None:
    """Mark every reference of the job as ready."""
    trained = {entry["seed"]: entry for entry in result["references"]}
    query = select(Reference).where(
        Reference.job_id == job.id, Reference.state == ReferenceState.TRAINING
    )
    for row in session.scalars(query).all():
        entry = trained[row.seed]
        artifact = result["artifacts"][entry["artifact"]]
        row.weights_uri, row.weights_sha256 = artifact["uri"], artifact["sha256"]
        row.seconds, row.ready_at = float(entry["seconds"]), now(session)
        move(session, row, ReferenceState.READY, seed=row.seed, sha256=row.weights_sha256)


def _apply_candidate(session: Session, job: Job, result: dict[str, Any]) -> None:
    """Add the candidate as the model's next version."""
    run = session.get_one(Run, job.run_id)
    artifact = result["artifacts"][result["artifact"]]
    highest = select(func.max(ModelVersion.number)).where(ModelVersion.model_id == run.model_id)
    version = ModelVersion(
        tenant_id=run.tenant_id,
        model_id=run.model_id,
        number=session.execute(highest).scalar_one() + 1,
        parent_id=run.base_version_id,
        run_id=run.id,
        weights_uri=artifact["uri"],
        weights_sha256=artifact["sha256"],
        method=result["method"],
        seed=int(result["seed"]),
        seconds=float(result["seconds"]),
        environment=result.get("environment"),
        state=VersionState.CANDIDATE,
        created_at=now(session),
    )
    session.add(version)
    session.flush()
    run.candidate_version_id = version.id
    name, sha256 = result["method"]["name"], version.weights_sha256
    record(session, version, "made", number=version.number, method=name, sha256=sha256)
