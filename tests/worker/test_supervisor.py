"""One job from claim to ending, whatever happens to it on the way."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import update

from service import ledger
from service.tables import DeletionRequest, Job, JobKind, JobStatus, Model, ModelStatus
from tests.worker.installation import Installation, until, write_weights
from worker import supervisor
from worker.publishing import publish_artifacts
from worker.runtime import Runtime
from worker.supervisor import run_job

FOREVER = 10_000


def ready_model(installation: Installation, runtime: Runtime, weights: Path, epochs: int) -> UUID:
    model_id = installation.model(weights, epochs)
    assert run_job(runtime, installation.job_id(JobKind.CHECK)) == "completed"
    return model_id


@contextmanager
def running(runtime: Runtime, job_id: UUID) -> Iterator[list[str]]:
    """Run a job in a thread; the list holds its outcome once the block has been left."""
    outcomes: list[str] = []
    thread = threading.Thread(target=lambda: outcomes.append(run_job(runtime, job_id)))
    thread.start()
    until(lambda: bool(children(runtime)))
    yield outcomes
    thread.join()


def children(runtime: Runtime) -> list[int]:
    pid = runtime.fork_server.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def endless(installation: Installation, runtime: Runtime, weights: Path) -> UUID:
    """An unlearning job that would take minutes."""
    model_id = ready_model(installation, runtime, weights, FOREVER)
    installation.retrain_request(model_id)
    return installation.job_id(JobKind.UNLEARN)


def test_weights_that_fit_make_the_model_ready(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    model_id = ready_model(installation, runtime, weights, 1)
    with installation.database.read() as session:
        model = session.get_one(Model, model_id)
    assert model.status == ModelStatus.READY
    assert model.check_result == {"classifier": "head", "num_parameters": 163, "feature_dim": 8}


def test_a_request_is_served_and_its_report_signed(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    model_id = ready_model(installation, runtime, weights, 1)
    request_id = installation.retrain_request(model_id)
    for kind in (JobKind.UNLEARN, JobKind.AUDIT):
        assert run_job(runtime, installation.job_id(kind)) == "completed"
    with installation.database.read() as session:
        request = session.get_one(DeletionRequest, request_id)
        report = ledger.report_of_request(session, installation.caller, request_id)
    assert request.verdict == "RETRAINED"
    assert b'"keyid"' in report.envelope
    assert all(part["checks"] for part in report.statement["predicate"]["audit"]["parts"])


def test_a_second_message_for_a_job_does_nothing(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    installation.model(weights)
    job_id = installation.job_id(JobKind.CHECK)
    assert run_job(runtime, job_id) == "completed"
    assert run_job(runtime, job_id) == "unclaimed"


def test_a_job_leaves_no_working_folder(runtime: Runtime, endless: UUID) -> None:
    with running(runtime, endless):
        runtime.stopping.set()
    assert not list(runtime.workdirs._own.glob(f"{endless}*"))


def fails_with(installation: Installation, runtime: Runtime) -> str:
    job_id = installation.job_id(JobKind.CHECK)
    assert run_job(runtime, job_id) == "failed"
    job = installation.job(job_id)
    assert job.status == JobStatus.FAILED
    assert job.error is not None
    assert job.error["kind"] == "usage"
    return str(job.error["code"])


def test_weights_of_another_network_are_refused(
    installation: Installation, runtime: Runtime, tmp_path: Path
) -> None:
    other = write_weights(tmp_path / "other.safetensors", in_features=16, hidden=[9])
    installation.model(other)
    assert fails_with(installation, runtime) == "weights_mismatch"


def test_weights_with_nan_are_refused(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    tensors = load_file(weights)
    tensors["head.bias"] = torch.full_like(tensors["head.bias"], torch.nan)
    save_file(tensors, weights)
    installation.model(weights)
    assert fails_with(installation, runtime) == "weights_not_finite"


def test_bytes_that_are_no_weights_are_refused(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    weights.write_bytes(b"\x80\x04\x95 a pickle, perhaps" * 10)
    installation.model(weights)
    assert fails_with(installation, runtime).startswith("weights_")


def test_a_classifier_that_is_not_there_is_refused(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    installation.model(weights, classifier="fc")
    assert fails_with(installation, runtime) == "classifier_not_found"


def test_images_that_the_network_cannot_read_are_refused(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    preprocessing = {"mean": [0.5], "std": [0.25], "size": [5, 5], "channels": 1}
    installation.model(weights, preprocessing=preprocessing)
    assert fails_with(installation, runtime) == "inputs_mismatch"


def test_a_changed_image_ends_the_request_with_a_reason(
    installation: Installation, runtime: Runtime, weights: Path
) -> None:
    model_id = ready_model(installation, runtime, weights, 1)
    (installation.settings.data_roots[0] / "tiny" / "7.png").write_bytes(b"hostile")
    request_id = installation.retrain_request(model_id)
    assert run_job(runtime, installation.job_id(JobKind.UNLEARN)) == "failed"
    with installation.database.read() as session:
        request = session.get_one(DeletionRequest, request_id)
    assert request.reason_code == "image_digest_mismatch"
    assert "1 of 72 images" in str(request.reason)


def test_a_killed_child_is_tried_again(
    installation: Installation, runtime: Runtime, endless: UUID
) -> None:
    with running(runtime, endless) as outcomes:
        os.kill(children(runtime)[0], signal.SIGKILL)
    job = installation.job(endless)
    assert outcomes == ["failed"]
    assert (job.status, job.failures, job.attempt) == (JobStatus.QUEUED, 1, 1)
    assert job.error is not None
    assert job.error["code"] == "killed"


def test_a_worker_that_stops_gives_its_job_back_unharmed(
    installation: Installation, runtime: Runtime, endless: UUID
) -> None:
    with running(runtime, endless) as outcomes:
        runtime.stopping.set()
    job = installation.job(endless)
    assert outcomes == ["released"]
    assert (job.status, job.failures) == (JobStatus.QUEUED, 0)
    assert children(runtime) == []


def test_a_cancelled_request_stops_its_job(
    installation: Installation, runtime: Runtime, endless: UUID
) -> None:
    quick = replace(runtime, settings=runtime.settings.model_copy(update={"lease_s": 0.3}))
    with running(quick, endless) as outcomes, installation.database.write() as session:
        run_id = session.get_one(Job, endless).run_id
        request = session.query(DeletionRequest).filter_by(run_id=run_id).one()
        ledger.cancel_request(session, installation.caller, request.id)
    assert outcomes == ["cancelled"]
    assert installation.job(endless).status == JobStatus.CANCELLED
    assert children(runtime) == []


def test_a_stolen_lease_publishes_nothing(
    installation: Installation, runtime: Runtime, endless: UUID
) -> None:
    before = installation.stored()
    quick = replace(runtime, settings=runtime.settings.model_copy(update={"lease_s": 0.3}))
    with running(quick, endless) as outcomes, installation.database.write() as session:
        session.execute(update(Job).where(Job.id == endless).values(attempt=Job.attempt + 1))
    assert outcomes == ["lost"]
    assert installation.stored() == before
    assert children(runtime) == []


def test_a_result_that_comes_after_the_lease_was_stolen_changes_nothing(
    installation: Installation,
    runtime: Runtime,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation.model(weights)
    job_id = installation.job_id(JobKind.CHECK)

    def steal(*arguments: object) -> object:
        with installation.database.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(attempt=Job.attempt + 1))
        return publish_artifacts(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(supervisor, "publish_artifacts", steal)
    assert run_job(runtime, job_id) == "lost"
    assert installation.job(job_id).status == JobStatus.RUNNING


def test_a_job_that_takes_too_long_is_ended(
    installation: Installation, runtime: Runtime, endless: UUID
) -> None:
    assert run_job(replace(runtime, timeout_s=0.5), endless) == "failed"
    job = installation.job(endless)
    assert job.error is not None
    assert job.error["code"] == "timed_out"
    assert children(runtime) == []


def test_the_child_of_a_real_job_holds_no_credentials(runtime: Runtime, endless: UUID) -> None:
    with running(runtime, endless):
        environment = Path(f"/proc/{children(runtime)[0]}/environ").read_bytes()
        runtime.stopping.set()
    assert b"EXPUNGE_" not in environment
