"""Every operation that an application serves, its scopes, and a body that it accepts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route

QUALIFICATION = {"method": "muda", "policy": "first-look", "trials": 2, "seed": 1}
DEPLOYMENT = {"version": 1, "environment": "production", "deployed_by": "pipeline"}
BODIES: Mapping[str, Mapping[str, object]] = {
    "/v1/models/{model_id}/qualifications": QUALIFICATION,
    "/v1/datasets/{dataset_id}/samples": {"manifest_uri": "manifest.csv"},
    "/v1/models/{model_id}/deployments": DEPLOYMENT,
    "/v1/deletion-requests/{request_id}/extend": {"reason": "complexity"},
    "/v1/deletion-requests/{request_id}/hold": {"reason": "legal_claims"},
    "/v1/deletion-request-groups/{group_id}/extend": {"reason": "complexity"},
    "/v1/deletion-request-groups/{group_id}/hold": {"reason": "legal_claims"},
    "/v1/deletion-requests/{request_id}/approve": {"reason": "other"},
    "/v1/deletion-requests/{request_id}/reject": {"reason": "other"},
    "/v1/deletion-requests/{request_id}/audits": {},
    "/v1/deletion-requests/{request_id}/reproductions": {},
    "/v1/webhook-endpoints/{endpoint_id}/rotate": {},
    "/v1/keys/{key_id}/rotate": {},
}
"""What operations on one resource take; one that is not here is sent without a body."""


@dataclass(frozen=True)
class Operation:
    """One method of one path; `scopes` is None where no key is needed."""

    method: str
    path: str
    scopes: tuple[str, ...] | None
    parameters: tuple[str, ...]
    takes_body: bool

    @property
    def body(self) -> Mapping[str, object] | None:
        """What to send: for operations without a path parameter an object that fits nothing."""
        return BODIES.get(self.path, {}) if self.takes_body else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations(app: FastAPI) -> list[Operation]:
    """Return all operations of the OpenAPI document."""
    return [
        _operation(method, path, values)
        for path, methods in app.openapi()["paths"].items()
        for method, values in methods.items()
    ]


def _operation(method: str, path: str, values: Mapping[str, Any]) -> Operation:
    given = values.get("parameters", ())
    return Operation(
        method=method.upper(),
        path=path,
        scopes=tuple(values["security"][0]["ApiKey"]) if "security" in values else None,
        parameters=tuple(found["name"] for found in given if found["in"] == "path"),
        takes_body="requestBody" in values,
    )


def served(app: FastAPI) -> set[tuple[str, str]]:
    """Return method and path of everything that the router answers, documented or not."""
    found = set()
    for route in _leaves(app.routes):
        assert isinstance(route, Route)
        found |= {(method, route.path) for method in (route.methods or set()) - {"HEAD"}}
    return found


def _leaves(routes: list[BaseRoute]) -> Iterator[BaseRoute]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is None:
            yield route
        else:
            yield from _leaves(inner.routes)
