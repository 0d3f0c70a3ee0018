"""A walk over every route with another tenant's ids: nothing is found, listed or changed.

A route with a path parameter that `Belongings.names` does not know ends the walk with a KeyError.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select
from starlette.testclient import TestClient

from service.config import Settings
from service.database import Database
from service.keys import create_key, ensure_tenant
from service.tables import Base
from tests.service.certificates import certificate
from tests.service.http.belongings import furnish, model_order
from tests.service.http.opendsr.conftest import DOMAIN, order
from tests.service.http.test_audits import order as audit_order
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import wish
from tests.service.http.walking import Operation, operations
from tests.service.ledger.world import World


@pytest.fixture
def settings(tmp_path: Path, data: Path, sqlite_database: Database) -> Settings:
    """Return settings with which every route can answer."""
    key, made = certificate(tmp_path, DOMAIN, "ec")
    return Settings(
        home=tmp_path / "home",
        database_url=sqlite_database.url.render_as_string(hide_password=False),
        data_roots=[data],
        public_url=f"https://{DOMAIN}",
        opendsr_key_file=key,
        opendsr_certificate_file=made,
        outgoing_allow_http=True,
        outgoing_networks=(IPv4Network("127.0.0.0/8"),),
    )


@dataclass
class Belongings:
    """One of each resource of the first tenant, by the name that paths give its id."""

    names: dict[str, str]

    def url(self, operation: Operation) -> str:
        """Return the path of the operation on what the first tenant has."""
        return operation.path.format(**{name: self.names[name] for name in operation.parameters})

    def ids(self) -> set[str]:
        """Return what must appear in no answer to anybody else."""
        return {value for name, value in self.names.items() if name not in ("number", "name")}


@pytest.fixture
def belongings(client: TestClient, signing_world: World) -> Belongings:
    """Make one of each resource as the first tenant."""
    return Belongings(furnish(client, signing_world))


@pytest.fixture
def stranger(world: World) -> dict[str, str]:
    """Return the headers of another tenant's key, one that may do everything."""
    with world.database.write() as session:
        token = create_key(session, ensure_tenant(session, "other").id, "other")[1]
    return {"Authorization": f"Bearer {token}"}


def rows(database: Database) -> dict[str, int]:
    """Return the number of rows of every table."""
    with database.read() as session:
        return {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }


def on_resources(app: FastAPI) -> list[Operation]:
    """Return the operations on one resource, those last that take it away."""
    found = [operation for operation in operations(app) if operation.parameters]
    return sorted(found, key=lambda operation: operation.method == "DELETE")


def test_nothing_of_another_tenant_is_found_or_changed(
    client: TestClient, belongings: Belongings, stranger: dict[str, str], world: World
) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    before = rows(world.database)
    for operation in on_resources(app):
        url = belongings.url(operation)
        response = client.request(operation.method, url, json=operation.body, headers=stranger)
        assert response.status_code == 404, f"{operation}: {response.text}"
        assert problem(response, 404, "not_found")
    assert rows(world.database) == before
    for operation in on_resources(app):  # the owner finds all of it, so the walk was no accident
        url = belongings.url(operation)
        response = client.request(operation.method, url, json=operation.body)
        assert response.status_code < 500, f"{operation}: {response.text}"
        assert response.status_code != 404, f"{operation}: {response.text}"


CHECKPOINT = "/v1/audit-log/checkpoint"


def test_lists_show_nothing_of_another_tenant(
    client: TestClient, belongings: Belongings, stranger: dict[str, str]
) -> None:
    app = client.app
    assert isinstance(app, FastAPI)
    lists = [
        operation
        for operation in operations(app)
        if operation.method == "GET" and not operation.parameters and operation.scopes
    ]
    assert len(lists) >= 7
    for operation in lists:
        own = client.get(operation.path).text
        other = client.get(operation.path, headers=stranger)
        if operation.path == CHECKPOINT:  # a file of the tenant's own log, encoded
            assert (other.status_code, bool(own)) == (404, True)
            continue
        assert any(name in own for name in belongings.ids()), operation
        assert other.status_code == 200, operation
        assert not [name for name in belongings.ids() if name in other.text], operation


def test_bodies_and_filters_cannot_name_what_is_another_tenants(
    client: TestClient,
    belongings: Belongings,
    stranger: dict[str, str],
    signing_world: World,
    data: Path,
) -> None:
    world = signing_world
    opendsr = order("p4", extensions={DOMAIN: {"model_id": str(world.model_id)}})
    opendsr["subject_request_id"] = "b7551968-d5d6-44b2-9831-815ac9017798"
    for url, body in (
        ("/v1/models", model_order(world, "theirs")),
        ("/v1/deletion-requests", wish(world, "s3")),
        ("/v1/deletion-requests", wish(world, "s6", dry_run=True)),
        ("/v1/audits", audit_order(world, "s3")),
        ("/v1/opendsr/requests", opendsr),
    ):
        problem(client.post(url, json=body, headers=stranger), 404, "not_found")
        assert client.post(url, json=body).status_code < 300, url
    for place in ("deletion-requests", "models"):
        url = f"/v1/{place}?model_id={world.model_id}&dataset_id={world.dataset_id}"
        assert client.get(url, headers=stranger).json()["items"] == []
