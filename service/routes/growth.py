"""Data sets grow: samples are added as a revision, and every revision stays to be read."""

import uuid
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Response

from service import conditional, ledger
from service.conditional import UNCHANGED, IfNoneMatch
from service.dependencies import (
    GuardedRoute,
    PartsDep,
    Upload,
    form_or_json_body,
    json_or_form,
    scope,
)
from service.errors import NotFound
from service.growth_orders import GrowthOrder
from service.idempotency import Once, creation
from service.ledger import Caller, SampleRow, growing
from service.ledger.orders import GrowthDraft
from service.manifests import locate_manifest, locate_root, read_manifest
from service.paging import Paging, paging
from service.problems import BODY_REFUSALS, problem_responses
from service.resources import DatasetRevision
from service.schemas import Page
from service.uploads import refuse_two_sources, stored_manifest

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}",
    tags=["datasets"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
_read_order = json_or_form(GrowthOrder, "growth", "manifest")


@router.post(
    "/samples",
    status_code=201,
    summary="Add samples to a data set",
    response_model=DatasetRevision,
    openapi_extra=form_or_json_body(GrowthOrder, "growth", "manifest"),
    responses=problem_responses(
        "invalid_credentials",
        "insufficient_scope",
        *BODY_REFUSALS,
        "not_found",
        "unreadable_form",
        "erased_samples",
        "pepper_changed",
        "samples_exist",
        "repeated_samples",
        "idempotency_key_in_use",
        "idempotency_key_reused",
        "manifest_columns_missing",
        "manifest_empty",
        "manifest_not_found",
        "manifest_rows_invalid",
        "manifest_unreadable",
        "path_outside_roots",
    ),
)
def append_samples(
    dataset_id: uuid.UUID,
    upload: Annotated[Upload[GrowthOrder], Depends(_read_order)],
    caller: Annotated[Caller, scope("datasets:write")],
    parts: PartsDep,
    once: Annotated[Once, creation("datasets:write")],
) -> Response:
    """Read a manifest of new samples, check every row, and add all as a revision, or none.

    Uris are relative to the data set's root and labels are of its classes. Models and requests
    keep the revision that they have. Erased samples can't come back, by id or by equal bytes.
    """
    order = upload.order
    refuse_two_sources("manifest", order.manifest_uri, upload.file)
    with parts.database.read() as session:
        dataset = ledger.get_dataset(session, caller, dataset_id)
    root = locate_root(dataset.root, parts.settings.data_roots)
    names = dataset.class_names
    if upload.file is not None:
        kind = order.format
        manifest, uri = stored_manifest(parts.storage, upload.file, root, kind, names)
    else:
        uri = str(order.manifest_uri)
        path, _ = locate_manifest(uri, None, parts.settings.data_roots)
        manifest = read_manifest(path, root, order.format, names)
    rows = cast("list[SampleRow]", manifest.rows)  # as when the data set was registered
    draft = GrowthDraft(manifest_uri=uri, format=manifest.format, rows=rows)
    with parts.database.write() as session:
        made = growing.append_samples(session, caller, dataset_id, draft, parts.eraser)
        location = f"/v1/datasets/{dataset_id}/revisions/{made.number}"
        return once.answer(session, DatasetRevision.of(made), 201, {"Location": location})


@router.get(
    "/revisions",
    summary="List a data set's revisions, oldest first",
    responses=problem_responses("not_found", "bad_cursor"),
)
def list_revisions(
    dataset_id: uuid.UUID,
    caller: Annotated[Caller, scope("datasets:read")],
    parts: PartsDep,
    paging: Annotated[Paging, paging(100)],
) -> Page[DatasetRevision]:
    """Return one page."""
    with parts.database.read() as session:
        start, limit = paging.start, paging.limit
        page = growing.list_revisions(session, caller, dataset_id, start, limit)
        return paging.page(page, [DatasetRevision.of(row) for row in page.items])


@router.get(
    "/revisions/{number}",
    summary="Read a revision of a data set",
    response_model=DatasetRevision,
    responses={**UNCHANGED, **problem_responses("not_found")},
)
def get_revision(
    dataset_id: uuid.UUID,
    number: int,
    caller: Annotated[Caller, scope("datasets:read")],
    parts: PartsDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return one revision; it never changes."""
    if not 0 < number < 2**31:
        raise NotFound("revision of the data set")
    with parts.database.read() as session:
        row = growing.get_revision(session, caller, dataset_id, number)
        return conditional.answer(DatasetRevision.of(row), if_none_match)
