"""Register models and serve their versions' weights."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from service import conditional, ledger, tables
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
from service.downloads import weights_response
from service.errors import Conflict, NotFound, ServiceError
from service.idempotency import Once, creation
from service.ledger import Caller, ModelDraft
from service.ledger.deployments import refuse_holding, serving
from service.ledger.holding import Holdings
from service.lookups import check_failure
from service.paging import Paging, paging
from service.problems import problem_responses
from service.resources import Model, ModelFacts, ModelVersion
from service.schemas import ModelOrder, Page
from service.uploads import store_weights

router = APIRouter(
    prefix="/v1/models",
    tags=["models"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)


class FileHeaders(BaseModel):
    """What a caller says of the part of a file that it wants."""

    range: str | None = None
    if_none_match: str | None = None
    if_range: str | None = None


_read_order = json_or_form(ModelOrder, "model", "weights")


@router.post(
    "",
    status_code=201,
    summary="Register a model",
    response_model=Model,
    openapi_extra=form_or_json_body(ModelOrder, "model", "weights"),
    responses=problem_responses(
        "invalid_credentials",
        "insufficient_scope",
        "invalid_request",
        "not_json",
        "unreadable_form",
        "not_found",
        "body_too_large",
        "quota_exceeded",
        "unsupported_media_type",
        "name_taken",
        "idempotency_key_in_use",
        "idempotency_key_reused",
        "path_outside_roots",
        "unknown_revision",
        "version_not_current",
        "weights_digest_mismatch",
        "weights_not_found",
        "weights_not_safetensors",
        "weights_truncated",
    ),
)
def register_model(
    upload: Annotated[Upload[ModelOrder], Depends(_read_order)],
    caller: Annotated[Caller, scope("models:write")],
    parts: PartsDep,
    once: Annotated[Once, creation("models:write")],
) -> Response:
    """Keep the weights and let a worker check that they fit; until then it is `registering`.

    The weights, safetensors only, are named by `weights_uri` under a data root or uploaded (form
    parts `model`, JSON, and `weights`). Pickles are refused by their first bytes, never opened.
    """
    order = upload.order
    with parts.database.read() as session:  # refuse before copying what may be large
        ledger.get_dataset(session, caller, order.dataset_id)
    weights = store_weights(
        parts.storage,
        parts.settings.data_roots,
        uri=order.weights_uri,
        file=upload.file,
        sha256=order.weights_sha256,
    )
    draft = ModelDraft(
        name=order.name,
        dataset_id=order.dataset_id,
        architecture=order.architecture,
        architecture_kwargs=order.architecture_kwargs,
        preprocessing=order.preprocessing.model_dump(mode="json"),
        classifier=order.classifier,
        recipe=order.recipe.model_dump() if order.recipe else None,
        dataset_revision=order.dataset_revision,
        trained_on_erased=order.trained_on_erased,
        weights_uri=weights.key,
        weights_sha256=weights.sha256,
    )
    with parts.database.write() as session:
        model = _model(session, caller, ledger.register_model(session, caller, draft))
        headers = {"Location": f"/v1/models/{model.id}", "Retry-After": "2"}
        return once.answer(session, model, 201, headers)


@router.get("", summary="List models, newest first")
def list_models(
    caller: Annotated[Caller, scope("models:read")],
    parts: PartsDep,
    paging: Annotated[Paging, paging()],
) -> Page[Model]:
    """Return one page."""
    with parts.database.read() as session:
        page = ledger.list_models(session, caller, paging.start, paging.limit)
        return paging.page(page, [_model(session, caller, row) for row in page.items])


@router.get(
    "/{model_id}",
    summary="Read a model",
    response_model=Model,
    responses={**UNCHANGED, **problem_responses("not_found")},
)
def get_model(
    model_id: uuid.UUID,
    caller: Annotated[Caller, scope("models:read")],
    parts: PartsDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return one model."""
    with parts.database.read() as session:
        model = _model(session, caller, ledger.get_model(session, caller, model_id))
    return conditional.answer(model, if_none_match)


