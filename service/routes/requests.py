"""Ask a model to forget samples, and follow what becomes of it."""

import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session

from service import conditional, events, ledger, tables
from service.conditional import UNCHANGED, IfNoneMatch
from service.copy_resources import FoundCopy
from service.database import limits, now
from service.dependencies import JSON_TYPE, GuardedRoute, Parts, PartsDep, scope
from service.estimates import RequestEstimate
from service.group_resources import GroupEstimate, RequestGroup
from service.idempotency import REPLAYED, Once, creation
from service.ledger import Caller
from service.lookups import last_approval, version_number
from service.paging import Paging, paging
from service.problems import problem_responses
from service.request_audit_resources import RequestAudit
from service.request_resources import Approval, DeletionRequest, RequestFacts, Status
from service.routes.request_groups import open_group
from service.schemas import DeletionOrder, Page
from service.wishes import early_look, request_wish, stated

router = APIRouter(
    prefix="/v1/deletion-requests",
    tags=["deletion requests"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
RETRY_AFTER = {"Retry-After": "5"}
AGAIN = {REPLAYED: "true"}
OPEN = ("pending", "in_progress", "on_hold")


REFUSALS = (
    "invalid_request",
    "quota_exceeded",
    "already_erased",
    "already_requested",
    "model_rejected",
    "bad_hyperparameters",
    "bad_ladder",
    "no_samples",
    "qualification_missing",
    "no_approver",
    "no_models",
    "nothing_left",
    "pool_not_usable",
    "not_training_samples",
    "recipe_required",
    "retrain_required",
    "subject_request_exists",
    "repeated_samples",
    "too_many_samples",
    "unknown_method",
    "unknown_policy",
    "unknown_samples",
)


@router.post(
    "",
    status_code=202,
    summary="Ask a model to forget samples",
    response_model=DeletionRequest | RequestGroup,
    responses={
        200: {
            "model": DeletionRequest | RequestEstimate | RequestGroup | GroupEstimate,
            "description": "What this wish repeats, or the price of a dry run.",
        },
        **problem_responses(
            "invalid_credentials",
            "insufficient_scope",
            "not_json",
            "not_found",
            "body_too_large",
            "unsupported_media_type",
            "idempotency_key_in_use",
            "idempotency_key_reused",
            *REFUSALS,
        ),
    },
)
def open_request(
    order: DeletionOrder,
    caller: Annotated[Caller, scope("requests:write")],
    parts: PartsDep,
    once: Annotated[Once, creation("requests:write")],
) -> Response:
    """Accept the request and start working on it; its samples are named by id, label or subject.

    With `dataset_id` for `model_id` all models of the data set are asked, each by a request of its
    own; the answer is their group.
    """
    if order.dataset_id is not None:
        return open_group(parts, caller, once, order, order.dataset_id)
    assert order.model_id is not None  # noqa: S101 - the schema asks for one of the two
    if order.dry_run:
        return _price(parts, caller, order, order.model_id)
    early = early_look(parts, caller, order)
    with parts.database.write() as session:
        again = ledger.repeated_request(session, caller, order.subject_request_id, stated(order))
        if again is not None:
            request = request_resource(session, again)
            return once.answer(session, request, 200, {"Location": request.links.self, **AGAIN})
        wish = request_wish(session, parts, caller, order, order.model_id)
        request = request_resource(session, ledger.open_request(session, caller, wish, early))
        return once.answer(session, request, 202, {"Location": request.links.self, **RETRY_AFTER})


@router.get("", summary="List deletion requests, newest first")
def list_requests(
    *,
    caller: Annotated[Caller, scope("requests:read")],
    parts: PartsDep,
    status: Annotated[Status | None, Query()] = None,
    model_id: Annotated[uuid.UUID | None, Query()] = None,
    overdue: Annotated[bool | None, Query(description="Open and past the deadline.")] = None,
    paging: Annotated[Paging, paging()],
) -> Page[DeletionRequest]:
    """Return one page."""
    with parts.database.read() as session:
        page = ledger.list_requests(
            session,
            caller,
            status=status,
            model_id=model_id,
            overdue=overdue,
            cursor=paging.start,
            limit=paging.limit,
        )
        return paging.page(page, [request_resource(session, row) for row in page.items])


@router.get(
    "/{request_id}",
    summary="Read a deletion request",
    response_model=DeletionRequest,
    responses={**UNCHANGED, **problem_responses("not_found")},
)
def get_request(
    request_id: uuid.UUID,
    caller: Annotated[Caller, scope("requests:read")],
    parts: PartsDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return where the request stands; `Retry-After` says when to ask again."""
    request = _read(parts, caller, request_id)
    return conditional.answer(
        request, if_none_match, RETRY_AFTER if request.status in OPEN else None
    )


@router.get(
    "/{request_id}/duplicates",
    summary="Find copies of the requested samples",
    responses=problem_responses("not_found", "bad_cursor"),
)
def list_duplicates(
    request_id: uuid.UUID,
    caller: Annotated[Caller, scope("requests:read", "datasets:read")],
    parts: PartsDep,
    paging: Annotated[Paging, paging(100)],
) -> Page[FoundCopy]:
    """Return one page of the samples outside the request that show what it wants forgotten."""
    with parts.database.read() as session:
        page = ledger.list_copies(session, caller, request_id, paging.start, paging.limit)
        request = ledger.get_request(session, caller, request_id)
        model = ledger.get_model(session, caller, request.model_id)
        names = ledger.get_dataset(session, caller, model.dataset_id).class_names
        return paging.page(page, [FoundCopy.of(copy, names) for copy in page.items])


def _price(parts: Parts, caller: Caller, order: DeletionOrder, model_id: uuid.UUID) -> Response:
    with parts.database.read() as session:
        again = ledger.known_request(session, caller, order.subject_request_id, stated(order))
        if again is not None:
            return conditional.answer(request_resource(session, again), headers=AGAIN)
        wish = request_wish(session, parts, caller, order, model_id)
        estimate = RequestEstimate.of(model_id, ledger.price_request(session, caller, wish))
    return Response(estimate.model_dump_json(), media_type=JSON_TYPE)


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
        return request_resource(session, ledger.get_request(session, caller, request_id))


def request_resource(session: Session, row: tables.DeletionRequest) -> DeletionRequest:
    """Return a request as a caller sees it now."""
    run = session.get(tables.Run, row.run_id) if row.run_id else None
    approval = last_approval(session, row.run_id)
    candidate = version_number(session, approval.version_id if approval else None)
    facts = RequestFacts(
        progress=ledger.progress_of(session, row),
        now=now(session),
        tries=list(run.tries) if run else [],
        passed_over=list(run.passed_over) if run else [],
        copies=ledger.copy_counts(session, row),
        base_version=version_number(session, row.base_version_id),
        result_version=version_number(session, row.result_version_id),
        audits=[RequestAudit.of(*found) for found in ledger.audits_of_request(session, row)],
        approval=Approval.of(approval, candidate, row.id),
        holidays=limits(session).public_holidays,
    )
    return DeletionRequest.of(row, facts)
