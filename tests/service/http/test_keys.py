"""API keys over HTTP: seen once, never more than their maker, rotated without a gap."""

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.testclient import TestClient

from service.config import Settings
from service.keys import ROLES, SCOPES, create_key
from service.main import create_app
from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.ledger.world import World

URL = "/v1/keys"


def bearer(key: str) -> dict[str, str]:
    """Return the headers of a key."""
    return {"Authorization": f"Bearer {key}"}


def make(client: TestClient, **order: object) -> dict[str, Any]:
    """Make a key and return it."""
    response = client.post(URL, json={"name": "made", **order})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


def test_a_key_is_seen_once_and_opens(client: TestClient) -> None:
    response = client.post(URL, json={"name": "ci", "role": "auditor", "scopes": ["datasets:read"]})
    assert response.headers["cache-control"] == "no-store"
    made = response.json()
    assert set(made["scopes"]) == ROLES["auditor"] | {"datasets:read"}
    assert client.get("/v1/datasets", headers=bearer(made["key"])).status_code == 200
    found = client.get(response.headers["location"]).json()
    assert found.pop("last_used_at") is not None
    secret = made.pop("key")
    assert {**found, "last_used_at": None} == made
    listed = client.get(URL)
    assert secret.rpartition("_")[2] not in listed.text
    assert made["created_by"] in {f"key:{entry['prefix']}" for entry in listed.json()["items"]}


def test_a_key_gives_nothing_that_it_does_not_have(client: TestClient, make_key: MakeKey) -> None:
    lesser = bearer(make_key("keys:admin", "models:read"))
    more = client.post(URL, json={"name": "x", "role": "auditor"}, headers=lesser)
    assert problem(more, 403, "insufficient_scope")["scope"] == "audits:read"
    whole = client.post(URL, json={"name": "x"}, headers=lesser).json()
    assert set(whole["scopes"]) == {"keys:admin", "models:read"}
    able = make(client)
    assert set(able["scopes"]) == SCOPES
    stolen = client.post(f"{URL}/{able['id']}/rotate", json={}, headers=lesser)
    problem(stolen, 403, "insufficient_scope")
    assert client.post(f"{URL}/{whole['id']}/rotate", json={}, headers=lesser).status_code == 200


def test_a_key_outlives_its_maker_never(client: TestClient, world: World) -> None:
    end = datetime.now(UTC) + timedelta(days=1)
    with world.database.write() as session:
        tenant_id = world.caller.tenant_id
        short = bearer(create_key(session, tenant_id, "short", expires_at=end)[1])
    for wanted in (None, (end + timedelta(days=9)).isoformat()):
        made = client.post(URL, json={"name": "x", "expires_at": wanted}, headers=short).json()
        assert datetime.fromisoformat(made["expires_at"]) == end
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    problem(client.post(URL, json={"name": "x", "expires_at": past}), 422, "already_expired")
    naive = {"name": "x", "expires_at": "2030-01-01T00:00:00"}
    problem(client.post(URL, json=naive), 422, "invalid_request")


def test_a_key_is_rotated_without_a_gap(client: TestClient) -> None:
    old = make(client, scopes=["models:read"])
    rotated = client.post(f"{URL}/{old['id']}/rotate", json={"grace_s": 60}).json()
    assert (rotated["id"], rotated["prefix"]) == (old["id"], old["prefix"])
    for key in (old["key"], rotated["key"]):
        assert client.get("/v1/models", headers=bearer(key)).status_code == 200
    at_once = client.post(f"{URL}/{old['id']}/rotate", json={"grace_s": 0}).json()
    for key in (old["key"], rotated["key"]):
        problem(client.get("/v1/models", headers=bearer(key)), 401, "invalid_credentials")
    assert client.get("/v1/models", headers=bearer(at_once["key"])).status_code == 200


def test_a_revoked_key_is_listed_and_opens_nothing(client: TestClient) -> None:
    made = make(client)
    path = f"{URL}/{made['id']}"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 204
    problem(client.get("/v1/models", headers=bearer(made["key"])), 401, "invalid_credentials")
    assert client.get(path).json()["revoked_at"] is not None
    problem(client.post(f"{path}/rotate", json={}), 409, "key_revoked")


def test_scopes_and_roles_that_do_not_exist_are_refused(client: TestClient) -> None:
    problem(client.post(URL, json={"name": "x", "scopes": ["all"]}), 422, "unknown_scope")
    problem(client.post(URL, json={"name": "x", "role": "root"}), 422, "invalid_request")


def test_what_a_key_does_is_in_the_audit_log(client: TestClient) -> None:
    made = make(client)
    client.post(f"{URL}/{made['id']}/rotate", json={})
    client.delete(f"{URL}/{made['id']}")
    entries = client.get("/v1/audit-log?limit=1000").json()["items"]
    own = [entry["action"] for entry in entries if entry["resource"] == f"keys/{made['id']}"]
    assert own == ["key.created", "key.rotated", "key.revoked"]
    assert made["key"] not in str(entries)


def test_quotas_are_told_by_name(settings: Settings, world: World, make_key: MakeKey) -> None:
    changes = {"quota_keys": 2, "quota_open_requests": 1, "quota_models": 1, "quota_datasets": 1}
    app = create_app(settings.model_copy(update=changes))
    body = {"model_id": str(world.model_id), "sample_ids": ["s0"], "policy": "first-look"}
    with TestClient(app, headers=bearer(make_key())) as client:
        assert client.post(URL, json={"name": "second"}).status_code == 201
        third = problem(client.post(URL, json={"name": "third"}), 409, "quota_exceeded")
        assert (third["quota"], third["limit"]) == ("keys", 2)
        assert client.post("/v1/deletion-requests", json=body).status_code == 202
        more = client.post("/v1/deletion-requests", json={**body, "sample_ids": ["s1"]})
        assert problem(more, 409, "quota_exceeded")["quota"] == "open_requests"
        again = {"name": "again", "manifest_uri": "manifest.csv"}
        other = client.post("/v1/datasets", json=again)
        assert problem(other, 409, "quota_exceeded")["quota"] == "datasets"
        world.work("PASS")
        later = client.post("/v1/deletion-requests", json={**body, "sample_ids": ["s1"]})
        assert later.status_code == 202
