"""One row of a table of methods: make the candidate, time it, audit it."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.draw_log import Entry
from benchmarks.letters import letters
from benchmarks.method_tables import Row
from benchmarks.pictures import (
    CIFAR_FOLDER,
    FASHION_FOLDER,
    cifar10,
    cifar10_resnet18,
    fashion,
)
from unlearning import controls
from unlearning.audit import AuditResult, Policy
from unlearning.calibration import Bench, Draw, DrawPlan, digits
from unlearning.calibration.hidden_head import hidden_head
from unlearning.data import TensorImages
from unlearning.errors import UnlearningError
from unlearning.methods import get_method
from unlearning.pool import PoolTask, train_pool
from unlearning.problem import Problem

BENCHES: Mapping[str, Callable[[Path | None], Bench]] = {
    "digits": lambda _: digits(),
    "letters": lambda _: letters(),
    "fashion": lambda folder: fashion(folder or FASHION_FOLDER),
    "cifar10": lambda folder: cifar10(folder or CIFAR_FOLDER),
    "cifar10-resnet18": lambda folder: cifar10_resnet18(folder or CIFAR_FOLDER),
}
FIGURES = {
    "gap": "gap",
    "da": "da",
    "log_rho": "log_rho",
    "stage.da": "stage.da",
    "stage.log_rho": "stage.log_rho",
    "nmi": "nmi",
    "probe": "probe.forgotten",
    "ncc": "ncc.forgotten",
    "relearn": "relearn.steps",
    "attack": "attack.population",
    "rmia": "attack.rmia",
    "confidence_gap": "confidence.gap",
    "rank": "rank",
    "normalised_margin": "normalised_margin",
    "holdout": "accuracy.holdout_retained",
}
"""Names of columns, and of the audit's rows."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how rows are made."""

    weights: Path
    """Trained networks and audited figures, kept from run to run."""
    data: Path | None = None
    device: str = "cpu"
    seeds: int = 3


@dataclass(frozen=True, kw_only=True)
class Job:
    """One method on one draw."""

    plan: DrawPlan
    label: str
    row: Row

    def to_json(self) -> Entry:
        """Return what the entry depends on."""
        return {**self.plan.to_json(), "label": self.label, "method": described(self.row)}


def described(row: Row) -> Entry:
    """Return a row's method with its version and all its hyper-parameters."""
    if row.name.startswith("control:"):
        return {"name": row.name}
    method = get_method(row.name, **row.hyperparameters)
    kept = {"name": row.name, "version": method.version}
    return {**kept, "hyperparameters": method.hyperparameters, "pool": row.pool}


def make_draw(plan: DrawPlan, place: Place) -> Draw:
    """Return a draw whose networks and figures are kept."""
    bench = BENCHES[plan.bench](place.data)
    cache = place.weights / "figures" / f"{plan.bench}-{plan.seed}-{plan.request}"
    weights = place.weights / "weights"
    whole = bench.images
    if torch.device(place.device) != whole.device:
        parts = (whole.images, whole.labels, whole.num_classes, whole.mean, whole.std)
        bench = replace(bench, images=TensorImages(*parts, device=place.device))
    policy = Policy.standard()
    return Draw(plan, bench, policy, cache, relearn=plan.scope == "class", weights_dir=weights)


def prepare(plans: Sequence[DrawPlan], place: Place, *, workers: int) -> None:
    """Train the references and originals that are not there yet, a draw in each process."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_prepare, place=place), plans))


def _prepare(plan: DrawPlan, place: Place) -> None:
    torch.set_num_threads(1)
    draw = make_draw(plan, place)
    assert draw.originals  # noqa: S101 - asked for, so trained
    assert draw.references  # noqa: S101 - likewise


def run_job(job: Job, place: Place) -> Entry:
    """Make and audit one row's candidates, on one thread."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    draw = make_draw(job.plan, place)
    problem = draw.problem(0)
    if job.row.pool:
        problem = replace(problem, forget_predictions=_pooled(problem))
    rows = [_row(draw, problem, job, seed) for seed in range(seeds(job, place))]
    return {"rows": rows, "seconds": round(time.perf_counter() - start, 1)}


def seeds(job: Job, place: Place) -> int:
    """Return the number of seeds; a masked head is the same each time."""
    return 1 if job.row.name == "control:head_masked" else place.seeds


def _pooled(problem: Problem) -> Tensor:
    """Return cross-fitted predictions; their cost is not counted as the method's."""
    assert problem.recipe is not None  # noqa: S101 - a draw's problem has both
    assert problem.build is not None  # noqa: S101
    task = PoolTask(
        build=problem.build,
        recipe=problem.recipe,
        retain=problem.retain,
        forget=problem.forget,
        holdout=problem.holdout,
        seed=problem.seed,
    )
    return train_pool(task).forget_predictions


def _row(draw: Draw, problem: Problem, job: Job, seed: int) -> Entry:
    asked = replace(problem, seed=problem.seed + seed)
    kept: Entry = {
        "dataset": draw.plan.bench,
        "request": _request(draw),
        "scope": draw.plan.scope,
        "method": job.label,
        "draw": draw.plan.seed,
        "seed": seed,
    }
    try:
        model, seconds = _timed(_maker(draw, job), asked)
    except UnlearningError as error:
        return {**kept, "verdict": "none", "error": str(error), "seconds": None}
    result = draw.audit(model, 0)
    influence = result.influence
    test = result.worst.joint_test
    return {
        **kept,
        "verdict": result.verdict,
        "influence": influence.value if influence else None,
        "upper": influence.upper if influence else None,
        "rejected": test.rejected if test else None,
        "seconds": seconds,
        **_figures(result),
    }


def _request(draw: Draw) -> str:
    if draw.plan.scope == "class":
        return f"class {int(draw.forget.labels[0])}"
    half = draw.plan.number
    memorised = f"{half} memorised + {half} random"
    return memorised if draw.plan.request == "memorised" else draw.plan.request


def _maker(draw: Draw, job: Job) -> Callable[[Problem], nn.Module]:
    if job.row.name == "control:head_masked":
        return controls.head_masked
    if job.row.name == "control:hidden_head":
        known = draw.measured_references(0)
        da, log_rho = (
            sum(entry.values[name] for entry in known) / len(known) for name in ("da", "log_rho")
        )
        return partial(hidden_head, alignment=da, log_energy=log_rho)
    return get_method(job.row.name, **job.row.hyperparameters)


def _timed(make: Callable[[Problem], nn.Module], problem: Problem) -> tuple[nn.Module, float]:
    on_cpu = torch.device(problem.device).type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    if not on_cpu:
        torch.cuda.synchronize()
    start = clock()
    model = make(problem)
    if not on_cpu:
        torch.cuda.synchronize()
    return model, round(clock() - start, 3)


def _figures(result: AuditResult) -> Entry:
    rows = {row["name"]: row for row in result.worst.metrics}
    figures: Entry = {}
    for column, name in FIGURES.items():
        row = rows.get(name)
        if row is None or row["candidate"] is None:
            continue
        figures[column] = row["candidate"]
        if row["references"]:
            figures[f"{column}.references"] = row["references"]["mean"]
        if row["censored"] and row["censored"]["candidate"]:
            figures[f"{column}.censored"] = True
    return figures
