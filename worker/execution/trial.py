"""Carry out one trial erasure: original, method, references and audit, all of which end with it.

Nothing is an artifact of the job: every network lies in its working folder, which is removed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from torch import nn

from unlearning.audit import AuditedModel, AuditTask, Policy, audit
from unlearning.data import Images, concatenate
from unlearning.errors import NonFiniteLoss
from unlearning.planting import plant_wrong_labels
from unlearning.problem import Problem
from unlearning.progress import Progress, ProgressCallback
from unlearning.training import train_from_recipe
from unlearning.weights import save_weights
from worker.errors import UsageFailure
from worker.execution.context import Execution
from worker.execution.unlearn import chosen_method, described

_STEPS = 100  # of progress for each training and for the audit


@dataclass(frozen=True)
class _Sets:
    """What a trial works with; in the kind `mislabelled` the forget set bears wrong labels."""

    forget: Images
    retain: Images
    holdout: Images


def run(execution: Execution) -> dict[str, Any]:
    """Erase on trial and audit the candidate with references at the policy's first look.

    A method that diverges has failed its trial. Seconds are of the method's call alone.

    Raises:
        UsageFailure: The model has no recipe, or the method is unknown.
        InvalidProblem: The sets do not make a problem.
        NonFiniteLoss: The recipe itself diverges.
    """
    spec = execution.spec
    if execution.recipe is None:
        raise UsageFailure("recipe_required", "Trials need the recipe of the model's training.")
    sets, stages = _sets(execution), _Stages(execution)
    original = _original(execution, sets, stages)
    method = chosen_method(spec)
    start = time.perf_counter()
    try:
        candidate = method(_problem(execution, original, sets, stages.next("the method")))
    except NonFiniteLoss as error:
        return _result(execution, described(method), time.perf_counter() - start, [], str(error))
    seconds = time.perf_counter() - start
    models = [_kept(execution, name, model) for name, model in (("o", original), ("c", candidate))]
    references = list(_references(execution, sets, stages))
    kept = [AuditedModel(load=r["load"], digest=r["sha256"]) for r in references]
    task = _task(execution, sets, models, kept, stages.next("the audit"))
    told = [{key: r[key] for key in ("seed", "sha256", "seconds")} for r in references]
    document = audit(task)[spec["trial"]].to_json()
    return _result(execution, described(method), seconds, told, document)


class _Stages:
    """Place each training's steps, and the audit's, among those of the whole trial."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        own = execution.spec["trial_kind"] == "mislabelled"
        self._total = len(execution.spec["reference_seeds"]) + 2 + own
        self._numbers = count()

    def next(self, detail: str) -> ProgressCallback:
        """Return the callback of the next stage."""
        number = next(self._numbers)

        def report(inner: Progress) -> None:
            within = int(_STEPS * inner.step / max(inner.total, 1))
            step, total = number * _STEPS + within, self._total * _STEPS
            self._execution.progress(Progress("trial", step, total, detail))

        return report


def _sets(execution: Execution) -> _Sets:
    retain, forget = execution.role("retain"), execution.role("forget")
    if execution.spec["trial_kind"] == "mislabelled":
        classes = sorted(set(retain.labels.tolist()))
        forget = plant_wrong_labels(forget, classes, int(execution.spec["seed"]))
    return _Sets(forget, retain, execution.role("holdout"))


def _original(execution: Execution, sets: _Sets, stages: _Stages) -> nn.Module:
    """Return the registered original, or train one that learnt the planted labels."""
    if execution.spec["trial_kind"] == "class":
        return execution.load(execution.spec["original"])
    seed, report = int(execution.spec["original_seed"]), stages.next("the original")
    return _train(execution, concatenate(sets.retain, sets.forget), seed, report)


def _train(execution: Execution, images: Images, seed: int, report: ProgressCallback) -> nn.Module:
    assert execution.recipe is not None  # noqa: S101 - `run` has refused it
    return train_from_recipe(
        execution.build,
        images,
        execution.recipe,
        seed=seed,
        progress=report,
        cancel=execution.cancel,
    )


def _problem(
    execution: Execution, original: nn.Module, sets: _Sets, report: ProgressCallback
) -> Problem:
    return Problem(
        model=original,
        forget=sets.forget,
        retain=sets.retain,
        holdout=sets.holdout,
        classifier=execution.classifier,
        num_classes=execution.num_classes,
        seed=int(execution.spec["seed"]),
        device=execution.device,
        recipe=execution.recipe,
        build=execution.build,
        progress=report,
        cancel=execution.cancel,
    )


def _references(execution: Execution, sets: _Sets, stages: _Stages) -> Iterator[dict[str, Any]]:
    """Train the references one by one and yield each with its digest and a way to load it."""
    seeds = [int(seed) for seed in execution.spec["reference_seeds"]]
    for number, seed in enumerate(seeds, start=1):
        report = stages.next(f"reference {number} of {len(seeds)}")
        start = time.perf_counter()
        model = _train(execution, sets.retain, seed, report)
        seconds = time.perf_counter() - start
        kept = _kept(execution, f"r{number}", model)
        yield {"seed": seed, "sha256": kept.digest, "seconds": seconds, "load": kept.load}


def _kept(execution: Execution, name: str, model: nn.Module) -> AuditedModel:
    """Save a network in the working folder, without listing it among the artifacts."""
    path = execution.workdir / f"trial-{name}.safetensors"
    digest = save_weights(model, path, {"role": "trial"})
    return AuditedModel(load=partial(execution.load, str(path)), digest=digest)


def _task(
    execution: Execution,
    sets: _Sets,
    models: list[AuditedModel],
    references: list[AuditedModel],
    report: ProgressCallback,
) -> AuditTask:
    original, candidate = models
    return AuditTask(
        original=original,
        candidate=candidate,
        references=references,
        retain=sets.retain,
        holdout=sets.holdout,
        erased=sets.forget,
        forget_sets={execution.spec["trial"]: range(len(sets.forget))},
        classifier=execution.classifier,
        num_classes=execution.num_classes,
        policy=Policy.from_dict(execution.spec["policy"]),
        look=int(execution.spec["look"]),
        device=execution.device,
        cache_dir=Path(execution.workdir, "measured"),
        data_digest=execution.spec["trial"],
        progress=report,
        cancel=execution.cancel,
    )


def _result(
    execution: Execution,
    method: dict[str, Any],
    seconds: float,
    references: list[dict[str, Any]],
    outcome: dict[str, Any] | str,
) -> dict[str, Any]:
    """Return the job's result; an outcome in words is why the method could not be audited."""
    if isinstance(outcome, str):
        outcome = {"verdict": "FAIL", "influence": None, "direction": None, "reasons": [outcome]}
    kept = {name: outcome[name] for name in ("verdict", "influence", "direction", "reasons")}
    return {
        "audits": {execution.spec["trial"]: kept},
        "method": method,
        "seconds": seconds,
        "references": references,
    }
