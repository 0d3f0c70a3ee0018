"""What a child may know of a job: its specification and exactly the samples it needs.

Training jobs never see a sample of E: references get R alone, unlearning and pools R, F and the
hold-out. Only a pool trains on F, and none of its models outlives its job.
Only an audit, which trains nothing to keep, gets what completed requests erased too. Samples of
requests on hold, withdrawn or failed are in no package: they stay in E and are not erased yet.
"""

import uuid
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import unpack
from service.errors import Conflict
from service.ledger.dropping import dropped_ordinals
from service.ledger.forgotten import forgotten_ordinals
from service.ledger.groups import FETCHED, sample_groups
from service.ledger.orders import Claim, JobPackage, PackageRow
from service.ledger.planning import audit_level, reference_count, requests_of, retain_set
from service.ledger.pools import SEED, predictions_of
from service.ledger.references import cache_key, usable_references
from service.ledger.samples import samples_of, trained_on
from service.ledger.trials import trial_of, trial_retain_set, trial_spec
from service.tables import (
    Audit,
    AuditPurpose,
    Dataset,
    Job,
    JobKind,
    JobStatus,
    Model,
    ModelVersion,
    Run,
    Sample,
)

Role = Literal["retain", "forget", "holdout", "erased"]
Roles = dict[Role, BitMap]


def build_package(session: Session, claim: Claim) -> JobPackage:
    """Return what the child of this claim gets; read `samples` before the session ends.

    Raises:
        Conflict: `claim_lost`.
    """
    job = session.get(Job, claim.job_id)
    if job is None or job.attempt != claim.attempt or job.status != JobStatus.RUNNING:
        raise Conflict("claim_lost", "The job is no longer this worker's.")
    model = session.get_one(Model, job.model_id)
    dataset = session.get_one(Dataset, model.dataset_id)
    if job.kind == JobKind.TRIAL:
        return _trial(session, job, model, dataset)
    owner = _owner(session, job)
    roles = package_roles(session, job)
    included = BitMap.union(BitMap(), *roles.values())
    spec = _common(job, model, dataset)
    if owner is None:
        version = session.get_one(ModelVersion, uuid.UUID(job.parameters["version_id"]))
        spec |= {"weights_key": version.weights_uri, "weights_sha256": version.weights_sha256}
    elif job.kind == JobKind.REFERENCE:
        spec |= {"seeds": job.parameters["seeds"]}
    elif job.kind == JobKind.UNLEARN and isinstance(owner, Run):
        spec |= _unlearn(session, job, owner)
    elif job.kind == JobKind.POOL and isinstance(owner, Run):
        spec |= _pool(session, job, owner, included)
    else:
        spec |= _audit(session, owner, model, roles)
    return JobPackage(
        spec=spec,
        samples=_rows(session, dataset, roles, included, _groups(session, job, dataset, roles)),
        data_root=dataset.root,
        cache_key=_cache_key(model, owner),
    )


def _trial(session: Session, job: Job, model: Model, dataset: Dataset) -> JobPackage:
    """Return the package of a trial: no sample of E, and no cache, so that nothing outlives it."""
    row, trial = trial_of(session, job)
    roles: Roles = {
        "retain": trial_retain_set(session, row, trial),
        "forget": unpack(trial.forget),
        "holdout": unpack(trained_on(session, model).holdout_ordinals),
    }
    included = BitMap.union(BitMap(), *roles.values())
    return JobPackage(
        spec=_common(job, model, dataset) | trial_spec(session, row, trial),
        samples=_rows(session, dataset, roles, included),
        data_root=dataset.root,
        cache_key=None,
    )


def _cache_key(model: Model, owner: Run | Audit | None) -> str | None:
    """Name the cache of measurements that references share.

    There is none without references, nor for a reproduction, which is to measure again.
    """
    if owner is None or audit_level(owner) != "references":
        return None
    if isinstance(owner, Audit) and owner.purpose == AuditPurpose.REPRODUCTION:
        return None
    return cache_key(model.id, owner.retain_digest)


def _owner(session: Session, job: Job) -> Run | Audit | None:
    if job.run_id is not None:
        return session.get_one(Run, job.run_id)
    return None if job.audit_id is None else session.get_one(Audit, job.audit_id)


