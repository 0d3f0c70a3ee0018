"""A creating call with an `Idempotency-Key` happens once, however often it is sent."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from service import idempotency, ledger
from service.config import Settings
from service.database import Database
from service.database import now as ledger_now
from service.errors import Conflict
from service.ledger import Caller, Price, RequestOrder, calls
from service.ledger.calls import HeldCall, KeptAnswer, NamedCall
from service.tables import DeletionRequest, IdempotencyKey
from tests.service.http.conftest import MakeKey, safetensors
from tests.service.http.test_errors import problem
from tests.service.http.test_requests import closed, wish
from tests.service.ledger.world import World

URL = "/v1/deletion-requests"
KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


def test_a_request_that_is_sent_again_gets_the_first_answer(
    client: TestClient, world: World
) -> None:
    first = client.post(URL, json=wish(world, "s0"), headers=KEY)
    world.work("PASS")
    again = client.post(URL, json=wish(world, "s0"), headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("location", "retry-after", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(world.all(DeletionRequest)) == 1


def test_the_same_key_with_and_without_quotes_is_one(client: TestClient, world: World) -> None:
    client.post(URL, json=wish(world, "s0"), headers={"Idempotency-Key": "k"})
    again = client.post(URL, json=wish(world, "s0"), headers={"Idempotency-Key": '"k"'})
    assert again.headers["idempotent-replayed"] == "true"


def test_the_same_key_with_another_body_is_refused(client: TestClient, world: World) -> None:
    client.post(URL, json=wish(world, "s0"), headers=KEY)
    refused = problem(
        client.post(URL, json=wish(world, "s1"), headers=KEY), 422, "idempotency_key_reused"
    )
    assert refused["errors"][0]["pointer"] == "/header/Idempotency-Key"
    assert len(world.all(DeletionRequest)) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, '"', "ü"])
def test_a_key_that_is_none_is_refused(client: TestClient, world: World, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    problem(client.post(URL, json=wish(world, "s0"), headers=headers), 422, "invalid_request")


def test_a_refused_call_gives_its_key_back(client: TestClient, world: World) -> None:
    for body, code in ((wish(world, "nobody"), "unknown_samples"), ({}, "invalid_request")):
        problem(client.post(URL, json=body, headers=KEY), 422, code)
    assert world.all(IdempotencyKey) == []
    assert client.post(URL, json=wish(world, "s0"), headers=KEY).status_code == 202


def test_a_failed_call_gives_its_key_back(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "open_request", fail)
        problem(client.post(URL, json=wish(world, "s0"), headers=KEY), 500, "internal_error")
    assert client.post(URL, json=wish(world, "s0"), headers=KEY).status_code == 202


def test_keys_belong_to_a_tenant_and_a_route(client: TestClient, world: World) -> None:
    client.post(URL, json=wish(world, "s0"), headers=KEY)
    url = f"/v1/models/{world.model_id}/qualifications"
    body = {"method": "muda", "policy": "first-look", "trials": 2}
    made = client.post(url, json=body, headers=KEY)
    assert made.status_code == 202, made.text
    assert "idempotent-replayed" not in made.headers
    assert client.post(url, json=body, headers=KEY).json() == made.json()


def test_a_replay_needs_the_scope_of_the_call(
    client: TestClient, world: World, make_key: MakeKey
) -> None:
    client.post(URL, json=wish(world, "s0"), headers=KEY)
    headers = {**KEY, "Authorization": f"Bearer {make_key('requests:read')}"}
    problem(client.post(URL, json=wish(world, "s0"), headers=headers), 403, "insufficient_scope")


def test_uploads_are_recognised_whatever_their_boundary(
    client: TestClient, world: World, data: Path
) -> None:
    manifest = (data / "manifest.csv").read_bytes()
    order = json.dumps({"name": "again", "root": str(data)})

    def send(content: bytes, boundary: str) -> Any:  # noqa: ANN401 - httpx's own type is private
        files: Any = {"dataset": (None, order), "manifest": ("m.csv", content)}
        headers = {**KEY, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        return client.post("/v1/datasets", files=files, headers=headers)

    first, again = send(manifest, "one"), send(manifest, "two")
    assert first.status_code == 201, first.text
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    problem(send(manifest + b"\nd,1,train,images/b.png", "one"), 422, "idempotency_key_reused")


WITHOUT_KEY = {
    "/v1/audit-log/checkpoints",  # the same head is signed once
    "/v1/keys",  # the answer holds a secret, which is kept nowhere
    "/v1/opendsr/requests",  # its own number of a request does the same
    "/v1/webhook-endpoints",  # as well
    "/v1/webhook-endpoints/{endpoint_id}/test",
    "/v1/webhook-endpoints/{endpoint_id}/deliveries/{delivery_id}/replay",
}


def test_every_call_that_creates_takes_a_key(client: TestClient, data: Path, world: World) -> None:
    document = client.get("/openapi.json").json()
    creating = {
        path
        for path, operations in document["paths"].items()
        if {"201", "202"} & set(operations.get("post", {}).get("responses", {}))
    }
    named = {
        path
        for path in creating
        if any(
            entry["name"] == "Idempotency-Key"
            for entry in document["paths"][path]["post"].get("parameters", [])
        )
    }
    assert creating - named == WITHOUT_KEY
    assert len(named) >= 7


def test_a_model_and_an_audit_are_registered_once(
    signing_world: World, client: TestClient, data: Path
) -> None:
    world = signing_world
    (data / "other.safetensors").write_bytes(safetensors({"by": "vendor"}))
    body = {
        "name": "twice",
        "dataset_id": str(world.dataset_id),
        "architecture": "expunge:mlp",
        "preprocessing": {"mean": [0.5], "std": [0.5], "size": [8, 8], "channels": 1},
        "weights_uri": "weights.safetensors",
    }
    audit = {
        "model_id": str(world.model_id),
        "sample_ids": ["s3"],
        "label": "vendor",
        "policy": "first-look",
        "weights_uri": "other.safetensors",
    }
    request = closed(client, world, "s0")
    urls: list[tuple[str, dict[str, Any] | None]] = [("/v1/models", body), ("/v1/audits", audit)]
    urls += [(f"{URL}/{request['id']}/reproductions", None)] if request["verdict"] else []
    for url, wanted in urls:
        first = client.post(url, json=wanted, headers=KEY)
        if first.status_code == 409:  # the world's images are no files
            problem(first, 409, "images_unreadable")
            continue
        assert first.status_code in (201, 202), first.text
        assert client.post(url, json=wanted, headers=KEY).json() == first.json()


def test_only_digests_are_kept(client: TestClient, world: World) -> None:
    client.post(URL, json=wish(world, "s0"), headers={"Idempotency-Key": "the-callers-own"})
    [row] = world.all(IdempotencyKey)
    kept = repr({name: value for name, value in vars(row).items() if name != "_sa_instance_state"})
    assert "the-callers-own" not in kept
    assert '"s0"' not in kept


def _call(body: str = "b") -> NamedCall:
    return NamedCall("POST /x", "/x", "key", body)


def _begin(world: World, call: NamedCall | None = None) -> HeldCall | KeptAnswer:
    with world.database.write() as session:
        return ledger.begin_call(session, world.caller, call or _call(), 30)


@pytest.fixture
def both(database: Database) -> World:
    """Return a company on each kind of database."""
    return World(database)


def test_a_second_call_meets_the_first_in_flight(both: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _attempt(both), range(16)))
    assert sorted(answers) == ["held", *["idempotency_key_in_use"] * 15]


def _attempt(world: World) -> str:
    try:
        return "held" if isinstance(_begin(world), HeldCall) else "kept"
    except Conflict as error:
        return error.code


def test_a_call_that_was_overtaken_creates_nothing(
    both: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LOCK_S", -1)
    first, second = _begin(both), _begin(both)
    assert isinstance(first, HeldCall)
    assert isinstance(second, HeldCall)
    answer = KeptAnswer(201, {"Location": "/x/1"}, b"{}")
    with pytest.raises(Conflict) as caught, both.database.write() as session:
        ledger.keep_answer(session, first, answer)
    assert caught.value.code == "idempotency_key_in_use"
    with both.database.write() as session:
        ledger.drop_call(session, first)  # as it ends, it may not take the second one's key along
        ledger.keep_answer(session, second, answer)
    assert _begin(both) == answer


def test_a_key_can_name_another_call_once_its_time_is_over(both: World) -> None:
    held = _begin(both)
    assert isinstance(held, HeldCall)
    with both.database.write() as session:
        ledger.keep_answer(session, held, KeptAnswer(201, {}, b"{}"))
        row = session.scalars(select(IdempotencyKey)).one()
        past = row.expires_at.replace(year=2000)
        session.execute(update(IdempotencyKey).values(expires_at=past))
    assert isinstance(_begin(both, _call("another")), HeldCall)


def test_the_sweep_deletes_keys_whose_time_is_over(both: World) -> None:
    _begin(both)
    with both.database.write() as session:
        ledger.sweep(session, Settings())
        assert session.scalars(select(IdempotencyKey)).one()
        past = session.scalars(select(IdempotencyKey.expires_at)).one().replace(year=2000)
        session.execute(update(IdempotencyKey).values(expires_at=past))
        ledger.sweep(session, Settings())
        assert session.scalars(select(IdempotencyKey)).all() == []


def test_a_call_at_work_renews_its_lock_until_it_is_answered(both: World) -> None:
    held = _begin(both)
    assert isinstance(held, HeldCall)
    with both.database.write() as session:
        session.execute(update(IdempotencyKey).values(locked_until=ledger_now(session)))
        assert ledger.renew_call(session, held)
    assert _attempt(both) == "idempotency_key_in_use"
    with both.database.write() as session:
        ledger.keep_answer(session, held, KeptAnswer(201, {}, b"x"))
        assert not ledger.renew_call(session, held)


def test_the_service_renews_while_a_route_runs(
    client: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "RENEW_S", 0.01)
    price = ledger.price_request
    seen: list[datetime] = []

    def slow(session: Session, caller: Caller, order: RequestOrder) -> Price:
        for _ in range(2000):
            if len(set(seen)) == 3:
                break
            time.sleep(0.01)
            with world.database.read() as other:
                seen.extend(other.scalars(select(IdempotencyKey.locked_until)))
        return price(session, caller, order)

    monkeypatch.setattr(ledger, "price_request", slow)
    body = wish(world, "s0", dry_run=True)
    response = client.post("/v1/deletion-requests", json=body, headers={"Idempotency-Key": "k"})
    assert response.status_code == 200, response.text
    assert sorted(seen) == seen
    assert len(set(seen)) == 3
    assert world.all(IdempotencyKey) == []
