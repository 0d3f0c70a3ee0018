"""Qualifications over HTTP."""

import pytest
from starlette.testclient import TestClient

from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import wish
from tests.service.ledger.world import World

ORDER = {"method": "muda", "policy": "first-look", "trials": 2, "seed": 1}


def url(world: World) -> str:
    """Return the collection's address."""
    return f"/v1/models/{world.model_id}/qualifications"


def test_trials_are_started_followed_and_let_a_request_close_qualified(
    client: TestClient, world: World
) -> None:
    refused = client.post("/v1/deletion-requests", json=wish(world, "s0", audit="qualified"))
    document = problem(refused, 409, "qualification_missing")
    assert document["methods"] == ["muda", "distilled_recovery"]
    response = client.post(url(world), json=ORDER)
    assert response.status_code == 202, response.text
    made = response.json()
    assert (made["state"], made["progress"]["phase"], made["seed"]) == ("running", "trials", 1)
    assert [trial["verdict"] for trial in made["trials"]] == [None, None]
    world.work("PASS")
    found = client.get(response.headers["location"]).json()
    assert (found["state"], found["method_version"], found["base_version"]) == ("live", "1", 1)
    assert found["results"]["class"]["interval"][1] == 1.0
    assert [trial["verdict"] for trial in found["trials"]] == ["PASS", "PASS"]
    assert len(found["trials"][0]["references"]) == 19
    assert client.get(url(world)).json()["items"] == [found]
    order = wish(world, "s0", audit="qualified", ladder=["muda", "retrain"])
    request = client.post("/v1/deletion-requests", json=order).json()
    world.work("PASS")
    closed = client.get(request["links"]["self"]).json()
    assert (closed["status"], closed["verdict"], closed["audit"]) == (
        "completed",
        "QUALIFIED",
        "qualified",
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": "retrain"}, "unknown_method"),
        ({"kinds": ["class"] * 2}, "unknown_trial_kind"),
        ({"trials": 1}, "too_few_trials"),
        ({"trials": 50}, "too_many_trials"),
        ({"policy": "none-such"}, "unknown_policy"),
        ({"extra": 1}, "invalid_request"),
    ],
)
def test_orders_that_make_no_sense_are_refused(
    client: TestClient, world: World, changes: dict[str, object], code: str
) -> None:
    problem(client.post(url(world), json={**ORDER, **changes}), 422, code)


def test_what_is_not_there_is_not_found(client: TestClient, world: World) -> None:
    nowhere = "/v1/models/019a0c4e-6b00-7aaa-9c00-000000000002/qualifications"
    problem(client.post(nowhere, json=ORDER), 404, "not_found")
    problem(client.get(nowhere), 404, "not_found")
    problem(client.get(f"{url(world)}/{world.model_id}"), 404, "not_found")
    made = client.post(url(world), json=ORDER).json()
    problem(client.get(f"{nowhere}/{made['id']}"), 404, "not_found")


def test_a_key_needs_the_scopes_of_audits(
    anonymous: TestClient, world: World, make_key: MakeKey
) -> None:
    anonymous.headers["Authorization"] = f"Bearer {make_key('audits:read')}"
    problem(anonymous.post(url(world), json=ORDER), 403, "insufficient_scope")
    assert anonymous.get(url(world)).status_code == 200
