"""What needs no key: health, public keys, the verifier."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from service import renderings
from service.broker import broker_ready
from service.dependencies import Parts, PartsDep
from service.problems import problem_responses
from service.resources import Health, Readiness

SCHEMA_TYPE = "application/schema+json"
router = APIRouter(tags=["public"], responses=problem_responses())


@router.get("/healthz", summary="Does the process live?")
def health() -> Health:
    """Answer at once, whatever else is broken."""
    return Health()


@router.get(
    "/readyz",
    summary="Can requests be served?",
    responses={503: {"model": Readiness, "description": "A check failed."}},
)
def readiness(parts: PartsDep, response: Response) -> Readiness:
    """Check database, schema, broker, storage and the signing key."""
    checks = {
        "database": _database_answers(parts),
        "schema": _schema_is_current(parts),
        "broker": broker_ready(parts.broker),
        "keys": bool(parts.signer.jwks()["keys"]),
    }
    ready = all(checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "not_ready", checks=checks)


@router.get("/.well-known/jwks.json", summary="The public keys, retired ones too")
def public_keys(parts: PartsDep, response: Response) -> dict[str, Any]:
    """Return the JSON Web Key Set that reports are verified with."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return parts.signer.jwks()


@router.get(
    "/v1/verifier",
    summary="The stand-alone verifier",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/x-python": {}}, "description": "verify.py"}},
)
def verifier() -> PlainTextResponse:
    """Return the program that verifies a report without this service's software."""
    headers = {"Content-Disposition": 'attachment; filename="verify.py"'}
    return PlainTextResponse(renderings.verifier(), headers=headers, media_type="text/x-python")


@router.get(
    "/v1/report-schema",
    summary="The JSON Schema of a report",
    response_class=Response,
    responses={200: {"content": {SCHEMA_TYPE: {}}, "description": "JSON Schema 2020-12."}},
)
def report_schema() -> Response:
    """Return the schema that every report's statement fits."""
    return Response(renderings.schema(), media_type=SCHEMA_TYPE)


def _database_answers(parts: Parts) -> bool:
    try:
        with parts.database.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


def _schema_is_current(parts: Parts) -> bool:
    try:
        return parts.database.is_current()
    except SQLAlchemyError:
        return False
