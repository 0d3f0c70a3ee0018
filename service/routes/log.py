"""The tenant's own audit log: a hash chain that reports point into."""

import json
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from service import ledger, tables
from service.checkpoints import sign_head
from service.dependencies import GuardedRoute, PartsDep, scope
from service.ledger import Caller
from service.ledger.log import event_fields
from service.paging import Paging, paging
from service.problems import problem_responses
from service.schemas import Page
from service.signing import PAYLOAD_TYPE

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


class Checkpoint(BaseModel):
    """The head of the log as signed: `envelope` is a DSSE envelope; keep it outside of Expunge.

    `seq` and `hash` are those of the entry that was the last one at `signed_at`.
    """

    seq: int
    hash: str
    signed_at: datetime
    keyid: str
    envelope: dict[str, Any]

    @classmethod
    def of(cls, row: tables.AuditCheckpoint) -> Self:
        """Return a row as callers see it."""
        return cls(
            seq=row.seq,
            hash=row.hash,
            signed_at=row.signed_at,
            keyid=row.keyid,
            envelope=json.loads(row.envelope),
        )


@router.get(
    "/v1/audit-log/checkpoints",
    summary="The signed checkpoints of the audit log",
    responses=problem_responses("bad_cursor"),
)
def list_checkpoints(
    caller: Annotated[Caller, scope("log:read")],
    parts: PartsDep,
    paging: Annotated[Paging, paging(100, most=1000)],
) -> Page[Checkpoint]:
    """Return checkpoints, oldest first."""
    with parts.database.read() as session:
        page = ledger.list_checkpoints(session, caller, paging.start, paging.limit)
        return paging.page(page, [Checkpoint.of(row) for row in page.items])


@router.post(
    "/v1/audit-log/checkpoints",
    status_code=201,
    summary="Sign the head of the audit log now",
    responses={
        200: {"description": "The head is signed already.", "model": Checkpoint},
        **problem_responses("log_damaged"),
    },
)
def add_checkpoint(
    caller: Annotated[Caller, scope("log:read")], parts: PartsDep, response: Response
) -> Checkpoint:
    """Return a checkpoint of the head; what was written since the last one is checked first."""
    with parts.database.write() as session:
        sign = partial(sign_head, signer=parts.signer)
        row, new = ledger.add_checkpoint(session, caller.tenant_id, sign)
        response.status_code = 201 if new else 200
        return Checkpoint.of(row)


@router.get(
    "/v1/audit-log/checkpoint",
    summary="The newest checkpoint as a file",
    response_class=Response,
    responses={
        200: {
            "description": "The DSSE envelope.",
            "content": {PAYLOAD_TYPE: {"schema": {"type": "object"}}},
        },
        **problem_responses("not_found"),
    },
)
def get_checkpoint(caller: Annotated[Caller, scope("log:read")], parts: PartsDep) -> Response:
    """Return the envelope for `expunge log verify --checkpoint`."""
    with parts.database.read() as session:
        row = ledger.get_checkpoint(session, caller)
    name = f"checkpoint-{row.seq}.dsse.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(row.envelope, media_type=PAYLOAD_TYPE, headers=headers)
