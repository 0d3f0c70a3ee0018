"""One of each resource that a tenant can have, made over HTTP."""

from typing import Any

from starlette.testclient import TestClient

from tests.service.http.opendsr.conftest import DOMAIN, ID, order
from tests.service.http.test_audits import order as audit_order
from tests.service.http.test_requests import closed
from tests.service.http.walking import DEPLOYMENT, QUALIFICATION
from tests.service.ledger.world import World


def model_order(world: World, name: str) -> dict[str, object]:
    """Return a model of the first tenant's data set."""
    return {
        "name": name,
        "dataset_id": str(world.dataset_id),
        "architecture": "expunge:mlp",
        "preprocessing": {"mean": [0.5], "std": [0.5], "size": [4, 4], "channels": 1},
        "recipe": {"epochs": 2},
        "weights_uri": "weights.safetensors",
    }


def made(client: TestClient, url: str, body: object, status: int = 202) -> dict[str, Any]:
    """Create something and return it."""
    response = client.post(url, json=body)
    assert response.status_code == status, response.text
    found: dict[str, Any] = response.json()
    return found


def furnish(client: TestClient, world: World) -> dict[str, str]:
    """Make one of each resource and return their ids, by the names that paths give them."""
    model = made(client, "/v1/models", model_order(world, "stored"), 201)
    request = closed(client, world, "s0")
    audit = made(client, "/v1/audits", audit_order(world, "s1"))
    qualification = made(client, f"/v1/models/{model['id']}/qualifications", QUALIFICATION)
    opendsr = order("p2", extensions={DOMAIN: {"model_id": str(world.model_id)}})
    made(client, "/v1/opendsr/requests", opendsr, 201)
    endpoint = made(client, "/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/"}, 201)
    delivery = made(client, f"{endpoint['links']['self']}/test", None)
    world.work("PASS")
    key = made(client, "/v1/keys", {"name": "ours"}, 201)
    everywhere = {"dataset_id": str(world.dataset_id), "leave_out": [model["id"]]}
    group = made(client, "/v1/deletion-requests", everywhere | {"sample_ids": ["s7"]})
    deployment = made(client, f"/v1/models/{model['id']}/deployments", DEPLOYMENT, 201)
    checkpoint = made(client, "/v1/audit-log/checkpoints", None, 201)
    return {
        "dataset_id": str(world.dataset_id),
        "model_id": model["id"],
        "number": "1",
        "request_id": request["id"],
        "audit_id": audit["id"],
        "qualification_id": qualification["id"],
        "report_id": client.get(request["links"]["report"]).headers["content-location"][12:],
        "name": "bars",
        "endpoint_id": endpoint["id"],
        "delivery_id": delivery["id"],
        "subject_request_id": ID,
        "key_id": key["id"],
        "group_id": group["id"],
        "hash": checkpoint["hash"],
        "deployment_id": deployment["id"],
    }
