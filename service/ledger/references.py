"""Retrained references: trained once for each model, recipe, retain set and seed, then shared."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from pyroaring import BitMap
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.config import Settings
from service.database import limits, now
from service.ledger.graph import add_job, queue_job
from service.ledger.holds import held_models
from service.ledger.samples import erased_ordinals
from service.ledger.states import move
from service.tables import (
    Audit,
    AuditStatus,
    Job,
    JobKind,
    Model,
    Reference,
    ReferenceState,
    Run,
    RunState,
)

FIRST_SEED = 1000
USABLE = (ReferenceState.TRAINING, ReferenceState.READY)


def ensure_references(
    session: Session, owner: Run | Audit, model: Model, retain: BitMap, count: int
) -> list[Job]:
    """Add jobs for the seeds that are missing and return all jobs still training one.

    Seeds are `FIRST_SEED` + 0, 1, … count − 1; what is ready or training is used as it is.
    """
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    query = references_of(model, owner.retain_digest).where(Reference.seed.in_(seeds))
    present = {row.seed: row for row in session.scalars(query)}
    for row in present.values():
        row.unneeded_since = None
    training = {row.job_id for row in present.values() if row.state == ReferenceState.TRAINING}
    jobs = list(session.scalars(select(Job).where(Job.id.in_(training)).order_by(Job.id)))
    missing = [seed for seed in seeds if seed not in present]
    packed, step = pack(retain), limits(session).reference_seeds_per_job
    for start in range(0, len(missing), step):
        chunk = missing[start : start + step]
        job = add_job(session, owner, JobKind.REFERENCE, {"seeds": chunk})
        session.add_all(_training(model, owner, job, seed, packed) for seed in chunk)
        session.flush()
        queue_job(session, job)
        jobs.append(job)
    return jobs


def usable_references(session: Session, model: Model, retain_digest: str) -> list[Reference]:
    """Return the ready references of this retain set by seed."""
    query = references_of(model, retain_digest).where(Reference.state == ReferenceState.READY)
    return list(session.scalars(query))


def ready_seeds(session: Session, model: Model, retain_digest: str) -> list[int]:
    """Return the seeds of the ready references of this retain set."""
    query = references_of(model, retain_digest).where(Reference.state == ReferenceState.READY)
    return list(session.scalars(query.with_only_columns(Reference.seed)))


def references_of(model: Model, retain_digest: str) -> Select[Reference]:
    """Select the references, training or ready, that fit a model and a retain set, by seed."""
    return (
        select(Reference)
        .where(
            Reference.model_id == model.id,
            Reference.recipe_digest == model.recipe_digest,
            Reference.retain_digest == retain_digest,
            Reference.state.in_(USABLE),
        )
        .order_by(Reference.seed)
    )


def cache_key(model_id: UUID, retain_digest: str) -> str:
    """Name the cache folder that jobs on this retain set share."""
    return f"{model_id}/{retain_digest}"


def _training(model: Model, owner: Run | Audit, job: Job, seed: int, retain: bytes) -> Reference:
    return Reference(
        tenant_id=owner.tenant_id,
        model_id=model.id,
        job_id=job.id,
        recipe_digest=model.recipe_digest or "",
        retain_digest=owner.retain_digest,
        retain=retain,
        seed=seed,
        state=ReferenceState.TRAINING,
        created_at=job.created_at,
    )


def give_up_references(
    session: Session, settings: Settings, tenant_id: UUID
) -> list[tuple[Reference, str]]:
    """Purge a tenant's references that nobody needs any more; return them with the reason.

    One goes at once when its retain set holds a sample that has come into E since (`stale`), and
    after `reference_grace_s` otherwise (`unneeded`), but never while an open run or audit has that
    retain set. A legal hold on the data set keeps them too.
    """
    moment, needed = now(session), _needed(session)
    query = select(Reference).where(
        Reference.tenant_id == tenant_id,
        Reference.state == ReferenceState.READY,
        Reference.model_id.not_in(held_models(session, tenant_id)),
    )
    stale: dict[tuple[UUID, str], bool] = {}
    given_up = []
    for row in session.scalars(query.execution_options(populate_existing=True)).all():
        key = (row.model_id, row.retain_digest)
        if key in needed:
            row.unneeded_since = None
            continue
        if key not in stale:
            dataset_id = session.get_one(Model, row.model_id).dataset_id
            erased = erased_ordinals(session, dataset_id)
            stale[key] = bool(unpack(row.retain) & erased)
        row.unneeded_since = row.unneeded_since or moment
        if stale[key] or _over(row.unneeded_since, moment, settings.reference_grace_s):
            move(session, row, ReferenceState.PURGED, stale=stale[key], sha256=row.weights_sha256)
            row.purged_at = moment
            given_up.append((row, "stale" if stale[key] else "unneeded"))
    return given_up


def _over(since: datetime, moment: datetime, grace_s: float) -> bool:
    return moment - since >= timedelta(seconds=grace_s)


def _needed(session: Session) -> set[tuple[UUID, str]]:
    """Return the (model, retain digest) of every open run and audit."""
    runs = select(Run.model_id, Run.retain_digest).where(Run.state == RunState.ACTIVE)
    audits = select(Audit.model_id, Audit.retain_digest).where(
        Audit.status == AuditStatus.IN_PROGRESS
    )
    return {(model, digest) for model, digest in session.execute(runs.union(audits))}


def purge_caches(session: Session, root: Path) -> None:
    """Remove this machine's caches `model/retain digest` that no reference or open run needs."""
    kept = {cache_key(*key) for key in _needed(session)}
    query = select(Reference.model_id, Reference.retain_digest).where(Reference.state.in_(USABLE))
    kept |= {cache_key(*key) for key in session.execute(query.distinct())}
    for folder in root.glob("*/*") if root.is_dir() else ():
        if (
            folder.is_dir()
            and _is_cache(folder)
            and f"{folder.parent.name}/{folder.name}" not in kept
        ):
            shutil.rmtree(folder, ignore_errors=True)


def _is_cache(folder: Path) -> bool:
    """Say whether a folder has the shape of a cache key, for others may keep caches here too."""
    return len(folder.name) == 64 and len(folder.parent.name) == 36
