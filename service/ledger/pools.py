"""Pools: cross-fitted targets for single samples, made once for a run's forget set.

A pool is wanted by a request, made where the rung's method can use it, and never needed: where it
can't be made the run goes on without. What supplied a candidate's targets does not audit it, so no
audit job is ever told of a pool. Its predictions are personal data and go when the run is over.
"""

import uuid
from datetime import timedelta
from typing import Any

from pyroaring import BitMap
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.bitmaps import digest, unpack
from service.database import among, limits, now
from service.ledger.graph import add_job, queue_job, queue_ready
from service.ledger.holds import held_models
from service.ledger.log import iso
from service.ledger.orders import POOLED, JobError
from service.ledger.report_context import PoolFacts, ResidualCopy
from service.ledger.rungs import method_of
from service.ledger.states import move
from service.tables import (
    Job,
    JobKind,
    JobNeed,
    Model,
    ModelVersion,
    Pool,
    PoolState,
    Run,
    RunState,
    Sample,
    new_id,
)

ARTIFACT = "pool"
POOL_NAME = "predictions of models that did not see the samples"
SEED = "pool"
"""Where a pool job keeps the seed of its folds and trainings."""


def ensure_pool(session: Session, run: Run, retain: BitMap, seed: int) -> list[Job]:
    """Add the job that makes the run's pool, and return it while it is not done.

    None is made where no request of the run wants one, the rung's method cannot use it, or whole
    classes alone are forgotten: what a class never learnt looks like, no pool can tell.
    """
    if not run.pool or method_of(run.ladder[run.rung]) not in POOLED:
        return []
    present = _pool(session, run, PoolState.TRAINING, PoolState.READY)
    if present is not None:
        job = session.get_one(Job, present.job_id)
        return [job] if present.state == PoolState.TRAINING else []
    if not _has_single_samples(session, run, retain):
        return []
    job = add_job(session, run, JobKind.POOL, {SEED: seed, "rung": run.rung})
    row = Pool(
        id=new_id(),
        tenant_id=run.tenant_id,
        run_id=run.id,
        job_id=job.id,
        forget_digest=_forget_digest(run),
        state=PoolState.TRAINING,
        created_at=job.created_at,
    )
    session.add(row)
    session.flush()
    queue_job(session, job)
    return [job]


def keep_pool(session: Session, job: Job, result: dict[str, Any]) -> None:
    """Mark the pool that a job made as ready; what it found by request stays with the pool."""
    row = _of_job(session, job)
    artifact = result["artifacts"][ARTIFACT]
    row.predictions_uri, row.predictions_sha256 = artifact["uri"], artifact["sha256"]
    row.facts = {**result["pool"], "seconds": float(result["seconds"])}
    row.triage, row.ready_at = dict(result["triage"]), now(session)
    models = int(result["pool"]["models"])
    move(session, row, PoolState.READY, sha256=row.predictions_sha256, models=models)


def go_on_without(session: Session, job: Job, error: JobError) -> None:
    """Let what waits for a pool that can't be made start without it."""
    row = _of_job(session, job)
    row.reason = error.detail
    waiting = select(Job).join(JobNeed, JobNeed.job_id == Job.id).where(JobNeed.need_id == job.id)
    dependents = session.scalars(waiting.order_by(Job.id)).all()
    session.execute(delete(JobNeed).where(JobNeed.need_id == job.id))
    session.flush()
    queue_ready(session, dependents)


def predictions_of(session: Session, run: Run) -> Pool | None:
    """Return the pool whose predictions the present rung's method is given, if there is one."""
    if method_of(run.ladder[run.rung]) not in POOLED:
        return None
    return _pool(session, run, PoolState.READY)


def pool_facts(
    session: Session, run: Run, request_id: uuid.UUID, candidate: ModelVersion
) -> PoolFacts | None:
    """Return what a request's report says of the run's last pool; None where none was tried."""
    row = _last(session, run)
    if row is None:
        return None
    triage = (row.triage or {}).get(str(request_id))
    supplied = (candidate.method or {}).get("targets") == ARTIFACT
    return PoolFacts(made=row.facts, triage=triage, supplied_targets=supplied, reason=row.reason)


def pool_copies(session: Session, run: Run) -> list[ResidualCopy]:
    """List the predictions that are still kept; housekeeping deletes them once the run is over."""
    until = iso(now(session) + timedelta(seconds=limits(session).reference_grace_s))
    query = select(Pool).where(Pool.run_id == run.id, Pool.state == PoolState.READY)
    return [
        ResidualCopy(
            what="pool",
            name=POOL_NAME,
            digest=row.predictions_sha256,
            where=row.predictions_uri or "",
            contains=True,
            until=until,
        )
        for row in session.scalars(query.order_by(Pool.id))
    ]


def drop_pools(session: Session, tenant_id: uuid.UUID) -> list[Pool]:
    """Purge the pools whose run is over or serves another forget set, and return them.

    A legal hold on the data set keeps them too.
    """
    held = select(Run.id).where(Run.model_id.in_(held_models(session, tenant_id)))
    query = select(Pool).where(
        Pool.tenant_id == tenant_id, Pool.state == PoolState.READY, Pool.run_id.not_in(held)
    )
    dropped = []
    for row in session.scalars(query.execution_options(populate_existing=True)).all():
        run = session.get_one(Run, row.run_id)
        if run.state == RunState.ACTIVE and row.forget_digest == _forget_digest(run):
            continue
        move(session, row, PoolState.PURGED, run=str(run.id), sha256=row.predictions_sha256)
        row.triage, row.purged_at = None, now(session)
        dropped.append(row)
    return dropped


def _pool(session: Session, run: Run, *states: PoolState) -> Pool | None:
    """Return the pool of the run's present forget set in one of these states."""
    query = select(Pool).where(
        Pool.run_id == run.id,
        Pool.forget_digest == _forget_digest(run),
        Pool.state.in_(states),
    )
    return session.scalars(query.order_by(Pool.id)).first()


def _last(session: Session, run: Run) -> Pool | None:
    query = select(Pool).where(Pool.run_id == run.id, Pool.forget_digest == _forget_digest(run))
    return session.scalars(query.order_by(Pool.id.desc())).first()


def _of_job(session: Session, job: Job) -> Pool:
    return session.scalars(select(Pool).where(Pool.job_id == job.id)).one()


def _forget_digest(run: Run) -> str:
    return digest(unpack(run.forget))


def _has_single_samples(session: Session, run: Run, retain: BitMap) -> bool:
    """Say whether a class of the forget set has samples in R as well."""
    dataset_id = session.get_one(Model, run.model_id).dataset_id
    forgotten = among(session, Sample.ordinal, unpack(run.forget))
    labels = select(Sample.label).where(Sample.dataset_id == dataset_id, forgotten)
    query = (
        select(Sample.ordinal)
        .where(Sample.dataset_id == dataset_id, Sample.label.in_(labels.distinct()))
        .execution_options(yield_per=5_000)
    )
    with session.scalars(query) as found:
        return any(ordinal in retain for ordinal in found)
