"""A database that goes away under a worker, for a moment or for longer than a lease."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from service import ledger
from service.database import Database
from service.tables import JobKind, JobStatus
from tests.servers import POSTGRES, Server, serve
from tests.worker.installation import (
    Installation,
    empty_database,
    install,
    settings_for,
    until,
)
from worker.runtime import Runtime
from worker.supervisor import run_job


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL of this module's own, to be killed."""
    with serve(*POSTGRES) as server:
        yield server


@pytest.fixture
def production(server: Server, tmp_path: Path) -> Iterator[Installation]:
    url = empty_database(server.url, "faults")
    made = install(settings_for(tmp_path / "production", database_url=url))
    with closing(made.database):
        yield made


def attached(runtime: Runtime, to: Installation, lease_s: float = 30) -> Runtime:
    """Return a runtime that works for another installation, with its own pool of connections."""
    settings = to.settings.model_copy(update={"lease_s": lease_s})
    database = Database.from_settings(settings)
    return replace(runtime, settings=settings, database=database, storage=to.storage)


@contextmanager
def restarted(server: Server, after_s: float) -> Iterator[None]:
    """Kill the server now and start it again a while later."""
    server.stop(signal.SIGKILL)
    thread = threading.Timer(after_s, server.start)
    thread.start()
    yield
    thread.join()


@contextmanager
def killed_at_completion(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kill the database just before the result is written, and start it half a second later."""
    complete = ledger.complete
    timers: list[threading.Timer] = []

    def kill_and_complete(*arguments: object) -> object:
        if not timers:
            server.stop(signal.SIGKILL)
            timers.append(threading.Timer(0.5, server.start))
            timers[0].start()
        return complete(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "complete", kill_and_complete)
    yield
    timers[0].join()


def test_a_database_that_restarts_within_a_lease_costs_nothing(
    server: Server,
    production: Installation,
    runtime: Runtime,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    production.model(weights)
    job_id = production.job_id(JobKind.CHECK)
    with killed_at_completion(server, monkeypatch):
        own = attached(runtime, production)
        outcome = run_job(own, job_id)
    job = production.job(job_id)
    assert outcome == "completed"
    assert (job.status, job.attempt, job.failures) == (JobStatus.COMPLETED, 1, 0)
    own.database.close()


def test_a_database_that_stays_away_is_raised_once_the_lease_is_over(
    server: Server, production: Installation, runtime: Runtime, weights: Path
) -> None:
    production.model(weights)
    job_id = production.job_id(JobKind.CHECK)
    own = attached(runtime, production, 0.3)
    began = time.monotonic()
    with restarted(server, 2.0), pytest.raises(OperationalError):
        run_job(own, job_id)
    assert time.monotonic() - began >= 0.3
    assert production.job(job_id).status == JobStatus.QUEUED
    own.database.close()


def test_no_child_outlives_a_worker_whose_database_is_gone(
    server: Server, production: Installation, runtime: Runtime, weights: Path
) -> None:
    own = attached(runtime, production)
    model_id = production.model(weights, 10_000)
    assert run_job(own, production.job_id(JobKind.CHECK)) == "completed"
    production.retrain_request(model_id)
    job_id = production.job_id(JobKind.UNLEARN)
    own.database.close()
    own = attached(runtime, production, 0.5)
    outcomes: list[str] = []
    thread = threading.Thread(target=lambda: outcomes.append(run_job(own, job_id)))
    thread.start()
    pid = runtime.fork_server.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    until(lambda: bool(children.read_text()))
    with restarted(server, 3.0):
        thread.join()
        assert children.read_text() == ""
    assert outcomes == ["lost"]
    own.database.close()