@router.get(
    "/{model_id}/versions",
    summary="List a model's versions",
    response_model=Page[ModelVersion],
    responses={**UNCHANGED, **problem_responses("not_found", "bad_cursor")},
)
def list_versions(
    model_id: uuid.UUID,
    caller: Annotated[Caller, scope("models:read")],
    parts: PartsDep,
    paging: Annotated[Paging, paging(200, most=1000)],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return one page, oldest first."""
    with parts.database.read() as session:
        page = ledger.page_versions(session, caller, model_id, paging.start, paging.limit)
        held = Holdings(session, ledger.get_model(session, caller, model_id))
        items = [ModelVersion.of(row, held.of(row)) for row in page.items]
        shown = paging.page(page, items)
    link = paging.response.headers.get("link")
    return conditional.answer(shown, if_none_match, {"Link": link} if link else None)


_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/vnd.safetensors": {}}},
    206: {"description": "The range asked for."},
    304: {"description": "You have it already."},
}


@router.get(
    "/{model_id}/versions/current/weights",
    summary="Download the weights that may serve",
    response_class=StreamingResponse,
    responses={
        **_FILE,
        **problem_responses(
            "not_found", "model_not_ready", "version_holds_erased_data", "range_not_satisfiable"
        ),
    },
)
def get_current_weights(
    model_id: uuid.UUID,
    caller: Annotated[Caller, scope("models:read")],
    parts: PartsDep,
    headers: Annotated[FileHeaders, Header()],
) -> Response:
    """Return the current version's file, unless it holds what was erased before it was registered.

    Deployments that fetch from here never go back to a version that holds erased data.
    """
    with parts.database.read() as session:
        model = ledger.get_model(session, caller, model_id)
        version = ledger.current_version(session, caller, model_id)
        if version is None:
            raise Conflict("model_not_ready", "The model has no version that may serve.")
        refuse_holding(session, model, version)
    return _file(parts, version, headers)


@router.get(
    "/{model_id}/versions/{number}/weights",
    summary="Download a version's weights",
    response_class=StreamingResponse,
    responses={
        **_FILE,
        **problem_responses(
            "not_found", "weights_purged", "version_not_current", "range_not_satisfiable"
        ),
    },
)
def get_weights(
    *,
    model_id: uuid.UUID,
    number: int,
    caller: Annotated[Caller, scope("models:read")],
    parts: PartsDep,
    headers: Annotated[FileHeaders, Header()],
    for_audit: Annotated[
        bool, Query(description="Serve a superseded or rejected version too; never deploy it.")
    ] = False,
) -> Response:
    """Return the safetensors file; its ETag is its SHA-256. One range per request is served.

    A version that was superseded or rejected still holds what was erased since. It is refused, so
    that nobody rolls back to it unawares; an auditor asks for it by `for_audit`.
    """
    if not 0 < number < 2**31:
        raise NotFound("version")
    with parts.database.read() as session:
        version = ledger.get_version(session, caller, model_id, number)
        if version.purged_at is None and not for_audit:
            ledger.refuse_outdated(session, version)
    if version.purged_at is not None:
        raise ServiceError(410, "weights_purged", "This version's weights were removed.")
    return _file(parts, version, headers)


def _file(parts: Parts, version: tables.ModelVersion, headers: FileHeaders) -> Response:
    return weights_response(
        parts.storage,
        version.weights_uri,
        version.weights_sha256,
        wanted=headers.range,
        if_none_match=headers.if_none_match,
        if_range=headers.if_range,
    )


def _model(session: Session, caller: Caller, row: tables.Model) -> Model:
    current = ledger.current_version(session, caller, row.id)
    code = check_failure(session, row.id) if row.reason else None
    suspect = 0
    if row.suspect is not None:
        held = Holdings(session, row).of(current)
        suspect = held.suspect or (held.samples if row.trained_on_erased else 0)
    number = current.number if current else None
    return Model.of(row, ModelFacts(number, code, suspect, serving(session, row.id)))
