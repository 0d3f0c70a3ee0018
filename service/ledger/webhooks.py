"""Endpoints of webhooks: registered with a secret of their own, turned off, replayed, deleted."""

import base64
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from service.database import now
from service.errors import Conflict, NotFound, Unprocessable
from service.ledger.announcing import EVENT_TYPES, TEST_EVENT, add_delivery
from service.ledger.log import take_turn
from service.ledger.orders import Caller, Page
from service.ledger.reading import get_row, page_of
from service.ledger.states import move, record
from service.sealing import Sealer
from service.tables import (
    EndpointState,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    new_id,
)

MAX_ENDPOINTS = 50
SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class EndpointOrder:
    """A URL, checked by `service.outgoing`, and what it wants to hear of; nothing: everything."""

    url: str
    event_types: Sequence[str] = ()
    description: str | None = None


def register_endpoint(
    session: Session, caller: Caller, order: EndpointOrder, sealer: Sealer
) -> tuple[WebhookEndpoint, str]:
    """Register an endpoint and return it with its secret, which cannot be had again.

    Raises:
        Unprocessable: code `unknown_event_type`.
        Conflict: code `too_many_endpoints`.
    """
    take_turn(session, caller.tenant_id)
    unknown = sorted(set(order.event_types) - EVENT_TYPES)
    if unknown:
        detail = f"The event types are: {', '.join(sorted(EVENT_TYPES))}."
        pointer = [{"pointer": "/event_types", "detail": detail}]
        raise Unprocessable("unknown_event_type", detail, pointer)
    alive = select(func.count()).where(*_alive(caller))
    if session.scalars(alive).one() >= MAX_ENDPOINTS:
        detail = f"A tenant has at most {MAX_ENDPOINTS} endpoints."
        raise Conflict("too_many_endpoints", detail, limit=MAX_ENDPOINTS)
    key, secret = new_id(), secrets.token_bytes(SECRET_BYTES)
    row = WebhookEndpoint(
        id=key,
        tenant_id=caller.tenant_id,
        url=order.url,
        description=order.description,
        event_types=sorted(set(order.event_types)),
        state=EndpointState.ENABLED,
        secret=sealer.seal(secret, key.bytes),
        created_by=caller.actor,
        created_at=now(session),
    )
    session.add(row)
    record(session, row, "registered", caller.actor, event_types=row.event_types)
    return row, shown(secret)


def rotate_secret(
    session: Session, caller: Caller, key: uuid.UUID, sealer: Sealer, overlap_s: float
) -> tuple[WebhookEndpoint, str]:
    """Give an endpoint another secret; the present one signs beside it until the overlap is over.

    Raises:
        NotFound: no such endpoint.
    """
    row = _own(session, caller, key)
    secret = secrets.token_bytes(SECRET_BYTES)
    row.previous_secret = row.secret if overlap_s else None
    row.previous_until = now(session) + timedelta(seconds=overlap_s) if overlap_s else None
    row.secret = sealer.seal(secret, row.id.bytes)
    record(session, row, "secret_rotated", caller.actor, overlap_s=int(overlap_s))
    return row, shown(secret)


def enable_endpoint(session: Session, caller: Caller, key: uuid.UUID) -> WebhookEndpoint:
    """Tell an endpoint of events again, from now on; raise NotFound or IllegalMove."""
    row = _own(session, caller, key)
    move(session, row, EndpointState.ENABLED, caller.actor)
    row.reason_code = row.failing_since = None
    return row


def disable_endpoint(session: Session, caller: Caller, key: uuid.UUID) -> WebhookEndpoint:
    """Tell an endpoint nothing any more; raise NotFound or IllegalMove."""
    row = _own(session, caller, key)
    silence(session, row, EndpointState.DISABLED, "disabled_by_caller", caller.actor)
    return row


def delete_endpoint(session: Session, caller: Caller, key: uuid.UUID) -> None:
    """Forget an endpoint's secrets and tell it nothing any more; raise NotFound."""
    row = _own(session, caller, key)
    silence(session, row, EndpointState.DELETED, None, caller.actor)
    row.secret = row.previous_secret = row.previous_until = None


