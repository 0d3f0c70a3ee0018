"""Audit every unlearning method on draws that no choice of its defaults has seen.

    python -m benchmarks.methods                     # digits, class and mislabelled requests
    python -m benchmarks.methods --draws 2 --seeds 1 --output /tmp/methods.json

Each draw shuffles the data, chooses a class or mislabels samples, and trains an original and 19
references; each method, with several seeds of its own, is then audited by the standard policy.
Seconds are CPU seconds of one thread relative to one retraining of the same draw. Resumable: a log
beside the output holds a line per draw.
"""

import argparse
import datetime as dt
import itertools
import json
import math
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.da import processor
from benchmarks.draw_log import Entry, complete
from benchmarks.letters import letters
from unlearning.audit import AuditResult, Policy
from unlearning.audit.measurement import METRICS_VERSION
from unlearning.calibration import Draw, DrawPlan, digits
from unlearning.calibration.draws import Scope
from unlearning.methods import get_method
from unlearning.problem import Problem

RESULTS = Path(__file__).parent / "results" / "methods.json"
BENCHES = {"digits": digits, "letters": letters}
FIRST_SEED = 80_000
"""Seeds of this table; defaults are chosen on smaller ones."""
METHODS: dict[str, tuple[str, dict[str, object]]] = {
    "retrain": ("retrain", {}),
    "muda": ("muda", {}),
    "muda, old last stage": ("muda", {"restart_last_stage": False}),
    "muda, plain": ("muda", {"beta": 0.0, "restart_last_stage": False}),
    "distilled_recovery": ("distilled_recovery", {}),
    "distilled_recovery, all fresh": (
        "distilled_recovery",
        {"perturb": "fresh", "schedule": "one_cycle"},
    ),
    "distilled_recovery, all fresh + teacher": (
        "distilled_recovery",
        {"perturb": "fresh", "schedule": "one_cycle", "distillation": True},
    ),
    "distilled_recovery, transposed + teacher": (
        "distilled_recovery",
        {"perturb": "transposed", "distillation": True},
    ),
    "finetune": ("finetune", {}),
    "random_labels": ("random_labels", {}),
}
FIGURES = ("da", "log_rho", "stage.da", "stage.log_rho", "probe.forgotten", "ncc.forgotten")


def plans(draws: int, benches: Sequence[str]) -> list[DrawPlan]:
    """List the draws of every data set and scope."""
    scopes: tuple[Scope, ...] = ("class", "instance")
    return [
        DrawPlan(bench=bench, scope=scope, seed=FIRST_SEED + number, originals=1, retrained=0)
        for number, bench, scope in itertools.product(range(draws), benches, scopes)
    ]


def run_plan(plan: DrawPlan, seeds: int) -> Entry:
    """Audit all methods on one draw, on one thread."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        draw = Draw(plan, BENCHES[plan.bench](), Policy.standard(), Path(cache))
        problem = draw.problem(0)
        _, whole = _timed(lambda _: draw.retrained(0), problem)
        rows = [
            _row(draw, problem, name, seed, whole)
            for name, seed in itertools.product(METHODS, range(seeds))
        ]
    return {"rows": rows, "seconds": round(time.perf_counter() - start, 1)}


def summarise(rows: Sequence[Entry]) -> list[Entry]:
    """Return mean ± sd over draws and seeds for each data set, request and method."""
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["request"], row["method"]), []).append(row)
    return [
        {
            "dataset": dataset,
            "request": request,
            "method": method,
            "n": len(group),
            "draws": len({row["draw"] for row in group}),
            "pass": sum(row["verdict"] == "PASS" for row in group),
            **{
                name: _spread([row[name] for row in group])
                for name in ("influence", "upper", "retrain_ratio", "holdout")
            },
        }
        for (dataset, request, method), group in groups.items()
    ]


def main() -> int:
    """Run what is missing, print the table and write JSON."""
    arguments = _parse()
    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    wanted = plans(arguments.draws, arguments.benches)
    policy = Policy.standard()
    entries = complete(
        wanted,
        partial(run_plan, seeds=arguments.seeds),
        output.with_suffix(".jsonl"),
        workers=arguments.workers,
        identity={
            "policy": policy.digest(),
            "metrics": METRICS_VERSION,
            "seeds": arguments.seeds,
            "methods": {label: _described(label) for label in METHODS},
        },
    )
    rows = [row for entry in entries for row in entry["rows"]]
    summary = summarise(rows)
    report = {
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest()},
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "methods": {label: _described(label) for label in METHODS},
        "summary": summary,
        "rows": rows,
    }
    output.write_text(json.dumps(report, indent=1) + "\n")
    _print(summary)
    return 0


def _described(label: str) -> Entry:
    name, given = METHODS[label]
    method = get_method(name, **given)
    return {"name": name, "version": method.version, "hyperparameters": method.hyperparameters}


def _row(draw: Draw, problem: Problem, label: str, seed: int, whole: float) -> Entry:
    name, given = METHODS[label]
    method = get_method(name, **given)
    model, seconds = _timed(method, replace(problem, seed=problem.seed + seed))
    result = draw.audit(model, 0)
    influence = result.influence
    return {
        "dataset": draw.plan.bench,
        "request": "one class" if draw.plan.scope == "class" else "20 mislabelled",
        "method": label,
        "draw": draw.plan.seed,
        "seed": seed,
        "verdict": result.verdict,
        "influence": influence.value if influence else None,
        "upper": influence.upper if influence else None,
        "rejected": result.worst.joint_test.rejected if result.worst.joint_test else None,
        "retrain_ratio": seconds / whole,
        **_figures(result),
    }


def _figures(result: AuditResult) -> Entry:
    rows = {row["name"]: row for row in result.worst.metrics}
    kept = {name: rows[name]["candidate"] for name in FIGURES if name in rows}
    holdout = rows.get("accuracy.holdout_retained", {}).get("candidate")
    return {**kept, "holdout": holdout}


def _timed(method: Callable[[Problem], nn.Module], problem: Problem) -> tuple[nn.Module, float]:
    start = time.process_time()
    model = method(problem)
    return model, time.process_time() - start


def _spread(values: Sequence[float | None]) -> Entry:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return {"mean": None, "sd": None}
    return {
        "mean": statistics.fmean(known),
        "sd": statistics.stdev(known) if len(known) > 1 else None,
    }


def _print(summary: Sequence[Entry]) -> None:
    columns = ("data set", "request", "method", "n", "PASS", "λ", "upper bound", "hold-out")
    table = Table(*columns, "of one retraining")
    for row in summary:
        cells = [f"{row['pass'] / row['n']:.2f}"]
        for name in ("influence", "upper", "holdout", "retrain_ratio"):
            mean, sd = row[name]["mean"], row[name]["sd"]
            cells.append("–" if mean is None else f"{mean:.3f} ± {sd or 0:.3f}")
        table.add_row(row["dataset"], row["request"], row["method"], str(row["n"]), *cells)
    Console(width=140).print(table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=5, help="of each data set and scope")
    parser.add_argument("--seeds", type=int, default=2, help="of each method on each draw")
    parser.add_argument("--benches", nargs="+", default=["digits"], choices=sorted(BENCHES))
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
