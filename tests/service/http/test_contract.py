"""Conditions, pages, subject requests, deadlines, holds and dry runs over HTTP."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from service.paging import seal, unseal
from service.tables import DeletionRequest
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import closed, wish
from tests.service.ledger.world import World

URL = "/v1/deletion-requests"


def opened(client: TestClient, world: World, *sample_ids: str, **fields: object) -> dict[str, Any]:
    """Open a request and return it."""
    response = client.post(URL, json=wish(world, *sample_ids, **fields))
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.json()
    return found


def act(client: TestClient, request: dict[str, Any], what: str, **call: Any) -> httpx2.Response:  # noqa: ANN401
    """Do something to a request."""
    return client.post(f"{request['links']['self']}/{what}", **call)


# conditions


def test_what_has_not_changed_is_not_sent_again(client: TestClient, signing_world: World) -> None:
    request = closed(client, signing_world, "s0")
    model = f"/v1/models/{signing_world.model_id}"
    urls = [request["links"]["self"], f"/v1/datasets/{signing_world.dataset_id}", model]
    urls += [f"{model}/versions", request["links"]["report"]]
    for url in urls:
        first = client.get(url)
        again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b""), url
        other = client.get(url, headers={"If-None-Match": '"other"'})
        assert other.content == first.content


def test_a_tag_changes_with_the_resource(client: TestClient, world: World) -> None:
    request = opened(client, world, "s0")
    model = f"/v1/models/{world.model_id}/versions"
    urls = (request["links"]["self"], model)
    tags = [client.get(url).headers["etag"] for url in urls]
    world.work("PASS")
    for url, tag in zip(urls, tags, strict=True):
        assert client.get(url, headers={"If-None-Match": tag}).status_code == 200


def test_a_write_can_ask_that_nothing_changed_meanwhile(client: TestClient, world: World) -> None:
    request = opened(client, world, "s0")
    tag = client.get(request["links"]["self"]).headers["etag"]
    body = {"reason": "complexity"}
    extended = act(client, request, "extend", json=body, headers={"If-Match": tag})
    assert extended.status_code == 200, extended.text
    stale = act(client, request, "cancel", headers={"If-Match": tag})
    problem(stale, 412, "precondition_failed")
    weak = f"W/{extended.headers['etag']}"
    problem(act(client, request, "cancel", headers={"If-Match": weak}), 412, "precondition_failed")
    good = {"If-Match": f'"x", {extended.headers["etag"]}'}
    assert act(client, request, "cancel", headers=good).json()["status"] == "cancelled"


def test_a_run_at_work_makes_no_decision_stale(client: TestClient, world: World) -> None:
    request = opened(client, world, "s0")
    url = request["links"]["self"]
    tag = client.get(url).headers["etag"]
    world.work("PASS", limit=1)
    later = client.get(url, headers={"If-None-Match": tag})
    assert (later.status_code, later.headers["etag"] != tag) == (200, True)
    done = act(client, request, "cancel", headers={"If-Match": tag})
    assert done.json()["status"] == "cancelled"
    again = act(client, request, "cancel", headers={"If-Match": tag})
    problem(again, 412, "precondition_failed")


# pages


def test_pages_are_linked_to_the_end(client: TestClient, world: World) -> None:
    made = [opened(client, world, f"s{i}")["id"] for i in range(5)]
    url, seen = f"{URL}?limit=2&model_id={world.model_id}", []
    while url:
        response = client.get(url)
        page = response.json()
        seen += [item["id"] for item in page["items"]]
        link = response.headers.get("link", "")
        assert bool(link) == (page["next_cursor"] is not None)
        url = link.partition(">")[0].removeprefix("<")
        assert not link or 'rel="next"' in link
    assert seen == made[::-1]


def test_every_list_pages_by_opaque_cursors(client: TestClient, world: World) -> None:
    for sample in ("s0", "s1", "s2"):
        closed(client, world, sample)
    urls = [
        URL,
        f"/v1/datasets/{world.dataset_id}/samples",
        f"/v1/models/{world.model_id}/versions",
    ]
    for url in urls:
        whole = client.get(url, params={"limit": 100}).json()["items"]
        first = client.get(url, params={"limit": 2})
        cursor = first.json()["next_cursor"]
        rest = client.get(url, params={"limit": 100, "cursor": cursor}).json()
        assert first.json()["items"] + rest["items"] == whole
        assert not cursor.isdecimal()
        with pytest.raises(ValueError, match="badly formed"):
            uuid.UUID(cursor)


def test_a_cursor_fits_its_own_list_and_filters_only(client: TestClient, world: World) -> None:
    for i in range(3):
        opened(client, world, f"s{i}")
    cursor = client.get(URL, params={"limit": 1}).json()["next_cursor"]
    assert client.get(URL, params={"cursor": cursor, "limit": 2}).status_code == 200
    other = client.get(URL, params={"cursor": cursor, "status": "pending"})
    problem(other, 422, "bad_cursor")
    problem(client.get("/v1/models", params={"cursor": cursor}), 422, "bad_cursor")
    changed = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for wrong in (changed, cursor[:-1], cursor + "A", "%00", "é"):
        problem(client.get(URL, params={"cursor": wrong}), 422, "bad_cursor")


def test_what_is_sealed_can_be_unsealed() -> None:
    for position in ("", "57", str(uuid.uuid4())):
        assert unseal("/list?a=1", seal("/list?a=1", position)) == position


# subject requests


def test_a_repeated_subject_request_is_the_same_request(client: TestClient, world: World) -> None:
    body = wish(world, labels=[0], subject_request_id="DSR-1")
    first = client.post(URL, json=body)
    again = client.post(URL, json=body)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert len(world.all(DeletionRequest)) == 1
    world.work("PASS")
    assert client.post(URL, json=body).json()["status"] == "completed"


def test_another_request_of_the_same_subject_request_is_refused(
    client: TestClient, world: World
) -> None:
    first = opened(client, world, "s0", subject_request_id="DSR-1")
    response = client.post(URL, json=wish(world, "s1", subject_request_id="DSR-1"))
    assert problem(response, 409, "subject_request_exists")["location"] == first["links"]["self"]
    assert response.headers["location"] == first["links"]["self"]
    act(client, first, "cancel")
    assert opened(client, world, "s1", subject_request_id="DSR-1")["id"] != first["id"]


# deadlines and holds


def test_a_deadline_is_put_off_over_http(client: TestClient, world: World) -> None:
    request = opened(client, world, "s0", regulation="ccpa")
    response = act(client, request, "extend", json={"reason": "number_of_requests"})
    extended = response.json()
    first, due = (datetime.fromisoformat(extended[name]) for name in ("first_due_at", "due_at"))
    assert extended["first_due_at"] == request["due_at"]
    assert due - first == timedelta(days=45)
    assert extended["days_left"] >= request["days_left"] + 44
    assert extended["extension_reason"] == "number_of_requests"
    again = act(client, request, "extend", json={"reason": "complexity"})
    problem(again, 409, "already_extended")


def test_reasons_are_codes(client: TestClient, world: World) -> None:
    request = opened(client, world, "s0")
    for what in ("extend", "hold"):
        response = act(client, request, what, json={"reason": "Jane Doe sues us"})
        assert "Jane" not in str(problem(response, 422, "invalid_request"))


def test_a_request_that_is_past_its_deadline_is_listed_as_overdue(
    client: TestClient, world: World
) -> None:
    asked = (datetime.now(UTC) - timedelta(days=50)).isoformat()
    late = opened(client, world, "s0", submitted_time=asked)
    opened(client, world, "s1")
    assert late["days_left"] < 0
    found = client.get(URL, params={"overdue": True}).json()["items"]
    assert [item["id"] for item in found] == [late["id"]]


def test_a_request_is_held_and_released_over_http(client: TestClient, world: World) -> None:
    request = opened(client, world, "s0")
    held = act(client, request, "hold", json={"reason": "legal_claims"}).json()
    assert (held["status"], held["hold_reason"]) == ("on_hold", "legal_claims")
    assert held["progress"]["phase"] == "on_hold"
    assert held["days_left"] == request["days_left"]
    world.work("PASS")
    listed = client.get(URL, params={"status": "on_hold"}).json()["items"]
    assert [item["id"] for item in listed] == [request["id"]]
    released = act(client, request, "release").json()
    assert (released["status"], released["held_at"]) == ("in_progress", None)
    problem(act(client, request, "release"), 409, "not_on_hold")
    world.work("PASS")
    assert client.get(request["links"]["self"]).json()["status"] == "completed"


# dry runs


def test_a_dry_run_prices_and_writes_nothing(client: TestClient, world: World) -> None:
    closed(client, world, "s1")
    log = client.get("/v1/audit-log", params={"limit": 1000}).json()
    body = wish(world, "s0", dry_run=True, ladder=["muda", "retrain"], regulation="ccpa")
    response = client.post(URL, json=body, headers={"Idempotency-Key": "k"})
    assert response.status_code == 200, response.text
    price = response.json()
    assert (price["dry_run"], price["num_samples"], price["scope"]) == (True, 1, "instance")
    assert [rung["method"] for rung in price["ladder"]] == ["muda", "retrain"]
    assert price["ladder"][0]["unlearning"]["n"] == 1
    assert price["ladder"][1]["unlearning"] is None
    assert price["compute_hours"] is None
    assert price["references"]["seconds_each"]["n"] == price["references"]["first_look"]
    assert price["days_left"] in (44, 45)
    assert client.get("/v1/audit-log", params={"limit": 1000}).json() == log
    assert len(world.all(DeletionRequest)) == 1
    real = client.post(URL, json={**body, "dry_run": False}, headers={"Idempotency-Key": "k"})
    assert real.status_code == 202


def test_a_dry_run_refuses_bad_input(client: TestClient, world: World) -> None:
    body = wish(world, "s0", "nobody", dry_run=True)
    problem(client.post(URL, json=body), 422, "unknown_samples")
