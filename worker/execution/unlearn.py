"""Make the base model forget with one method and save the candidate."""

import time
from dataclasses import asdict
from typing import Any

from unlearning.methods import Method, get_method
from unlearning.problem import Problem
from worker.errors import UsageFailure
from worker.execution import copies
from worker.execution.context import Execution


def run(execution: Execution) -> dict[str, Any]:
    """Apply the method to the base model; seconds are of the method's call alone.

    Where no audit follows, the copies of the forget samples are looked for here.

    Raises:
        UsageFailure: The method or one of its hyperparameters is unknown.
        InvalidProblem: Forget, retain and hold-out sets do not make a problem.
        NonFiniteLoss: The method diverges.
    """
    spec = execution.spec
    method = _method(str(spec["method"]), spec["hyperparameters"])
    problem = _problem(execution)
    start = time.perf_counter()
    candidate = method(problem)
    seconds = time.perf_counter() - start
    metadata = {"role": "candidate", "method": method.name, "seed": str(spec["seed"])}
    execution.save("candidate", candidate, metadata)
    return {
        "artifact": "candidate",
        "seconds": seconds,
        "method": {
            "name": method.name,
            "version": method.version,
            "hyperparameters": asdict(method),
        },
        "seed": int(spec["seed"]),
        **copies.search(execution, "base"),
    }


def _method(name: str, hyperparameters: dict[str, Any]) -> Method:
    try:
        return get_method(name, **hyperparameters)
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
        progress=execution.progress,
        cancel=execution.cancel,
    )
