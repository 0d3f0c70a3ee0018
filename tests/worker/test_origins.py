"""The id of an HTTP call is on every log line of the work that it caused, on the real stack."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from service.cli.operating import Sweeper
from service.origins import Origin, bound
from service.tables import DeletionRequest, Job
from tests.worker.installation import empty_database, install, settings_for, until


def test_dispatcher_worker_and_child_log_the_call_that_caused_a_job(
    tmp_path: Path, weights: Path, postgres_url: str, redis_url: str
) -> None:
    url = empty_database(postgres_url, "origins")
    settings = settings_for(tmp_path / "home", database_url=url, broker_url=redis_url)
    stack = install(settings)
    model_id = stack.model(weights)
    with bound(Origin("call-7")):
        request_id = stack.retrain_request(model_id)
    stop, log = threading.Event(), tmp_path / "log"
    sweeper = threading.Thread(target=Sweeper(settings).run, args=(stop,))
    sweeper.start()
    names = ("home", "database_url", "broker_url")
    told = {f"EXPUNGE_{name.upper()}": str(getattr(settings, name)) for name in names}
    told |= {"EXPUNGE_DATA_ROOTS": f'["{settings.data_roots[0]}"]', "EXPUNGE_THREADS": "1"}
    with log.open("wb") as out:
        command = [sys.executable, "-m", "service.cli", "worker"]
        process = subprocess.Popen(command, env=os.environ | told, stderr=out)
    try:
        until(lambda: _verdict(stack.database, request_id) == "RETRAINED")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        stop.set()
        sweeper.join()
    with stack.database.read() as session:
        request = session.get_one(DeletionRequest, request_id)
        jobs = session.query(Job).filter(Job.run_id == request.run_id).all()
    stack.database.close()
    lines = re.sub(r"\x1b\[\d*m", "", log.read_text()).splitlines()
    assert jobs
    for job in jobs:
        own = [line for line in lines if f"job_id={job.id}" in line]
        events = ("job claimed", "job started", "job ended")
        assert all(any(event in line for line in own) for event in events)
        assert all("request_id=call-7" in line for line in own)
        assert all(f"run_id={request.run_id}" in line for line in own)


def _verdict(database: object, request_id: object) -> str | None:
    with database.read() as session:  # type: ignore[attr-defined]
        found: str | None = session.get_one(DeletionRequest, request_id).verdict
    return found
