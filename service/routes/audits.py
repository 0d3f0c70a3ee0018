"""Have a candidate made elsewhere audited against retrained references."""

import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session

from service import conditional, events, ledger, tables
from service.conditional import UNCHANGED, IfNoneMatch
from service.dependencies import (
    GuardedRoute,
    Parts,
    PartsDep,
    Upload,
    form_or_json_body,
    json_or_form,
    scope,
)
from service.idempotency import Once, creation
from service.ledger import Caller
from service.lookups import version_number
from service.paging import Paging, paging
from service.problems import problem_responses
from service.resources import Audit
from service.schemas import AuditOrder, Page
from service.targets import chosen_sample_ids
from service.uploads import store_weights

router = APIRouter(
    prefix="/v1/audits",
    tags=["audits"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
_read_order = json_or_form(AuditOrder, "audit", "weights")


@router.post(
    "",
    status_code=202,
    summary="Audit a candidate made elsewhere",
    response_model=Audit,
    openapi_extra=form_or_json_body(AuditOrder, "audit", "weights"),
    responses=problem_responses(
        "invalid_credentials",
        "insufficient_scope",
        "invalid_request",
        "not_json",
        "unreadable_form",
        "not_found",
        "body_too_large",
        "quota_exceeded",
        "unsupported_media_type",
        "idempotency_key_in_use",
        "idempotency_key_reused",
        "model_not_ready",
        "model_rejected",
        "no_samples",
        "nothing_left",
        "not_training_samples",
        "path_outside_roots",
        "recipe_required",
        "repeated_samples",
        "too_many_samples",
        "unknown_policy",
        "unknown_samples",
        "weights_digest_mismatch",
        "weights_not_found",
        "weights_not_safetensors",
        "weights_truncated",
    ),
)
def open_audit(
    upload: Annotated[Upload[AuditOrder], Depends(_read_order)],
    caller: Annotated[Caller, scope("audits:write")],
    parts: PartsDep,
    once: Annotated[Once, creation("audits:write")],
) -> Response:
    """Accept the audit and start it; it erases nothing and changes no version."""
    order = upload.order
    with parts.database.read() as session:  # refuse before copying what may be large
        ledger.get_model(session, caller, order.model_id)
    weights = store_weights(
        parts.storage,
        parts.settings.data_roots,
        uri=order.weights_uri,
        file=upload.file,
        sha256=order.weights_sha256,
    )
    with parts.database.write() as session:
        wish = ledger.AuditOrder(
            model_id=order.model_id,
            sample_ids=chosen_sample_ids(
                session, caller, order.model_id, order, parts.settings.max_sample_ids
            ),
            weights_uri=weights.key,
            weights_sha256=weights.sha256,
            label=order.label,
            base_version=order.base_version,
            policy=order.policy,
        )
        audit = audit_resource(session, ledger.open_audit(session, caller, wish))
        headers = {"Location": audit.links.self, "Retry-After": "5"}
        return once.answer(session, audit, 202, headers)


@router.get("", summary="List audits, newest first")
def list_audits(
    caller: Annotated[Caller, scope("audits:read")],
    parts: PartsDep,
    paging: Annotated[Paging, paging()],
) -> Page[Audit]:
    """Return one page."""
    with parts.database.read() as session:
        page = ledger.list_audits(session, caller, paging.start, paging.limit)
        return paging.page(page, [audit_resource(session, row) for row in page.items])


@router.get(
    "/{audit_id}",
    summary="Read an audit",
    response_model=Audit,
    responses={**UNCHANGED, **problem_responses("not_found")},
)
def get_audit(
    audit_id: uuid.UUID,
    caller: Annotated[Caller, scope("audits:read")],
    parts: PartsDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return where the audit stands; `Retry-After` says when to ask again."""
    audit = _read(parts, caller, audit_id)
    later = {"Retry-After": "5"} if audit.status == "in_progress" else None
    return conditional.answer(audit, if_none_match, later)


def _first(
    audit_id: uuid.UUID, caller: Annotated[Caller, scope("audits:read")], parts: PartsDep
) -> Audit:
    return _read(parts, caller, audit_id)


@router.get(
    "/{audit_id}/events",
    summary="Follow an audit",
    response_class=EventSourceResponse,
    responses=problem_responses("not_found"),
)
async def follow_audit(
    audit_id: uuid.UUID,
    caller: Annotated[Caller, scope("audits:read")],
    parts: PartsDep,
    first: Annotated[Audit, Depends(_first)],
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send `snapshot`, then `progress` and `state` as they come, then `done`."""
    read = partial(_read, parts, caller, audit_id)
    async for event in events.follow(read, first, last_event_id):
        yield event


def _read(parts: Parts, caller: Caller, audit_id: uuid.UUID) -> Audit:
    with parts.database.read() as session:
        return audit_resource(session, ledger.get_audit(session, caller, audit_id))


def audit_resource(session: Session, row: tables.Audit) -> Audit:
    """Return what a caller sees of an audit."""
    progress = ledger.audit_progress_of(session, row)
    base, link = version_number(session, row.base_version_id), ledger.request_audit_of(session, row)
    return Audit.of(row, link, progress, base)
