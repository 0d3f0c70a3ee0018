"""Rows of erased samples go once nothing that was trained on them is left; a keyed hash stays.

A sample of E is dropped when every version of every model of its data set whose weights are still
kept was made without it, no request is still linked to it, and no hold keeps it. Its row (id, uri,
digest, label, person) is deleted; its place in E stays, so nothing is ever trained on it again, and
a data set that brings it back is refused (`refuse_erased`).
"""

import uuid
from collections.abc import Iterator, Sequence

from pyroaring import BitMap
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.database import among, now
from service.erased import Eraser
from service.errors import Conflict
from service.ledger.holds import held_datasets
from service.ledger.log import record_event
from service.ledger.orders import SampleRow
from service.ledger.samples import SHOWN, erased_ordinals, trained_on, training_set
from service.tables import (
    Audit,
    AuditStatus,
    Dataset,
    DeletionRequest,
    ErasedHash,
    Job,
    JobKind,
    JobStatus,
    Model,
    ModelVersion,
    RequestSamples,
    Run,
    RunState,
    Sample,
    Tombstones,
    VersionState,
)

PROMOTED = (VersionState.CURRENT, VersionState.SUPERSEDED, VersionState.PURGED)


def drop_erased(
    session: Session, tenant_id: uuid.UUID, eraser: Eraser
) -> list[tuple[Dataset, int]]:
    """Drop what can be dropped of a tenant's data sets; return where, and how many samples."""
    held = held_datasets(session, tenant_id)
    query = select(Tombstones).where(Tombstones.tenant_id == tenant_id, Tombstones.count > 0)
    done = []
    for row in session.scalars(query.execution_options(populate_existing=True)).all():
        if row.dataset_id in held or _being_audited(session, row.dataset_id):
            continue
        ordinals = droppable(session, row)
        if ordinals:
            dataset = session.get_one(Dataset, row.dataset_id)
            _drop(session, dataset, row, ordinals, eraser)
            done.append((dataset, len(ordinals)))
    return done


def droppable(session: Session, row: Tombstones) -> BitMap:
    """Return the samples of E whose rows nothing needs any more."""
    left = unpack(row.ordinals) - dropped_of(row)
    models = session.scalars(select(Model).where(Model.dataset_id == row.dataset_id)).all()
    for model in models:
        left -= _linked(session, model.id)
    for model in models if left else ():
        unseen = left - training_set(trained_on(session, model))  # of later revisions
        for erased in _kept_without(session, model):
            left &= erased | unseen
    return left


def dropped_ordinals(session: Session, dataset_id: uuid.UUID) -> BitMap:
    """Return the samples of E whose rows are gone."""
    return dropped_of(session.get_one(Tombstones, dataset_id, populate_existing=True))


def dropped_of(row: Tombstones) -> BitMap:
    """Return the samples of E whose rows are gone."""
    return BitMap() if row.dropped is None else unpack(row.dropped)


def refuse_erased(
    session: Session,
    tenant_id: uuid.UUID,
    root: str,
    rows: Sequence[SampleRow],
    eraser: Eraser | None,
) -> None:
    """Refuse a manifest that brings back what the tenant had erased, whatever its name is now.

    A row is refused when it has the file of an erased sample, unless another sample with the same
    file is still to be trained on, or the id of an erased one below the same root.

    Raises:
        Conflict: `erased_samples`, with the first rows and the `count`; `pepper_changed`: what was
            dropped can no longer be recognised.
    """
    names, contents = _live_marks(session, tenant_id, root)
    hashes = _dropped_hashes(session, tenant_id, eraser)
    if not (names or contents or hashes):
        return  # a first registration may have millions of rows

    def is_erased(row: SampleRow) -> bool:
        if row.sample_id in names or row.sha256.lower() in contents:
            return True
        if eraser is None or not hashes:
            return False
        marks = eraser.marks(tenant_id, root, row.sample_id, row.sha256)
        return not hashes.isdisjoint(marks)

    found = [number for number, row in enumerate(rows) if is_erased(row)]
    if found:
        detail = f"{len(found)} of the rows are samples that were erased. Leave them out."
        errors = [
            {"pointer": f"/rows/{number}/sample_id", "detail": "erased"} for number in found[:SHOWN]
        ]
        refusal = Conflict("erased_samples", detail, count=len(found))
        refusal.errors = errors
        raise refusal


def _kept_without(session: Session, model: Model) -> Iterator[BitMap]:
    """Yield, for each version whose weights are kept, the samples that it was made without.

    Version 1 was made with all. A promoted one lacks what its parent lacks and its run's forget
    set; the current one also what was found to have left no trace in it. Of any other candidate
    nothing is taken for granted.
    """
    query = select(ModelVersion).where(ModelVersion.model_id == model.id)
    runs = select(Run.id, Run.forget).where(Run.model_id == model.id)
    forgotten = {row.id: unpack(row.forget) for row in session.execute(runs)}
    lacks: dict[uuid.UUID | None, BitMap] = {}
    for version in session.scalars(query.order_by(ModelVersion.number)):
        own = BitMap()
        if version.run_id is not None and version.state in PROMOTED:
            own = lacks.get(version.parent_id, BitMap()) | forgotten[version.run_id]
        if version.state == VersionState.CURRENT:
            own |= unpack(model.erased)
        lacks[version.id] = own
        if version.state != VersionState.PURGED:
            yield own


