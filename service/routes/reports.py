"""Serve signed reports as envelope, statement, page or PDF, and their figures."""

import uuid
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from sqlalchemy.orm import Session

from service import ledger, tables
from service.dependencies import GuardedRoute, Parts, PartsDep, scope
from service.downloads import content_digest, matches
from service.errors import NotFound, ServiceError
from service.ledger import Caller
from service.negotiation import choose
from service.problems import problem_responses
from service.renderings import SignedFile
from service.signing import PAYLOAD_TYPE
from service.storage import Storage, StorageError

router = APIRouter(
    tags=["reports"],
    route_class=GuardedRoute,
    responses=problem_responses("invalid_credentials", "insufficient_scope", "invalid_request"),
)
ENVELOPE, STATEMENT, PAGE, PDF = PAYLOAD_TYPE, "application/json", "text/html", "application/pdf"
OFFERED = (STATEMENT, ENVELOPE, PAGE, PDF)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The signed envelope (DSSE), its statement, or a page or PDF made from it.",
        "content": {
            ENVELOPE: {"schema": {"type": "object"}},
            STATEMENT: {"schema": {"type": "object"}},
            PAGE: {"schema": {"type": "string"}},
            PDF: {"schema": {"type": "string", "format": "binary"}},
        },
    },
    304: {"description": "You have it already."},
    **problem_responses("not_found", "report_not_ready", "not_acceptable"),
}
AcceptHeader = Annotated[str | None, Header()]
Reader = Annotated[Caller, scope("reports:read")]


@router.get(
    "/v1/deletion-requests/{request_id}/report",
    summary="The report of a deletion request",
    response_class=Response,
    responses=_ANSWERS,
)
def get_request_report(
    request_id: uuid.UUID,
    caller: Reader,
    parts: PartsDep,
    accept: AcceptHeader = None,
    if_none_match: AcceptHeader = None,
) -> Response:
    """Return the report by `Accept`: envelope, statement, page or PDF."""

    def find(session: Session) -> tables.Report:
        ledger.get_request(session, caller, request_id)
        return ready(lambda: ledger.report_of_request(session, caller, request_id))

    return _answer(parts, find, accept, if_none_match)


@router.get(
    "/v1/audits/{audit_id}/report",
    summary="The report of an audit",
    response_class=Response,
    responses=_ANSWERS,
)
def get_audit_report(
    audit_id: uuid.UUID,
    caller: Reader,
    parts: PartsDep,
    accept: AcceptHeader = None,
    if_none_match: AcceptHeader = None,
) -> Response:
    """Return the report by `Accept`: envelope, statement, page or PDF."""

    def find(session: Session) -> tables.Report:
        ledger.get_audit(session, caller, audit_id)
        return ready(lambda: ledger.report_of_audit(session, caller, audit_id))

    return _answer(parts, find, accept, if_none_match)


@router.get(
    "/v1/reports/{report_id}", summary="A report", response_class=Response, responses=_ANSWERS
)
def get_report(
    report_id: uuid.UUID,
    caller: Reader,
    parts: PartsDep,
    accept: AcceptHeader = None,
    if_none_match: AcceptHeader = None,
) -> Response:
    """Return the report by `Accept`: envelope, statement, page or PDF."""
    return _answer(
        parts,
        lambda session: ledger.get_report(session, caller, report_id),
        accept,
        if_none_match,
    )


@router.get(
    "/v1/reports/{report_id}/figures/{name}",
    summary="A figure of a report",
    response_class=Response,
    responses={
        200: {"description": "The figure.", "content": {"image/svg+xml": {}, "image/png": {}}},
        **problem_responses("not_found", "figure_not_found"),
    },
)
def get_figure(report_id: uuid.UUID, name: str, caller: Reader, parts: PartsDep) -> Response:
    """Return a figure after checking it against its digest in the statement."""
    with parts.database.read() as session:
        report = ledger.get_report(session, caller, report_id)
    figure = next((entry for entry in report.figures if entry["name"] == name), None)
    if figure is None:
        raise ServiceError(404, "figure_not_found", "The report has no figure of that name.")
    headers = {
        "ETag": f'"{figure["sha256"]}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    }
    content = parts.storage.read_bytes(figure["uri"])
    return Response(content, headers=headers, media_type=figure["media_type"])


def signed_file(storage: Storage, report: tables.Report) -> SignedFile:
    """Return a report with its figures; one that is gone is left out, and renderings say so."""
    found = {}
    for figure in report.figures:
        try:
            found[figure["sha256"]] = storage.read_bytes(figure["uri"])
        except StorageError:
            continue
    return SignedFile(report.envelope, found)


def ready(find: Callable[[], tables.Report]) -> tables.Report:
    """Return a report that exists.

    Raises:
        ServiceError: ``report_not_ready``: the work has not closed.
    """
    try:
        return find()
    except NotFound as error:
        detail = "There is no report yet; it is made when the work closes."
        raise ServiceError(404, "report_not_ready", detail) from error


def _answer(
    parts: Parts,
    find: Callable[[Session], tables.Report],
    accept: str | None,
    if_none_match: str | None,
) -> Response:
    media_type = choose(accept, OFFERED)
    with parts.database.read() as session:
        report = find(session)
    kind = {ENVELOPE: "dsse", STATEMENT: "statement", PAGE: "page", PDF: "pdf"}[media_type]
    own = f"/v1/reports/{report.id}"
    etag = f'"{report.sha256}-{kind}"'
    headers = {
        "ETag": etag,
        "Vary": "Accept",
        "Cache-Control": "private, no-cache",
        "Content-Location": own,
        "Link": f'<{own}/renderings>; rel="describedby", <{own}/bundle>; rel="item"',
    }
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    body, extra = _represent(signed_file(parts.storage, report), report.id, media_type)
    headers |= {"Content-Digest": content_digest(body), **extra}
    return Response(body, headers=headers, media_type=media_type)


def _represent(report: SignedFile, key: uuid.UUID, media_type: str) -> tuple[bytes, dict[str, str]]:
    """Return the body and its own headers; all but the envelope come from the envelope alone."""
    if media_type == ENVELOPE:
        name = f'attachment; filename="report-{key}.dsse.json"'
        return report.envelope, {"Content-Disposition": name}
    if media_type == STATEMENT:
        return report.payload, {}
    if media_type == PDF:
        return report.pdf, {"Content-Disposition": f'inline; filename="report-{key}.pdf"'}
    policy = report.page.content_security_policy
    return report.page.html.encode(), {"Content-Security-Policy": policy}
