"""Real workers on both stacks: SQLite with the filesystem broker, PostgreSQL with Valkey."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.cli.operating import Sweeper
from service.client import ENVELOPE, ExpungeClient, ExpungeProblem
from service.config import Settings
from service.keys import SCOPES, create_key, ensure_tenant
from service.tables import DeletionRequest, JobKind, JobStatus
from tests.worker.installation import (
    ARCHITECTURE,
    KWARGS,
    PREPROCESSING,
    TRAIN,
    Installation,
    empty_database,
    install,
    settings_for,
    until,
)

FOREVER = 10_000


@pytest.fixture(params=["embedded", "production"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """An installation on either stack, with its dispatcher and sweeper running."""
    home = tmp_path / "home"
    changes: dict[str, object] = {"lease_s": 2.0, "sweep_interval_s": 0.5}
    if request.param == "production":
        changes["database_url"] = empty_database(request.getfixturevalue("postgres_url"), "stack")
        changes["broker_url"] = request.getfixturevalue("redis_url")
    installation = install(settings_for(home, **changes))
    stop = threading.Event()
    sweeper = threading.Thread(target=Sweeper(installation.settings).run, args=(stop,))
    sweeper.start()
    yield installation
    stop.set()
    sweeper.join()
    installation.database.close()


@contextmanager
def worker(settings: Settings, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `expunge worker`, or another command; it is killed if it still runs at the end."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EXPUNGE_")},
        "EXPUNGE_HOME": str(settings.home),
        "EXPUNGE_DATABASE_URL": settings.database_url,
        "EXPUNGE_BROKER_URL": settings.broker_url,
        "EXPUNGE_LEASE_S": str(settings.lease_s),
        "EXPUNGE_THREADS": "1",
        "EXPUNGE_DEVICE": "cpu",
        "EXPUNGE_DATA_ROOTS": f'["{settings.data_roots[0]}"]',
    }
    arguments = [sys.executable, "-m", "service.cli", *(command or ("worker",))]
    process = subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def verdict_of(stack: Installation, request_id: object) -> str | None:
    with stack.database.read() as session:
        return session.get_one(DeletionRequest, request_id).verdict


def test_a_request_goes_all_the_way(stack: Installation, weights: Path) -> None:
    model_id = stack.model(weights)
    request_id = stack.retrain_request(model_id)
    with worker(stack.settings) as process:
        until(lambda: verdict_of(stack, request_id) == "RETRAINED")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert not list((stack.settings.home / "work").glob("worker-*"))


@contextmanager
def client_of(stack: Installation) -> Iterator[ExpungeClient]:
    """Serve the HTTP interface and talk to it with a key of its own."""
    with stack.database.write() as session:
        tenant = ensure_tenant(session)
        _, key = create_key(session, tenant.id, "test", sorted(SCOPES))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (
        worker(stack.settings, "serve", "--port", str(port)) as process,
        ExpungeClient(f"http://127.0.0.1:{port}", key) as client,
    ):
        until(lambda: process.poll() is not None or _is_ready(client))
        yield client


def _is_ready(client: ExpungeClient) -> bool:
    try:
        return bool(client.ready())
    except ExpungeProblem:
        return False


def test_from_posted_ids_to_a_signed_report_over_http(stack: Installation, weights: Path) -> None:
    root = stack.settings.data_roots[0]
    with client_of(stack) as client, worker(stack.settings):
        rows = [f"id-{n},{n % 3},{'train' if n < TRAIN else 'holdout'},{n}.png" for n in range(72)]
        manifest = root / "tiny" / "manifest.csv"
        manifest.write_text("\n".join(["sample_id,label,split,uri", *rows]))
        dataset = client.register_dataset("posted", manifest)
        model = client.register_model(
            *("posted", dataset["id"], weights),
            upload=True,
            architecture=ARCHITECTURE,
            architecture_kwargs=KWARGS,
            preprocessing=PREPROCESSING,
            recipe={"epochs": 1, "batch_size": 16, "shift": 0},
        )
        assert client.wait_for_model(model["id"])["status"] == "ready"
        ids = [f"id-{n}" for n in range(0, TRAIN, 3)]
        first = client.open_request(model["id"], ids, policy="first-look")
        second = client.open_request(model["id"], ["id-1"], policy="first-look")
        closed = [client.wait(request["id"]) for request in (first, second)]
        reports = [client.report(request["id"])["predicate"] for request in closed]
        envelope = json.loads(client.report(first["id"], ENVELOPE))
        numbers = [version["number"] for version in client.versions(model["id"])]
    assert [request["status"] for request in closed] == ["completed", "completed"]
    assert [len(report["lineage"]["references"]) for report in reports] == [19, 19]
    assert [report["lineage"]["dataset"]["retain"] for report in reports] == [32, 31]
    assert [report["scope"] for report in reports] == ["class", "instance"]
    assert all(report["tries"] and report["audit"] for report in reports)
    assert all(report["near_duplicates"]["near"] is not None for report in reports)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert len(numbers) >= 3


def start_endless(stack: Installation, weights: Path) -> object:
    """Request what takes minutes and return its job once it exists."""
    model_id = stack.model(weights, FOREVER)
    check = stack.job_id(JobKind.CHECK)
    stack.retrain_request(model_id)
    until(lambda: stack.job(check).status == JobStatus.COMPLETED)
    return stack.job_id(JobKind.UNLEARN)


def test_sigterm_gives_the_job_back_and_ends_the_worker(stack: Installation, weights: Path) -> None:
    with worker(stack.settings) as process:
        job_id = start_endless(stack, weights)
        until(lambda: stack.job(job_id).progress is not None)  # type: ignore[arg-type]
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    job = stack.job(job_id)  # type: ignore[arg-type]
    assert (job.status, job.failures) == (JobStatus.QUEUED, 0)


@pytest.mark.slow
def test_a_worker_killed_hard_loses_no_job(stack: Installation, weights: Path) -> None:
    with worker(stack.settings) as process:
        job_id = start_endless(stack, weights)
        until(lambda: stack.job(job_id).progress is not None)  # type: ignore[arg-type]
        process.kill()
        process.wait()
    until(lambda: stack.job(job_id).status == JobStatus.QUEUED)  # type: ignore[arg-type]
    with worker(stack.settings):
        until(lambda: stack.job(job_id).attempt == 2)  # type: ignore[arg-type]
    job = stack.job(job_id)  # type: ignore[arg-type]
    assert job.failures == 1
