"""Deletion requests over HTTP, from the wish to the signed report."""

import json
import logging
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.config import Settings
from service.main import create_app
from service.verify import keys_of_jwks, verify
from tests.service.http.conftest import FIGURE, MakeKey
from tests.service.http.test_errors import problem
from tests.service.ledger.world import World

ENVELOPE = "application/vnd.in-toto+json"


def wish(world: World, *sample_ids: str, **fields: object) -> dict[str, Any]:
    """Return the body of a request."""
    return {
        "model_id": str(world.model_id),
        "sample_ids": list(sample_ids),
        "policy": "first-look",
        **fields,
    }


def closed(client: TestClient, world: World, *sample_ids: str) -> dict[str, Any]:
    """Open a request and let the workers close it."""
    response = client.post("/v1/deletion-requests", json=wish(world, *sample_ids))
    assert response.status_code == 202, response.text
    world.work("PASS")
    answer: dict[str, Any] = client.get(response.headers["location"]).json()
    assert answer["status"] == "completed", answer
    return answer


def test_a_request_is_accepted_and_can_be_followed(client: TestClient, world: World) -> None:
    body = wish(world, "s0", "s1", subject_request_id="DSR-1")
    response = client.post("/v1/deletion-requests", json=body)
    assert response.status_code == 202, response.text
    assert response.headers["retry-after"] == "5"
    request = response.json()
    assert response.headers["location"] == f"/v1/deletion-requests/{request['id']}"
    assert (request["status"], request["num_samples"]) == ("in_progress", 2)
    assert request["days_left"] >= 27
    again = client.get(response.headers["location"])
    etag = again.headers["etag"]
    unchanged = client.get(response.headers["location"], headers={"If-None-Match": etag})
    assert unchanged.status_code == 304
    assert '"s0"' not in again.text


def test_samples_are_named_by_label_or_by_subject_too(client: TestClient, world: World) -> None:
    body = wish(world, "s0", labels=[0], subject_ids=["p0"])
    response = client.post("/v1/deletion-requests", json={**body, "sample_ids": ["s0"]})
    # label 0 has s0, s3, s6, s9 and p0 has s0, s1: five in all, the allowed number
    assert response.json()["num_samples"] == 5


def test_requests_are_listed_in_pages_by_status_and_model(client: TestClient, world: World) -> None:
    ids = [
        client.post("/v1/deletion-requests", json=wish(world, f"s{i}")).json()["id"]
        for i in range(3)
    ]
    first = client.get("/v1/deletion-requests", params={"limit": 2}).json()
    rest = client.get(
        "/v1/deletion-requests", params={"limit": 2, "cursor": first["next_cursor"]}
    ).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    filters = {"status": "completed", "model_id": str(world.model_id)}
    assert client.get("/v1/deletion-requests", params=filters).json()["items"] == []
    assert client.get("/v1/deletion-requests?overdue=true").json()["items"] == []


@pytest.mark.parametrize(
    ("sample_ids", "code", "place"),
    [
        (["s0", "nobody"], "unknown_samples", 1),
        (["s0", "s1", "s0"], "repeated_samples", 2),
        (["h0"], "not_training_samples", 0),
        ([], "no_samples", None),
        ([f"s{i}" for i in range(6)], "too_many_samples", None),
    ],
)
def test_samples_that_cannot_be_forgotten_are_pointed_at(
    client: TestClient, world: World, sample_ids: list[str], code: str, place: int | None
) -> None:
    response = client.post("/v1/deletion-requests", json=wish(world, *sample_ids))
    document = problem(response, 422, code)
    if place is not None:
        assert document["errors"][0]["pointer"] == f"/sample_ids/{place}"
    assert "nobody" not in response.text


def test_samples_already_erased_are_refused(client: TestClient, signing_world: World) -> None:
    closed(client, signing_world, "s0")
    response = client.post("/v1/deletion-requests", json=wish(signing_world, "s0", "s1"))
    assert problem(response, 409, "already_erased")["count"] == 1


def test_a_model_without_a_recipe_is_refused(client: TestClient, world: World) -> None:
    preprocessing = {"mean": [0.5], "std": [0.5], "size": [8, 8], "channels": 1}
    body = {"name": "bare", "dataset_id": str(world.dataset_id), "architecture": "expunge:mlp"}
    body |= {"preprocessing": preprocessing, "weights_uri": "weights.safetensors"}  # type: ignore[dict-item]
    model = client.post("/v1/models", json=body).json()
    response = client.post("/v1/deletion-requests", json=wish(world, "s0", model_id=model["id"]))
    problem(response, 422, "recipe_required")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"policy": "lenient"}, "unknown_policy"),
        ({"ladder": ["retrain", "muda"]}, "bad_ladder"),
        ({"ladder": ["magic"]}, "unknown_method"),
        ({"ladder": ["not a name"]}, "invalid_request"),
        ({"ladder": [{"method": "muda", "hyperparameters": {"no": 1}}]}, "bad_hyperparameters"),
        ({"ladder": [{"method": "muda", "hyperparameters": {"alpha": [1]}}]}, "invalid_request"),
        ({"ladder": [{"hyperparameters": {}}]}, "invalid_request"),
        ({"submitted_time": "2026-11-17T09:05:00"}, "invalid_request"),
        ({"audit": "none", "ladder": ["muda"]}, "retrain_required"),
    ],
)
def test_terms_that_make_no_sense_are_refused(
    client: TestClient, world: World, fields: dict[str, Any], code: str
) -> None:
    problem(client.post("/v1/deletion-requests", json=wish(world, "s0", **fields)), 422, code)


