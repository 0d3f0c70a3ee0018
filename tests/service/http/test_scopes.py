"""A walk over every route: no key, no answer; and each scope that a route names is asked for."""

import pytest
from starlette.testclient import TestClient

from service.config import Settings
from service.keys import ROLES, SCOPES
from service.main import create_app
from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.http.walking import Operation, operations, served
from tests.service.ledger.world import World

OPERATIONS = operations(create_app(Settings()))
GUARDED = [operation for operation in OPERATIONS if operation.scopes is not None]
PUBLIC = {
    "GET /healthz",
    "GET /readyz",
    "GET /.well-known/jwks.json",
    "GET /v1/verifier",
    "GET /v1/report-schema",
    "GET /v1/opendsr/discovery",
    "GET /v1/opendsr/certificate.pem",
}
SOME_ID = "019a0c4e-6b00-7aaa-9c00-00000000000f"


def url(operation: Operation) -> str:
    """Return the path with ids that nothing has."""
    values = dict.fromkeys(operation.parameters, SOME_ID) | {"number": "1"}
    return operation.path.format(**values)


def test_the_document_names_everything_that_is_served() -> None:
    documented = {(operation.method, operation.path) for operation in OPERATIONS}
    assert served(create_app(Settings())) == documented | {("GET", "/openapi.json")}


def test_only_what_is_meant_to_be_public_needs_no_key() -> None:
    assert {str(found) for found in OPERATIONS if found.scopes is None} == PUBLIC


def test_every_other_route_needs_a_key(anonymous: TestClient) -> None:
    for operation in GUARDED:
        response = anonymous.request(operation.method, url(operation), json=operation.body)
        problem(response, 401, "invalid_credentials")


def test_every_route_needs_each_of_its_scopes(anonymous: TestClient, make_key: MakeKey) -> None:
    keys = {scope: make_key(*(SCOPES - {scope})) for scope in SCOPES}
    for operation in GUARDED:
        assert operation.scopes, f"{operation} asks for no scope"
        for scope in operation.scopes:
            headers = {"Authorization": f"Bearer {keys[scope]}"}
            response = anonymous.request(
                operation.method, url(operation), json=operation.body, headers=headers
            )
            assert problem(response, 403, "insufficient_scope")["scope"] == scope, operation


@pytest.mark.parametrize("role", sorted(ROLES))
def test_roles_hold_scopes_that_routes_ask_for(role: str) -> None:
    asked = {scope for operation in GUARDED for scope in operation.scopes or ()}
    assert asked == SCOPES
    assert ROLES[role] <= SCOPES


SIGNED_HEAD = "/v1/audit-log/checkpoints"
"""What an auditor may add: a signature over what is there."""


def test_an_auditor_reads_and_changes_nothing(
    anonymous: TestClient, world: World, make_key: MakeKey
) -> None:
    anonymous.headers["Authorization"] = f"Bearer {make_key(*ROLES['auditor'])}"
    for operation in GUARDED:
        if operation.method != "GET" and operation.path != SIGNED_HEAD:
            response = anonymous.request(operation.method, url(operation), json=operation.body)
            problem(response, 403, "insufficient_scope")
    assert anonymous.post(SIGNED_HEAD).status_code in (200, 201)
    for path in ("models", "deletion-requests", "audits", "audit-log"):
        assert anonymous.get(f"/v1/{path}").status_code == 200
    samples = anonymous.get(f"/v1/datasets/{world.dataset_id}/samples")
    problem(samples, 403, "insufficient_scope")
