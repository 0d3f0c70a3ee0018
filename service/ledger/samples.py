"""Samples and sets of them: look-ups, E, and what a request meets."""

import uuid
from collections.abc import Collection
from typing import NamedTuple

from pyroaring import BitMap
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.database import among, keep_alive, now
from service.ledger.orders import Caller, Page
from service.ledger.reading import OPEN, get_dataset, get_model, page_after
from service.quotas import quota_asked, quota_reached
from service.tables import (
    Dataset,
    DatasetRevision,
    DeletionRequest,
    Model,
    RequestSamples,
    Sample,
    Tombstones,
)

_STANDING = (
    select(
        Tombstones.ordinals,
        Dataset.revision,
        quota_reached(
            DeletionRequest,
            DeletionRequest.tenant_id == Dataset.tenant_id,
            DeletionRequest.status.in_(OPEN),
        ),
        DatasetRevision,
    )
    .join(Dataset, Dataset.id == Tombstones.dataset_id)
    .outerjoin(
        DatasetRevision,
        (DatasetRevision.dataset_id == Tombstones.dataset_id)
        & (DatasetRevision.number == bindparam("number")),
    )
    .where(Tombstones.dataset_id == bindparam("dataset_id"))
)
SHOWN = 10  # how many offending places an error names


def list_samples(
    session: Session,
    caller: Caller,
    dataset_id: uuid.UUID,
    *,
    label: int | None = None,
    subject_id: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Sample]:
    """Return samples in the order of their ordinals; the cursor is the last ordinal seen."""
    get_dataset(session, caller, dataset_id)
    query = select(Sample).where(Sample.dataset_id == dataset_id)
    if label is not None:
        query = query.where(Sample.label == label)
    if subject_id is not None:
        query = query.where(Sample.subject_id == subject_id)
    return page_after(session, query, Sample.ordinal, cursor, limit)


def class_counts(
    session: Session, caller: Caller, dataset_id: uuid.UUID
) -> list[tuple[int, str, int]]:
    """Return (label, split, number of samples), sorted."""
    get_dataset(session, caller, dataset_id)
    query = (
        select(Sample.label, Sample.split, func.count())
        .where(Sample.dataset_id == dataset_id)
        .group_by(Sample.label, Sample.split)
        .order_by(Sample.label, Sample.split)
    )
    return [(label, split, count) for label, split, count in session.execute(query)]


def find_sample_ids(
    session: Session,
    caller: Caller,
    model_id: uuid.UUID,
    *,
    labels: Collection[int] = (),
    subject_ids: Collection[str] = (),
    requested_too: bool = False,
) -> list[str]:
    """Return the training samples of these classes or people that may still be requested.

    Left out: what a completed request of this model erased and, unless `requested_too`, what an
    open one is about to erase.
    """
    model = get_model(session, caller, model_id)
    usable = training_set(trained_on(session, model)) - unpack(model.erased)
    if not requested_too:
        usable -= requested_ordinals(session, model_id)
    found: dict[int, str] = {}
    for column, values in ((Sample.label, set(labels)), (Sample.subject_id, set(subject_ids))):
        if values:
            query = select(Sample.ordinal, Sample.sample_id).where(
                Sample.dataset_id == model.dataset_id,
                Sample.split == "train",
                among(session, column, values),
            )
            found |= {o: name for o, name in session.execute(query) if o in usable}
    return [found[ordinal] for ordinal in sorted(found)]


def erased_ordinals(session: Session, dataset_id: uuid.UUID) -> BitMap:
    """Return E: every ordinal of the data set ever accepted for erasure."""
    query = select(Tombstones.ordinals).where(Tombstones.dataset_id == dataset_id)
    return unpack(session.execute(query).scalar_one())


class Standing(NamedTuple):
    """What a new request meets, good for the tenant's turn until something is written.

    `erased` is E of the model's data set, `revision` the newest of the data set, `full` whether the
    tenant has as many open requests as it may.
    """

    erased: BitMap
    revision: int
    full: bool


def standing(session: Session, model: Model) -> Standing:
    """Return what a request on this model meets; reads the model's own revision on the way."""
    asked = {"dataset_id": model.dataset_id, "number": model.dataset_revision}
    asked |= quota_asked(session, "open_requests")
    ordinals, revision, full, own = session.execute(_STANDING, asked).one()
    keep_alive(session, own)
    return Standing(unpack(ordinals), revision, bool(full))


def add_erased(session: Session, dataset_id: uuid.UUID, ordinals: BitMap, before: BitMap) -> int:
    """Let E, which was `before`, grow by these ordinals and return how many it holds now.

    `before` has to be read in this tenant's turn, after whatever was added in it.
    """
    grown = ordinals | before
    values = {"ordinals": pack(grown), "count": len(grown), "updated_at": now(session)}
    session.connection().execute(
        update(Tombstones).where(Tombstones.dataset_id == dataset_id).values(values)
    )
    return len(grown)


def requested_ordinals(session: Session, model_id: uuid.UUID) -> BitMap:
    """Return the ordinals of the model's open requests."""
    query = (
        select(RequestSamples.ordinals)
        .join(DeletionRequest, DeletionRequest.id == RequestSamples.request_id)
        .where(DeletionRequest.model_id == model_id, DeletionRequest.status.in_(OPEN))
    )
    return BitMap.union(BitMap(), *(unpack(data) for data in session.scalars(query)))


def samples_of(session: Session, request_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, BitMap]:
    """Return each request's ordinals."""
    query = select(RequestSamples).where(RequestSamples.request_id.in_(request_ids))
    return {row.request_id: unpack(row.ordinals) for row in session.scalars(query)}


def trained_on(session: Session, model: Model) -> Dataset | DatasetRevision:
    """Return D and H as the model knows them: the revision of its data set that it names."""
    row = session.get(DatasetRevision, (model.dataset_id, model.dataset_revision))
    # a data set that a process of the release before registered has its first revision here alone
    known = row or session.get_one(Dataset, model.dataset_id)
    keep_alive(session, known)
    return known


def erased_for(session: Session, model: Model) -> BitMap:
    """Return the part of E that the model's revision has: what it could have been trained on."""
    erased = erased_ordinals(session, model.dataset_id)
    return erased & training_set(trained_on(session, model))


def training_set(dataset: Dataset | DatasetRevision) -> BitMap:
    """Return D: the ordinals of the training samples as registered."""
    return unpack(dataset.train_ordinals)
