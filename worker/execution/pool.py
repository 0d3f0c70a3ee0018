"""Train a run's pool: cross-fitted targets for its method, and triage of each request's samples.

Only predictions of the samples to be forgotten leave this job; no network of the pool is saved.
"""

import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearning.data import concatenate
from unlearning.errors import NotComputable
from unlearning.folds import join_groups
from unlearning.metrics.intervals import mean_interval
from unlearning.pictures import pixel_digests
from unlearning.pool import Pool, PoolTask, recognised, train_pool
from worker.errors import UsageFailure
from worker.execution.context import SAFETENSORS, Execution

NAME = "pool"
_PREDICTIONS = "predictions"


def run(execution: Execution) -> dict[str, Any]:
    """Train the pool, save its predictions, and say how memorised each request's samples are.

    Seconds are of the trainings alone.

    Raises:
        UsageFailure: The model has no recipe, so nothing can be trained as it was.
        InvalidProblem: A person's samples are more than a model may miss, or there are too few.
        NonFiniteLoss: The recipe diverges.
    """
    task = _task(execution)
    start = time.perf_counter()
    pool = train_pool(task)
    seconds = time.perf_counter() - start
    path = execution.workdir / f"{NAME}.safetensors"
    save_file({_PREDICTIONS: pool.forget_predictions.contiguous()}, path)
    execution.add_artifact(NAME, path, SAFETENSORS)
    return {
        "pool": _facts(pool, task),
        "triage": _triage(execution, pool, task),
        "seconds": seconds,
    }


def read_predictions(path: Path) -> Tensor:
    """Return what `run` saved, float32 [n_F, K], in the order of the job's forget samples."""
    return load_file(path)[_PREDICTIONS]


def _task(execution: Execution) -> PoolTask:
    if execution.recipe is None:
        raise UsageFailure("recipe_required", "A pool needs the recipe of the model's training.")
    retain, forget = execution.role("retain"), execution.role("forget")
    rows = torch.cat([execution.samples.rows("retain"), execution.samples.rows("forget")])
    told = execution.samples.groups
    # a row without a group is one of its own; numbers below zero are nobody's
    named = [-1 - row if told[row] is None else told[row] for row in rows.tolist()]
    return PoolTask(
        build=execution.build,
        recipe=execution.recipe,
        retain=retain,
        forget=forget,
        holdout=execution.role("holdout"),
        groups=join_groups(named, pixel_digests(concatenate(retain, forget))),
        seed=int(execution.spec["seed"]),
        progress=execution.progress,
        cancel=execution.cancel,
    )


def _facts(pool: Pool, task: PoolTask) -> dict[str, Any]:
    """Return what was trained: counts alone."""
    assert task.groups is not None  # noqa: S101 - `_task` has joined them
    return {
        "models": len(pool.unseen),
        "rounds": task.rounds,
        "trained_on": len(task.retain) + len(task.forget),
        "groups": len(set(task.groups.tolist())),
        "seed": task.seed,
    }


def _triage(execution: Execution, pool: Pool, task: PoolTask) -> dict[str, Any]:
    """Return figures of each request's samples: of the original, never of a candidate."""
    original = execution.load(execution.spec["original"])
    memorised, member = pool.mean_memorised(), recognised(pool, original, task)
    place = {row: i for i, row in enumerate(execution.samples.rows("forget").tolist())}
    found = {}
    for key, positions in execution.spec["forget_sets"].items():
        chosen = [place[row] for row in execution.rows_at(positions).tolist()]
        found[key] = {
            "n": len(chosen),
            "memorised": _mean(memorised[chosen]),
            "recognised": _mean(member[chosen]),
        }
    return found


def _mean(values: Tensor) -> dict[str, Any]:
    try:
        interval = list(mean_interval(values))
    except NotComputable:  # one sample
        interval = None
    return {"mean": float(values.mean()), "interval": interval}
