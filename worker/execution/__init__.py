"""One file per kind of job: from a specification to a result, without database or broker."""

from collections.abc import Callable
from typing import Any

from unlearning.progress import ProgressCallback
from worker.errors import FatalFailure
from worker.execution import audit, check, pool, reference, trial, unlearn
from worker.execution.context import Execution

__all__ = ["KINDS", "execute"]

KINDS: dict[str, Callable[[Execution], dict[str, Any]]] = {
    "check": check.run,
    "reference": reference.run,
    "pool": pool.run,
    "unlearn": unlearn.run,
    "audit": audit.run,
    "trial": trial.run,
}


def execute(spec: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Run the job that `spec` describes and return its result with artifacts and environment.

    Raises:
        JobFailure: What was registered cannot be used, or the job cannot end well.
        UnlearningError: The library's own reasons; `worker.errors.as_failure` translates them.
    """
    run = KINDS.get(spec["kind"])
    if run is None:
        raise FatalFailure(
            "unknown_kind",
            "This worker does not know this kind of job: it is older than the service. Update it.",
        )
    execution = Execution(spec, progress)
    result = run(execution)
    return result | {
        "artifacts": execution.artifacts,
        "environment": execution.environment(),
    }