def _linked(session: Session, model_id: uuid.UUID) -> BitMap:
    """Return the samples that a request, an open run or an open audit still names."""
    queries = (
        select(RequestSamples.ordinals)
        .join(DeletionRequest, DeletionRequest.id == RequestSamples.request_id)
        .where(DeletionRequest.model_id == model_id),
        select(Run.forget).where(Run.model_id == model_id, Run.state == RunState.ACTIVE),
        select(Audit.forget).where(
            Audit.model_id == model_id, Audit.status == AuditStatus.IN_PROGRESS
        ),
    )
    named = [unpack(data) for query in queries for data in session.scalars(query)]
    return BitMap.union(BitMap(), *named)


def _being_audited(session: Session, dataset_id: uuid.UUID) -> bool:
    """Say whether a worker has a package that counts samples of E by their places."""
    query = (
        select(Job.id)
        .join(Model, Model.id == Job.model_id)
        .where(
            Model.dataset_id == dataset_id,
            Job.kind == JobKind.AUDIT,
            Job.status == JobStatus.RUNNING,
        )
    )
    return session.scalars(query.limit(1)).first() is not None


def _drop(
    session: Session, dataset: Dataset, row: Tombstones, ordinals: BitMap, eraser: Eraser
) -> None:
    """Replace rows by hashes; a file that a live sample has too is no mark of an erased one."""
    twins = _shared_files(session, dataset.id, ordinals)
    hashes: set[bytes] = set()
    chosen = (Sample.dataset_id == dataset.id, among(session, Sample.ordinal, ordinals))
    for name, sha256 in session.execute(select(Sample.sample_id, Sample.sha256).where(*chosen)):
        marks = eraser.marks(dataset.tenant_id, dataset.root, name, sha256)
        hashes |= {marks.name} if sha256 in twins else set(marks)
    session.execute(delete(Sample).where(*chosen))
    known = set(
        session.scalars(select(ErasedHash.hash).where(ErasedHash.tenant_id == dataset.tenant_id))
    )
    fixed = {"tenant_id": dataset.tenant_id, "dataset_id": dataset.id, "key_id": eraser.key_id}
    if fresh := sorted(hashes - known):
        session.execute(insert(ErasedHash), [fixed | {"hash": value} for value in fresh])
    row.dropped = pack(dropped_of(row) | ordinals)
    facts = {"samples": len(ordinals), "erased": row.count, "dropped": len(unpack(row.dropped))}
    resource = f"datasets/{dataset.id}"
    record_event(session, row.tenant_id, "system", "dataset.samples_dropped", resource, facts)
    row.updated_at = now(session)
    session.flush()


def _shared_files(session: Session, dataset_id: uuid.UUID, ordinals: BitMap) -> set[str]:
    """Return the digests of these samples that samples outside of E have too."""
    own = Sample.dataset_id == dataset_id
    digests = select(Sample.sha256).where(own, among(session, Sample.ordinal, ordinals))
    erased = erased_ordinals(session, dataset_id)
    twins = select(Sample.ordinal, Sample.sha256).where(own, Sample.sha256.in_(digests))
    return {sha256 for ordinal, sha256 in session.execute(twins) if ordinal not in erased}


def _live_marks(session: Session, tenant_id: uuid.UUID, root: str) -> tuple[set[str], set[str]]:
    """Return ids below this root, and digests of files, of erased samples whose rows are kept."""
    names: set[str] = set()
    contents: set[str] = set()
    query = (
        select(Tombstones, Dataset.root)
        .join(Dataset, Dataset.id == Tombstones.dataset_id)
        .where(Tombstones.tenant_id == tenant_id, Tombstones.count > 0)
    )
    for row, folder in session.execute(query).all():
        kept = unpack(row.ordinals) - dropped_of(row)
        shared = _shared_files(session, row.dataset_id, kept)
        pairs = select(Sample.sample_id, Sample.sha256).where(
            Sample.dataset_id == row.dataset_id, among(session, Sample.ordinal, kept)
        )
        for name, sha256 in session.execute(pairs):
            names |= {name} if folder == root else set()
            contents |= {sha256.lower()} - shared
    return names, contents


def _dropped_hashes(session: Session, tenant_id: uuid.UUID, eraser: Eraser | None) -> set[bytes]:
    query = select(ErasedHash.hash, ErasedHash.key_id).where(ErasedHash.tenant_id == tenant_id)
    rows = session.execute(query).all()
    if rows and (eraser is None or any(row.key_id != eraser.key_id for row in rows)):
        detail = (
            "The pepper is not the one under which erased samples were hashed, so that they could"
            " come back unrecognised. Restore the old pepper."
        )
        raise Conflict("pepper_changed", detail)
    return {row.hash for row in rows}
