"""Reading groups, and what is done to all members of one at once."""

import uuid
from collections.abc import Callable
from typing import Literal

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.ledger.leaving import cancel_request, extend_request, hold_request, release_request
from service.ledger.log import take_turn
from service.ledger.orders import Caller, Page
from service.ledger.reading import OPEN, get_row, page_of
from service.tables import DeletionRequest, GroupStatus, RequestGroup, RequestStatus

Act = Literal["cancel", "extend", "hold", "release"]

_REACHED: dict[Act, Callable[[DeletionRequest], bool]] = {
    "cancel": lambda _: True,
    "extend": lambda member: member.first_due_at is None,
    "hold": lambda member: member.status != RequestStatus.ON_HOLD,
    "release": lambda member: member.status == RequestStatus.ON_HOLD,
}
"""Which open members an act is for; the others are as it would make them already."""

_NOTHING: dict[Act, str] = {
    "cancel": "already_closed",
    "extend": "already_extended",
    "hold": "already_on_hold",
    "release": "not_on_hold",
}


def get_group(session: Session, caller: Caller, group_id: uuid.UUID) -> RequestGroup:
    """Return a group of deletion requests, or raise NotFound."""
    return get_row(session, caller, RequestGroup, group_id, "group of deletion requests")


def list_groups(
    session: Session,
    caller: Caller,
    *,
    status: str | None = None,
    dataset_id: uuid.UUID | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[RequestGroup]:
    """Return groups, newest first."""
    wanted: list[ColumnElement[bool]] = []
    if status is not None:
        wanted.append(RequestGroup.status == GroupStatus(status))
    if dataset_id is not None:
        wanted.append(RequestGroup.dataset_id == dataset_id)
    return page_of(session, caller, RequestGroup, *wanted, cursor=cursor, limit=limit)


def members_of(session: Session, group: RequestGroup) -> list[DeletionRequest]:
    """Return a group's requests in the order of their models' registration."""
    query = (
        select(DeletionRequest)
        .where(DeletionRequest.group_id == group.id)
        .order_by(DeletionRequest.model_id)
    )
    return list(session.scalars(query.execution_options(populate_existing=True)))


def act_on_group(
    session: Session, caller: Caller, group_id: uuid.UUID, act: Act, reason_code: str = ""
) -> RequestGroup:
    """Cancel, extend, hold or release all open members of a group, or none of them.

    Members that are closed, or that are already as the act would make them, stay as they are.

    Raises:
        NotFound: no such group.
        Conflict: `already_closed`, `already_extended`, `already_on_hold` or `not_on_hold` where
            that leaves no member, and `deadline_passed` of one.
    """
    take_turn(session, caller.tenant_id)
    group = get_group(session, caller, group_id)
    still = [member for member in members_of(session, group) if member.status in OPEN]
    reached = [member.id for member in still if _REACHED[act](member)]
    if not reached:
        code = _NOTHING[act] if still else "already_closed"
        raise Conflict(code, f"No member of the group is left to {act}.")
    for member_id in reached:
        if act == "cancel":
            cancel_request(session, caller, member_id)
        elif act == "release":
            release_request(session, caller, member_id)
        elif act == "hold":
            hold_request(session, caller, member_id, reason_code)
        else:
            extend_request(session, caller, member_id, reason_code)
    session.flush()
    return group
