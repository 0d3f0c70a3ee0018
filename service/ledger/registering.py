"""Data sets and models enter the ledger here."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice

from pyroaring import BitMap
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.commitment import digest_of
from service.database import now
from service.erased import Eraser
from service.errors import Conflict, Unprocessable
from service.ledger.dropping import refuse_erased
from service.ledger.graph import add_job, queue_job
from service.ledger.log import record_event, take_turn
from service.ledger.orders import Caller, DatasetDraft, ModelDraft, SampleRow
from service.ledger.outdated import refuse_return
from service.ledger.reading import get_dataset
from service.ledger.samples import erased_for
from service.ledger.states import record
from service.quotas import check_quota
from service.tables import (
    Dataset,
    DatasetRevision,
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


def register_dataset(
    session: Session, caller: Caller, draft: DatasetDraft, eraser: Eraser | None = None
) -> Dataset:
    """Register a data set with all its samples and an empty E.

    The eraser recognises samples whose rows were dropped after they were erased.

    Raises:
        Conflict: `name_taken`, `quota_exceeded`, `erased_samples`, `pepper_changed`.
        Unprocessable: `repeated_samples`, `no_training_samples`.
    """
    _refuse_taken(session, caller, Dataset, draft.name)
    check_quota(session, "datasets", Dataset, Dataset.tenant_id == caller.tenant_id)
    if len({row.sample_id for row in draft.rows}) != len(draft.rows):
        raise Unprocessable("repeated_samples", "The manifest names a sample more than once.")
    train = BitMap(i for i, row in enumerate(draft.rows) if row.split == "train")
    if not train:
        raise Unprocessable("no_training_samples", "The manifest has no training sample.")
    dataset = _new_dataset(session, caller, draft, train)
    session.add(dataset)
    _flush_name(session)
    insert_samples(session, dataset, draft.rows)
    keep_revision(session, caller, dataset)
    erased = Tombstones(
        dataset_id=dataset.id,
        tenant_id=caller.tenant_id,
        ordinals=pack(()),
        count=0,
        updated_at=dataset.created_at,
    )
    session.add(erased)
    facts: dict[str, object] = {"train": dataset.num_train, "holdout": dataset.num_holdout}
    facts["fingerprint"] = dataset.fingerprint
    resource = f"datasets/{dataset.id}"
    take_turn(session, caller.tenant_id)  # from now on no request adds to what was erased
    refuse_erased(session, caller.tenant_id, draft.root, draft.rows, eraser)
    record_event(session, caller.tenant_id, caller.actor, "dataset.registered", resource, facts)
    return dataset


def register_model(session: Session, caller: Caller, draft: ModelDraft) -> Model:
    """Register a model with version 1 as a candidate and a job that checks its weights.

    What the data set's E held then, as far as the model's revision has it, stays suspect unless
    the owner says that the training did not see it.

    Raises:
        NotFound: the data set.
        Conflict: `name_taken`, `quota_exceeded`, `version_not_current`.
        Unprocessable: `unknown_revision`.
    """
    take_turn(session, caller.tenant_id)
    dataset = get_dataset(session, caller, draft.dataset_id)
    _refuse_taken(session, caller, Model, draft.name)
    check_quota(session, "models", Model, Model.tenant_id == caller.tenant_id)
    refuse_return(session, caller.tenant_id, draft.weights_sha256)
    revision = _revision(dataset, draft)
    model = _new_model(session, caller, draft, revision)
    session.add(model)
    _flush_name(session)
    if draft.trained_on_erased is not False and (erased := erased_for(session, model)):
        model.suspect = pack(erased)
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
    facts: dict[str, object] = {"revision": revision, "weights_sha256": draft.weights_sha256}
    if model.suspect is not None:
        stated = draft.trained_on_erased
        facts |= {"suspect": len(unpack(model.suspect)), "trained_on_erased": stated}
    record(session, model, "registered", caller.actor, **facts)
    queue_job(session, add_job(session, model, JobKind.CHECK, {"version_id": str(version.id)}))
    return model


def fingerprint(rows: Sequence[SampleRow]) -> str:
    """Return the SHA-256 over the sorted (sample_id, content sha256, label), one JSON line each."""
    digest = hashlib.sha256()
    encode = json.JSONEncoder(separators=(",", ":")).encode  # `dumps` would make one for each row
    for row in sorted((row.sample_id, row.sha256, row.label) for row in rows):
        digest.update(f"{encode(row)}\n".encode())
    return digest.hexdigest()


def insert_samples(
    session: Session, dataset: Dataset, rows: Sequence[SampleRow], start: int = 0
) -> None:
    """Insert in bulk, by COPY on PostgreSQL, in batches elsewhere; `start` is the first ordinal."""
    if session.get_bind().dialect.name == "postgresql":
        driver = session.connection().connection.driver_connection
        if driver is None:
            raise RuntimeError("the session has lost its connection")
        statement = f"COPY samples ({', '.join(SAMPLE_COLUMNS)}) FROM STDIN"
        owners = (str(dataset.id), str(dataset.tenant_id))  # as text once, not once a row
        with driver.cursor().copy(statement) as copy:
            for row in _sample_values(owners, rows, start):
                copy.write_row(row)
        return
    values = _sample_values((dataset.id, dataset.tenant_id), rows, start)
    while batch := list(islice(values, BATCH)):
        records = [dict(zip(SAMPLE_COLUMNS, row, strict=True)) for row in batch]
        session.execute(insert(Sample), records)


def keep_revision(session: Session, caller: Caller, dataset: Dataset) -> DatasetRevision:
    """Keep what a data set is now as the revision of its number, for good."""
    alike = ("tenant_id", "manifest_uri", "format", "fingerprint", "num_train", "num_holdout")
    revision = DatasetRevision(
        dataset_id=dataset.id,
        number=dataset.revision,
        train_ordinals=dataset.train_ordinals,
        holdout_ordinals=dataset.holdout_ordinals,
        created_by=caller.actor,
        created_at=now(session),
        **{name: getattr(dataset, name) for name in alike},
    )
    session.add(revision)
    session.flush()
    return revision


def _revision(dataset: Dataset, draft: ModelDraft) -> int:
    wanted = dataset.revision if draft.dataset_revision is None else draft.dataset_revision
    if not 1 <= wanted <= dataset.revision:
        detail = f"The data set's newest revision is {dataset.revision}."
        errors = [{"pointer": "/dataset_revision", "detail": detail}]
        raise Unprocessable("unknown_revision", detail, errors)
    return wanted


def _sample_values(
    owners: tuple[object, object], rows: Sequence[SampleRow], start: int
) -> Iterator[tuple[object, ...]]:
    """Yield what `SAMPLE_COLUMNS` name; `owners` are the ids of data set and tenant."""
    for ordinal, row in enumerate(rows, start):
        yield (
            *owners,
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
        revision=1,
        created_at=now(session),
    )


def _new_model(session: Session, caller: Caller, draft: ModelDraft, revision: int) -> Model:
    return Model(
        id=new_id(),
        tenant_id=caller.tenant_id,
        dataset_id=draft.dataset_id,
        dataset_revision=revision,
        trained_on_erased=draft.trained_on_erased,
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
