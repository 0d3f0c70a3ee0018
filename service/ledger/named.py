"""The samples that a request names, and the ordinals that their ids stand for.

Whatever waits for a tenant's turn waits for the one that has it, so that one should look little up.
No row changes, and none comes without a new revision of its data set: what was found before the
turn is what the turn would find, as long as the revision is the one of then. Rows do go meanwhile
(`service.ledger.dropping`), but only those that every model lacks; then the turn says that they
are erased, by the model's own set, where it would otherwise have said that they are unknown.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyroaring import BitMap
from sqlalchemy import (
    ARRAY,
    Integer,
    Row,
    String,
    any_,
    bindparam,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.orm import Session, aliased

from service.commitment import Commitment, commit
from service.database import among
from service.errors import Unprocessable
from service.ledger.orders import Caller
from service.ledger.samples import SHOWN, trained_on, training_set
from service.tables import Dataset, Model, Sample

AnyRow = Row[*tuple[Any, ...]]
_COLUMNS = (Sample.sample_id, Sample.ordinal, Sample.split, Sample.sha256)
_OF_MODEL = (
    select(Model.dataset_id)
    .where(Model.id == bindparam("model_id"), Model.tenant_id == bindparam("tenant_id"))
    .scalar_subquery()
)
_TWIN = aliased(Sample)
_TWINS = (
    select(_TWIN.ordinal)
    .where(
        _TWIN.dataset_id == Sample.dataset_id,
        _TWIN.sha256 == Sample.sha256,
        _TWIN.ordinal != Sample.ordinal,
    )
    .scalar_subquery()
)
_REVISION = select(Dataset.revision).where(Dataset.id == _OF_MODEL).scalar_subquery()
_FIRST = Sample.sample_id == bindparam("first")
# what is the same for all rows is told once, and no empty array: either costs as much as a row
_EARLY = select(
    *_COLUMNS,
    func.nullif(func.array(_TWINS), literal_column("'{}'"), type_=ARRAY(Integer)).label("twins"),
    case((_FIRST, Sample.dataset_id)).label("dataset_id"),
    case((_FIRST, _REVISION)).label("revision"),
).where(
    Sample.dataset_id == _OF_MODEL,
    Sample.sample_id == any_(bindparam("names", type_=ARRAY(String))),
)


@dataclass(frozen=True)
class NamedSamples:
    """What their ids stand for, and the digests of their files.

    What was looked up early has two things more: `equal`, every sample of the data set with one of
    these files, and a commitment to the ids.
    """

    dataset_id: uuid.UUID
    revision: int
    sample_ids: Sequence[str]
    ordinals: BitMap
    digests: Collection[str]
    equal: BitMap | None = None
    commitment: Commitment | None = None


def named_early(
    session: Session, caller: Caller, model_id: uuid.UUID, sample_ids: Sequence[str]
) -> NamedSamples | None:
    """Look samples up before the tenant's turn; None where nothing is found or gained by it.

    What is wrong with them is for the turn to say. SQLite has one writer, whose turn begins with
    the transaction.
    """
    if session.get_bind().dialect.name != "postgresql":
        return None
    names = list(sample_ids)
    asked = {"model_id": model_id, "tenant_id": caller.tenant_id, "names": names}
    rows = session.execute(_EARLY, {**asked, "first": names[0] if names else ""}).all()
    at = next(((row.dataset_id, row.revision) for row in rows if row.dataset_id), None)
    if at is None:
        return None
    try:
        found = _training_rows(sample_ids, rows)
    except Unprocessable:
        return None
    named = _named(at, sample_ids, found)
    equal = named.ordinals | BitMap(twin for row in rows for twin in row.twins or ())
    return replace(named, equal=equal, commitment=commit(sample_ids))


def named_now(
    session: Session,
    model: Model,
    revision: int,
    sample_ids: Sequence[str],
    early: NamedSamples | None = None,
) -> NamedSamples:
    """Look samples up in the tenant's turn, when their data set has this revision.

    `early` is taken where it is of the same revision.

    Raises:
        Unprocessable: as `resolve_training_samples`.
    """
    at = (model.dataset_id, revision)
    same = early is not None and (early.dataset_id, early.revision) == at
    if early is not None and same and list(early.sample_ids) == list(sample_ids):
        if early.ordinals - training_set(trained_on(session, model)):
            _learned_rows(session, model, sample_ids)  # refuses them, place by place
        return early
    return _named(at, sample_ids, _learned_rows(session, model, sample_ids))


def equal_ordinals(session: Session, named: NamedSamples) -> BitMap:
    """Return every sample of the data set with the file of one of these, they themselves too."""
    if named.equal is not None:
        return named.equal
    query = select(Sample.ordinal).where(
        Sample.dataset_id == named.dataset_id, among(session, Sample.sha256, named.digests)
    )
    return BitMap(session.scalars(query))


def resolve_training_samples(session: Session, model: Model, sample_ids: Sequence[str]) -> BitMap:
    """Return the ordinals of a model's training samples given by id.

    Raises:
        Unprocessable: `no_samples`, `repeated_samples`, `unknown_samples`, `not_training_samples`;
            errors point at the first offending places, counts are in the extension `count`.
    """
    return BitMap(row.ordinal for row in _learned_rows(session, model, sample_ids).values())


def training_ordinals(
    session: Session, dataset_id: uuid.UUID, sample_ids: Sequence[str]
) -> dict[str, int]:
    """Return the ordinal of each training sample of a data set that is given by id.

    Raises:
        Unprocessable: as `resolve_training_samples`.
    """
    found = _training_rows(sample_ids, _rows(session, dataset_id, sample_ids))
    return {name: row.ordinal for name, row in found.items()}


def _named(
    at: tuple[uuid.UUID, int], sample_ids: Sequence[str], found: Mapping[str, AnyRow]
) -> NamedSamples:
    ordinals = BitMap(row.ordinal for row in found.values())
    return NamedSamples(*at, sample_ids, ordinals, {row.sha256 for row in found.values()})


def _rows(session: Session, dataset_id: uuid.UUID, sample_ids: Sequence[str]) -> Sequence[AnyRow]:
    query = select(*_COLUMNS).where(
        Sample.dataset_id == dataset_id, among(session, Sample.sample_id, sample_ids)
    )
    return session.execute(query).all()


def _training_rows(sample_ids: Sequence[str], rows: Sequence[AnyRow]) -> dict[str, AnyRow]:
    """Return the row of each id; refuse those that are no training sample's."""
    if not sample_ids:
        raise Unprocessable("no_samples", "Name at least one sample.", [_at("", "empty")])
    first = {name: i for i, name in reversed(list(enumerate(sample_ids)))}
    again = [i for i, name in enumerate(sample_ids) if first[name] != i]
    _refuse("repeated_samples", again, "named more than once")
    found = {row.sample_id: row for row in rows}
    unknown = [i for i, name in enumerate(sample_ids) if name not in found]
    _refuse("unknown_samples", unknown, "not in the data set")
    held_out = [i for i, name in enumerate(sample_ids) if found[name].split != "train"]
    _refuse("not_training_samples", held_out, "held out, so the model never learned it")
    return found


def _learned_rows(session: Session, model: Model, sample_ids: Sequence[str]) -> dict[str, AnyRow]:
    """Return the row of each id; refuse those that this model did not learn."""
    found = _training_rows(sample_ids, _rows(session, model.dataset_id, sample_ids))
    training = training_set(trained_on(session, model))
    later = [i for i, name in enumerate(sample_ids) if found[name].ordinal not in training]
    _refuse("not_training_samples", later, "added after the model's revision of the data set")
    return found


def _refuse(code: str, places: Sequence[int], why: str) -> None:
    if places:
        detail = f"{len(places)} of the sample ids: {why}."
        errors = [_at(f"/{place}", why) for place in places[:SHOWN]]
        raise Unprocessable(code, detail, errors, count=len(places))


def _at(place: str, why: str) -> dict[str, str]:
    return {"pointer": f"/sample_ids{place}", "detail": why}
