"""Calls as spans: of the caller's trace, without anything personal, and at no cost of a call."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service import tracing
from service.config import Settings
from service.main import create_app
from service.tables import DeletionRequest, Job
from tests.service.http.conftest import MakeKey
from tests.service.ledger.world import World
from tests.service.receiver import Receiver, listening
from tests.spans import collected, endpoint

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACE = f"00-{TRACE_ID}-{PARENT_ID}-01"
CANARIES = ("zanzibar", "quetzal", "wombat")


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


@contextmanager
def served(settings: Settings, url: str, key: str) -> Iterator[TestClient]:
    """Yield a client of a service that sends its spans to `url`, until it has ended."""
    app = create_app(Settings(**settings.model_dump() | {"otlp_endpoint": url}))

    @app.get("/broken/{place}")
    def _broken(place: str) -> None:
        raise LookupError(f"zanzibar of {place}")

    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


def test_a_call_is_a_span_of_its_callers_trace_and_jobs_come_from_it(
    settings: Settings, world: World, make_key: MakeKey, collector: Receiver
) -> None:
    body = {"model_id": str(world.model_id), "sample_ids": ["s0"]}
    with served(settings, endpoint(collector), make_key()) as client:
        answer = client.post("/v1/deletion-requests", json=body, headers={"traceparent": TRACE})
    (span,) = collected(collector)  # the end of the service sent it
    assert (span.process, span.kind) == ("expunge-api", "server")
    assert (span.trace_id, span.parent_id, span.links) == (TRACE_ID, PARENT_ID, ())
    assert span.name == "POST /v1/deletion-requests"
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/deletion-requests",
        "http.response.status_code": answer.status_code,
    }
    assert not span.failed
    with world.database.read() as session:
        request = session.get_one(DeletionRequest, uuid.UUID(answer.json()["id"]))
        jobs = session.query(Job).filter(Job.run_id == request.run_id).all()
    assert jobs
    assert {request.traceparent, *(job.traceparent for job in jobs)} == {span.traceparent}


@pytest.mark.parametrize("given", [{}, {"traceparent": f"ff{TRACE[2:]}"}])
def test_a_call_without_a_usable_context_begins_a_trace(
    settings: Settings, world: World, make_key: MakeKey, collector: Receiver, given: dict[str, str]
) -> None:
    with served(settings, endpoint(collector), make_key()) as client:
        client.get("/healthz", headers=given)
        client.get("/healthz", headers=given)
    first, second = collected(collector)
    assert first.trace_id != second.trace_id
    assert (first.parent_id, second.parent_id) == ("", "")
    assert TRACE_ID not in {first.trace_id, second.trace_id}


def test_a_caller_that_does_not_record_is_followed(
    settings: Settings, world: World, make_key: MakeKey, collector: Receiver
) -> None:
    body = {"model_id": str(world.model_id), "sample_ids": ["s0"]}
    unsampled = f"{TRACE[:-2]}00"
    with served(settings, endpoint(collector), make_key()) as client:
        client.post("/v1/deletion-requests", json=body, headers={"traceparent": unsampled})
    assert collected(collector) == []
    with world.database.read() as session:
        kept = {row.traceparent for row in session.query(DeletionRequest)}
    assert [(text[3:35], text[-2:]) for text in kept if text] == [(TRACE_ID, "00")]


def test_a_failure_is_told_by_its_class_alone(
    settings: Settings, world: World, make_key: MakeKey, collector: Receiver
) -> None:
    with served(settings, endpoint(collector), make_key()) as client:
        assert client.get("/broken/quetzal").status_code == 500
        assert client.get("/v1/models/quetzal").status_code in {404, 422}
    broken, refused = collected(collector)
    assert (broken.failed, refused.failed) == (True, False)
    assert broken.name == "GET /broken/{place}"
    assert broken.attributes["error.type"] == "LookupError"
    assert broken.attributes["http.response.status_code"] == 500


def test_no_id_name_key_or_query_is_in_a_span(
    settings: Settings,
    world: World,
    make_key: MakeKey,
    collector: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # what would have FastAPI send spans, metrics and logs of its own
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint(collector))
    key = make_key()
    with served(settings, endpoint(collector), key) as client:
        for body in (
            {"model_id": str(world.model_id), "sample_ids": ["zanzibar-1"]},
            {"model_id": "wombat", "subject_request_id": "quetzal"},
        ):
            told = {"X-Request-Id": "wombat", "Idempotency-Key": "quetzal", "baggage": "a=zanzibar"}
            told |= {"tracestate": "quetzal=1", "traceparent": TRACE, "User-Agent": "wombat"}
            client.post("/v1/deletion-requests?note=quetzal", json=body, headers=told)
        client.get("/v1/deletion-requests?cursor=zanzibar&status=quetzal")
        client.get(f"/v1/models/{world.model_id}")
        client.get("/broken/quetzal")
        client.get("/nowhere/zanzibar?key=wombat")
        client.request("WOMBAT", "/v1/models")
    assert len(collected(collector)) == 7
    assert {"GET", "HTTP /v1/models"} < {span.name for span in collected(collector)}
    sent = b"".join(call.body for call in collector.calls)
    ids = (str(world.model_id), str(world.caller.tenant_id), key.rpartition("_")[2])
    found = [word for word in (*CANARIES, *ids) if word.lower().encode() in sent.lower()]
    assert found == []


@pytest.mark.parametrize("status", [None, 400, 503])
def test_a_collector_that_is_away_or_refuses_costs_no_call(
    settings: Settings, world: World, make_key: MakeKey, status: int | None
) -> None:
    with listening() as receiver, pytest.MonkeyPatch.context() as patched:
        receiver.statuses = [status or 200]
        patched.setattr(tracing, "EXPORT_TIMEOUT_S", 1.0)
        patched.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")  # ms: it is asked between the calls
        url = "http://127.0.0.1:9" if status is None else endpoint(receiver)
        with served(settings, url, make_key()) as client:
            answers = {client.get(f"/v1/models/{world.model_id}").status_code for _ in range(9)}
    assert answers == {200}
    assert bool(receiver.calls) == (status is not None)


WORKER_AND_SWEEPER = """
import worker.tasks
from service.cli.operating import Sweeper, migrate
from service.config import get_settings
from worker.runtime import Runtime
migrate()
sweeper = Sweeper(get_settings())
sweeper.dispatch()
sweeper._database.close()
runtime = Runtime.open(get_settings())
with runtime.tracing.span("job", "consumer", sys.argv[1]) as span:
    assert span.traceparent == sys.argv[1]
runtime.close()
loaded = [name for name in sys.modules if name.startswith("opentelemetry")]
"""
API = """
from starlette.testclient import TestClient
from service.cli.operating import migrate
from service.main import create_app
migrate()
with TestClient(create_app()) as client:
    assert client.get("/readyz", headers={"traceparent": sys.argv[1]}).status_code == 200
# FastAPI itself loads the API, and the SDK's metrics where they are installed
parts = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto")
loaded = [name for name in sys.modules if name.startswith(parts)]
"""


@pytest.mark.parametrize("code", [WORKER_AND_SWEEPER, API], ids=["worker, sweeper", "api"])
def test_nothing_of_opentelemetry_is_loaded_where_it_is_off(tmp_path: Path, code: str) -> None:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("EXPUNGE_")}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('loaded:', loaded)", TRACE],
        env=inherited | {"EXPUNGE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded: []\n"), done.stdout
