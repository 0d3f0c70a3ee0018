"""Audits of weights made elsewhere, over HTTP."""

import json
from typing import Any

from starlette.testclient import TestClient

from tests.service.http.conftest import safetensors
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import events_of
from tests.service.ledger.world import World


def order(world: World, *sample_ids: str, **fields: object) -> dict[str, Any]:
    """Return the body of an audit."""
    return {
        "model_id": str(world.model_id),
        "sample_ids": list(sample_ids),
        "label": "vendor",
        "policy": "first-look",
        "weights_uri": "weights.safetensors",
        **fields,
    }


def test_an_audit_is_accepted_followed_and_reported(client: TestClient, world: World) -> None:
    response = client.post("/v1/audits", json=order(world, "s0", "s1"))
    assert response.status_code == 202, response.text
    audit = response.json()
    assert (audit["status"], audit["base_version"], audit["num_samples"]) == ("in_progress", 1, 2)
    problem(client.get(audit["links"]["report"]), 404, "report_not_ready")
    world.work("FAIL")
    closed = client.get(response.headers["location"]).json()
    assert (closed["status"], closed["verdict"]) == ("completed", "FAIL")
    assert closed in client.get("/v1/audits").json()["items"]
    found = events_of(client.get(audit["links"]["events"]).text)
    assert [name for _, name, _ in found] == ["snapshot", "done"]


def test_weights_can_come_with_the_order(client: TestClient, world: World) -> None:
    fields = order(world, "s0")
    del fields["weights_uri"]
    files = {
        "audit": ("a", json.dumps(fields).encode(), "application/json"),
        "weights": ("w", safetensors({"made": "elsewhere"}), "application/octet-stream"),
    }
    response = client.post("/v1/audits", files=files)
    assert response.status_code == 202, response.text


def test_what_cannot_be_audited_is_refused(client: TestClient, world: World) -> None:
    problem(client.post("/v1/audits", json=order(world, "nobody")), 422, "unknown_samples")
    unknown = order(world, "s0", base_version=7)
    problem(client.post("/v1/audits", json=unknown), 404, "not_found")
    elsewhere = order(world, "s0", weights_uri="none.safetensors")
    problem(client.post("/v1/audits", json=elsewhere), 422, "weights_not_found")
