"""One job from wake-up to ending: claim, child, lease, result.

    claim ─▶ workdir, specification ─▶ child ─▶ result ─▶ artifacts published ─▶ ledger.complete
                                         │ cancelled, lost, worker stopping, timeout, killed
                                         ▼
                                       child killed ─▶ ledger.release | ledger.fail | nothing

The supervisor holds the credentials and never touches what the child decodes; it imports no torch.
Every write carries the claim, so that nothing happens when a later attempt exists.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from service import ledger
from service.broker import JOB_ID, LOG_HEADERS, MESSAGING
from service.errors import Conflict, ServiceError
from service.ledger import Claim, JobError
from service.origins import Origin, bound
from service.storage import StorageError
from service.tracing import Span
from worker.conversation import MAX_DETAIL, converse
from worker.errors import FatalFailure, JobFailure, TransientFailure, machine_failure
from worker.forkserver import ForkServerError
from worker.packaging import with_paths, write_samples
from worker.publishing import ArtifactRefused, publish_artifacts
from worker.renewal import Renewal
from worker.runtime import Runtime

RETRY_S = 0.1

_T = TypeVar("_T")

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


def run_next(runtime: Runtime, woken: UUID) -> Outcome:
    """Run the most urgent job that is to be had; the one that was woken may be claimed by then."""
    for job_id in (*_patiently(runtime, partial(_urgent, runtime)), woken):
        outcome = run_job(runtime, job_id)
        if outcome != "unclaimed":
            return outcome
    return "unclaimed"


def _urgent(runtime: Runtime) -> list[UUID]:
    with runtime.database.read() as session:
        return ledger.urgent_jobs(session)


def run_job(runtime: Runtime, job_id: UUID) -> Outcome:
    """Run the job unless somebody else has it, and write its ending into the ledger.

    A database that stays away is raised, with the child gone: the lease runs out and the sweeper
    sends the job again.
    """
    lease_s = runtime.settings.lease_s
    claim = _write(runtime, lambda session: ledger.claim(session, job_id, runtime.owner, lease_s))
    if claim is None:
        return "unclaimed"
    with _traced(runtime, claim) as span:
        structlog.contextvars.unbind_contextvars(*LOG_HEADERS)  # those of the job that was woken
        origin = claim.origin._replace(traceparent=span.traceparent)
        with bound(origin, run_id=claim.run_id, job_id=job_id, attempt=claim.attempt):
            _log.info("job claimed", kind=str(claim.kind))
            renew = partial(_renew, runtime, claim)
            with Renewal(renew, lease_s) as renewal:
                outcome = _attend(_Attempt(runtime, claim, renewal))
            _log.info("job ended", kind=str(claim.kind), outcome=outcome)
        span.tell({"expunge.job.outcome": outcome})
        if outcome in {"failed", "lost"}:
            span.fail(outcome)
    return outcome


@contextmanager
def _traced(runtime: Runtime, claim: Claim) -> Iterator[Span]:
    """Make a span of an attempt: caused by the call behind its job, led here by a message."""
    message = Origin.present().traceparent
    with runtime.tracing.span(
        f"job {claim.kind}", "consumer", claim.origin.traceparent, message
    ) as span:
        span.tell(
            {
                **MESSAGING,
                "messaging.operation.type": "process",
                JOB_ID: str(claim.job_id),
                "expunge.run.id": None if claim.run_id is None else str(claim.run_id),
                "expunge.job.kind": str(claim.kind),
                "expunge.job.attempt": claim.attempt,
            }
        )
        yield span


def _write(runtime: Runtime, change: Callable[[Session], _T]) -> _T:
    """Make a change in the ledger, patiently.

    A commit whose answer was lost is made twice; every change is fenced, so the second does
    nothing.
    """

    def transact() -> _T:
        with runtime.database.write() as session:
            return change(session)

    return _patiently(runtime, transact)


def _patiently(runtime: Runtime, work: Callable[[], _T]) -> _T:
    """Try again for a lease's time while the database is away, as during its restart."""
    deadline = time.monotonic() + runtime.settings.lease_s
    while True:
        try:
            return work()
        except (OperationalError, InterfaceError):
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def _renew(runtime: Runtime, claim: Claim, progress: dict[str, Any] | None) -> str:
    with runtime.database.write() as session:
        return ledger.renew(session, claim, runtime.settings.lease_s, progress)


