"""Attested deployments over HTTP and by the command line, and the weights that may serve."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from service.cli.output import Exit
from service.config import Settings
from service.storage import Storage
from service.tables import ModelVersion, WebhookDelivery
from tests.service.http.conftest import MakeKey
from tests.service.http.test_commands import Expunge, expunge, printed  # noqa: F401 - fixtures
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import closed
from tests.service.http.test_webhooks import register
from tests.service.ledger.groups import add_model
from tests.service.ledger.world import World


def said(version: int, environment: str = "prod", **fields: object) -> dict[str, object]:
    """Return the body of an attestation."""
    return {"version": version, "environment": environment, "deployed_by": "ci", **fields}


@pytest.fixture
def model(world: World) -> str:
    """Return the path of the model."""
    return f"/v1/models/{world.model_id}"


def test_an_attestation_is_kept_once_listed_and_ended(client: TestClient, model: str) -> None:
    key = {"Idempotency-Key": "k"}
    made = client.post(f"{model}/deployments", json=said(1), headers=key)
    assert made.status_code == 201, made.text
    assert client.post(f"{model}/deployments", json=said(1), headers=key).json() == made.json()
    read = client.get(made.headers["location"])
    assert read.json() == made.json()
    tag = {"If-None-Match": read.headers["etag"]}
    assert client.get(made.headers["location"], headers=tag).status_code == 304
    assert client.get(model).json()["deployments"] == [made.json()]
    for url in (f"{model}/deployments", "/v1/deployments", "/v1/deployments?environment=prod"):
        assert client.get(url).json()["items"] == [made.json()]
    for url in (f"{model}/deployments?active=false", "/v1/deployments?environment=test"):
        assert client.get(url).json()["items"] == []
    ended = client.post(f"{made.headers['location']}/end")
    assert ended.json()["ended_at"] is not None
    assert client.get(model).json()["deployments"] == []
    problem(client.post(f"{made.headers['location']}/end"), 409, "already_ended")


def test_erased_data_is_listed_and_never_serves_again(
    client: TestClient, signing_world: World, model: str
) -> None:
    register(client, "https://hooks.example.com/x", "deployment.stale")
    client.post(f"{model}/deployments", json=said(1))
    request = closed(client, signing_world, "s0")
    (stale,) = client.get("/v1/deployments?stale=true").json()["items"]
    assert (stale["erased_samples"], stale["stale_since"]) == (1, request["closed_at"])
    assert client.get("/v1/deployments?stale=false").json()["items"] == []
    assert client.get(model).json()["deployments"] == [stale]
    versions = client.get(f"{model}/versions").json()["items"]
    assert [version["erased_samples"] for version in versions] == [1, 0]
    assert versions[0]["holds_erased_since"] == request["closed_at"]
    assert [row.event_type for row in signing_world.all(WebhookDelivery)] == ["deployment.stale"]
    statement = client.get(request["links"]["report"], headers={"Accept": "application/json"})
    copies = statement.json()["predicate"]["residual_copies"]
    assert [copy["where"] for copy in copies if copy["what"] == "deployment"] == ["prod"]
    page = client.get(request["links"]["report"], headers={"Accept": "text/html"}).text
    assert "Version 1 in prod" in page
    assert "still in use" in client.get(f"{request['links']['self']}/reply").text
    assert client.post(f"{model}/deployments", json=said(2)).status_code == 201
    assert client.get("/v1/deployments?stale=true").json()["items"] == []
    refusal = problem(
        client.post(f"{model}/deployments", json=said(1)), 409, "version_holds_erased_data"
    )
    assert (refusal["count"], refusal["current_version"]) == (1, 2)


def test_the_current_weights_are_those_that_may_serve(
    client: TestClient, world: World, settings: Settings, model: str
) -> None:
    stored = Storage(settings.storage_url).put_bytes(b"weights", "application/octet-stream")
    late = add_model(world, "late", weights_uri=stored)
    url = f"/v1/models/{late}/versions/current/weights"
    part = client.get(url, headers={"Range": "bytes=0-2"})
    assert (part.status_code, part.content) == (206, b"wei")
    assert client.get(url).content == b"weights"
    world.request("s0")
    tainted = add_model(world, "tainted", weights_uri=stored, trained_on_erased=True)
    problem(
        client.get(f"/v1/models/{tainted}/versions/current/weights"),
        409,
        "version_holds_erased_data",
    )
    assert client.get(f"/v1/models/{tainted}/versions/1/weights").content == b"weights"
    with world.database.write() as session:
        session.query(ModelVersion).filter_by(model_id=tainted).update({"state": "superseded"})
    problem(client.get(f"/v1/models/{tainted}/versions/current/weights"), 409, "model_not_ready")
    assert model


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (said(1, "a b"), "invalid_request"),
        (said(0), "invalid_request"),
        (said(1, deployed_at="2026-01-01T00:00:00"), "invalid_request"),
        (said(1, deployed_at="2999-01-01T00:00:00Z"), "deployed_in_future"),
        ({"version": 1}, "invalid_request"),
    ],
)
def test_bad_attestations_are_refused(
    client: TestClient, model: str, body: dict[str, Any], code: str
) -> None:
    problem(client.post(f"{model}/deployments", json=body), 422, code)


def test_only_a_writer_attests_and_strangers_find_nothing(
    client: TestClient, model: str, make_key: MakeKey
) -> None:
    weak = {"Authorization": f"Bearer {make_key('models:read')}"}
    refused = client.post(f"{model}/deployments", json=said(1), headers=weak)
    problem(refused, 403, "insufficient_scope")
    assert client.get("/v1/deployments", headers=weak).status_code == 200
    nobody = "019a0c4e-6b00-7aaa-9c00-000000000002"
    problem(client.get(f"{model}/deployments/{nobody}"), 404, "not_found")
    problem(client.post(f"/v1/models/{nobody}/deployments", json=said(1)), 404, "not_found")
    problem(client.get(f"/v1/models/{nobody}/deployments"), 404, "not_found")


def test_the_command_line_attests_and_lists(
    world: World,
    expunge: Expunge,  # noqa: F811 - the fixture
) -> None:
    words = ("deployed", str(world.model_id), "1", "--environment", "prod", "--by", "ci")
    made = expunge(*words)
    assert (made["version"], made["environment"]) == (1, "prod")
    listed = expunge("deployments", "--stale")
    assert listed == {"items": []}
    assert expunge("deployments")["items"] == [made]
    assert expunge(*words, "--at", "2999-01-01T00:00:00Z", code=Exit.FAILED)["code"] == (
        "deployed_in_future"
    )
