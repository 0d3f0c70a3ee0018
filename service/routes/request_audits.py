"""Audit a closed deletion request later: with references, or once more to compare."""

import uuid
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from service import ledger
from service.dependencies import GuardedRoute, Parts, PartsDep, scope
from service.errors import Conflict
from service.idempotency import Once, creation
from service.ledger import AuditOfRequest, Caller
from service.problems import problem_responses
from service.resources import Audit
from service.routes.audits import audit_resource
from service.schemas import RequestAuditOrder

router = APIRouter(
    prefix="/v1/deletion-requests/{request_id}",
    tags=["audits"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
_REFUSALS: dict[int | str, dict[str, Any]] = problem_responses(
    "invalid_credentials",
    "insufficient_scope",
    "invalid_request",
    "not_json",
    "not_found",
    "body_too_large",
    "unsupported_media_type",
    "audit_in_progress",
    "erased_set_grew",
    "idempotency_key_in_use",
    "idempotency_key_reused",
    "images_unreadable",
    "model_rejected",
    "no_result",
    "not_closed",
    "recipe_required",
    "samples_purged",
    "version_purged",
)
Auditor = Annotated[Caller, scope("audits:write", "requests:read")]
Creation = Annotated[Once, creation("audits:write", "requests:read")]


@router.post(
    "/audits",
    status_code=202,
    summary="Audit a closed request against references",
    response_model=Audit,
    responses=_REFUSALS,
)
def upgrade(
    request_id: uuid.UUID,
    order: Annotated[RequestAuditOrder, Body()],  # noqa: ARG001 - there is one level to ask for
    caller: Auditor,
    parts: PartsDep,
    once: Creation,
) -> Response:
    """Train the references that are missing and audit the request's version against them.

    The audit has a report of its own; that of the request is not changed.
    """
    return _open(parts, caller, request_id, "upgrade", once)


@router.post(
    "/reproductions",
    status_code=202,
    summary="Make a closed request's audit again and compare",
    response_model=Audit,
    responses=_REFUSALS,
)
def reproduce(request_id: uuid.UUID, caller: Auditor, parts: PartsDep, once: Creation) -> Response:
    """Audit again from stored artifacts and compare every figure with the signed statement.

    The audit's `comparison` holds the outcome once it is completed, and so does its own report.
    """
    return _open(parts, caller, request_id, "reproduction", once)


def _open(
    parts: Parts,
    caller: Caller,
    request_id: uuid.UUID,
    purpose: AuditOfRequest,
    once: Once,
) -> Response:
    with parts.database.read() as session:
        images = ledger.request_images(session, caller, request_id)
    missing = sum(not _is_there(image) for image in images)
    with parts.database.write() as session:
        row = ledger.open_request_audit(session, caller, request_id, purpose)
        if missing:  # told last: what the ledger refuses cannot be put right by a file
            detail = f"{missing} of the request's {len(images)} images can no longer be read."
            raise Conflict("images_unreadable", detail, count=missing)
        audit = audit_resource(session, row)
        headers = {"Location": audit.links.self, "Retry-After": "5"}
        return once.answer(session, audit, 202, headers)


def _is_there(image: str) -> bool:
    """Say whether an image's file is there; a worker checks its content."""
    path, mark, _ = image.rpartition("#")
    return Path(path if mark and path.lower().endswith(".parquet") else image).is_file()