def _attend(attempt: _Attempt) -> Outcome:
    """Run the child and record how the attempt ended."""
    runtime, claim = attempt.runtime, attempt.claim
    try:
        result = _result_of_child(attempt)
        _stop_if_told(attempt)
        attempt.renewal.stop()  # the lease outlives what is left to do; `complete` is fenced
        done = _complete(attempt, result)
    except _Interrupted as interrupted:
        return _interrupt(attempt, interrupted.outcome)
    except JobFailure as failure:
        detail = failure.detail[:MAX_DETAIL]
        error = JobError(failure.kind, failure.code, detail)
        written = _write(runtime, lambda session: ledger.fail(session, claim, error))
        _log.warning("job failed", code=failure.code, detail=detail)
        return "failed" if written else "lost"
    return "completed" if done else "lost"


def _complete(attempt: _Attempt, result: dict[str, Any]) -> bool:
    """Write the result down, with signed reports where it closes requests; False: fenced out."""
    runtime = attempt.runtime

    def change(session: Session) -> bool:
        done = ledger.complete(session, attempt.claim, result, runtime.publish)
        stored = [artifact["uri"] for artifact in result["artifacts"].values()]
        if done and not all(runtime.storage.exists(key) for key in stored):
            # removed as unneeded between its publication and this transaction's turn
            raise TransientFailure("artifact_gone", "An artifact went away as it was published.")
        return done

    try:
        return _write(runtime, change)
    except (ValueError, ServiceError) as error:
        raise FatalFailure("result_refused", f"The result was refused: {error}") from error
    except OSError as error:
        raise machine_failure(error) from error


def _interrupt(attempt: _Attempt, outcome: Literal["released", "cancelled", "lost"]) -> Outcome:
    """Give the job back, unless another worker may have it already."""
    if outcome == "lost":
        return outcome
    written = _write(attempt.runtime, lambda session: ledger.release(session, attempt.claim))
    return outcome if written else "lost"


def _result_of_child(attempt: _Attempt) -> dict[str, Any]:
    """Return the child's result with its artifacts published.

    Raises:
        _Interrupted: The worker stops, the job was cancelled, or its lease is lost.
        JobFailure: The child failed, died, took too long, or its artifacts are not sound.
    """
    try:
        with attempt.runtime.workdirs.job(str(attempt.claim.job_id)) as workdir:
            return _talk_and_publish(attempt, workdir)
    except StorageError as error:
        raise TransientFailure("artifact_unreadable", str(error)) from error
    except ForkServerError as error:
        raise TransientFailure("no_child", "The worker could not start a process.") from error
    except ArtifactRefused as error:
        raise FatalFailure("artifact_refused", str(error)) from error
    except OSError as error:
        raise machine_failure(error) from error


def _talk_and_publish(attempt: _Attempt, workdir: Path) -> dict[str, Any]:
    """Let a child do the job in `workdir`, and store what it made."""
    runtime = attempt.runtime
    times = [time.perf_counter()]
    with runtime.tracing.span("package"):
        spec = _prepare(attempt, workdir)
    times.append(time.perf_counter())
    with runtime.tracing.span("child"):
        result = converse(
            runtime.fork_server.start(),
            spec,
            report=attempt.renewal.report,
            check=partial(_stop_if_told, attempt),
            timeout_s=runtime.timeout_s,
        )
    times.append(time.perf_counter())
    _stop_if_told(attempt)  # a lost job publishes nothing
    with runtime.tracing.span("publish"):
        result["artifacts"] = publish_artifacts(result["artifacts"], workdir, runtime.storage)
    times.append(time.perf_counter())
    steps = ("package", "child", "publish")
    seconds = [round(end - start, 4) for start, end in pairwise(times)]
    return result | {"supervisor_seconds": dict(zip(steps, seconds, strict=True))}


def _prepare(attempt: _Attempt, workdir: Path) -> dict[str, Any]:
    """Write the job's samples and return its specification, with paths for storage keys."""
    runtime = attempt.runtime
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
        "log": {
            "json": runtime.settings.mode == "production",
            "bound": structlog.contextvars.get_contextvars(),
        },
    }


def _stop_if_told(attempt: _Attempt) -> None:
    """Raise when the lease is lost, the job cancelled, or the worker is to end."""
    answer = attempt.renewal.answer
    if answer != "ok":
        raise _Interrupted("cancelled" if answer == "cancel" else "lost")
    if attempt.runtime.stopping.is_set():
        raise _Interrupted("released")
