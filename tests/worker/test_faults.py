"""What the machine does to a job: full disks, devices that fail, a database that restarts."""

import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
import torch
from sqlalchemy import update

from service.tables import DeletionRequest, Job, JobKind, JobStatus
from tests.worker.installation import (
    Installation,
)
from worker import supervisor
from worker.errors import TransientFailure, machine_failure
from worker.execution.failures import as_failure
from worker.publishing import publish_artifacts
from worker.runtime import Runtime
from worker.supervisor import run_job, run_next


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "out_of_memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "out_of_memory",
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out_of_memory"),
        (RuntimeError("CUDA error: an illegal memory access\nCompile with"), "device_fault"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "device_fault"),
        (torch.AcceleratorError("device-side assert triggered"), "device_fault"),
        (OSError(errno.ENOSPC, "No space left on device", "/srv/secret"), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (RuntimeError("write failed: No space left on device (os error 28)"), "disk_full"),
    ],
)
def test_what_the_machine_did_is_named_and_tried_again(error: Exception, code: str) -> None:
    failure = as_failure(error)
    assert isinstance(failure, TransientFailure)
    assert failure.code == code
    assert "secret" not in failure.detail
    assert "Compile with" not in failure.detail


def test_a_mistake_in_the_program_is_not_the_machines() -> None:
    assert as_failure(RuntimeError("mat1 and mat2 shapes cannot be multiplied")).kind == "fatal"
    assert as_failure(OSError(errno.EACCES, "denied", "/srv/secret")).code == "internal_error"


def test_a_failing_disk_is_told_without_its_path() -> None:
    failure = machine_failure(OSError(errno.EIO, "Input/output error", "/srv/secret"))
    assert (failure.code, failure.kind) == ("input_output", "transient")
    assert "EIO" in failure.detail
    assert "secret" not in failure.detail


@pytest.fixture
def model_id(installation: Installation, runtime: Runtime, weights: Path) -> UUID:
    """A model whose check has passed."""
    made = installation.model(weights)
    assert run_job(runtime, installation.job_id(JobKind.CHECK)) == "completed"
    return made


def test_a_storage_without_room_fails_the_job_for_now_and_leaves_no_half_file(
    installation: Installation,
    runtime: Runtime,
    model_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request_id = installation.retrain_request(model_id)
    job_id = installation.job_id(JobKind.UNLEARN)
    full = installation.settings.home / "storage" / "temporary" / "full"
    full.symlink_to("/dev/full")  # where every write ends in ENOSPC
    with monkeypatch.context() as patch:
        patch.setattr("service.storage.uuid.uuid4", lambda: SimpleNamespace(hex="full"))
        assert run_job(runtime, job_id) == "failed"
    job = installation.job(job_id)
    assert (job.status, job.failures) == (JobStatus.QUEUED, 1)
    assert job.error is not None
    assert job.error["code"] == "disk_full"
    assert not full.is_symlink()
    with installation.database.write() as session:
        session.execute(update(Job).values(not_before=None))
    for kind in (JobKind.UNLEARN, JobKind.AUDIT):
        assert run_job(runtime, installation.job_id(kind)) == "completed"
    with installation.database.read() as session:
        assert session.get_one(DeletionRequest, request_id).verdict == "RETRAINED"


def test_a_worker_without_room_for_its_working_folder_fails_the_job_for_now(
    installation: Installation,
    runtime: Runtime,
    model_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation.retrain_request(model_id)
    job_id = installation.job_id(JobKind.UNLEARN)
    gone = runtime.workdirs._own
    monkeypatch.setattr(runtime.workdirs, "_own", gone / "not" / "there")
    assert run_job(runtime, job_id) == "failed"
    error = installation.job(job_id).error
    assert error is not None
    assert (error["code"], error["kind"]) == ("input_output", "transient")


def test_an_artifact_that_goes_away_before_it_is_named_fails_the_job_for_now(
    installation: Installation,
    runtime: Runtime,
    model_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation.retrain_request(model_id)
    job_id = installation.job_id(JobKind.UNLEARN)

    def publish_and_lose(*arguments: object) -> object:
        published = publish_artifacts(*arguments)  # type: ignore[arg-type]
        for artifact in published.values():
            installation.storage.delete(artifact["uri"])
        return published

    monkeypatch.setattr(supervisor, "publish_artifacts", publish_and_lose)
    assert run_job(runtime, job_id) == "failed"
    job = installation.job(job_id)
    assert job.status == JobStatus.QUEUED
    assert job.error is not None
    assert job.error["code"] == "artifact_gone"


def test_a_message_is_answered_with_the_most_urgent_job(
    installation: Installation, runtime: Runtime, model_id: UUID, weights: Path
) -> None:
    installation.retrain_request(model_id)
    woken = installation.job_id(JobKind.UNLEARN)
    installation.model(weights, 2)
    check = installation.job_id(JobKind.CHECK)
    assert run_next(runtime, woken) == "completed"
    assert installation.job(check).status == JobStatus.COMPLETED
    assert installation.job(woken).status == JobStatus.QUEUED
    assert run_next(runtime, check) == "completed"
    assert installation.job(woken).status == JobStatus.COMPLETED


def test_memory_that_the_kernel_takes_back_is_told_as_such(
    installation: Installation, runtime: Runtime, model_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.retrain_request(model_id)
    job_id = installation.job_id(JobKind.UNLEARN)
    start = runtime.fork_server.start

    def start_and_kill() -> object:
        child = start()
        os.kill(child.pid, signal.SIGKILL)  # what the out-of-memory killer sends
        return child

    monkeypatch.setattr(runtime.fork_server, "start", start_and_kill)
    assert run_job(runtime, job_id) == "failed"
    error = installation.job(job_id).error
    assert error is not None
    assert (error["code"], error["kind"]) == ("killed", "transient")
    assert "memory" in error["detail"]
