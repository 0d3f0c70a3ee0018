"""Groups over HTTP and by the command line: one call, one key, one number for all models."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from service.cli.output import Exit
from service.tables import DeletionRequest, RequestGroup, WebhookDelivery
from tests.service.http.conftest import MakeKey
from tests.service.http.test_commands import Expunge, Print, expunge, printed  # noqa: F401 - fixtures
from tests.service.http.test_errors import problem
from tests.service.http.test_webhooks import register
from tests.service.ledger.groups import add_model
from tests.service.ledger.world import World

URL = "/v1/deletion-requests"


def wish(world: World, *sample_ids: str, **fields: object) -> dict[str, Any]:
    """Return the body of a wish over all models."""
    body = {"dataset_id": str(world.dataset_id), "sample_ids": list(sample_ids)}
    return {**body, "policy": "first-look", **fields}


@pytest.fixture
def other(world: World) -> str:
    """Return a second model of the data set."""
    return str(add_model(world))


def test_a_group_is_made_once_read_and_listed(
    client: TestClient, signing_world: World, other: str
) -> None:
    body = wish(signing_world, subject_ids=["p0"], subject_request_id="DSR-1")
    first = client.post(URL, json=body, headers={"Idempotency-Key": "k"})
    assert first.status_code == 202, first.text
    group = first.json()
    assert first.headers["location"] == f"/v1/deletion-request-groups/{group['id']}"
    assert {member["model_id"] for member in group["members"]} == {
        str(signing_world.model_id),
        other,
    }
    assert (group["num_samples"], group["subject_request_id"]) == (2, "DSR-1")
    for headers in ({"Idempotency-Key": "k"}, {"Idempotency-Key": "l"}, {}):
        again = client.post(URL, json=body, headers=headers)
        assert again.json()["id"] == group["id"]
        assert again.headers["idempotent-replayed"] == "true"
    signing_world.work("PASS")
    read = client.get(first.headers["location"])
    assert read.json()["status"] == "completed"
    assert read.json()["days_left"] is None
    tag = {"If-None-Match": read.headers["etag"]}
    assert client.get(first.headers["location"], headers=tag).status_code == 304
    member = client.get(group["members"][0]["links"]["self"]).json()
    assert (member["group_id"], member["subject_request_id"]) == (group["id"], "DSR-1")
    assert client.get(group["members"][0]["links"]["report"]).status_code == 200
    for query, found in (("status=completed", 1), ("status=pending", 0)):
        page = client.get(f"/v1/deletion-request-groups?{query}").json()
        assert len(page["items"]) == found


def test_the_worst_deadline_is_that_of_an_open_member(
    client: TestClient, world: World, other: str
) -> None:
    group = client.post(URL, json=wish(world, "s0")).json()
    mine = next(member for member in group["members"] if member["model_id"] == other)
    late = client.post(f"{mine['links']['self']}/extend", json={"reason": "complexity"}).json()
    path = group["links"]["self"]
    assert client.get(path).json()["due_at"] == group["due_at"] < late["due_at"]
    for member in group["members"]:
        if member["model_id"] != other:
            client.post(f"{member['links']['self']}/cancel")
    assert client.get(path).json()["due_at"] == late["due_at"]


def test_acts_reach_all_members_unless_the_group_has_changed(
    client: TestClient, world: World, other: str
) -> None:
    path = client.post(URL, json=wish(world, "s0")).json()["links"]["self"]
    seen = {"If-Match": client.get(path).headers["etag"]}
    held = client.post(f"{path}/hold", json={"reason": "legal_claims"}, headers=seen)
    assert held.json()["status"] == "on_hold"
    problem(client.post(f"{path}/release", headers=seen), 412, "precondition_failed")
    assert client.post(f"{path}/release").json()["status"] == "in_progress"
    assert client.post(f"{path}/extend", json={"reason": "complexity"}).status_code == 200
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"
    problem(client.post(f"{path}/cancel"), 409, "already_closed")
    assert other


@pytest.mark.parametrize(
    "fields",
    [{"model_id": None, "dataset_id": None}, {"model_id": "019a0c4e-6b00-7aaa-9c00-000000000002"}],
)
def test_one_target_is_named(client: TestClient, world: World, fields: dict[str, Any]) -> None:
    problem(client.post(URL, json=wish(world, "s0", **fields)), 422, "invalid_request")


def test_a_dry_run_prices_every_member_and_writes_nothing(
    client: TestClient, world: World, other: str
) -> None:
    price = client.post(URL, json=wish(world, "s0", dry_run=True, leave_out=[other])).json()
    assert [member["model_id"] for member in price["members"]] == [str(world.model_id)]
    assert price["left_out"] == [{"model_id": other, "code": "by_caller"}]
    assert world.all(RequestGroup) == world.all(DeletionRequest) == []
    problem(client.post(URL, json=wish(world, "x", dry_run=True)), 422, "unknown_samples")


def test_a_subject_in_another_open_request_is_not_taken_for_forgotten(
    client: TestClient, world: World, other: str
) -> None:
    world.request("s0", "s1")
    body = wish(world, subject_ids=["p0"])
    refusal = problem(client.post(URL, json=body), 409, "already_requested")
    assert refusal["model_id"] == str(world.model_id)
    world.work("PASS")
    group = client.post(URL, json=body).json()
    assert [member["model_id"] for member in group["members"]] == [other]
    assert group["left_out"] == [{"model_id": str(world.model_id), "code": "holds_none"}]


def test_strangers_find_nothing(client: TestClient, world: World, make_key: MakeKey) -> None:
    path = client.post(URL, json=wish(world, "s0")).json()["links"]["self"]
    weak = {"Authorization": f"Bearer {make_key('requests:read')}"}
    assert client.get(path, headers=weak).status_code == 200
    problem(client.post(f"{path}/cancel", headers=weak), 403, "insufficient_scope")
    problem(client.get(f"{path[:-4]}0000"), 404, "not_found")
    body = wish(world, "s0", dataset_id="019a0c4e-6b00-7aaa-9c00-000000000002")
    problem(client.post(URL, json=body), 404, "not_found")


def test_webhooks_hear_of_the_group(client: TestClient, world: World, other: str) -> None:
    register(client, "https://hooks.example.com/x", "group.received", "group.completed")
    client.post(URL, json=wish(world, "s0"))
    world.work("PASS")
    told = [row.event_type for row in world.all(WebhookDelivery)]
    assert told == ["group.received", "group.completed"]
    assert all(b"s0" not in row.body for row in world.all(WebhookDelivery))
    assert other


def test_the_command_line_asks_all_models(
    world: World,
    other: str,
    expunge: Expunge,  # noqa: F811 - the fixture
    printed: Print,  # noqa: F811 - the fixture
) -> None:
    words = ("forget", "--dataset", str(world.dataset_id), "--sample", "s0")
    assert len(expunge(*words, "--dry-run")["members"]) == 2
    assert "Compute: unknown" in printed(*words, "--dry-run")
    assert world.all(RequestGroup) == []
    made = expunge(*words, "--leave-out", other)
    assert [member["model_id"] for member in made["members"]] == [str(world.model_id)]
    printed("forget", "--sample", "s0", code=Exit.USAGE)
