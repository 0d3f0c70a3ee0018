"""Checkpoints of the audit log over HTTP: signed on demand, listed, downloaded."""

from sqlalchemy import text
from starlette.testclient import TestClient

from service.checkpoints import read_checkpoint
from service.ledger import record_event
from service.verify import keys_of_jwks
from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.ledger.world import World

URL = "/v1/audit-log/checkpoints"


def test_a_checkpoint_is_signed_on_demand_listed_and_downloaded(
    client: TestClient, world: World
) -> None:
    problem(client.get("/v1/audit-log/checkpoint"), 404, "not_found")
    made = client.post(URL)
    assert made.status_code == 201
    again = client.post(URL)
    assert (again.status_code, again.json()) == (200, made.json())
    with world.database.write() as session:
        record_event(session, world.caller.tenant_id, "a", "thing.done", "things/1", {})
    second = client.post(URL).json()
    assert second["seq"] == made.json()["seq"] + 1
    listed = client.get(URL, params={"limit": 1}).json()
    rest = client.get(URL, params={"limit": 1, "cursor": listed["next_cursor"]}).json()
    assert listed["items"] + rest["items"] == [made.json(), second]
    file = client.get("/v1/audit-log/checkpoint")
    assert file.headers["content-type"] == "application/vnd.in-toto+json"
    assert file.json() == second["envelope"]
    keys = keys_of_jwks(client.get("/.well-known/jwks.json").json())
    tenant, anchor = read_checkpoint(file.content, keys)
    assert tenant == str(world.caller.tenant_id)
    assert (anchor.seq, anchor.hash) == (second["seq"], second["hash"])


def test_a_damaged_log_is_not_signed(client: TestClient, world: World) -> None:
    with world.database.write() as session:
        session.execute(text("DROP TRIGGER audit_events_no_update"))
        session.execute(text("UPDATE audit_events SET actor = 'b' WHERE seq = 2"))
    refused = problem(client.post(URL), 409, "log_damaged")
    assert [(entry["seq"], entry["kind"]) for entry in refused["damages"]] == [(2, "changed")]


def test_they_need_the_scope_of_the_log(client: TestClient, make_key: MakeKey) -> None:
    headers = {"Authorization": f"Bearer {make_key('reports:read')}"}
    for answer in (client.get(URL, headers=headers), client.post(URL, headers=headers)):
        problem(answer, 403, "insufficient_scope")
