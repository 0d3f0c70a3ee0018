"""Webhook endpoints over HTTP: a secret once, hostile URLs refused, deliveries to be seen."""

import base64
import uuid
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from starlette.testclient import TestClient

from service.config import Settings
from service.database import Database
from service.keys import create_key, ensure_tenant
from service.ledger.announcing import EVENT_TYPES
from service.webhooks import Courier
from tests.service.couriers import deliver_due
from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.ledger.world import World
from tests.service.receiver import Receiver, listening

URL = "/v1/webhook-endpoints"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a receiver on this machine."""
    with listening() as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, data: Path, sqlite_database: Database) -> Settings:
    """Return settings with which this machine may be called."""
    return Settings(
        home=tmp_path / "home",
        database_url=sqlite_database.url.render_as_string(hide_password=False),
        data_roots=[data],
        outgoing_allow_http=True,
        outgoing_networks=(IPv4Network("127.0.0.0/8"),),
    )


@pytest.fixture
def courier(settings: Settings, sqlite_database: Database) -> Courier:
    """Return who delivers."""
    return Courier(settings, sqlite_database)


def register(client: TestClient, url: str, *event_types: str) -> dict[str, str]:
    """Register an endpoint and return it with its secret."""
    response = client.post(URL, json={"url": url, "event_types": event_types})
    assert response.status_code == 201, response.text
    made: dict[str, str] = response.json()
    return made


def test_a_secret_is_shown_once_and_never_again(client: TestClient, receiver: Receiver) -> None:
    response = client.post(URL, json={"url": receiver.url, "description": "ours"})
    made = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"))) == 32
    path = response.headers["location"]
    read = client.get(path).json()
    assert read == {name: value for name, value in made.items() if name != "secret"}
    assert client.get(URL).json() == {"items": [read], "next_cursor": None}
    assert (read["state"], read["event_types"]) == ("enabled", [])


def test_a_secret_lies_sealed_in_the_database(
    client: TestClient, receiver: Receiver, sqlite_database: Database
) -> None:
    secret = base64.b64decode(register(client, receiver.url)["secret"].removeprefix("whsec_"))
    path = Path(str(sqlite_database.url.database))
    kept = b"".join(found.read_bytes() for found in path.parent.glob(f"{path.name}*"))
    assert receiver.url.encode() in kept
    assert secret not in kept
    assert base64.b64encode(secret) not in kept


def test_a_test_message_is_delivered_seen_and_replayed(
    client: TestClient, receiver: Receiver, courier: Courier
) -> None:
    made = register(client, receiver.url, "request.failed")
    receiver.statuses = [500, 200]
    path = f"{URL}/{made['id']}"
    sent = client.post(f"{path}/test")
    assert sent.status_code == 202
    assert sent.json()["status"] == "pending"
    deliver_due(courier)
    (seen,) = client.get(f"{path}/deliveries").json()["items"]
    assert (seen["status"], seen["attempts"][0]["status_code"]) == ("pending", 500)
    assert seen["next_attempt_at"] is not None
    client.post(f"{path}/disable")
    client.post(f"{path}/enable")
    replayed = client.post(f"{path}/deliveries/{seen['id']}/replay")
    assert replayed.status_code == 202
    deliver_due(courier)
    (seen,) = client.get(f"{path}/deliveries").json()["items"]
    assert (seen["status"], len(seen["attempts"])) == ("delivered", 2)
    call = receiver.calls[-1]
    assert call.headers["webhook-id"] == seen["message_id"]
    assert Webhook(made["secret"]).verify(call.body, call.headers)["type"] == "webhook.test"


def test_a_rotated_secret_signs_beside_the_old_one(
    client: TestClient, receiver: Receiver, courier: Courier
) -> None:
    made = register(client, receiver.url)
    path = f"{URL}/{made['id']}"
    rotated = client.post(f"{path}/rotate", json={"overlap_s": 60}).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] is not None
    client.post(f"{path}/test")
    deliver_due(courier)
    (call,) = receiver.calls
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(call.body, call.headers)


def test_deliveries_come_in_pages(client: TestClient, receiver: Receiver) -> None:
    path = f"{URL}/{register(client, receiver.url)['id']}"
    sent = [client.post(f"{path}/test").json()["id"] for _ in range(5)]
    seen, cursor = [], ""
    while True:
        page = client.get(f"{path}/deliveries?limit=2{cursor}").json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == sent[::-1]
    problem(client.get(f"{path}/deliveries?cursor=x"), 422, "bad_cursor")


@pytest.mark.parametrize(
    "url",
    ["https://10.0.0.1/x", "https://169.254.169.254/", "ftp://example.com/", "https://u@e.com/"],
)
def test_hostile_urls_are_refused_with_a_reason(client: TestClient, url: str) -> None:
    document = problem(client.post(URL, json={"url": url}), 422, "url_refused")
    assert document["errors"][0]["pointer"] == "/url"
    assert url not in str(document)


def test_unknown_events_are_refused_and_the_known_ones_named(client: TestClient) -> None:
    order = {"url": "https://example.com/", "event_types": ["request.completed", "request.lost"]}
    detail = problem(client.post(URL, json=order), 422, "unknown_event_type")["detail"]
    assert all(name in detail for name in EVENT_TYPES)


def test_a_deleted_endpoint_is_not_found(client: TestClient, receiver: Receiver) -> None:
    path = f"{URL}/{register(client, receiver.url)['id']}"
    assert client.delete(path).status_code == 204
    for response in (
        client.get(path),
        client.delete(path),
        client.post(f"{path}/test"),
        client.post(f"{path}/enable"),
        client.get(f"{path}/deliveries"),
    ):
        problem(response, 404, "not_found")
    assert client.get(URL).json()["items"] == []


def test_a_disabled_endpoint_takes_no_test_and_no_replay(
    client: TestClient, receiver: Receiver
) -> None:
    path = f"{URL}/{register(client, receiver.url)['id']}"
    sent = client.post(f"{path}/test").json()["id"]
    assert client.post(f"{path}/disable").json()["reason_code"] == "disabled_by_caller"
    problem(client.post(f"{path}/disable"), 409, "illegal_move")
    problem(client.post(f"{path}/test"), 409, "endpoint_disabled")
    problem(client.post(f"{path}/deliveries/{sent}/replay"), 409, "endpoint_disabled")
    enabled = client.post(f"{path}/enable").json()
    assert (enabled["state"], enabled["reason_code"]) == ("enabled", None)


def test_there_is_an_end_to_endpoints(client: TestClient) -> None:
    for number in range(50):
        register(client, f"https://example.com/{number}")
    response = client.post(URL, json={"url": "https://example.com/"})
    assert problem(response, 409, "too_many_endpoints")["limit"] == 50


def test_endpoints_need_their_scope(anonymous: TestClient, make_key: MakeKey) -> None:
    headers = {"Authorization": f"Bearer {make_key('requests:write')}"}
    problem(anonymous.get(URL, headers=headers), 403, "insufficient_scope")


def test_another_tenant_sees_and_moves_nothing(
    client: TestClient, world: World, receiver: Receiver, courier: Courier
) -> None:
    path = f"{URL}/{register(client, receiver.url)['id']}"
    sent = client.post(f"{path}/test").json()["id"]
    with world.database.write() as session:
        _, token = create_key(session, ensure_tenant(session, "other").id, "theirs")
    theirs = {"Authorization": f"Bearer {token}"}
    for method, suffix, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
        ("POST", "/enable", None),
        ("POST", "/disable", None),
        ("POST", "/test", None),
        ("GET", "/deliveries", None),
        ("POST", f"/deliveries/{sent}/replay", None),
    ):
        response = client.request(method, path + suffix, headers=theirs, json=body)
        problem(response, 404, "not_found")
    assert client.get(URL, headers=theirs).json()["items"] == []
    mine = register(client, f"{receiver.url}/2")["id"]
    problem(client.post(f"{URL}/{mine}/deliveries/{sent}/replay"), 404, "not_found")
    problem(client.post(f"{URL}/{mine}/deliveries/{uuid.uuid4()}/replay"), 404, "not_found")
    deliver_due(courier)
    assert len(receiver.calls) == 1


def test_without_a_pepper_production_keeps_no_secrets(
    client: TestClient, settings: Settings
) -> None:
    settings.pepper_file.parent.mkdir(exist_ok=True, parents=True)
    settings.pepper_file.write_bytes(b"short")
    problem(client.post(URL, json={"url": "https://example.com/"}), 503, "pepper_missing")