def silence(
    session: Session,
    row: WebhookEndpoint,
    state: EndpointState,
    code: str | None,
    actor: str | None = None,
) -> None:
    """Move an endpoint out of use and give up what it has not been told; it can be replayed."""
    move(session, row, state, actor, code=code)
    row.reason_code = code
    session.flush()
    session.execute(
        update(WebhookDelivery)
        .where(
            WebhookDelivery.endpoint_id == row.id,
            WebhookDelivery.delivered_at.is_(None),
            WebhookDelivery.given_up_at.is_(None),
        )
        .values(given_up_at=now(session))
    )


def get_endpoint(session: Session, caller: Caller, key: uuid.UUID) -> WebhookEndpoint:
    """Return an endpoint that is not deleted, or raise NotFound."""
    row = get_row(session, caller, WebhookEndpoint, key, "webhook endpoint")
    if row.state == EndpointState.DELETED:
        raise NotFound("webhook endpoint")
    return row


def list_endpoints(
    session: Session, caller: Caller, cursor: str | None = None, limit: int = 50
) -> Page[WebhookEndpoint]:
    """Return endpoints that are not deleted, newest first."""
    alive = WebhookEndpoint.state != EndpointState.DELETED
    return page_of(session, caller, WebhookEndpoint, alive, cursor=cursor, limit=limit)


def list_deliveries(
    session: Session,
    caller: Caller,
    key: uuid.UUID,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[tuple[WebhookDelivery, list[WebhookAttempt]]]:
    """Return what an endpoint was or is to be told, newest first, each with its attempts."""
    get_endpoint(session, caller, key)
    own = WebhookDelivery.endpoint_id == key
    page = page_of(session, caller, WebhookDelivery, own, cursor=cursor, limit=limit)
    made = attempts_of(session, [row.id for row in page.items])
    return Page([(row, made.get(row.id, [])) for row in page.items], page.next_cursor)


def attempts_of(
    session: Session, deliveries: Sequence[uuid.UUID]
) -> dict[uuid.UUID, list[WebhookAttempt]]:
    """Return the attempts of deliveries, in order; none for what was never tried."""
    made: dict[uuid.UUID, list[WebhookAttempt]] = {}
    query = select(WebhookAttempt).where(WebhookAttempt.delivery_id.in_(deliveries))
    for attempt in session.scalars(query.order_by(WebhookAttempt.number)):
        made.setdefault(attempt.delivery_id, []).append(attempt)
    return made


def replay_delivery(
    session: Session, caller: Caller, key: uuid.UUID, delivery_id: uuid.UUID
) -> WebhookDelivery:
    """Send a message that has ended again, under its own id; one under way stays as it is.

    Raises:
        NotFound: no such endpoint, or no such delivery of it.
        Conflict: code `endpoint_disabled`.
    """
    endpoint = _own_enabled(session, caller, key)
    found = session.get(WebhookDelivery, delivery_id, with_for_update=True, populate_existing=True)
    if found is None or found.endpoint_id != endpoint.id:
        raise NotFound("delivery")
    if found.delivered_at is not None or found.given_up_at is not None:
        found.delivered_at = found.given_up_at = None
        found.retries, found.next_attempt_at = 0, now(session)
        facts = {"delivery": str(found.id), "event_type": found.event_type}
        record(session, endpoint, "replayed", caller.actor, **facts)
    return found


def try_endpoint(session: Session, caller: Caller, key: uuid.UUID) -> WebhookDelivery:
    """Leave a message of the type `webhook.test`; raise NotFound or Conflict."""
    endpoint = _own_enabled(session, caller, key)
    links = {"endpoint": f"/v1/webhook-endpoints/{endpoint.id}"}
    return add_delivery(session, endpoint, TEST_EVENT, {"links": links})


def shown(secret: bytes) -> str:
    """Return a secret as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secret).decode()}"


def _own(session: Session, caller: Caller, key: uuid.UUID) -> WebhookEndpoint:
    """Return an endpoint that nobody else changes until commit."""
    take_turn(session, caller.tenant_id)
    get_endpoint(session, caller, key)
    return session.get_one(
        WebhookEndpoint, key, populate_existing=True, with_for_update={"key_share": True}
    )


def _own_enabled(session: Session, caller: Caller, key: uuid.UUID) -> WebhookEndpoint:
    row = _own(session, caller, key)
    if row.state != EndpointState.ENABLED:
        raise Conflict("endpoint_disabled", "The endpoint is disabled; enable it first.")
    return row


def _alive(caller: Caller) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (
        WebhookEndpoint.tenant_id == caller.tenant_id,
        WebhookEndpoint.state != EndpointState.DELETED,
    )
