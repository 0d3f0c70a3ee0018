"""The tenant's own audit log: a hash chain that reports point into."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from service import ledger
from service.dependencies import GuardedRoute, PartsDep, scope
from service.ledger import Caller
from service.ledger.log import event_fields
from service.problems import problem_responses
from service.schemas import Page

router = APIRouter(
    tags=["reports"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)


class LogEntry(BaseModel):
    """One link: `hash` is the SHA-256 of the canonical JSON of all other members.

    Canonical: keys sorted, no blanks. `prev_hash` is the hash of the link before, zeros in the
    first one.
    """

    tenant_id: str
    seq: int
    at: str
    actor: str
    action: str
    resource: str
    payload: dict[str, Any]
    prev_hash: str
    hash: str


@router.get("/v1/audit-log", summary="A segment of the audit log")
def get_audit_log(
    caller: Annotated[Caller, scope("log:read")],
    parts: PartsDep,
    cursor: Annotated[str | None, Query(pattern=r"^\d{1,18}$")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Page[LogEntry]:
    """Return entries after the cursor in order; save the answer for `verify.py --log`."""
    with parts.database.read() as session:
        page = ledger.list_events(session, caller, cursor, limit)
        items = [LogEntry(**event_fields(event), hash=event.hash) for event in page.items]
    return Page(items=items, next_cursor=page.next_cursor)
