"""Which state may follow which, and the one function that moves a row."""

from collections.abc import Collection
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import now
from service.errors import IllegalMove
from service.ledger.announcing import announce
from service.ledger.log import record_event
from service.tables import (
    Audit,
    AuditStatus,
    DeletionRequest,
    Deployment,
    EndpointState,
    GroupStatus,
    Job,
    JobStatus,
    Model,
    ModelStatus,
    ModelVersion,
    Pool,
    PoolState,
    Qualification,
    QualificationState,
    Reference,
    ReferenceState,
    Report,
    RequestGroup,
    RequestStatus,
    Run,
    RunState,
    VersionState,
    WebhookEndpoint,
)

Stateful = (
    Audit
    | DeletionRequest
    | Job
    | Model
    | ModelVersion
    | Pool
    | Qualification
    | Reference
    | RequestGroup
    | Run
    | WebhookEndpoint
)

MOVES: dict[type[StrEnum], dict[str, set[str]]] = {
    ModelStatus: {"checking": {"ready", "rejected"}},
    VersionState: {
        "candidate": {"current", "rejected"},
        "current": {"superseded"},
        "superseded": {"purged"},
        "rejected": {"purged"},
    },
    RequestStatus: {
        "pending": {"in_progress", "on_hold", "cancelled", "rejected"},
        # back to pending: its run's base was no longer current, so another run has to serve it
        "in_progress": {"pending", "on_hold", "completed", "cancelled", "failed"},
        "on_hold": {"pending", "cancelled", "rejected"},
    },
    GroupStatus: {
        "pending": {"in_progress", "on_hold", "completed", "cancelled", "failed"},
        "in_progress": {"pending", "on_hold", "completed", "cancelled", "failed"},
        "on_hold": {"pending", "in_progress", "completed", "cancelled", "failed"},
    },
    AuditStatus: {"in_progress": {"completed", "failed"}},
    QualificationState: {
        "running": {"live", "unqualified", "expired", "failed"},
        "live": {"expired"},
    },
    RunState: {"active": {"completed", "cancelled", "failed"}},
    JobStatus: {
        "waiting": {"queued", "cancelled"},
        "queued": {"running", "cancelled", "failed"},
        # running again: claimed by another worker after the lease had run out
        "running": {"running", "queued", "completed", "cancelled", "failed"},
    },
    ReferenceState: {"training": {"ready", "failed"}, "ready": {"purged"}},
    PoolState: {"training": {"ready", "failed"}, "ready": {"purged"}},
    EndpointState: {"enabled": {"disabled", "deleted"}, "disabled": {"enabled", "deleted"}},
}
"""From a state to those that may follow it; a state without an entry is final."""

Recorded = Stateful | Report | Deployment
RESOURCES: dict[type[Recorded], str] = {
    Audit: "audits",
    DeletionRequest: "deletion-requests",
    Deployment: "deployments",
    Job: "jobs",
    Model: "models",
    ModelVersion: "model-versions",
    Pool: "pools",
    Qualification: "qualifications",
    Reference: "references",
    Report: "reports",
    RequestGroup: "deletion-request-groups",
    Run: "runs",
    WebhookEndpoint: "webhook-endpoints",
}


def move(
    session: Session, row: Stateful, state: StrEnum, actor: str | None = None, **payload: object
) -> None:
    """Put a row into another state and write that down in the audit log.

    Raises:
        IllegalMove: `MOVES` does not allow it.
    """
    column = _column(row)
    present = getattr(row, column)
    if state not in MOVES[type(state)].get(present, set()):
        raise IllegalMove(type(row).__name__, present, state)
    setattr(row, column, state)
    record(session, row, str(state), actor, **payload, previous=str(present))
    if isinstance(row, DeletionRequest) and row.group_id is not None:
        follow_members(session, session.get_one(RequestGroup, row.group_id))


def record(
    session: Session, row: Recorded, what: str, actor: str | None = None, **payload: object
) -> None:
    """Write down something about a row, and tell the webhooks that want to hear of it."""
    resource = RESOURCES[type(row)]
    action = f"{resource.removesuffix('s')}.{what}"
    who = actor or session.info.get("actor") or "system"
    record_event(session, row.tenant_id, who, action, f"{resource}/{row.id}", payload)
    announce(session, row, what)


def follow_members(session: Session, group: RequestGroup) -> None:
    """Put a group where its members are now."""
    session.flush()
    query = select(DeletionRequest.status).where(DeletionRequest.group_id == group.id)
    status = group_status(set(session.scalars(query)))
    if status == group.status:
        return
    if status not in MOVES[GroupStatus]:
        group.closed_at = now(session)
    move(session, group, status)


def group_status(members: Collection[RequestStatus]) -> GroupStatus:
    """Return what a group is whose members have these statuses.

    Open while any member is: on hold if all open ones are, pending if none was taken up. Closed
    otherwise, as its worst member is: failed or rejected, then cancelled, then completed.
    """
    waiting, held = RequestStatus.PENDING, RequestStatus.ON_HOLD
    still = {status for status in members if status in MOVES[RequestStatus]}
    if still:
        if still == {held}:
            return GroupStatus.ON_HOLD
        return GroupStatus.PENDING if set(members) <= {waiting, held} else GroupStatus.IN_PROGRESS
    if {RequestStatus.FAILED, RequestStatus.REJECTED} & set(members):
        return GroupStatus.FAILED
    done = set(members) == {RequestStatus.COMPLETED}
    return GroupStatus.COMPLETED if done else GroupStatus.CANCELLED


def _column(row: Stateful | Report) -> str:
    return "status" if hasattr(row, "status") else "state"
