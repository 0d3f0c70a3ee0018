"""Real workers on both stacks: SQLite with the filesystem broker, PostgreSQL with Valkey."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.cli.operating import Sweeper
from service.config import Settings
from service.tables import DeletionRequest, JobKind, JobStatus
from tests.worker.installation import (
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
def worker(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker as `expunge worker` does; it is killed if it still runs at the end."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EXPUNGE_")},
        "EXPUNGE_HOME": str(settings.home),
        "EXPUNGE_DATABASE_URL": settings.database_url,
        "EXPUNGE_BROKER_URL": settings.broker_url,
        "EXPUNGE_LEASE_S": str(settings.lease_s),
        "EXPUNGE_THREADS": "1",
        "EXPUNGE_DEVICE": "cpu",
    }
    command = [sys.executable, "-m", "service.cli", "worker"]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
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