def test_a_ladder_mixes_names_and_rungs_with_hyperparameters(
    client: TestClient, world: World
) -> None:
    rung = {"method": "muda", "hyperparameters": {"epochs": 4}}
    body = wish(world, "s0", ladder=[rung, {"method": "finetune"}, "retrain"])
    response = client.post("/v1/deletion-requests", json=body)
    assert response.status_code == 202, response.text
    assert response.json()["ladder"] == [rung, "finetune", "retrain"]
    world.work()
    request = client.get(response.headers["location"]).json()
    assert request["tries"][0]["hyperparameters"] == {"epochs": 4}
    assert request["passed_over"] == []


def test_plugins_that_the_operator_declares_may_be_named(
    settings: Settings, world: World, make_key: MakeKey
) -> None:
    declared = settings.model_copy(update={"plugin_methods": ["acme"]})
    with TestClient(create_app(declared)) as client:
        client.headers["Authorization"] = f"Bearer {make_key()}"
        body = wish(world, "s0", ladder=["acme", "retrain"])
        assert client.post("/v1/deletion-requests", json=body).status_code == 202


def test_a_request_is_withdrawn_once(client: TestClient, world: World) -> None:
    url = client.post("/v1/deletion-requests", json=wish(world, "s0")).headers["location"]
    assert client.post(f"{url}/cancel").json()["status"] == "cancelled"
    problem(client.post(f"{url}/cancel"), 409, "already_closed")


def test_a_report_is_not_there_before_its_time(client: TestClient, world: World) -> None:
    url = client.post("/v1/deletion-requests", json=wish(world, "s0")).headers["location"]
    problem(client.get(f"{url}/report"), 404, "report_not_ready")


def test_the_report_is_served_signed_as_statement_and_as_page(
    client: TestClient, signing_world: World
) -> None:
    request = closed(client, signing_world, "s0", "s1")
    url = request["links"]["report"]
    envelope = client.get(url, headers={"Accept": ENVELOPE})
    statement = client.get(url, headers={"Accept": "application/json"})
    page = client.get(url, headers={"Accept": "text/html, application/xhtml+xml, */*;q=0.1"})
    outcome = verify(envelope.content, keys_of_jwks(client.get("/.well-known/jwks.json").json()))
    assert outcome.statement == statement.json()
    predicate = statement.json()["predicate"]
    assert predicate["request"]["samples"]["count"] == 2
    assert predicate["request"]["samples"]["commitment"]["root"] == request["commitment"]
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "data:image/svg+xml;base64," in page.text
    assert '"s0"' not in envelope.text + statement.text + page.text
    problem(client.get(url, headers={"Accept": "image/png"}), 406, "not_acceptable")
    etag = page.headers["etag"]
    again = client.get(url, headers={"Accept": "text/html", "If-None-Match": etag})
    assert again.status_code == 304


def test_a_report_and_its_figures_have_their_own_addresses(
    client: TestClient, signing_world: World
) -> None:
    request = closed(client, signing_world, "s0")
    url = client.get(request["links"]["report"]).headers["content-location"]
    assert client.get(url).json()["predicate"]["request"]["id"] == request["id"]
    figure = client.get(f"{url}/figures/bars")
    assert figure.content == FIGURE
    assert "sandbox" in figure.headers["content-security-policy"]
    problem(client.get(f"{url}/figures/none"), 404, "figure_not_found")


def events_of(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (id, name, data) of each event of a stream."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
        if "data" in fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


def test_events_of_a_closed_request_are_a_snapshot_and_the_end(
    client: TestClient, signing_world: World
) -> None:
    request = closed(client, signing_world, "s0")
    response = client.get(request["links"]["events"])
    assert response.headers["content-type"].startswith("text/event-stream")
    found = events_of(response.text)
    assert [name for _, name, _ in found] == ["snapshot", "done"]
    assert found[-1][2]["status"] == "completed"
    resumed = client.get(request["links"]["events"], headers={"Last-Event-ID": found[-1][0]})
    assert [name for _, name, _ in events_of(resumed.text)] == ["done"]


def test_events_of_an_unknown_request_are_a_problem(client: TestClient, world: World) -> None:
    problem(client.get(f"/v1/deletion-requests/{world.model_id}/events"), 404, "not_found")


def test_no_sample_id_reaches_the_log(
    client: TestClient,
    world: World,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.post("/v1/deletion-requests", json=wish(world, "s0", "canary-4711"))
        client.post("/v1/deletion-requests", json=wish(world, "s0"))
    output = capsys.readouterr()
    assert "request" in output.out + output.err + caplog.text
    assert "canary-4711" not in output.out + output.err + caplog.text
