"""What is made from a report: the reply to the person, the signed digests, the bundle."""

import uuid
from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from service import ledger, tables
from service.database import now
from service.dependencies import GuardedRoute, PartsDep
from service.downloads import content_digest
from service.errors import ServiceError
from service.ledger import Caller
from service.negotiation import choose
from service.pages.reply import as_page, as_text, reply, reply_unfinished
from service.problems import problem_responses
from service.renderings import SignedFile, bundle, sign_renderings
from service.routes.reports import ENVELOPE, PAGE, AcceptHeader, Reader, ready, signed_file

router = APIRouter(
    tags=["reports"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
TEXT, ZIP = "text/plain", "application/zip"
_FILE = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/v1/deletion-requests/{request_id}/reply",
    summary="A reply for the person who asked",
    response_class=Response,
    responses={
        200: {
            "description": "The reply in plain words.",
            "content": {kind: {"schema": {"type": "string"}} for kind in (TEXT, PAGE)},
        },
        **problem_responses("not_found", "report_not_ready", "not_acceptable"),
    },
)
def get_reply(
    request_id: uuid.UUID, caller: Reader, parts: PartsDep, accept: AcceptHeader = None
) -> Response:
    """Return a reply made from the signed statement, or from a failed request's own facts."""
    media_type = choose(accept, (TEXT, PAGE))
    with parts.database.read() as session:
        paragraphs = _reply(session, caller, request_id)
    headers = {"Vary": "Accept", "Cache-Control": "private, no-cache"}
    if media_type == TEXT:
        return Response(as_text(paragraphs), headers=headers, media_type=TEXT)
    page = as_page(paragraphs)
    headers["Content-Security-Policy"] = page.content_security_policy
    return Response(page.html, headers=headers, media_type=PAGE)


@router.get(
    "/v1/reports/{report_id}/renderings",
    summary="The signed digests of a report's page and PDF",
    response_class=Response,
    responses={
        200: {"description": "A DSSE envelope.", "content": {ENVELOPE: {"schema": {}}}},
        **problem_responses("not_found"),
    },
)
def get_renderings(report_id: uuid.UUID, caller: Reader, parts: PartsDep) -> Response:
    """Return a signed list by which the verifier knows a page or a PDF of this report."""
    with parts.database.read() as session:
        report = signed_file(parts.storage, ledger.get_report(session, caller, report_id))
        moment = now(session)
    body = sign_renderings(report, parts.signer, moment)
    return _download(body, ENVELOPE, f"renderings-{report_id}.dsse.json")


@router.get(
    "/v1/reports/{report_id}/bundle",
    summary="What a third party needs to redo the audit",
    response_class=Response,
    responses={
        200: {"description": "A zip; its README.md explains.", "content": {ZIP: _FILE}},
        **problem_responses("not_found"),
    },
)
def get_bundle(report_id: uuid.UUID, caller: Reader, parts: PartsDep) -> Response:
    """Return all but the pixels: envelope, schema, verifier, keys, figures, policy, recipe."""
    with parts.database.read() as session:
        report = signed_file(parts.storage, ledger.get_report(session, caller, report_id))
        moment = now(session)
    return _download(bundle(report, parts.signer, moment), ZIP, f"audit-bundle-{report_id}.zip")


def _reply(session: Session, caller: Caller, request_id: uuid.UUID) -> list[str]:
    request = ledger.get_request(session, caller, request_id)
    if request.status == tables.RequestStatus.FAILED:
        return reply_unfinished(_facts(request))
    report = ready(lambda: ledger.report_of_request(session, caller, request_id))
    return reply(SignedFile(report.envelope, {}).statement)


def _facts(request: tables.DeletionRequest) -> dict[str, Any]:
    if request.closed_at is None:
        raise ServiceError(404, "report_not_ready", "The request has not closed.")
    return {
        "reference": request.subject_request_id or str(request.id),
        "submitted_time": request.submitted_time.isoformat(),
        "received_at": request.received_at.isoformat(),
        "completed_at": request.closed_at.isoformat(),
        "due_at": request.due_at.isoformat(),
        "within_deadline": request.closed_at <= request.due_at,
        "samples": {"count": request.num_samples},
        "reason": request.reason,
    }


def _download(body: bytes, media_type: str, name: str) -> Response:
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Digest": content_digest(body),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return Response(body, headers=headers, media_type=media_type)
