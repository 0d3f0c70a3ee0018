"""What a database or the calendar cannot hold is refused with its place, on both databases."""

from typing import Any

from starlette.testclient import TestClient

from service.paging import seal
from service.tables import DeletionRequest
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import wish
from tests.service.ledger.world import World

URL = "/v1/deletion-requests"
ORDERS: list[tuple[str, dict[str, Any]]] = [
    ("/submitted_time", {"submitted_time": "0001-01-01T00:00:00+14:00"}),
    ("/submitted_time", {"submitted_time": "9999-12-31T23:59:59-14:00"}),
    ("/labels/0", {"labels": [2**31]}),
    ("/labels/0", {"labels": [-1]}),
]
UNREADABLE: list[dict[str, Any]] = [
    {"subject_request_id": "a\x00b"},
    {"sample_ids": ["s\x00"]},
    {"subject_ids": ["\x00"]},
    {"labels": [2**70]},
]


def test_what_cannot_be_held_is_refused_with_its_place(caller: TestClient, company: World) -> None:
    for pointer, wrong in ORDERS:
        for dry in (True, False):
            body = {**wish(company, "s0"), **wrong, "dry_run": dry}
            told = problem(caller.post(URL, json=body), 422, "invalid_request")
            assert [entry["pointer"] for entry in told["errors"]] == [pointer], wrong
    for wrong in UNREADABLE:
        problem(caller.post(URL, json={**wish(company, "s0"), **wrong}), 400, "not_json")
    assert company.all(DeletionRequest) == []
    samples = f"/v1/datasets/{company.dataset_id}/samples"
    for name, value in (("subject_id", "\x00"), ("label", 2**70)):
        problem(caller.get(samples, params={name: value}), 422, "invalid_request")
    versions = f"/v1/models/{company.model_id}/versions"
    for position in ("abc", "9" * 40, "-1", "²"):
        forged = {"cursor": seal(f"{versions}?", position)}
        problem(caller.get(versions, params=forged), 422, "bad_cursor")
    assert caller.get(versions, params={"cursor": seal(f"{versions}?", "1")}).json()["items"] == []
    key = {"name": "k", "expires_at": "9999-12-31T23:59:59-14:00"}
    problem(caller.post("/v1/keys", json=key), 422, "invalid_request")


def test_a_time_is_told_alike_at_once_and_later(caller: TestClient, company: World) -> None:
    body = wish(company, "s0", submitted_time="2026-02-28T23:30:00-05:00")
    made = caller.post(URL, json=body).json()
    read = caller.get(made["links"]["self"]).json()
    names = ("submitted_time", "due_at", "lapses_at")
    assert [made[name] for name in names] == [read[name] for name in names]
    assert made["submitted_time"] == "2026-03-01T04:30:00Z"
    assert made["due_at"] == "2026-03-29T04:30:00Z"
