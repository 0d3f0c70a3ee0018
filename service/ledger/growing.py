"""Data sets grow by revisions: what was there stays as it was, and what was erased stays out."""

import uuid
from collections.abc import Sequence

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.commitment import digest_of
from service.database import among
from service.erased import Eraser
from service.errors import Conflict, NotFound, Unprocessable
from service.ledger.dropping import refuse_erased
from service.ledger.log import record_event, take_turn
from service.ledger.orders import Caller, GrowthDraft, Page, SampleRow
from service.ledger.reading import get_dataset, page_after
from service.ledger.registering import fingerprint, insert_samples, keep_revision
from service.ledger.samples import SHOWN, erased_ordinals
from service.tables import Dataset, DatasetRevision, Sample


def append_samples(
    session: Session,
    caller: Caller,
    dataset_id: uuid.UUID,
    draft: GrowthDraft,
    eraser: Eraser | None = None,
) -> DatasetRevision:
    """Add samples to a data set as its next revision; models and requests keep theirs.

    The eraser recognises samples whose rows were dropped after they were erased.

    Raises:
        NotFound: the data set.
        Conflict: `erased_samples`: ids that were accepted for erasure, or files equal to those of
            erased samples; `samples_exist`: ids that the data set has; `pepper_changed`.
        Unprocessable: `repeated_samples`.
    """
    take_turn(session, caller.tenant_id)
    dataset = get_dataset(session, caller, dataset_id)
    if len({row.sample_id for row in draft.rows}) != len(draft.rows):
        raise Unprocessable("repeated_samples", "The manifest names a sample more than once.")
    _refuse_known(session, dataset, draft.rows)
    refuse_erased(session, caller.tenant_id, dataset.root, draft.rows, eraser)
    _extend(session, dataset, draft)
    revision = keep_revision(session, caller, dataset)
    facts = {
        "revision": revision.number,
        "added": len(draft.rows),
        "train": revision.num_train,
        "holdout": revision.num_holdout,
        "fingerprint": revision.fingerprint,
    }
    resource = f"datasets/{dataset.id}"
    record_event(session, caller.tenant_id, caller.actor, "dataset.grown", resource, facts)
    return revision


def _extend(session: Session, dataset: Dataset, draft: GrowthDraft) -> None:
    """Add the samples behind the last ordinal, and make the data set its next revision."""
    train, holdout = unpack(dataset.train_ordinals), unpack(dataset.holdout_ordinals)
    start = len(train) + len(holdout)
    insert_samples(session, dataset, draft.rows, start)
    added = BitMap(i for i, row in enumerate(draft.rows, start) if row.split == "train")
    train |= added
    holdout |= BitMap(range(start, start + len(draft.rows))) - added
    dataset.train_ordinals, dataset.holdout_ordinals = pack(train), pack(holdout)
    dataset.num_train, dataset.num_holdout = len(train), len(holdout)
    dataset.fingerprint = grown_fingerprint(dataset.fingerprint, fingerprint(draft.rows))
    dataset.manifest_uri, dataset.format = draft.manifest_uri, draft.format
    dataset.revision += 1
    session.flush()


def grown_fingerprint(before: str, added: str) -> str:
    """Return a revision's fingerprint from that of the one before and that of what was added.

    Nothing but the new manifest is read, so it can be made when erased samples are gone.
    """
    return digest_of({"before": before, "added": added})


def get_revision(
    session: Session, caller: Caller, dataset_id: uuid.UUID, number: int
) -> DatasetRevision:
    """Return a revision of a data set, or raise NotFound."""
    get_dataset(session, caller, dataset_id)
    revision = session.get(DatasetRevision, (dataset_id, number))
    if revision is None:
        raise NotFound("revision of the data set")
    return revision


def list_revisions(
    session: Session,
    caller: Caller,
    dataset_id: uuid.UUID,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[DatasetRevision]:
    """Return revisions of a data set, oldest first; the cursor is the last number seen."""
    get_dataset(session, caller, dataset_id)
    query = select(DatasetRevision).where(DatasetRevision.dataset_id == dataset_id)
    return page_after(session, query, DatasetRevision.number, cursor, limit)


def _refuse_known(session: Session, dataset: Dataset, rows: Sequence[SampleRow]) -> None:
    """Refuse what was erased from the data set, and what it has."""
    known = _ordinals(session, dataset, [row.sample_id for row in rows])
    erased = erased_ordinals(session, dataset.id)
    files = _erased_files(session, dataset, erased, rows)
    names = {name for name, ordinal in known.items() if ordinal in erased}
    places = [i for i, row in enumerate(rows) if row.sample_id in names or row.sha256 in files]
    if places:
        by_id = sum(row.sample_id in names for row in rows)
        by_file = sum(row.sha256 in files for row in rows)
        detail = (
            f"{len(places)} of the samples were erased from this data set and can't come back:"
            f" {by_id} by id, {by_file} by a file with equal bytes."
        )
        raise _conflict("erased_samples", detail, places, by_id=by_id, by_file=by_file)
    there = [i for i, row in enumerate(rows) if row.sample_id in known]
    if there:
        detail = f"The data set has {len(there)} of the samples already."
        raise _conflict("samples_exist", detail, there)


def _ordinals(session: Session, dataset: Dataset, names: Sequence[str]) -> dict[str, int]:
    query = select(Sample.sample_id, Sample.ordinal).where(
        Sample.dataset_id == dataset.id, among(session, Sample.sample_id, names)
    )
    return {row.sample_id: row.ordinal for row in session.execute(query)}


def _erased_files(
    session: Session, dataset: Dataset, erased: BitMap, rows: Sequence[SampleRow]
) -> set[str]:
    """Return the digests among these rows that an erased sample's file has."""
    query = select(Sample.sha256, Sample.ordinal).where(
        Sample.dataset_id == dataset.id, among(session, Sample.sha256, {row.sha256 for row in rows})
    )
    return {digest for digest, ordinal in session.execute(query) if ordinal in erased}


def _conflict(code: str, detail: str, places: Sequence[int], **counts: int) -> Conflict:
    refusal = Conflict(code, detail, count=len(places), **counts)
    refusal.errors = [{"pointer": f"/rows/{i}", "detail": code} for i in places[:SHOWN]]
    return refusal
