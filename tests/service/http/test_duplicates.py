"""Copies of requested samples over HTTP: told at once, added on request, listed in pages."""

import logging

import pytest
from starlette.testclient import TestClient

from service.database import Database
from service.keys import create_key, ensure_tenant
from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import wish
from tests.service.ledger.test_copies import rows_with_copies
from tests.service.ledger.world import World

URL = "/v1/deletion-requests"


@pytest.fixture
def world(sqlite_database: Database) -> World:
    """Return a company that registered some pictures twice."""
    world = World(sqlite_database)
    world.register(samples=rows_with_copies())
    return world


def test_the_answer_counts_equal_files_and_says_what_to_do(
    client: TestClient, world: World
) -> None:
    response = client.post(URL, json=wish(world, "s0"))
    assert response.status_code == 202, response.text
    request = response.json()
    told = request["near_duplicates"]
    advice = told.pop("advice")
    assert told == {"byte_equal": 2, "near": None, "in_holdout": 1, "included": 0}
    assert f"{URL}/{request['id']}/duplicates" in advice
    assert "include_duplicates" in advice
    assert '"s4"' not in response.text


def test_copies_come_with_the_request_that_wants_them(client: TestClient, world: World) -> None:
    body = wish(world, "s0", include_duplicates="byte_equal")
    request = client.post(URL, json=body).json()
    assert request["num_samples"] == 3
    told = {"byte_equal": 0, "near": None, "in_holdout": 1, "included": 2, "advice": None}
    assert request["near_duplicates"] == told
    problem(client.post(URL, json=wish(world, "s4")), 409, "already_requested")
    refused = client.post(URL, json=wish(world, "s1", include_duplicates="all"))
    problem(refused, 422, "invalid_request")


def test_a_caller_reads_the_copies_in_pages_and_requests_them(
    client: TestClient, world: World
) -> None:
    world.copies = {"byte_equal": [], "near": ["8.png"]}
    request = client.post(URL, json=wish(world, "s0")).json()
    world.work()
    assert client.get(request["links"]["self"]).json()["near_duplicates"]["near"] == 1
    found, cursor = [], None
    while True:
        page = client.get(
            f"{URL}/{request['id']}/duplicates",
            params={"limit": 3} | ({} if cursor is None else {"cursor": cursor}),
        ).json()
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert {copy["sample_id"]: (copy["split"], copy["kind"]) for copy in found} == {
        "h1": ("holdout", "byte_equal"),
        "s4": ("train", "byte_equal"),
        "s7": ("train", "byte_equal"),
        "s8": ("train", "near"),
    }
    assert found[1]["class_name"] == "b"
    left = [copy["sample_id"] for copy in found if copy["split"] == "train"]
    assert client.post(URL, json=wish(world, *left)).status_code == 202
    again = client.get(f"{URL}/{request['id']}/duplicates").json()["items"]
    assert [copy["sample_id"] for copy in again if copy["erased"]] == left


def test_the_list_needs_the_right_to_read_samples_and_is_of_its_tenant(
    client: TestClient, world: World, make_key: MakeKey
) -> None:
    url = f"{client.post(URL, json=wish(world, 's0')).headers['location']}/duplicates"
    headers = {"Authorization": f"Bearer {make_key('requests:read')}"}
    refused = problem(client.get(url, headers=headers), 403, "insufficient_scope")
    assert refused["scope"] == "datasets:read"
    with world.database.write() as session:
        token = create_key(session, ensure_tenant(session, "other").id, "theirs")[1]
    headers = {"Authorization": f"Bearer {token}"}
    problem(client.get(url, headers=headers), 404, "not_found")
    problem(client.get(url, params={"cursor": "s4"}), 422, "bad_cursor")


def test_no_id_of_a_copy_reaches_the_log(
    client: TestClient,
    world: World,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        url = client.post(URL, json=wish(world, "s0")).headers["location"]
        assert '"s4"' in client.get(f"{url}/duplicates").text
    output = capsys.readouterr()
    told = output.out + output.err + caplog.text
    assert "duplicates" in told
    assert not any(f"{mark}{name}{mark}" in told for name in ("s4", "s7", "h1") for mark in "'\"")
