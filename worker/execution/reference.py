"""Train reference networks: the recipe on the retain set, one network for each seed."""

import time
from typing import Any

from unlearning.progress import Progress, ProgressCallback
from unlearning.training import train_from_recipe
from worker.errors import UsageFailure
from worker.execution.context import Execution


def run(execution: Execution) -> dict[str, Any]:
    """Train one network for each seed and save it; seconds are of each training alone.

    Raises:
        UsageFailure: The model has no recipe, so nothing can be trained as it was.
        NonFiniteLoss: The recipe diverges on this retain set.
    """
    if execution.recipe is None:
        raise UsageFailure(
            "recipe_required",
            "References need the recipe that the model was trained with. Register it with one.",
        )
    retain = execution.role("retain")
    seeds = [int(seed) for seed in execution.spec["seeds"]]
    references = []
    for number, seed in enumerate(seeds):
        start = time.perf_counter()
        model = train_from_recipe(
            execution.build,
            retain,
            execution.recipe,
            seed=seed,
            progress=_of_all(execution.progress, number, len(seeds)),
            cancel=execution.cancel,
        )
        seconds = time.perf_counter() - start
        name = f"reference-{seed}"
        execution.save(name, model, {"role": "reference", "seed": str(seed)})
        references.append({"seed": seed, "artifact": name, "seconds": seconds})
    return {"references": references}


def _of_all(progress: ProgressCallback, number: int, count: int) -> ProgressCallback:
    """Return a callback that places one training's steps among those of `count` trainings."""

    def report(inner: Progress) -> None:
        progress(
            Progress(
                phase="references",
                step=number * inner.total + inner.step,
                total=count * inner.total,
                detail=f"reference {number + 1} of {count}",
            )
        )

    return report
