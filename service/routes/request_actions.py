"""What can be done to an open deletion request: withdraw, extend, hold, release, approve."""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from service import conditional, ledger, tables
from service.conditional import ACT_REFUSALS, IfMatch
from service.dependencies import GuardedRoute, Parts, PartsDep, scope
from service.ledger import Caller
from service.problems import BODY_REFUSALS, problem_responses
from service.reports import publish
from service.request_orders import ApprovalOrder, ExtensionOrder, HoldOrder, RejectionOrder
from service.request_resources import DeletionRequest
from service.routes.requests import request_resource

router = APIRouter(
    prefix="/v1/deletion-requests/{request_id}",
    tags=["deletion requests"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
_WITH_BODY = (*ACT_REFUSALS, *BODY_REFUSALS)
Writer = Annotated[Caller, scope("requests:write")]
Approver = Annotated[Caller, scope("requests:approve", "requests:read")]
Act = Callable[[Session], tables.DeletionRequest]


@router.post(
    "/cancel",
    summary="Withdraw a deletion request",
    response_model=DeletionRequest,
    responses=problem_responses(*ACT_REFUSALS),
)
def cancel_request(
    request_id: uuid.UUID, caller: Writer, parts: PartsDep, if_match: IfMatch = None
) -> Response:
    """Withdraw a request until its version is current; its samples stay out of all training."""
    act = partial(ledger.cancel_request, caller=caller, request_id=request_id)
    return _do(parts, caller, request_id, if_match, act)


@router.post(
    "/extend",
    summary="Put a request's deadline off",
    response_model=DeletionRequest,
    responses=problem_responses(*_WITH_BODY, "already_extended", "deadline_passed"),
)
def extend_request(
    request_id: uuid.UUID,
    order: ExtensionOrder,
    caller: Writer,
    parts: PartsDep,
    if_match: IfMatch = None,
) -> Response:
    """Extend once, before the first deadline; you have to tell the data subject, and why."""
    act = partial(
        ledger.extend_request, caller=caller, request_id=request_id, reason_code=order.reason
    )
    return _do(parts, caller, request_id, if_match, act)


@router.post(
    "/hold",
    summary="Put a request on legal hold",
    response_model=DeletionRequest,
    responses=problem_responses(*_WITH_BODY, "already_on_hold"),
)
def hold_request(
    request_id: uuid.UUID,
    order: HoldOrder,
    caller: Writer,
    parts: PartsDep,
    if_match: IfMatch = None,
) -> Response:
    """Take it out of its run; nothing of its data set is purged, and its deadline stays."""
    act = partial(
        ledger.hold_request, caller=caller, request_id=request_id, reason_code=order.reason
    )
    return _do(parts, caller, request_id, if_match, act)


@router.post(
    "/release",
    summary="End a request's legal hold",
    response_model=DeletionRequest,
    responses=problem_responses(*ACT_REFUSALS, "not_on_hold"),
)
def release_request(
    request_id: uuid.UUID, caller: Writer, parts: PartsDep, if_match: IfMatch = None
) -> Response:
    """Let it wait for the next run, and start one if none is active."""
    act = partial(ledger.release_request, caller=caller, request_id=request_id)
    return _do(parts, caller, request_id, if_match, act)


@router.post(
    "/approve",
    summary="Approve the candidate of a request's run",
    response_model=DeletionRequest,
    responses=problem_responses(
        *_WITH_BODY, "approver_is_requester", "not_awaiting_approval", "other_candidate"
    ),
)
def approve_request(
    request_id: uuid.UUID,
    order: ApprovalOrder,
    caller: Approver,
    parts: PartsDep,
    if_match: IfMatch = None,
) -> Response:
    """Promote the candidate and close all requests of its run, each with its report."""
    return _do(parts, caller, request_id, if_match, _decision(parts, caller, request_id, order))


@router.post(
    "/reject",
    summary="Reject the candidate of a request's run",
    response_model=DeletionRequest,
    responses=problem_responses(
        *_WITH_BODY, "approver_is_requester", "not_awaiting_approval", "other_candidate"
    ),
)
def reject_request(
    request_id: uuid.UUID,
    order: RejectionOrder,
    caller: Approver,
    parts: PartsDep,
    if_match: IfMatch = None,
) -> Response:
    """Put the candidate aside; the run climbs to its next method, or fails without one."""
    return _do(parts, caller, request_id, if_match, _decision(parts, caller, request_id, order))


def _decision(
    parts: Parts, caller: Caller, request_id: uuid.UUID, order: ApprovalOrder | RejectionOrder
) -> Act:
    return partial(
        ledger.decide,
        caller=caller,
        request_id=request_id,
        decision="approved" if isinstance(order, ApprovalOrder) else "rejected",
        reason_code=order.reason,
        candidate=order.candidate_version,
        publish=partial(publish, signer=parts.signer),
    )


def _do(
    parts: Parts, caller: Caller, request_id: uuid.UUID, if_match: str | None, act: Act
) -> Response:
    def present(session: Session) -> DeletionRequest:
        return request_resource(session, ledger.get_request(session, caller, request_id))

    def change(session: Session) -> DeletionRequest:
        return request_resource(session, act(session))

    return conditional.act(parts, caller, if_match, present, change)
