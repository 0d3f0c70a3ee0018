"""Later audits of closed requests over HTTP."""

import json
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from service.keys import create_key, ensure_tenant
from service.renderings import schema
from service.tables import Dataset
from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import closed, wish
from tests.service.ledger.later import measure_in_full
from tests.service.ledger.world import World, rows

KINDS = ("audits", "reproductions")


@pytest.fixture
def world(
    world: World,
    data: Path,
    audit_result: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """Return the company with its images on disk, its workers measuring in full."""
    for row in rows():
        (data / row.uri).write_bytes(b"pixels")
    with world.database.write() as session:
        session.get_one(Dataset, world.dataset_id).root = str(data)
    measure_in_full(world, audit_result, tmp_path, monkeypatch)
    return world


def url(request: dict[str, Any], kind: str = "audits") -> str:
    """Return where a request's later audits are asked for."""
    return f"{request['links']['self']}/{kind}"


def valid(client: TestClient, report: str) -> dict[str, Any]:
    """Return a report's predicate after checking the statement against its schema."""
    statement: dict[str, Any] = client.get(report).json()
    jsonschema.Draft202012Validator(json.loads(schema())).validate(statement)
    predicate: dict[str, Any] = statement["predicate"]
    return predicate


def test_a_closed_request_is_audited_with_references_and_links_to_it(
    client: TestClient, world: World
) -> None:
    order = wish(world, "s0", audit="none", ladder=["retrain"])
    location = client.post("/v1/deletion-requests", json=order).headers["location"]
    problem(client.post(f"{location}/audits", json={}), 409, "not_closed")
    world.work("PASS")
    request = client.get(location).json()
    assert (request["verdict"], request["audits"]) == ("RETRAINED", [])
    signed = client.get(request["links"]["report"]).text
    response = client.post(url(request), json={"audit": "references"})
    assert response.status_code == 202, response.text
    audit = response.json()
    assert (audit["purpose"], audit["request_id"]) == ("upgrade", request["id"])
    assert (audit["level"], audit["commitment"]) == ("references", request["commitment"])
    again = problem(client.post(url(request), json={}), 409, "audit_in_progress")
    assert again["audit_id"] == audit["id"]
    world.work("PASS")
    done = client.get(response.headers["location"]).json()
    assert (done["status"], done["verdict"], done["comparison"]) == ("completed", "PASS", None)
    [link] = client.get(location).json()["audits"]
    assert link == {
        "id": audit["id"],
        "purpose": "upgrade",
        "status": "completed",
        "verdict": "PASS",
        "reproduced": None,
        "url": f"/v1/audits/{audit['id']}",
        "report": f"/v1/audits/{audit['id']}/report",
    }
    predicate = valid(client, link["report"])
    assert predicate["of_request"]["id"] == request["id"]
    assert predicate["report"]["about"] == "audit"
    assert client.get(request["links"]["report"]).text == signed
    page = client.get(link["report"], headers={"Accept": "text/html"})
    assert page.status_code == 200


def test_a_reproduction_tells_what_it_compared(client: TestClient, world: World) -> None:
    request = closed(client, world, "s0", "s1")
    audit = client.post(url(request, "reproductions")).json()
    assert (audit["purpose"], audit["comparison"]) == ("reproduction", None)
    world.work("FAIL")
    found = client.get(audit["links"]["self"]).json()["comparison"]
    assert found["reproduced"] is False
    assert [(d["figure"], d["recorded"], d["found"]) for d in found["differences"]] == [
        ("verdict", "PASS", "FAIL"),
        ("audit.verdict", "PASS", "FAIL"),
    ]
    assert client.get(request["links"]["self"]).json()["audits"][0]["reproduced"] is False
    predicate = valid(client, audit["links"]["report"])
    assert predicate["of_request"]["comparison"]["differences"][0]["figure"] == "verdict"


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_the_way_is_said(
    client: TestClient, world: World, data: Path, kind: str
) -> None:
    request = closed(client, world, "s0", "s1")
    (data / "0.png").unlink()
    refused = problem(client.post(url(request, kind), json={}), 409, "images_unreadable")
    assert refused["count"] == 1
    assert client.get("/v1/audits").json()["items"] == []
    closed(client, world, "s2")
    problem(client.post(url(request, kind), json={}), 409, "erased_set_grew")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_needs_the_scopes_and_the_tenant(
    anonymous: TestClient, world: World, make_key: MakeKey, kind: str
) -> None:
    anonymous.headers["Authorization"] = f"Bearer {make_key()}"
    request = closed(anonymous, world, "s0")
    for scopes, missing in (
        (("audits:read", "requests:read"), "audits:write"),
        (("audits:write",), "requests:read"),
    ):
        headers = {"Authorization": f"Bearer {make_key(*scopes)}"}
        refused = anonymous.post(url(request, kind), json={}, headers=headers)
        assert problem(refused, 403, "insufficient_scope")["scope"] == missing
    with world.database.write() as session:
        _, token = create_key(session, ensure_tenant(session, "other").id, "stranger")
    headers = {"Authorization": f"Bearer {token}"}
    problem(anonymous.post(url(request, kind), json={}, headers=headers), 404, "not_found")
    nowhere = f"/v1/deletion-requests/{uuid.uuid4()}/{kind}"
    problem(anonymous.post(nowhere, json={}), 404, "not_found")


def test_there_is_one_level_to_ask_for(client: TestClient, world: World) -> None:
    request = closed(client, world, "s0")
    problem(client.post(url(request), json={"audit": "none"}), 422, "invalid_request")
