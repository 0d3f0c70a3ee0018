"""Every error is a problem document with a stable code, and tells nobody too much."""

from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from service import ledger
from service.keys import create_key, ensure_tenant, revoke
from service.paging import seal
from service.problem_catalog import CATALOG
from tests.service.http.conftest import MakeKey
from tests.service.ledger.world import World


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check the frame of a problem and return it."""
    document: dict[str, Any] = response.json()
    assert response.status_code == status, document
    assert response.headers["content-type"] == "application/problem+json"
    assert document["code"] == code
    assert document["status"] == status
    assert document["title"] == CATALOG[code].title
    assert document["action"] == CATALOG[code].advice
    assert document["request_id"] == response.headers["x-request-id"]
    return document


def test_a_call_without_a_key_is_told_how_to_send_one(anonymous: TestClient) -> None:
    response = anonymous.get("/v1/models")
    problem(response, 401, "invalid_credentials")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["nonsense", "ex_live_abc_def", "Basic x"])
def test_a_key_that_never_was_is_refused(anonymous: TestClient, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    problem(anonymous.get("/v1/models", headers=headers), 401, "invalid_credentials")


def test_a_revoked_key_is_refused_at_once(anonymous: TestClient, world: World) -> None:
    with world.database.write() as session:
        row, token = create_key(session, world.caller.tenant_id, "old")
    headers = {"Authorization": f"Bearer {token}"}
    assert anonymous.get("/v1/models", headers=headers).status_code == 200
    with world.database.write() as session:
        revoke(session, world.caller.tenant_id, row.id)
    problem(anonymous.get("/v1/models", headers=headers), 401, "invalid_credentials")


def test_a_missing_scope_is_named(anonymous: TestClient, make_key: MakeKey) -> None:
    headers = {"Authorization": f"Bearer {make_key('models:read')}"}
    assert anonymous.get("/v1/models", headers=headers).status_code == 200
    response = anonymous.get("/v1/datasets", headers=headers)
    assert problem(response, 403, "insufficient_scope")["scope"] == "datasets:read"
    assert 'scope="datasets:read"' in response.headers["www-authenticate"]


def test_strangers_cannot_make_the_server_read_a_body(anonymous: TestClient) -> None:
    response = anonymous.post("/v1/deletion-requests", content=b"{", headers={})
    problem(response, 401, "invalid_credentials")


def test_ids_of_another_tenant_are_not_found(client: TestClient, world: World) -> None:
    with world.database.write() as session:
        other = ledger.Caller(ensure_tenant(session, "other").id, "key:other")
        draft = ledger.DatasetDraft(
            name="theirs",
            manifest_uri="m",
            format="csv",
            root="/",
            class_names=["a"],
            rows=[ledger.SampleRow("x", 0, "train", "x.png", "0" * 64)],
        )
        theirs = ledger.register_dataset(session, other, draft).id
    problem(client.get(f"/v1/datasets/{theirs}"), 404, "not_found")
    problem(client.get(f"/v1/datasets/{theirs}/samples"), 404, "not_found")


def test_a_body_that_is_no_json_says_where(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    for url in ("/v1/deletion-requests", "/v1/models", "/v1/datasets", "/v1/audits"):
        response = client.post(url, content=b'{"model_id": ', headers=headers)
        assert "character" in problem(response, 400, "not_json")["detail"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/xml"])
def test_a_body_of_another_type_is_refused(client: TestClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = client.post("/v1/deletion-requests", content=b"{}", headers=headers)
    problem(response, 415, "unsupported_media_type")


def test_a_body_that_says_it_is_too_large_is_refused_unread(client: TestClient) -> None:
    response = client.post("/v1/deletion-requests", content=b" " * 100_001)
    problem(response, 413, "body_too_large")


def test_a_body_that_grows_too_large_is_refused(client: TestClient) -> None:
    chunks = (b" " * 1000 for _ in range(101))
    headers = {"Content-Type": "application/json"}
    response = client.post("/v1/deletion-requests", content=chunks, headers=headers)
    problem(response, 413, "body_too_large")


def test_an_upload_that_grows_too_large_is_refused(client: TestClient) -> None:
    files = {"model": ("m", b"{}"), "weights": ("w", b"0" * 100_001)}
    problem(client.post("/v1/models", files=files), 413, "body_too_large")


def test_schema_errors_point_at_the_place_and_repeat_nothing(client: TestClient) -> None:
    body = {"model_id": "secret-sample-1", "sample_ids": [""], "surprise": 1}
    document = problem(client.post("/v1/deletion-requests", json=body), 422, "invalid_request")
    pointers = {error["pointer"] for error in document["errors"]}
    assert pointers == {"/model_id", "/sample_ids/0", "/surprise"}
    assert "secret-sample-1" not in str(document)


def test_unknown_paths_and_methods_are_problems_too(client: TestClient) -> None:
    problem(client.get("/v2/models"), 404, "not_found")
    response = client.delete("/v1/models")
    problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


def test_a_failure_inside_is_told_in_general_words(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr(ledger, "list_models", fail)
    response = client.get("/v1/models", headers={"X-Request-Id": "trace-1"})
    document = problem(response, 500, "internal_error")
    assert document["request_id"] == "trace-1"
    assert "1234" not in response.text


def test_a_request_id_is_echoed_only_when_it_is_harmless(client: TestClient) -> None:
    echoed = client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"]
    assert echoed == "abc-1"
    made = client.get("/healthz", headers={"X-Request-Id": "a b<"}).headers["x-request-id"]
    assert made != "a b<"
    assert len(made) == 32


def test_bad_cursors_are_refused(client: TestClient, world: World) -> None:
    problem(client.get("/v1/models?cursor=x"), 422, "bad_cursor")
    url = f"/v1/datasets/{world.dataset_id}/samples?cursor=x"
    problem(client.get(url), 422, "bad_cursor")


@pytest.mark.parametrize("text", [r"\u0000", r"\ud800"])
def test_characters_that_no_database_holds_are_refused(client: TestClient, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    body = f'{{"sample_ids": ["secret{text}"]}}'
    response = client.post("/v1/deletion-requests", content=body, headers=headers)
    assert "secret" not in str(problem(response, 400, "not_json"))
    for url in ("/v1/deletion-requests?cursor=%00", "/v1/reports/%00/bundle"):
        problem(client.get(url), 422, "invalid_request")


@pytest.mark.parametrize("position", ["", "-1", "9" * 5000, "٣", "x"])
def test_cursors_that_a_caller_made_up_are_refused(
    client: TestClient, world: World, position: str
) -> None:
    for url in (
        f"/v1/models/{world.model_id}/versions",
        f"/v1/datasets/{world.dataset_id}/samples",
        "/v1/models",
    ):
        made_up = seal(f"{url}?", position)
        found = client.get(url, params={"cursor": made_up})
        assert found.status_code == 422, (url, found.text)


@pytest.mark.parametrize("label", [-1, 2**31, 2**62])
def test_labels_that_no_database_holds_are_refused(
    client: TestClient, world: World, label: int
) -> None:
    url = f"/v1/datasets/{world.dataset_id}/samples"
    problem(client.get(url, params={"label": label}), 422, "invalid_request")
    body = {"model_id": str(world.model_id), "labels": [label]}
    problem(client.post("/v1/deletion-requests", json=body), 422, "invalid_request")
