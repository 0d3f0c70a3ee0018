"""Tell webhooks what happened: outbox rows written with the event's own transaction.

Bodies hold ids of requests, reports, audits and models, states, verdicts and paths: nothing of a
sample or a person, not even the caller's own reference number.
"""

import uuid
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from service.commitment import canonical_json
from service.database import now
from service.tables import (
    Audit,
    Base,
    DeletionRequest,
    Deployment,
    EndpointState,
    Model,
    ModelVersion,
    OpendsrRequest,
    Report,
    RequestGroup,
    WebhookDelivery,
    WebhookEndpoint,
    new_id,
)

EVENTS: dict[tuple[type[Base], str], str] = {
    (DeletionRequest, "received"): "request.received",
    (DeletionRequest, "in_progress"): "request.in_progress",
    (DeletionRequest, "awaiting_approval"): "request.awaiting_approval",
    (DeletionRequest, "pending"): "request.pending",
    (DeletionRequest, "on_hold"): "request.on_hold",
    (DeletionRequest, "extended"): "request.extended",
    (DeletionRequest, "completed"): "request.completed",
    (DeletionRequest, "cancelled"): "request.cancelled",
    (DeletionRequest, "rejected"): "request.rejected",
    (DeletionRequest, "failed"): "request.failed",
    (RequestGroup, "received"): "group.received",
    (RequestGroup, "on_hold"): "group.on_hold",
    (RequestGroup, "completed"): "group.completed",
    (RequestGroup, "cancelled"): "group.cancelled",
    (RequestGroup, "failed"): "group.failed",
    (Report, "signed"): "report.ready",
    (Audit, "completed"): "audit.completed",
    (Audit, "failed"): "audit.failed",
    (Model, "ready"): "model.ready",
    (Model, "rejected"): "model.failed",
    (Deployment, "stale"): "deployment.stale",
    (ModelVersion, "current"): "version.promoted",
}
"""What an entry of the audit log about a row is called in a webhook; the rest is not told."""

TEST_EVENT = "webhook.test"
CALLBACK = "opendsr.callback"
EVENT_TYPES = frozenset(EVENTS.values())

OPENDSR_STATUS = {
    "pending": "pending",
    "in_progress": "in_progress",
    "on_hold": "pending",
    "completed": "completed",
    "cancelled": "cancelled",
    "rejected": "cancelled",
    "failed": "cancelled",
}
"""OpenDSR knows no failure: what ended without an erasure is `cancelled`, with our own status."""


_ENABLED = select(WebhookEndpoint).where(
    WebhookEndpoint.tenant_id == bindparam("tenant_id"),
    WebhookEndpoint.state == EndpointState.ENABLED,
)


def announce(session: Session, row: Base, what: str) -> None:
    """Leave a message for every endpoint of the row's tenant that wants to hear of this."""
    event_type = EVENTS.get((type(row), what))
    if event_type is None:
        return
    tenant_id: uuid.UUID = row.tenant_id  # type: ignore[attr-defined]
    with session.no_autoflush:  # the caller decides when its rows are written
        enabled = session.scalars(_ENABLED, {"tenant_id": tenant_id}).all()
        for endpoint in enabled:
            if not endpoint.event_types or event_type in endpoint.event_types:
                add_delivery(session, endpoint, event_type, _data(row))
        if isinstance(row, DeletionRequest) and what != "received":
            announce_by_opendsr(session, row)


def add_delivery(
    session: Session, endpoint: WebhookEndpoint, event_type: str, data: dict[str, Any]
) -> WebhookDelivery:
    """Leave one message for one endpoint."""
    moment = now(session)
    timestamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"type": event_type, "timestamp": timestamp, "data": data}
    delivery = WebhookDelivery(
        id=new_id(),
        tenant_id=endpoint.tenant_id,
        endpoint_id=endpoint.id,
        event_type=event_type,
        body=canonical_json(body),
        attempt=0,
        retries=0,
        next_attempt_at=moment,
        created_at=moment,
    )
    session.add(delivery)
    return delivery


def announce_by_opendsr(session: Session, request: DeletionRequest) -> None:
    """Leave a callback for every URL of a request that came by OpenDSR; others have none."""
    kept = session.get(OpendsrRequest, request.id)
    moment = now(session)
    for url in kept.status_callback_urls if kept is not None else ():
        delivery = WebhookDelivery(
            id=new_id(),
            tenant_id=request.tenant_id,
            callback_url=url,
            event_type=CALLBACK,
            body=canonical_json(opendsr_facts(request)),
            attempt=0,
            retries=0,
            next_attempt_at=moment,
            created_at=moment,
        )
        session.add(delivery)


def opendsr_facts(request: DeletionRequest) -> dict[str, Any]:
    """Return what OpenDSR tells of a request, in its words and in ours."""
    return {
        "request_id": str(request.id),
        "subject_request_id": request.subject_request_id,
        "request_status": OPENDSR_STATUS[request.status],
        "expected_completion_time": request.due_at.isoformat(timespec="seconds").replace(
            "+00:00", "Z"
        ),
        "status": str(request.status),
        "verdict": request.verdict,
    }


def _data(row: Base) -> dict[str, Any]:
    if isinstance(row, DeletionRequest):
        return _closing(f"/v1/deletion-requests/{row.id}", row)
    if isinstance(row, Audit):
        return _closing(f"/v1/audits/{row.id}", row)
    if isinstance(row, RequestGroup):
        links = {"self": f"/v1/deletion-request-groups/{row.id}"}
        return {"id": str(row.id), "status": str(row.status), "links": links}
    if isinstance(row, Report):
        about = {"request_id": row.request_id, "audit_id": row.audit_id}
        ids = {name: None if key is None else str(key) for name, key in about.items()}
        links = {"self": f"/v1/reports/{row.id}"}
        return {"id": str(row.id), **ids, "verdict": row.verdict, "links": links}
    return _data_of_model(row)


def _data_of_model(row: Base) -> dict[str, Any]:
    if isinstance(row, Deployment):
        links = {"self": f"/v1/models/{row.model_id}/deployments/{row.id}"}
        ids = {"id": str(row.id), "model_id": str(row.model_id)}
        return {**ids, "environment": row.environment, "links": links}
    if isinstance(row, Model):
        links = {"self": f"/v1/models/{row.id}"}
        return {"id": str(row.id), "status": str(row.status), "links": links}
    if isinstance(row, ModelVersion):
        links = {"self": f"/v1/models/{row.model_id}/versions"}
        facts = {"number": row.number, "sha256": row.weights_sha256, "state": str(row.state)}
        return {"model_id": str(row.model_id), **facts, "links": links}
    raise TypeError(type(row).__name__)


def _closing(path: str, row: DeletionRequest | Audit) -> dict[str, Any]:
    links = {"self": path}
    if row.status == "completed":
        links["report"] = f"{path}/report"
    return {
        "id": str(row.id),
        "status": str(row.status),
        "verdict": row.verdict,
        "links": links,
    }
