"""Copies of requested samples under other ids: equal files at once, the rest when a worker looked.

A worker's child names copies by position; here they become ordinals, and outside this file counts.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.bitmaps import pack, unpack
from service.database import among, keep_alive, now
from service.ledger.orders import Caller, CopyCounts, FoundCopy, Page
from service.ledger.packages import Roles, package_roles
from service.ledger.planning import requests_of
from service.ledger.reading import get_request, parse_number
from service.ledger.samples import (
    erased_ordinals,
    requested_ordinals,
    trained_on,
    training_set,
)
from service.tables import (
    Audit,
    DeletionRequest,
    Job,
    Model,
    RequestCopies,
    Run,
    Sample,
)

KEY = "near_duplicates"
"""Where a job's result holds what was found; positions, so it goes no further than this file."""


def equal_files(
    session: Session, model: Model, ordinals: BitMap, equal: BitMap
) -> tuple[BitMap, BitMap]:
    """Return the training and the hold-out samples whose files equal those of some samples.

    `equal`: every sample of the data set with one of these files. Left out of it: the samples
    themselves, and what a completed request of this model erased or an open one is about to erase.
    """
    found = equal - ordinals
    if not found:
        return found, found
    known = trained_on(session, model)
    taken = unpack(model.erased) | requested_ordinals(session, model.id)
    return found & training_set(known) - taken, found & unpack(known.holdout_ordinals)


def sample_ids_of(session: Session, dataset_id: uuid.UUID, ordinals: BitMap) -> list[str]:
    """Return the ids of samples, in the order of their ordinals."""
    query = select(Sample.sample_id).where(
        Sample.dataset_id == dataset_id, among(session, Sample.ordinal, ordinals)
    )
    return list(session.scalars(query.order_by(Sample.ordinal)))


def add_copies(
    session: Session, request: DeletionRequest, byte_equal: BitMap, included: int
) -> None:
    """Note the equal files of a request that has just come in."""
    row = RequestCopies(
        request_id=request.id,
        tenant_id=request.tenant_id,
        included=included,
        byte_equal=pack(byte_equal),
        near=pack([]),
    )
    session.add(row)
    keep_alive(session, row)  # the answer tells of it


def copy_counts(session: Session, request: DeletionRequest) -> CopyCounts | None:
    """Return how many copies were found; None for a request older than the search for them."""
    row = session.get(RequestCopies, request.id)
    if row is None:
        return None
    equal, near = unpack(row.byte_equal), unpack(row.near)
    holdout = BitMap()
    if equal or near:
        model = session.get_one(Model, request.model_id)
        holdout = unpack(trained_on(session, model).holdout_ordinals)
    return CopyCounts(
        byte_equal=len(equal - holdout),
        near=None if row.searched_at is None else len(near - holdout),
        in_holdout=len((equal | near) & holdout),
        included=row.included,
    )


def keep_found(
    session: Session, job: Job, owner: Run | Audit, result: dict[str, Any]
) -> dict[str, Any]:
    """Keep what a worker found for each request; return the result with counts for positions.

    The counts, under `copies` by request or audit, are of R as the run froze it and of the
    hold-out. A worker that did not search leaves the equal files that were known already.

    Raises:
        ValueError: a position is no sample of R or of the hold-out.
    """
    roles = package_roles(session, job)
    found = result.get(KEY)
    counts: dict[str, CopyCounts] = {}
    for subject in [owner] if isinstance(owner, Audit) else requests_of(session, owner):
        kept = _Found(BitMap(), BitMap())
        if found is not None:
            kept = _read(found[str(subject.id)], roles)
        row = None
        if isinstance(subject, DeletionRequest):
            row = _store(session, subject, kept, searched=found is not None)
            kept = _Found(unpack(row.byte_equal), unpack(row.near))
        elif found is None:
            continue
        counts[str(subject.id)] = CopyCounts(
            byte_equal=len(kept.byte_equal & roles["retain"]),
            near=None if found is None else len(kept.near & roles["retain"]),
            in_holdout=len((kept.byte_equal | kept.near) & roles["holdout"]),
            included=0 if row is None else row.included,
        )
    plain = {name: value for name, value in result.items() if name != KEY}
    return plain | {"copies": {key: asdict(value) for key, value in counts.items()}}


def list_copies(
    session: Session,
    caller: Caller,
    request_id: uuid.UUID,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[FoundCopy]:
    """Return the copies that were found, in the manifest's order; the cursor is an ordinal.

    Raises:
        NotFound: no such request.
        Unprocessable: `bad_cursor`.
    """
    request = get_request(session, caller, request_id)
    row = session.get(RequestCopies, request.id)
    if row is None:
        return Page([], None)
    dataset_id = session.get_one(Model, request.model_id).dataset_id
    equal, erased = unpack(row.byte_equal), erased_ordinals(session, dataset_id)
    found = equal | unpack(row.near)
    start = 0 if cursor is None else found.rank(parse_number(cursor))
    part = found[start : start + limit]
    query = select(Sample).where(Sample.dataset_id == dataset_id, Sample.ordinal.in_(part))
    items = [
        FoundCopy(
            sample.sample_id,
            sample.label,
            sample.split,
            "byte_equal" if sample.ordinal in equal else "near",
            sample.ordinal in erased,
        )
        for sample in session.scalars(query.order_by(Sample.ordinal))
    ]
    more = start + limit < len(found)
    return Page(items, str(part[-1]) if more else None)


class _Found(NamedTuple):
    byte_equal: BitMap
    near: BitMap


def _read(found: Mapping[str, Sequence[int]], roles: Roles) -> _Found:
    """Turn a child's positions, which are not believed, into ordinals."""
    included = BitMap.union(BitMap(), *roles.values())
    searched = roles["retain"] | roles["holdout"]
    kinds = []
    for kind in ("byte_equal", "near"):
        positions = found[kind]
        if not all(type(p) is int and 0 <= p < len(included) for p in positions):
            raise ValueError("the search for copies named positions that its job does not have")
        ordinals = BitMap(included[p] for p in positions)
        if not ordinals <= searched:
            raise ValueError("the search for copies named samples that are not in R or hold-out")
        kinds.append(ordinals)
    return _Found(kinds[0], kinds[1] - kinds[0])


def _store(
    session: Session, request: DeletionRequest, found: _Found, *, searched: bool
) -> RequestCopies:
    """Add what was found to what is known of a request; equal files stay known."""
    row = session.get(RequestCopies, request.id)
    if row is None:
        add_copies(session, request, BitMap(), 0)
        session.flush()
        row = session.get_one(RequestCopies, request.id)
    if searched:
        equal = unpack(row.byte_equal) | found.byte_equal
        row.byte_equal, row.near = pack(equal), pack(found.near - equal)
        row.searched_at = now(session)
    return row
