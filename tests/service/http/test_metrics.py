"""What Prometheus reads: figures of HTTP and of the ledger, without an id of anything."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from starlette.testclient import TestClient

from service.config import Settings
from service.main import create_app
from service.tables import DeletionRequest
from tests.service.http.conftest import MakeKey
from tests.service.ledger.world import World

ALERTS = Path(__file__).parents[3] / "deploy" / "alerts.yml"


@pytest.fixture
def local(settings: Settings, client: TestClient) -> TestClient:
    """A client with an address of this machine, and the other one's key."""
    made = TestClient(create_app(settings), client=("127.0.0.1", 50_000))
    made.headers["Authorization"] = client.headers["Authorization"]
    return made


def scraped(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    with client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_the_ledgers_figures_are_those_of_the_database(local: TestClient, world: World) -> None:
    world.request("s0")
    late = world.request("s1")
    with world.database.write() as session:
        session.execute(
            update(DeletionRequest)
            .where(DeletionRequest.id == late)
            .values(due_at=DeletionRequest.received_at)
        )
    found = scraped(local)
    assert found["expunge_open_requests", (("left", "overdue"),)] == 1
    assert (
        found["expunge_open_requests", (("left", "30_days"),)]
        + found["expunge_open_requests", (("left", "later"),)]
        == 1
    )
    assert found["expunge_jobs", (("kind", "check"), ("status", "completed"))] == 1
    assert found["expunge_jobs", (("kind", "unlearn"), ("status", "queued"))] == 1
    assert found["expunge_outbox_due", ()] >= 1
    assert found["expunge_queue_age_seconds", ()] > 0
    world.dispatch()
    assert scraped(local)["expunge_outbox_due", ()] == 0


def test_a_lease_that_ran_out_shows(local: TestClient, world: World) -> None:
    world.request("s0")
    claim = world.claim(world.dispatch()[0])
    assert claim is not None
    assert scraped(local)["expunge_jobs_silent", ()] == 0
    world.expire(claim.job_id)
    lost = ("expunge_job_leases_lost_total", (("kind", claim.kind),))
    found = scraped(local)
    assert (found["expunge_jobs_silent", ()], found[lost]) == (1, 0)
    assert world.claim(claim.job_id) is not None
    found = scraped(local)
    assert (found["expunge_jobs_silent", ()], found[lost]) == (0, 1)


def test_requests_are_counted_by_template_and_no_label_holds_an_id(
    local: TestClient, world: World
) -> None:
    request_id = world.request("s0")
    name, labels = (
        "expunge_http_requests_total",
        (
            ("method", "GET"),
            ("route", "/v1/deletion-requests/{request_id}"),
            ("status", "200"),
        ),
    )
    before = scraped(local).get((name, labels), 0)
    with local:
        local.get(f"/v1/deletion-requests/{request_id}")
        local.get("/nowhere/s0")
        local.request("BREW", "/v1/models")
    found = scraped(local)
    assert found[name, labels] == before + 1
    texts = {value for _, labels in found for _, value in labels}
    assert "unrouted" in texts
    assert "other" in texts
    ids = (str(request_id), str(world.model_id), str(world.caller.tenant_id), "s0", "BREW")
    assert not [text for text in texts if any(one in text for one in ids)]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-Ip"])
def test_what_a_proxy_passes_on_finds_no_metrics(local: TestClient, header: str) -> None:
    with local:
        assert local.get("/metrics", headers={header: "127.0.0.1"}).status_code == 404


@pytest.mark.parametrize("address", ["203.0.113.7", "testclient", "2001:db8::1"])
def test_strangers_find_no_metrics(settings: Settings, world: World, address: str) -> None:
    with TestClient(create_app(settings), client=(address, 1)) as stranger:
        answer = stranger.get("/metrics")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_networks_can_be_opened(settings: Settings, world: World, make_key: MakeKey) -> None:
    opened = Settings(**settings.model_dump() | {"metrics_networks": ["203.0.113.0/24"]})
    with TestClient(create_app(opened), client=("203.0.113.7", 1)) as client:
        assert client.get("/metrics").status_code == 200


def test_every_metric_of_the_alerts_is_served(local: TestClient, world: World) -> None:
    world.request("s0")
    scraped(local)  # so that a request is counted
    served = {name for name, _ in scraped(local)}
    rules = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    named = {name for rule in rules for name in re.findall(r"expunge_\w+", rule["expr"])}
    assert len(named) > 8
    assert named <= served
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)
