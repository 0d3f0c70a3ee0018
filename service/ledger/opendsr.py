"""Deletion requests that come by OpenDSR: found by their controller's id, told by callback."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import NotFound, ServiceError
from service.ledger.announcing import announce_by_opendsr
from service.ledger.log import take_turn
from service.ledger.orders import Caller, RequestOrder
from service.ledger.reading import get_request
from service.ledger.requests import open_request
from service.tables import DeletionRequest, OpendsrRequest, RequestStatus


def open_opendsr_request(
    session: Session, caller: Caller, order: RequestOrder, callback_urls: Sequence[str]
) -> DeletionRequest:
    """Accept a request under its controller's id, whose callbacks hear of every later status.

    Raises:
        ServiceError: code `opendsr_repeated`; and what `open_request` raises.
    """
    take_turn(session, caller.tenant_id)
    name = order.subject_request_id or ""
    if _find(session, caller, name) is not None:
        raise ServiceError(400, "opendsr_repeated", "A request of this id was accepted before.")
    request = open_request(session, caller, order)
    session.add(
        OpendsrRequest(
            request_id=request.id,
            tenant_id=request.tenant_id,
            subject_request_id=name,
            status_callback_urls=list(dict.fromkeys(callback_urls)),
        )
    )
    session.flush()
    if request.status != RequestStatus.PENDING:  # it moved before anybody could listen
        announce_by_opendsr(session, request)
    return request


def opendsr_request(session: Session, caller: Caller, subject_request_id: str) -> DeletionRequest:
    """Return the request of a controller's id, or raise NotFound."""
    kept = _find(session, caller, subject_request_id)
    if kept is None:
        raise NotFound("request")
    return get_request(session, caller, kept.request_id)


def _find(session: Session, caller: Caller, name: str) -> OpendsrRequest | None:
    return session.scalar(
        select(OpendsrRequest).where(
            OpendsrRequest.tenant_id == caller.tenant_id,
            OpendsrRequest.subject_request_id == name,
        )
    )
