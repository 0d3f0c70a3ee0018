"""Data sets and models enter the ledger here."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice

from pyroaring import BitMap
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.bitmaps import pack
from service.commitment import digest_of
from service.database import now
from service.errors import Conflict, Unprocessable
from service.ledger.graph import add_job, queue_job
from service.ledger.log import record_event, take_turn
from service.ledger.orders import Caller, DatasetDraft, ModelDraft, SampleRow
from service.ledger.reading import get_dataset
from service.ledger.states import record
from service.tables import (
    Dataset,
    JobKind,
    Model,
    ModelStatus,
    ModelVersion,
    Sample,
    Tombstones,
    VersionState,
    new_id,
)

BATCH = 5_000  # rows that travel to the database together
SAMPLE_COLUMNS = (
    "dataset_id",
    "tenant_id",
    "ordinal",
    "sample_id",
    "label",
    "split",
    "uri",
    "sha256",
    "subject_id",
)


def register_dataset(session: Session, caller: Caller, draft: DatasetDraft) -> Dataset:
    """Register a data set with all its samples and an empty E.

    Raises:
        Conflict: `name_taken`.
        Unprocessable: `repeated_samples`, `no_training_samples`.
    """
    _refuse_taken(session, caller, Dataset, draft.name)
    if len({row.sample_id for row in draft.rows}) != len(draft.rows):
        raise Unprocessable("repeated_samples", "The manifest names a sample more than once.")
    train = BitMap(i for i, row in enumerate(draft.rows) if row.split == "train")
    if not train:
        raise Unprocessable("no_training_samples", "The manifest has no training sample.")
    dataset = _new_dataset(session, caller, draft, train)
    session.add(dataset)
    _flush_name(session)
    _insert_samples(session, dataset, draft.rows)
    erased = Tombstones(
        dataset_id=dataset.id,
        tenant_id=caller.tenant_id,
        ordinals=pack(()),
        count=0,
        updated_at=dataset.created_at,
    )
    session.add(erased)
    counts = {
        "train": dataset.num_train,
        "holdout": dataset.num_holdout,
        "fingerprint": dataset.fingerprint,
    }
    resource = f"datasets/{dataset.id}"
    record_event(session, caller.tenant_id, caller.actor, "dataset.registered", resource, counts)
    return dataset


def register_model(session: Session, caller: Caller, draft: ModelDraft) -> Model:
    """Register a model with version 1 as a candidate and a job that checks its weights.

    Raises:
        NotFound: the data set.
        Conflict: `name_taken`.
    """
    take_turn(session, caller.tenant_id)
    get_dataset(session, caller, draft.dataset_id)
    _refuse_taken(session, caller, Model, draft.name)
    model = _new_model(session, caller, draft)
    session.add(model)
    _flush_name(session)
    version = ModelVersion(
        tenant_id=caller.tenant_id,
        model_id=model.id,
        number=1,
        weights_uri=draft.weights_uri,
        weights_sha256=draft.weights_sha256,
        state=VersionState.CANDIDATE,
        created_at=model.created_at,
    )
    session.add(version)
    session.flush()
    record(session, model, "registered", caller.actor, weights_sha256=draft.weights_sha256)
    queue_job(session, add_job(session, model, JobKind.CHECK, {"version_id": str(version.id)}))
    return model


def fingerprint(rows: Sequence[SampleRow]) -> str:
    """Return the SHA-256 over the sorted (sample_id, content sha256, label), one JSON line each."""
    digest = hashlib.sha256()
    for row in sorted((row.sample_id, row.sha256, row.label) for row in rows):
        digest.update(json.dumps(row, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def _insert_samples(session: Session, dataset: Dataset, rows: Sequence[SampleRow]) -> None:
    """Insert in bulk: by COPY on PostgreSQL, in batches elsewhere."""
    values = _sample_values(dataset, rows)
    if session.get_bind().dialect.name == "postgresql":
        driver = session.connection().connection.driver_connection
        if driver is None:
            raise RuntimeError("the session has lost its connection")
        statement = f"COPY samples ({', '.join(SAMPLE_COLUMNS)}) FROM STDIN"
        own = (str(dataset.id), str(dataset.tenant_id))  # as text once, not once a row
        with driver.cursor().copy(statement) as copy:
            for _, _, *rest in values:
                copy.write_row((*own, *rest))
        return
    while batch := list(islice(values, BATCH)):
        records = [dict(zip(SAMPLE_COLUMNS, row, strict=True)) for row in batch]
        session.execute(insert(Sample), records)


def _sample_values(dataset: Dataset, rows: Sequence[SampleRow]) -> Iterator[tuple[object, ...]]:
    for ordinal, row in enumerate(rows):
        yield (
            dataset.id,
            dataset.tenant_id,
            ordinal,
            row.sample_id,
            row.label,
            row.split,
            row.uri,
            row.sha256,
            row.subject_id,
        )


def _refuse_taken(
    session: Session, caller: Caller, table: type[Dataset] | type[Model], name: str
) -> None:
    taken = select(table.id).where(table.tenant_id == caller.tenant_id, table.name == name)
    if session.scalar(taken) is not None:
        raise Conflict("name_taken", "There is one of that name already.")


def _flush_name(session: Session) -> None:
    """Write the row now; another transaction may have taken the name a moment ago."""
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict("name_taken", "There is one of that name already.") from error


def _new_dataset(session: Session, caller: Caller, draft: DatasetDraft, train: BitMap) -> Dataset:
    holdout = BitMap(range(len(draft.rows))) - train
    return Dataset(
        tenant_id=caller.tenant_id,
        name=draft.name,
        manifest_uri=draft.manifest_uri,
        format=draft.format,
        root=draft.root,
        class_names=list(draft.class_names),
        fingerprint=fingerprint(draft.rows),
        num_train=len(train),
        num_holdout=len(holdout),
        train_ordinals=pack(train),
        holdout_ordinals=pack(holdout),
        created_at=now(session),
    )


def _new_model(session: Session, caller: Caller, draft: ModelDraft) -> Model:
    return Model(
        id=new_id(),
        tenant_id=caller.tenant_id,
        dataset_id=draft.dataset_id,
        name=draft.name,
        architecture=draft.architecture,
        architecture_kwargs=draft.architecture_kwargs,
        preprocessing=draft.preprocessing,
        classifier=draft.classifier,
        recipe=draft.recipe,
        recipe_digest=None if draft.recipe is None else digest_of(draft.recipe),
        erased=pack(()),
        status=ModelStatus.CHECKING,
        created_at=now(session),
    )
