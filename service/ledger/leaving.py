"""Requests leave their run, for good or while they are on hold, and their deadlines move once."""

import uuid

from sqlalchemy.orm import Session

from service.database import now
from service.errors import Conflict
from service.ledger.deadlines import REGIMES, extended_due_at
from service.ledger.log import iso, take_turn
from service.ledger.orders import Caller
from service.ledger.planning import finish_run, plan_run, requests_of, restart_without_lost
from service.ledger.reading import OPEN, get_request
from service.ledger.states import move, record
from service.tables import DeletionRequest, RequestStatus, Run, RunState


def cancel_request(session: Session, caller: Caller, request_id: uuid.UUID) -> DeletionRequest:
    """Withdraw a request that is not closed; its samples stay in E and may be requested again.

    A run that serves others too begins its rung anew without it; a run left empty ends.

    Raises:
        NotFound: no such request.
        Conflict: `already_closed`.
    """
    request = _open_request(session, caller, request_id)
    move(session, request, RequestStatus.CANCELLED, caller.actor)
    request.closed_at, request.reason_code = now(session), "cancelled_by_caller"
    request.reason = "The caller withdrew the request."
    _leave_run(session, request)
    return request


def hold_request(
    session: Session, caller: Caller, request_id: uuid.UUID, reason_code: str
) -> DeletionRequest:
    """Put an open request on legal hold: no run serves it until it is released.

    It leaves its run as a cancelled one does, so no candidate that forgot its samples is promoted.
    Its samples stay in E, so nothing is trained on them anew, but are not erased: the current
    version and its successors may know them, and no audit of others measures that. Its deadline
    stays, and nothing of its data set is purged meanwhile.

    Raises:
        NotFound: no such request.
        Conflict: `already_closed`, `already_on_hold`.
    """
    request = _open_request(session, caller, request_id)
    if request.status == RequestStatus.ON_HOLD:
        raise Conflict("already_on_hold", "The request is on hold already.")
    move(session, request, RequestStatus.ON_HOLD, caller.actor, code=reason_code)
    request.held_at, request.hold_reason = now(session), reason_code
    _leave_run(session, request)
    request.run_id = request.base_version_id = None
    session.flush()
    return request


def release_request(session: Session, caller: Caller, request_id: uuid.UUID) -> DeletionRequest:
    """End a legal hold; the request waits for the next run like any other.

    Raises:
        NotFound: no such request.
        Conflict: `already_closed`, `not_on_hold`.
    """
    request = _open_request(session, caller, request_id)
    if request.status != RequestStatus.ON_HOLD:
        raise Conflict("not_on_hold", f"The request is {request.status}, not on hold.")
    move(session, request, RequestStatus.PENDING, caller.actor, code=request.hold_reason)
    request.held_at = request.hold_reason = None
    session.flush()
    plan_run(session, request.model_id)
    session.refresh(request)
    return request


def extend_request(
    session: Session, caller: Caller, request_id: uuid.UUID, reason_code: str
) -> DeletionRequest:
    """Put a request's deadline off, once and before it has passed, by what its regulation allows.

    Raises:
        NotFound: no such request.
        Conflict: `already_closed`, `already_extended`, `deadline_passed`.
    """
    request = _open_request(session, caller, request_id)
    moment = now(session)
    if request.first_due_at is not None:
        raise Conflict("already_extended", "The deadline was put off once already.")
    if moment >= request.due_at:
        detail = f"The deadline passed on {iso(request.due_at)}."
        raise Conflict("deadline_passed", detail, due_at=iso(request.due_at))
    regime = REGIMES[request.regulation]
    request.first_due_at = request.due_at
    request.due_at = extended_due_at(request.due_at, request.regulation)
    request.due_rule = f"{regime.rule}, extended by {regime.extension_rule}: {reason_code}"
    request.extended_at, request.extension_reason = moment, reason_code
    facts = {"code": reason_code, "first_due_at": iso(request.first_due_at)}
    record(session, request, "extended", caller.actor, due_at=iso(request.due_at), **facts)
    session.flush()
    return request


def _open_request(session: Session, caller: Caller, request_id: uuid.UUID) -> DeletionRequest:
    take_turn(session, caller.tenant_id)
    request = get_request(session, caller, request_id)
    if request.status not in OPEN:
        raise Conflict("already_closed", f"The request is {request.status} already.")
    return request


def _leave_run(session: Session, request: DeletionRequest) -> None:
    """Let the run that served a request go on without it, from its present rung, or end."""
    session.flush()
    run = None if request.run_id is None else session.get(Run, request.run_id)
    if run is None or run.state != RunState.ACTIVE:
        return
    session.refresh(run)
    if requests_of(session, run):
        restart_without_lost(session, run)
    else:
        finish_run(session, run, RunState.CANCELLED, "All its requests left it.")
        plan_run(session, run.model_id)
