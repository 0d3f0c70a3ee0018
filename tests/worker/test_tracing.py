"""One trace from an HTTP call through the queue to the attempts at its jobs, on the real stack."""

import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.testclient import TestClient

from service.cli.operating import Sweeper
from service.keys import create_key
from service.main import create_app
from service.origins import Origin, bound
from service.tables import DeletionRequest, Job, JobKind
from tests.service.receiver import Receiver, listening
from tests.spans import Seen, collected, endpoint
from tests.worker.installation import (
    Installation,
    empty_database,
    environment,
    install,
    settings_for,
    until,
)
from worker import supervisor
from worker.runtime import Runtime

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
PERSON = "quetzal"


def test_a_call_its_messages_and_its_jobs_are_one_trace(
    tmp_path: Path, weights: Path, postgres_url: str, redis_url: str
) -> None:
    with listening() as collector:
        settings = settings_for(
            tmp_path / "home",
            database_url=empty_database(postgres_url, "tracing"),
            broker_url=redis_url,
            otlp_endpoint=endpoint(collector),
        )
        stack = install(settings)
        model_id = stack.model(weights)
        with _working(stack):
            request = _ask(stack, model_id)
            until(lambda: _is_closed(stack, request))
        jobs = _jobs_of(stack, request)
        stack.database.close()
    _check_trace(collector, jobs)
    sent = b"".join(call.body for call in collector.calls)
    for leak in (PERSON, "id-0", "id-4", "tiny", "model-", str(model_id)):
        assert leak.encode() not in sent, leak


def _check_trace(collector: Receiver, jobs: list[Job]) -> None:
    spans = [span for span in collected(collector) if span.trace_id == TRACE_ID]
    (call,) = (span for span in spans if span.kind == "server")
    assert call.process == "expunge-api"
    sends = {span.span_id: span for span in spans if span.kind == "producer"}
    attempts = {str(span.attributes["expunge.job.id"]): span for span in _of("consumer", spans)}
    assert set(attempts) == {str(job.id) for job in jobs}
    assert {span.process for span in sends.values()} == {"expunge-sweep"}
    for job in jobs:
        span = attempts[str(job.id)]
        assert (span.process, span.parent_id, span.failed) == ("expunge-worker", call.span_id, 0)
        (link,) = span.links
        assert sends[link].parent_id == call.span_id
        told = {name.removeprefix("expunge."): span.attributes[name] for name in span.attributes}
        assert told["job.kind"] == str(job.kind)
        assert told["job.outcome"] == "completed"
        assert (told["job.attempt"], told["run.id"]) == (1, str(job.run_id))
        parts = [other.name for other in spans if other.parent_id == span.span_id]
        assert parts == ["package", "child", "publish"]


def _of(kind: str, spans: list[Seen]) -> list[Seen]:
    return [span for span in spans if span.kind == kind]


def _ask(stack: Installation, model_id: uuid.UUID) -> uuid.UUID:
    """Ask over HTTP for two samples to be forgotten, in a trace of the caller's."""
    with stack.database.write() as session:
        _, key = create_key(session, stack.caller.tenant_id, "admin")
    body = {
        "model_id": str(model_id),
        "sample_ids": ["id-0", "id-4"],
        "subject_request_id": PERSON,
        "ladder": ["retrain"],
        "audit": "none",
    }
    known = {"Authorization": f"Bearer {key}", "traceparent": TRACE}
    with TestClient(create_app(stack.settings)) as client:
        answer = client.post("/v1/deletion-requests", json=body, headers=known)
    assert answer.status_code in {201, 202}, answer.text
    return uuid.UUID(answer.json()["id"])


@contextmanager
def _working(stack: Installation) -> Iterator[None]:
    """Run a sweeper and a worker, and end both as their operator does."""
    stop = threading.Event()
    sweeper = threading.Thread(target=Sweeper(stack.settings).run, args=(stop,))
    sweeper.start()
    command = [sys.executable, "-m", "service.cli", "worker"]
    process = subprocess.Popen(command, env=environment(stack.settings))
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        stop.set()
        sweeper.join()


def _is_closed(stack: Installation, request_id: uuid.UUID) -> bool:
    jobs = _jobs_of(stack, request_id)
    return bool(jobs) and all(job.finished_at is not None for job in jobs)


def _jobs_of(stack: Installation, request_id: uuid.UUID) -> list[Job]:
    with stack.database.read() as session:
        request = session.get_one(DeletionRequest, request_id)
        return session.query(Job).filter(Job.run_id == request.run_id).all()


def recorded(runtime: Runtime) -> InMemorySpanExporter:
    """Let a worker keep its spans in memory."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    runtime.tracing.use(provider)
    return exporter


def attempts_of(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name.startswith("job ")]


def test_a_failed_attempt_is_an_error_without_its_words(
    runtime: Runtime, installation: Installation, weights: Path
) -> None:
    exporter = recorded(runtime)
    with bound(Origin("call-7", TRACE)):
        model_id = installation.model(weights)
        installation.retrain_request(model_id)
    assert supervisor.run_job(runtime, installation.job_id(JobKind.CHECK)) == "completed"
    damaged = installation.settings.data_roots[0] / "tiny" / "9.png"
    damaged.write_bytes(b"no image")
    job_id = installation.job_id(JobKind.UNLEARN)
    assert supervisor.run_job(runtime, job_id) == "failed"
    check, training = attempts_of(exporter)
    assert (check.status.status_code, training.status.status_code) == (
        StatusCode.UNSET,
        StatusCode.ERROR,
    )
    assert training.attributes is not None
    assert training.attributes["expunge.job.outcome"] == "failed"
    texts = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert installation.job(job_id).error is not None
    assert not [leak for leak in ("9.png", "id-9", "no image", "tiny") if leak in texts]
    assert TRACE_ID in texts


def test_an_attempt_without_a_cause_begins_a_trace(
    runtime: Runtime, installation: Installation, weights: Path
) -> None:
    exporter = recorded(runtime)
    installation.model(weights)
    assert supervisor.run_job(runtime, installation.job_id(JobKind.CHECK)) == "completed"
    (attempt,) = attempts_of(exporter)
    assert attempt.parent is None
    assert not attempt.links