def package_roles(session: Session, job: Job) -> Roles:
    """Return the ordinals of each role that this job gets; the sets are disjoint."""
    owner = _owner(session, job)
    if owner is None:
        return {}
    model = session.get_one(Model, job.model_id)
    roles: Roles = {"retain": retain_set(session, owner)}
    if job.kind == JobKind.REFERENCE:
        return roles
    roles["forget"] = unpack(owner.forget)
    roles["holdout"] = unpack(trained_on(session, model).holdout_ordinals)
    if job.kind == JobKind.AUDIT:
        dropped = dropped_ordinals(session, model.dataset_id)
        erased = forgotten_ordinals(session, owner)
        roles["erased"] = erased - roles["forget"] - dropped
    return roles


def _common(job: Job, model: Model, dataset: Dataset) -> dict[str, Any]:
    return {
        "job_id": str(job.id),
        "attempt": job.attempt,
        "kind": str(job.kind),
        "model": {
            "architecture": model.architecture,
            "kwargs": model.architecture_kwargs,
            "classifier": model.classifier,
            "num_classes": len(dataset.class_names),
            "preprocessing": model.preprocessing,
        },
        "recipe": model.recipe,
    }


def _unlearn(session: Session, job: Job, run: Run) -> dict[str, Any]:
    base = session.get_one(ModelVersion, run.base_version_id)
    spec = {
        "method": job.parameters["method"],
        "hyperparameters": job.parameters["hyperparameters"],
        "seed": job.parameters["seed"],
        "base_key": base.weights_uri,
        "base_sha256": base.weights_sha256,
    }
    pool = predictions_of(session, run)
    return spec if pool is None else spec | {"pool_key": pool.predictions_uri}


def _pool(session: Session, job: Job, run: Run, included: BitMap) -> dict[str, Any]:
    base = session.get_one(ModelVersion, run.base_version_id)
    return {
        "seed": job.parameters[SEED],
        "original_key": base.weights_uri,
        "original_sha256": base.weights_sha256,
        "forget_sets": _forget_sets(session, run, included),
    }


def _groups(session: Session, job: Job, dataset: Dataset, roles: Roles) -> dict[int, int]:
    """Return what is left out together, where a job leaves anything out."""
    if job.kind != JobKind.POOL:
        return {}
    return sample_groups(session, dataset, roles["retain"] | roles["forget"])


def _audit(session: Session, owner: Run | Audit, model: Model, roles: Roles) -> dict[str, Any]:
    included = BitMap.union(BitMap(), *roles.values())
    original = session.get_one(ModelVersion, owner.base_version_id)
    candidate: ModelVersion | Audit
    if isinstance(owner, Run):
        candidate = session.get_one(ModelVersion, owner.candidate_version_id)
    else:
        candidate = owner
    count = reference_count(owner)
    references = usable_references(session, model, owner.retain_digest)[:count]
    erased = roles["erased"] | roles["forget"]
    return {
        "original_key": original.weights_uri,
        "original_sha256": original.weights_sha256,
        "candidate_key": candidate.weights_uri,
        "candidate_sha256": candidate.weights_sha256,
        "references": [
            {
                "seed": row.seed,
                "path_key": row.weights_uri,
                "sha256": row.weights_sha256,
                "seconds": row.seconds,
            }
            for row in references
        ],
        "forget_sets": _forget_sets(session, owner, included),
        "erased": _positions(erased, included),
        "policy": owner.policy,
        "look": owner.look,
        "level": audit_level(owner),
    }


def _forget_sets(session: Session, owner: Run | Audit, included: BitMap) -> dict[str, list[int]]:
    """Return the positions of each request's samples, or of the audit's own."""
    sets = {owner.id: unpack(owner.forget)}
    if isinstance(owner, Run):
        sets = samples_of(session, [request.id for request in requests_of(session, owner)])
    return {str(key): _positions(value, included) for key, value in sets.items()}


def _positions(ordinals: BitMap, included: BitMap) -> list[int]:
    """Return the places of ordinals among the package's rows, which are in ordinal order."""
    return [included.rank(ordinal) - 1 for ordinal in ordinals]


def _rows(
    session: Session,
    dataset: Dataset,
    roles: Roles,
    included: BitMap,
    groups: Mapping[int, int] = MappingProxyType({}),
) -> Iterator[PackageRow]:
    """Stream the included samples in the order of their ordinals."""
    if not included:
        return
    query = (
        select(Sample.ordinal, Sample.uri, Sample.sha256, Sample.label)
        .where(Sample.dataset_id == dataset.id)
        .order_by(Sample.ordinal)
        .execution_options(yield_per=FETCHED)
    )
    position = 0
    with session.execute(query) as found:
        for ordinal, uri, sha256, label in found:
            if ordinal in included:
                role = next(name for name, ordinals in roles.items() if ordinal in ordinals)
                group = groups.get(ordinal)
                yield PackageRow(position, ordinal, uri, sha256, label, role, group)
                position += 1
