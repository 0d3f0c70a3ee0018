"""Register models and serve their versions' weights."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from service import ledger, tables
from service.dependencies import (
    GuardedRoute,
    PartsDep,
    Upload,
    form_or_json_body,
    json_or_form,
    scope,
)
from service.downloads import weights_response
from service.errors import NotFound, ServiceError
from service.ledger import Caller, ModelDraft
from service.lookups import check_failure
from service.problems import problem_responses
from service.resources import Model, ModelVersion
from service.schemas import ModelOrder, Page
from service.uploads import store_weights

router = APIRouter(
    prefix="/v1/models",
    tags=["models"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
_read_order = json_or_form(ModelOrder, "model", "weights")


@router.post(
    "",
    status_code=201,
    summary="Register a model",
    openapi_extra=form_or_json_body(ModelOrder, "model", "weights"),
    responses=problem_responses(
        "invalid_credentials",
        "insufficient_scope",
        "invalid_request",
        "not_json",
        "unreadable_form",
        "not_found",
        "body_too_large",
        "unsupported_media_type",
        "name_taken",
        "path_outside_roots",
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
    response: Response,
) -> Model:
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
        weights_uri=weights.key,
        weights_sha256=weights.sha256,
    )
    with parts.database.write() as session:
        model = _model(session, caller, ledger.register_model(session, caller, draft))
    response.headers["Location"] = f"/v1/models/{model.id}"
    response.headers["Retry-After"] = "2"
    return model


@router.get("", summary="List models, newest first")
def list_models(
    caller: Annotated[Caller, scope("models:read")],
    parts: PartsDep,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[Model]:
    """Return one page."""
    with parts.database.read() as session:
        page = ledger.list_models(session, caller, cursor, limit)
        items = [_model(session, caller, row) for row in page.items]
        return Page(items=items, next_cursor=page.next_cursor)


@router.get("/{model_id}", summary="Read a model", responses=problem_responses("not_found"))
def get_model(
    model_id: uuid.UUID, caller: Annotated[Caller, scope("models:read")], parts: PartsDep
) -> Model:
    """Return one model."""
    with parts.database.read() as session:
        return _model(session, caller, ledger.get_model(session, caller, model_id))


@router.get(
    "/{model_id}/versions",
    summary="List a model's versions",
    responses=problem_responses("not_found"),
)
def list_versions(
    model_id: uuid.UUID, caller: Annotated[Caller, scope("models:read")], parts: PartsDep
) -> Page[ModelVersion]:
    """Return all versions, oldest first."""
    with parts.database.read() as session:
        rows = ledger.list_versions(session, caller, model_id)
        return Page(items=[ModelVersion.of(row) for row in rows], next_cursor=None)


@router.get(
    "/{model_id}/versions/{number}/weights",
    summary="Download a version's weights",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The file.", "content": {"application/vnd.safetensors": {}}},
        206: {"description": "The range asked for."},
        304: {"description": "You have it already."},
        **problem_responses("not_found", "weights_purged", "range_not_satisfiable"),
    },
)
def get_weights(
    *,
    model_id: uuid.UUID,
    number: int,
    caller: Annotated[Caller, scope("models:read")],
    parts: PartsDep,
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the safetensors file; its ETag is its SHA-256. One range per request is served."""
    if not 0 < number < 2**31:
        raise NotFound("version")
    with parts.database.read() as session:
        version = ledger.get_version(session, caller, model_id, number)
    if version.purged_at is not None:
        raise ServiceError(410, "weights_purged", "This version's weights were removed.")
    return weights_response(
        parts.storage,
        version.weights_uri,
        version.weights_sha256,
        wanted=range_,
        if_none_match=if_none_match,
        if_range=if_range,
    )


def _model(session: Session, caller: Caller, row: tables.Model) -> Model:
    current = ledger.current_version(session, caller, row.id)
    code = check_failure(session, row.id) if row.reason else None
    return Model.of(row, current.number if current else None, code)
