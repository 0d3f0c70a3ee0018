"""Register data sets and find samples."""

import uuid
from typing import Annotated, BinaryIO, cast

from fastapi import APIRouter, Depends, Query, Response

from service import conditional, ledger
from service.conditional import UNCHANGED, IfNoneMatch
from service.dependencies import (
    GuardedRoute,
    Parts,
    PartsDep,
    Upload,
    form_or_json_body,
    json_or_form,
    scope,
)
from service.errors import Unprocessable
from service.idempotency import Once, creation
from service.ledger import Caller, DatasetDraft, SampleRow
from service.lookups import find_samples
from service.manifests import Manifest, locate_manifest, locate_root, read_manifest
from service.paging import Paging, paging
from service.problems import problem_responses
from service.resources import Dataset, Sample
from service.schemas import DatasetOrder, Page
from service.uploads import refuse_two_sources, stored_manifest

router = APIRouter(
    prefix="/v1/datasets",
    tags=["datasets"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
_read_order = json_or_form(DatasetOrder, "dataset", "manifest")


@router.post(
    "",
    status_code=201,
    summary="Register a data set",
    response_model=Dataset,
    openapi_extra=form_or_json_body(DatasetOrder, "dataset", "manifest"),
    responses=problem_responses(
        "invalid_credentials",
        "insufficient_scope",
        "invalid_request",
        "not_json",
        "unreadable_form",
        "body_too_large",
        "quota_exceeded",
        "unsupported_media_type",
        "name_taken",
        "idempotency_key_in_use",
        "idempotency_key_reused",
        "manifest_columns_missing",
        "manifest_empty",
        "manifest_not_found",
        "manifest_rows_invalid",
        "manifest_too_large",
        "manifest_unreadable",
        "no_training_samples",
        "erased_samples",
        "path_outside_roots",
        "pepper_changed",
    ),
)
def register_dataset(
    upload: Annotated[Upload[DatasetOrder], Depends(_read_order)],
    caller: Annotated[Caller, scope("datasets:write")],
    parts: PartsDep,
    once: Annotated[Once, creation("datasets:write")],
) -> Response:
    """Read the manifest, check every row, and register all samples or none.

    The manifest is named by URI under a data root, or uploaded (form parts `dataset`, JSON, and
    `manifest`); then `root` says what its uris are relative to.
    """
    order = upload.order
    refuse_two_sources("manifest", order.manifest_uri, upload.file)
    if upload.file is not None:
        manifest, uri = _read_uploaded(parts, order, upload.file)
    else:
        uri = str(order.manifest_uri)
        path, root = locate_manifest(uri, order.root, parts.settings.data_roots)
        manifest = read_manifest(path, root, order.format, order.class_names)
    draft = DatasetDraft(
        name=order.name,
        manifest_uri=uri,
        format=manifest.format,
        root=str(manifest.root),
        class_names=manifest.class_names,
        rows=cast("list[SampleRow]", manifest.rows),  # the same fields; a copy costs a gigabyte
    )
    eraser = parts.eraser
    with parts.database.write() as session:
        dataset = Dataset.of(ledger.register_dataset(session, caller, draft, eraser))
        return once.answer(session, dataset, 201, {"Location": f"/v1/datasets/{dataset.id}"})


@router.get("", summary="List data sets, newest first")
def list_datasets(
    caller: Annotated[Caller, scope("datasets:read")],
    parts: PartsDep,
    paging: Annotated[Paging, paging(50, most=1000)],
) -> Page[Dataset]:
    """Return one page."""
    with parts.database.read() as session:
        page = ledger.list_datasets(session, caller, paging.start, paging.limit)
        return paging.page(page, [Dataset.of(row) for row in page.items])


@router.get(
    "/{dataset_id}",
    summary="Read a data set",
    response_model=Dataset,
    responses={**UNCHANGED, **problem_responses("not_found")},
)
def get_dataset(
    dataset_id: uuid.UUID,
    caller: Annotated[Caller, scope("datasets:read")],
    parts: PartsDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return one data set."""
    with parts.database.read() as session:
        dataset = Dataset.of(ledger.get_dataset(session, caller, dataset_id))
    return conditional.answer(dataset, if_none_match)


@router.get(
    "/{dataset_id}/samples", summary="Find samples", responses=problem_responses("not_found")
)
def list_samples(
    *,
    dataset_id: uuid.UUID,
    caller: Annotated[Caller, scope("datasets:read")],
    parts: PartsDep,
    label: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    subject_id: Annotated[str | None, Query(max_length=512)] = None,
    split: Annotated[str | None, Query(pattern="^(train|holdout)$")] = None,
    paging: Annotated[Paging, paging(100, most=1000)],
) -> Page[Sample]:
    """Return one page of those with this label, subject and split, in the manifest's order."""
    with parts.database.read() as session:
        names = ledger.get_dataset(session, caller, dataset_id).class_names
        page = find_samples(
            session,
            caller,
            dataset_id,
            label=label,
            subject_id=subject_id,
            split=split,
            cursor=paging.start,
            limit=paging.limit,
        )
        return paging.page(page, [Sample.of(row, names) for row in page.items])


def _read_uploaded(parts: Parts, order: DatasetOrder, file: BinaryIO) -> tuple[Manifest, str]:
    if order.root is None:
        detail = "An uploaded manifest needs root: the folder that its uris are relative to."
        raise Unprocessable("invalid_request", detail, [{"pointer": "/root", "detail": detail}])
    root = locate_root(order.root, parts.settings.data_roots)
    return stored_manifest(parts.storage, file, root, order.format, order.class_names)
