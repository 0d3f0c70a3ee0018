"""Rate limits: by key and by tenant, told in headers, never the cause of a failure."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.config import Settings
from service.keys import create_key, ensure_tenant
from service.main import create_app
from tests.servers import VALKEY, serve
from tests.service.http.conftest import MakeKey
from tests.service.http.test_errors import problem
from tests.service.http.test_keys import bearer
from tests.service.http.test_requests import wish
from tests.service.ledger.world import World

URL = "/v1/models"


@pytest.fixture(params=["memory", "redis"])
def counted(request: pytest.FixtureRequest, settings: Settings, tmp_path: object) -> Settings:
    """Return settings of narrow limits, counted here or in Redis."""
    changes: dict[str, Any] = {
        "rate_key_reads": 3,
        "rate_key_writes": 2,
        "rate_tenant_reads": 5,
        "rate_tenant_writes": 0,
        "rate_window_s": 3600,
    }
    if request.param == "redis":
        changes["rate_limits_url"] = request.getfixturevalue("redis_url")
    return settings.model_copy(update=changes)


@contextmanager
def calling(settings: Settings) -> Iterator[TestClient]:
    """Serve with these settings."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def test_a_key_that_calls_too_often_is_told_when_to_come_back(
    counted: Settings, make_key: MakeKey
) -> None:
    headers = bearer(make_key())
    with calling(counted) as client:
        left = []
        for _ in range(3):
            response = client.get(URL, headers=headers)
            assert response.status_code == 200
            policies = response.headers["ratelimit-policy"].split(", ")
            assert policies == ['"key-reads";q=3;w=3600', '"tenant-reads";q=5;w=3600']
            left.append(response.headers["ratelimit"].rpartition(";t=")[0])
        assert left == ['"key-reads";r=2', '"key-reads";r=1', '"key-reads";r=0']
        refused = client.get(URL, headers=headers)
        document = problem(refused, 429, "rate_limited")
        assert document["violated-policies"] == ["key-reads"]
        wait = int(refused.headers["retry-after"])
        assert 3500 <= wait <= 3600
        assert refused.headers["ratelimit"] == f'"key-reads";r=0;t={wait}'


def test_reads_and_writes_are_counted_apart(
    counted: Settings, world: World, make_key: MakeKey
) -> None:
    headers = bearer(make_key())
    with calling(counted) as client:
        for sample in ("s0", "s1"):
            body = wish(world, sample)
            response = client.post("/v1/deletion-requests", json=body, headers=headers)
            assert response.status_code == 202
            assert response.headers["ratelimit-policy"] == '"key-writes";q=2;w=3600'
        refused = client.post("/v1/deletion-requests", json=wish(world, "s2"), headers=headers)
        problem(refused, 429, "rate_limited")
        assert client.get(URL, headers=headers).status_code == 200


def test_all_keys_of_a_tenant_count_together_and_no_other_tenants(
    counted: Settings, world: World, make_key: MakeKey
) -> None:
    with calling(counted) as client:
        statuses = [
            client.get(URL, headers=bearer(key)).status_code
            for key in (make_key(), make_key())
            for _ in range(3)
        ]
        assert statuses == [200] * 5 + [429]
        refused = client.get(URL, headers=bearer(make_key()))
        assert problem(refused, 429, "rate_limited")["violated-policies"] == ["tenant-reads"]
        with world.database.write() as session:
            other = create_key(session, ensure_tenant(session, "other").id, "other")[1]
        assert client.get(URL, headers=bearer(other)).status_code == 200


def test_what_needs_no_key_has_no_limit(counted: Settings) -> None:
    with calling(counted) as client:
        for _ in range(10):
            response = client.get("/healthz")
            assert response.status_code == 200
            assert "ratelimit" not in response.headers


def test_while_redis_is_away_nobody_is_refused_for_it(
    settings: Settings, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.rates.AWAY_S", 0.0)
    headers = bearer(make_key())
    with serve(*VALKEY) as redis:
        changes = {"rate_limits_url": redis.url, "rate_key_reads": 2}
        with calling(settings.model_copy(update=changes)) as client:
            assert client.get(URL, headers=headers).status_code == 200
            redis.stop(signal.SIGKILL)
            answers = [client.get(URL, headers=headers) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert answers[0].headers["ratelimit"].startswith('"key-reads";r=1')
            redis.start()
            assert client.get(URL, headers=headers).status_code == 200


def test_a_limit_of_nought_is_none(settings: Settings, make_key: MakeKey) -> None:
    changes = {"rate_key_reads": 0, "rate_tenant_reads": 0}
    with calling(settings.model_copy(update=changes)) as client:
        response = client.get(URL, headers=bearer(make_key()))
        assert "ratelimit" not in response.headers
