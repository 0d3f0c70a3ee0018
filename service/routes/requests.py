"""Ask a model to forget samples, and follow what becomes of it."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session

from service import events, ledger, tables
from service.copy_resources import FoundCopy
from service.database import now
from service.dependencies import GuardedRoute, Parts, PartsDep, scope
from service.downloads import matches
from service.ledger import Caller, RequestOrder
from service.lookups import version_number
from service.problems import problem_responses
from service.request_audit_resources import RequestAudit
from service.resources import DeletionRequest, RequestFacts
from service.schemas import DeletionOrder, Page
from service.targets import chosen_sample_ids

router = APIRouter(
    prefix="/v1/deletion-requests",
    tags=["deletion requests"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
RETRY_AFTER = {"Retry-After": "5"}
OPEN = ("pending", "in_progress")
Status = Literal["pending", "in_progress", "completed", "cancelled", "rejected", "failed"]


@router.post(
    "",
    status_code=202,
    summary="Ask a model to forget samples",
    responses=problem_responses(
        "invalid_credentials",
        "insufficient_scope",
        "invalid_request",
        "not_json",
        "not_found",
        "body_too_large",
        "unsupported_media_type",
        "already_erased",
        "already_requested",
        "model_rejected",
        "bad_hyperparameters",
        "bad_ladder",
        "no_samples",
        "qualification_missing",
        "nothing_left",
        "pool_not_usable",
        "not_training_samples",
        "recipe_required",
        "retrain_required",
        "repeated_samples",
        "too_many_samples",
        "unknown_method",
        "unknown_policy",
        "unknown_samples",
    ),
)
def open_request(
    order: DeletionOrder,
    caller: Annotated[Caller, scope("requests:write")],
    parts: PartsDep,
    response: Response,
) -> DeletionRequest:
    """Accept the request and start working on it; its samples are named by id, label or subject."""
    with parts.database.write() as session:
        wish = RequestOrder(
            model_id=order.model_id,
            sample_ids=chosen_sample_ids(session, caller, order, parts.settings.max_sample_ids),
            subject_request_id=order.subject_request_id,
            regulation=order.regulation,
            submitted_time=order.submitted_time,
            policy=order.policy,
            ladder=[rung.plain for rung in order.ladder or ()] or ledger.DEFAULT_LADDER,
            audit=order.audit,
            include_duplicates=order.include_duplicates,
            plugins=parts.settings.plugin_methods,
            pool=order.pool,
        )
        request = _resource(session, ledger.open_request(session, caller, wish))
    response.headers["Location"] = request.links.self
    response.headers.update(RETRY_AFTER)
    return request


@router.get("", summary="List deletion requests, newest first")
def list_requests(
    *,
    caller: Annotated[Caller, scope("requests:read")],
    parts: PartsDep,
    status: Annotated[Status | None, Query()] = None,
    model_id: Annotated[uuid.UUID | None, Query()] = None,
    overdue: Annotated[bool | None, Query(description="Open and past the deadline.")] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[DeletionRequest]:
    """Return one page."""
    with parts.database.read() as session:
        page = ledger.list_requests(
            session,
            caller,
            status=status,
            model_id=model_id,
            overdue=overdue,
            cursor=cursor,
            limit=limit,
        )
        items = [_resource(session, row) for row in page.items]
        return Page(items=items, next_cursor=page.next_cursor)


@router.get(
    "/{request_id}",
    summary="Read a deletion request",
    response_model=DeletionRequest,
    responses={304: {"description": "Nothing has changed."}, **problem_responses("not_found")},
)
def get_request(
    request_id: uuid.UUID,
    caller: Annotated[Caller, scope("requests:read")],
    parts: PartsDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return where the request stands; `Retry-After` says when to ask again."""
    request = _read(parts, caller, request_id)
    body = request.model_dump_json().encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, **(RETRY_AFTER if request.status in OPEN else {})}
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@router.post(
    "/{request_id}/cancel",
    summary="Withdraw a deletion request",
    responses=problem_responses("not_found", "already_closed", "illegal_move"),
)
def cancel_request(
    request_id: uuid.UUID, caller: Annotated[Caller, scope("requests:write")], parts: PartsDep
) -> DeletionRequest:
    """Withdraw a request that is not closed; its samples stay out of all later training."""
    with parts.database.write() as session:
        return _resource(session, ledger.cancel_request(session, caller, request_id))


@router.get(
    "/{request_id}/duplicates",
    summary="Find copies of the requested samples",
    responses=problem_responses("not_found", "bad_cursor"),
)
def list_duplicates(
    request_id: uuid.UUID,
    caller: Annotated[Caller, scope("requests:read", "datasets:read")],
    parts: PartsDep,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Page[FoundCopy]:
    """Return one page of the samples outside the request that show what it wants forgotten."""
    with parts.database.read() as session:
        page = ledger.list_copies(session, caller, request_id, cursor, limit)
        request = ledger.get_request(session, caller, request_id)
        model = ledger.get_model(session, caller, request.model_id)
        names = ledger.get_dataset(session, caller, model.dataset_id).class_names
        items = [FoundCopy.of(copy, names) for copy in page.items]
        return Page(items=items, next_cursor=page.next_cursor)


def _first(
    request_id: uuid.UUID, caller: Annotated[Caller, scope("requests:read")], parts: PartsDep
) -> DeletionRequest:
    return _read(parts, caller, request_id)


@router.get(
    "/{request_id}/events",
    summary="Follow a deletion request",
    response_class=EventSourceResponse,
    responses=problem_responses("not_found"),
)
async def follow_request(
    request_id: uuid.UUID,
    caller: Annotated[Caller, scope("requests:read")],
    parts: PartsDep,
    first: Annotated[DeletionRequest, Depends(_first)],
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send `snapshot`, then `progress` and `state` as they come, then `done`."""
    read = partial(_read, parts, caller, request_id)
    async for event in events.follow(read, first, last_event_id):
        yield event


def _read(parts: Parts, caller: Caller, request_id: uuid.UUID) -> DeletionRequest:
    with parts.database.read() as session:
        return _resource(session, ledger.get_request(session, caller, request_id))


def _resource(session: Session, row: tables.DeletionRequest) -> DeletionRequest:
    run = session.get(tables.Run, row.run_id) if row.run_id else None
    facts = RequestFacts(
        progress=ledger.progress_of(session, row),
        now=now(session),
        tries=list(run.tries) if run else [],
        passed_over=list(run.passed_over) if run else [],
        copies=ledger.copy_counts(session, row),
        base_version=version_number(session, row.base_version_id),
        result_version=version_number(session, row.result_version_id),
        audits=[RequestAudit.of(*found) for found in ledger.audits_of_request(session, row)],
    )
    return DeletionRequest.of(row, facts)
