"""One job from wake-up to ending: claim, child, lease, result.

    claim ─▶ workdir, specification ─▶ child ─▶ result ─▶ artifacts published ─▶ ledger.complete
                                         │ cancelled, lost, worker stopping, timeout, killed
                                         ▼
                                       child killed ─▶ ledger.release | ledger.fail | nothing

The supervisor holds the credentials and never touches what the child decodes; it imports no torch.
Every write carries the claim, so that nothing happens when a later attempt exists.
"""

import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import structlog

from service import ledger
from service.errors import Conflict, ServiceError
from service.ledger import Claim, JobError
from service.storage import StorageError
from worker.conversation import MAX_DETAIL, converse
from worker.errors import FatalFailure, JobFailure, TransientFailure
from worker.forkserver import ForkServerError
from worker.packaging import with_paths, write_samples
from worker.publishing import ArtifactRefused, publish_artifacts
from worker.renewal import Renewal
from worker.runtime import Runtime

Outcome = Literal["unclaimed", "completed", "failed", "released", "cancelled", "lost"]

_log = structlog.get_logger("worker.supervisor")


class _Interrupted(Exception):
    """The job ends here without a result and without a failure of its own."""

    def __init__(self, outcome: Literal["released", "cancelled", "lost"]) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass(frozen=True)
class _Attempt:
    """One claimed attempt and what it works with."""

    runtime: Runtime
    claim: Claim
    renewal: Renewal
    workdir: Path


def run_job(runtime: Runtime, job_id: UUID) -> Outcome:
    """Run the job unless somebody else has it, and write its ending into the ledger.

    A database that fails is raised, with the child gone: the lease runs out and the sweeper sends
    the job again.
    """
    lease_s = runtime.settings.lease_s
    with runtime.database.write() as session:
        claim = ledger.claim(session, job_id, runtime.owner, lease_s)
    if claim is None:
        return "unclaimed"
    log = _log.bind(job_id=str(job_id), kind=str(claim.kind), attempt=claim.attempt)
    log.info("job claimed")
    renew = partial(_renew, runtime, claim)
    with Renewal(renew, lease_s) as renewal, runtime.workdirs.job(str(job_id)) as workdir:
        outcome = _attend(_Attempt(runtime, claim, renewal, workdir))
    log.info("job ended", outcome=outcome)
    return outcome


def _renew(runtime: Runtime, claim: Claim, progress: dict[str, Any] | None) -> str:
    with runtime.database.write() as session:
        return ledger.renew(session, claim, runtime.settings.lease_s, progress)


def _attend(attempt: _Attempt) -> Outcome:
    """Run the child and record how the attempt ended."""
    database, claim = attempt.runtime.database, attempt.claim
    try:
        result = _result_of_child(attempt)
        _stop_if_told(attempt)
        attempt.renewal.stop()  # the lease outlives what is left to do; `complete` is fenced
        done = _complete(attempt, result)
    except _Interrupted as interrupted:
        return _interrupt(attempt, interrupted.outcome)
    except JobFailure as failure:
        detail = failure.detail[:MAX_DETAIL]
        with database.write() as session:
            written = ledger.fail(session, claim, JobError(failure.kind, failure.code, detail))
        _log.warning("job failed", job_id=str(claim.job_id), code=failure.code, detail=detail)
        return "failed" if written else "lost"
    return "completed" if done else "lost"


def _complete(attempt: _Attempt, result: dict[str, Any]) -> bool:
    """Write the result down, with signed reports where it closes requests; False: fenced out."""
    runtime = attempt.runtime
    try:
        with runtime.database.write() as session:
            return ledger.complete(session, attempt.claim, result, runtime.publish)
    except (ValueError, ServiceError) as error:
        raise FatalFailure("result_refused", f"The result was refused: {error}") from error


def _interrupt(attempt: _Attempt, outcome: Literal["released", "cancelled", "lost"]) -> Outcome:
    """Give the job back, unless another worker may have it already."""
    if outcome == "lost":
        return outcome
    with attempt.runtime.database.write() as session:
        written = ledger.release(session, attempt.claim)
    return outcome if written else "lost"


def _result_of_child(attempt: _Attempt) -> dict[str, Any]:
    """Return the child's result with its artifacts published.

    Raises:
        _Interrupted: The worker stops, the job was cancelled, or its lease is lost.
        JobFailure: The child failed, died, took too long, or its artifacts are not sound.
    """
    runtime, workdir = attempt.runtime, attempt.workdir
    times = [time.perf_counter()]
    try:
        spec = _prepare(attempt)
        times.append(time.perf_counter())
        result = converse(
            runtime.fork_server.start(),
            spec,
            report=attempt.renewal.report,
            check=partial(_stop_if_told, attempt),
            timeout_s=runtime.timeout_s,
        )
        times.append(time.perf_counter())
        _stop_if_told(attempt)  # a lost job publishes nothing
        result["artifacts"] = publish_artifacts(result["artifacts"], workdir, runtime.storage)
    except StorageError as error:
        raise TransientFailure("artifact_unreadable", str(error)) from error
    except ForkServerError as error:
        raise TransientFailure("no_child", "The worker could not start a process.") from error
    except ArtifactRefused as error:
        raise FatalFailure("artifact_refused", str(error)) from error
    times.append(time.perf_counter())
    steps = ("package", "child", "publish")
    seconds = [round(end - start, 4) for start, end in pairwise(times)]
    return result | {"supervisor_seconds": dict(zip(steps, seconds, strict=True))}


def _prepare(attempt: _Attempt) -> dict[str, Any]:
    """Write the job's samples and return its specification, with paths for storage keys."""
    runtime, workdir = attempt.runtime, attempt.workdir
    samples = workdir / "samples.arrow"
    try:
        with runtime.database.read() as session:
            package = ledger.build_package(session, attempt.claim)
            write_samples(package.samples, samples)
    except Conflict as error:
        raise _Interrupted("lost") from error
    cache = None
    if package.cache_key is not None:
        cache = runtime.settings.cache_root / package.cache_key
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    spec: dict[str, Any] = with_paths(package.spec, runtime.storage, workdir)
    return spec | {
        "workdir": str(workdir),
        "samples": str(samples),
        "data_root": package.data_root,
        "cache_dir": None if cache is None else str(cache),
        "threads": runtime.threads,
        "device": runtime.settings.device,
    }


def _stop_if_told(attempt: _Attempt) -> None:
    """Raise when the lease is lost, the job cancelled, or the worker is to end."""
    answer = attempt.renewal.answer
    if answer != "ok":
        raise _Interrupted("cancelled" if answer == "cancel" else "lost")
    if attempt.runtime.stopping.is_set():
        raise _Interrupted("released")
