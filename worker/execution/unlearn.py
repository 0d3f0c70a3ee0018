"""Make the base model forget with one method and save the candidate."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from unlearning.methods import Method, get_method
from unlearning.problem import Problem
from worker.errors import UsageFailure
from worker.execution import pool
from worker.execution.context import Execution


def run(execution: Execution) -> dict[str, Any]:
    """Apply the method to the base model; seconds are of the method's call alone.

    Where the run has a pool, the method is given its predictions and the result says so.

    Raises:
        UsageFailure: The method or one of its hyperparameters is unknown.
        InvalidProblem: Forget, retain and hold-out sets do not make a problem.
        NonFiniteLoss: The method diverges.
    """
    spec = execution.spec
    method = chosen_method(spec)
    problem = _problem(execution)
    start = time.perf_counter()
    candidate = method(problem)
    seconds = time.perf_counter() - start
    metadata = {"role": "candidate", "method": method.name, "seed": str(spec["seed"])}
    execution.save("candidate", candidate, metadata)
    given = {} if problem.forget_predictions is None else {"targets": "pool"}
    return {
        "artifact": "candidate",
        "seconds": seconds,
        "method": described(method) | given,
        "seed": int(spec["seed"]),
    }


def described(method: Method) -> dict[str, Any]:
    """Return what a result says of the method."""
    return {"name": method.name, "version": method.version, "hyperparameters": asdict(method)}


def chosen_method(spec: dict[str, Any]) -> Method:
    """Return the method that a specification asks for.

    Raises:
        UsageFailure: The method or one of its hyperparameters is unknown.
    """
    try:
        return get_method(str(spec["method"]), **spec["hyperparameters"])
    except (ValueError, TypeError) as error:
        raise UsageFailure("method_not_usable", str(error)) from error


def _problem(execution: Execution) -> Problem:
    spec = execution.spec
    return Problem(
        model=execution.load(spec["base"]),
        forget=execution.role("forget"),
        retain=execution.role("retain"),
        holdout=execution.role("holdout"),
        classifier=execution.classifier,
        num_classes=execution.num_classes,
        seed=int(spec["seed"]),
        device=execution.device,
        recipe=execution.recipe,
        build=execution.build,
        forget_predictions=_targets(execution),
        progress=execution.progress,
        cancel=execution.cancel,
    )


def _targets(execution: Execution) -> Tensor | None:
    path = execution.spec.get("pool")
    return None if path is None else pool.read_predictions(Path(path))
