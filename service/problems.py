"""Turn every refusal and failure into an RFC 9457 problem document.

What a caller sent never comes back in a problem, only where it was wrong. What went wrong inside is
logged with the request's id and told in general words.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from starlette.exceptions import HTTPException

from service.errors import ServiceError
from service.problem_catalog import CATALOG
from service.storage import StorageError

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "https://expunge.dev/problems/"
_ROUTING_CODES = {
    400: "unreadable_form",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
}
BODY_REFUSALS = ("invalid_request", "not_json", "body_too_large", "unsupported_media_type")
"""What any JSON body can be refused for."""
_RETRY_S = 5
_log = structlog.get_logger("service.problems")


def install(app: FastAPI) -> None:
    """Register the handlers: from now on every error of the app is a problem document."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(StorageError, _storage_error)
    app.add_exception_handler(OperationalError, _database_away)
    app.add_exception_handler(PoolExhausted, _database_away)
    app.add_exception_handler(Exception, _unexpected)


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    extensions: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem document for this request."""
    known = CATALOG.get(code)
    document: dict[str, Any] = {
        "type": f"{TYPE_BASE}{code}",
        "title": known.title if known else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "code": code,
        "action": known.advice if known else "Read the detail.",
        "request_id": getattr(request.state, "request_id", None),
        **(extensions or {}),
    }
    if errors:
        document["errors"] = list(errors)
    return JSONResponse(document, status, dict(headers or {}), media_type=MEDIA_TYPE)


def problem_responses(
    *codes: str, told_as: Mapping[int, int] | None = None
) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses for these codes and those that any call can meet.

    Args:
        codes: Keys of the catalogue.
        told_as: Statuses that the route translates, with what it makes of them.
    """
    by_status: dict[int, list[str]] = {}
    for code in sorted({*codes, "internal_error", "database_unavailable"}):
        status = CATALOG[code].status
        if status is not None:
            by_status.setdefault((told_as or {}).get(status, status), []).append(code)
    return {status: _openapi_response(status, found) for status, found in by_status.items()}


def _openapi_response(status: int, codes: Sequence[str]) -> dict[str, Any]:
    examples = {
        code: {
            "summary": CATALOG[code].title,
            "value": {
                "type": f"{TYPE_BASE}{code}",
                "title": CATALOG[code].title,
                "status": status,
                "detail": CATALOG[code].title + ".",
                "instance": "/v1/…",
                "code": code,
                "action": CATALOG[code].advice,
                "request_id": "019a0c4e7d127c3a9f012b6d8f4e1a10",
            },
        }
        for code in codes
    }
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    return {
        "description": "; ".join(f"`{code}`" for code in codes),
        "content": {MEDIA_TYPE: content},
    }


def _service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)  # noqa: S101 - as registered
    headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else {}
    if error.status_code == 403 and "scope" in error.extensions:
        scope = error.extensions["scope"]
        headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
    if error.status_code == 429:
        headers = {"Retry-After": str(error.extensions["retry_after"])}
    if "location" in error.extensions:
        headers["Location"] = error.extensions["location"]
    if "size" in error.extensions and error.status_code == 416:
        headers = {"Content-Range": f"bytes */{error.extensions['size']}"}
    return problem_response(
        request,
        error.status_code,
        error.code,
        error.detail,
        errors=error.errors,
        extensions=error.extensions,
        headers=headers,
    )


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered
    found = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        cause = found[0].get("ctx", {}).get("error", "it cannot be read")
        detail = f"The body is no JSON: {cause}, at character {found[0]['loc'][-1]}."
        return problem_response(request, 400, "not_json", detail)
    errors = [{"pointer": _pointer(entry["loc"]), "detail": entry["msg"]} for entry in found[:20]]
    detail = f"{len(found)} {'value does' if len(found) == 1 else 'values do'} not fit the schema."
    return problem_response(request, 422, "invalid_request", detail, errors=errors)


def _pointer(location: Sequence[str | int]) -> str:
    """Return a JSON pointer into the body, or ``/query/…``, ``/path/…``, ``/header/…``."""
    parts = location[1:] if location and location[0] == "body" else location
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered
    code = _ROUTING_CODES.get(error.status_code, "internal_error")
    detail = CATALOG[code].title + "."
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return problem_response(request, error.status_code, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Return all methods of a path: the router names those of the first route alone."""
    app: FastAPI = request.app
    path = getattr(request.scope.get("route"), "path", "")
    return ", ".join(sorted(method.upper() for method in app.openapi()["paths"].get(path, ())))


def _storage_error(request: Request, error: Exception) -> JSONResponse:
    _log.error("storage damaged", detail=str(error))
    detail = "A stored file is missing or has changed."
    return problem_response(request, 500, "storage_damaged", detail)


def _database_away(request: Request, error: Exception) -> JSONResponse:
    cause = error.orig if isinstance(error, OperationalError) else error
    _log.error("database away", error=type(cause).__name__)
    detail = "The database does not answer; a change may or may not have been written."
    headers = {"Retry-After": str(_RETRY_S)}
    return problem_response(request, 503, "database_unavailable", detail, headers=headers)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("request failed", error=type(error).__name__)
    request_id = getattr(request.state, "request_id", "")
    detail = "The request could not be finished."
    headers = {"X-Request-Id": request_id}
    return problem_response(request, 500, "internal_error", detail, headers=headers)
