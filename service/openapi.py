"""Complete the OpenAPI document: problems, the key, and no keyword of a later version."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.growth_orders import GrowthOrder
from service.opendsr_orders import OpendsrOrder
from service.problems import problem_responses
from service.routes import webhooks
from service.schemas import AuditOrder, DatasetOrder, ModelOrder, Problem

_TAGS = [
    {"name": "datasets", "description": "What models were trained on: samples and their ids."},
    {"name": "models", "description": "Trained classifiers and their versions."},
    {"name": "deletion requests", "description": "Ask a model to forget samples."},
    {"name": "audits", "description": "Have a candidate made elsewhere audited."},
    {
        "name": "qualifications",
        "description": "Try a method on a model, so that erasures need no references.",
    },
    {
        "name": "reports",
        "description": "Signed reports, what is made from them, the audit log.",
    },
    {"name": "webhooks", "description": "Be told of events, signed by Standard Webhooks."},
    {"name": "opendsr", "description": "Ask for erasure by OpenDSR 2.0."},
    {"name": "keys", "description": "Who may call, and what they may do."},
    {"name": "public", "description": "Needs no key: health, public keys, the verifier."},
]
_SCHEMAS = (Problem, DatasetOrder, GrowthOrder, ModelOrder, AuditOrder, OpendsrOrder)


def install_openapi(app: FastAPI) -> None:
    """Make the app publish the completed document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _complete(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        license_info=app.license_info,
        routes=app.routes,
        webhooks=webhooks.sent.routes,
        tags=_TAGS,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in _SCHEMAS:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    for name in ("HTTPValidationError", "ValidationError"):  # replaced by Problem
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            _clean(operation)
            if "security" in operation:
                operation["responses"] |= _limited()
    for operation in document["webhooks"]["event"].values():
        operation["responses"].pop("422")  # a receiver's own business
    return document


def _limited() -> dict[str, Any]:
    """Return the refusal that every call with a key can meet, with its headers."""
    whole = {"type": "integer", "minimum": 1}
    headers = {
        "Retry-After": {"description": "In seconds.", "schema": whole},
        **{
            name: {"description": words, "schema": {"type": "string"}}
            for name, words in (
                ("RateLimit-Policy", "The policies of such calls; on every answer."),
                ("RateLimit", "What is left of one of them; on every answer."),
            )
        },
    }
    [response] = [
        found for status, found in problem_responses("rate_limited").items() if status == 429
    ]
    return {"429": {**response, "headers": headers}}


def _clean(operation: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            content.pop("itemSchema", None)  # a keyword of OpenAPI 3.2
    invalid = operation["responses"].get("422", {}).get("content", {})
    if "application/json" in invalid:
        del operation["responses"]["422"]
