"""Groups of deletion requests: one wish over all models of a data set."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from service import conditional, tables
from service.conditional import ACT_REFUSALS, UNCHANGED, IfMatch, IfNoneMatch
from service.database import now
from service.dependencies import JSON_TYPE, GuardedRoute, Parts, PartsDep, scope
from service.group_resources import GroupEstimate, GroupStatus, RequestGroup
from service.idempotency import REPLAYED, Once
from service.ledger import Caller, group_acts, request_groups
from service.lookups import version_number
from service.paging import Paging, paging
from service.problems import BODY_REFUSALS, problem_responses
from service.request_orders import ExtensionOrder, HoldOrder
from service.schemas import DeletionOrder, Page
from service.wishes import group_wish, stated

router = APIRouter(
    prefix="/v1/deletion-request-groups",
    tags=["deletion requests"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
_WITH_BODY = (*ACT_REFUSALS, *BODY_REFUSALS)
Writer = Annotated[Caller, scope("requests:write")]


@router.get("", summary="List groups of deletion requests, newest first")
def list_groups(
    *,
    caller: Annotated[Caller, scope("requests:read")],
    parts: PartsDep,
    status: Annotated[GroupStatus | None, Query()] = None,
    dataset_id: Annotated[uuid.UUID | None, Query()] = None,
    paging: Annotated[Paging, paging()],
) -> Page[RequestGroup]:
    """Return one page."""
    with parts.database.read() as session:
        page = group_acts.list_groups(
            session,
            caller,
            status=status,
            dataset_id=dataset_id,
            cursor=paging.start,
            limit=paging.limit,
        )
        return paging.page(page, [group_resource(session, row) for row in page.items])


@router.get(
    "/{group_id}",
    summary="Read a group of deletion requests",
    response_model=RequestGroup,
    responses={**UNCHANGED, **problem_responses("not_found")},
)
def get_group(
    group_id: uuid.UUID,
    caller: Annotated[Caller, scope("requests:read")],
    parts: PartsDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return the members, where each stands, and the earliest deadline that is still open."""
    with parts.database.read() as session:
        group = group_resource(session, group_acts.get_group(session, caller, group_id))
    again = {"Retry-After": "5"} if group.closed_at is None else None
    return conditional.answer(group, if_none_match, again)


@router.post(
    "/{group_id}/cancel",
    summary="Withdraw all open members of a group",
    response_model=RequestGroup,
    responses=problem_responses(*ACT_REFUSALS),
)
def cancel_group(
    group_id: uuid.UUID, caller: Writer, parts: PartsDep, if_match: IfMatch = None
) -> Response:
    """Withdraw every member that is not closed; its samples stay out of all training."""
    return _do(parts, caller, group_id, if_match, "cancel")


@router.post(
    "/{group_id}/extend",
    summary="Put the deadlines of a group off",
    response_model=RequestGroup,
    responses=problem_responses(*_WITH_BODY, "already_extended", "deadline_passed"),
)
def extend_group(
    group_id: uuid.UUID,
    order: ExtensionOrder,
    caller: Writer,
    parts: PartsDep,
    if_match: IfMatch = None,
) -> Response:
    """Extend every open member that was not extended yet; you have to tell the data subject."""
    return _do(parts, caller, group_id, if_match, "extend", reason_code=order.reason)


@router.post(
    "/{group_id}/hold",
    summary="Put a group on legal hold",
    response_model=RequestGroup,
    responses=problem_responses(*_WITH_BODY, "already_on_hold"),
)
def hold_group(
    group_id: uuid.UUID,
    order: HoldOrder,
    caller: Writer,
    parts: PartsDep,
    if_match: IfMatch = None,
) -> Response:
    """Take every open member out of its run; nothing of the data set is purged."""
    return _do(parts, caller, group_id, if_match, "hold", reason_code=order.reason)


@router.post(
    "/{group_id}/release",
    summary="End a group's legal hold",
    response_model=RequestGroup,
    responses=problem_responses(*ACT_REFUSALS, "not_on_hold"),
)
def release_group(
    group_id: uuid.UUID, caller: Writer, parts: PartsDep, if_match: IfMatch = None
) -> Response:
    """Let every member that is on hold wait for its model's next run."""
    return _do(parts, caller, group_id, if_match, "release")


def open_group(
    parts: Parts, caller: Caller, once: Once, order: DeletionOrder, dataset_id: uuid.UUID
) -> Response:
    """Ask all models of a data set, or price it; `POST /v1/deletion-requests` leads here."""
    if order.dry_run:
        return _price(parts, caller, order, dataset_id)
    with parts.database.write() as session:
        again = request_groups.repeated_group(
            session, caller, order.subject_request_id, stated(order)
        )
        wish = None if again else group_wish(session, parts, caller, order, dataset_id)
        row = again if wish is None else request_groups.open_group(session, caller, wish)
        assert row is not None  # noqa: S101 - one of the two
        group = group_resource(session, row)
        headers = {"Location": group.links.self}
        if wish is None:
            return once.answer(session, group, 200, {**headers, REPLAYED: "true"})
        return once.answer(session, group, 202, {**headers, "Retry-After": "5"})


def _price(parts: Parts, caller: Caller, order: DeletionOrder, dataset_id: uuid.UUID) -> Response:
    with parts.database.read() as session:
        again = request_groups.known_group(session, caller, order.subject_request_id, stated(order))
        if again is not None:
            repeated = {REPLAYED: "true"}
            return conditional.answer(group_resource(session, again), headers=repeated)
        wish = group_wish(session, parts, caller, order, dataset_id)
        estimate = GroupEstimate.of(dataset_id, request_groups.price_group(session, caller, wish))
    return Response(estimate.model_dump_json(), media_type=JSON_TYPE)


def _do(
    parts: Parts,
    caller: Caller,
    group_id: uuid.UUID,
    if_match: str | None,
    act: group_acts.Act,
    *,
    reason_code: str = "",
) -> Response:
    def present(session: Session) -> RequestGroup:
        return group_resource(session, group_acts.get_group(session, caller, group_id))

    def change(session: Session) -> RequestGroup:
        group = group_acts.act_on_group(session, caller, group_id, act, reason_code)
        return group_resource(session, group)

    return conditional.act(parts, caller, if_match, present, change)


def group_resource(session: Session, row: tables.RequestGroup) -> RequestGroup:
    """Return a group as a caller sees it now."""
    members = group_acts.members_of(session, row)
    versions = [version_number(session, member.result_version_id) for member in members]
    return RequestGroup.of(row, members, versions, now(session))
