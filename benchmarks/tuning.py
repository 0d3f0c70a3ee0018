"""Tune every method, ours and peers, on one declared budget, and write what came out best.

    python -m benchmarks.tuning                    # 12 trials of each method, or what is missing
    python -m benchmarks.tuning --trials 2 --methods finetune ssd --output /tmp/tuned.json

The budget is the same for all: TRIALS trials, of which the first are the method's defaults, chosen
by Optuna's TPE within `benchmarks.tuning_spaces`, on one class of digits drawn by a seed that no
other table uses. The objective, smaller is better, is the mean over SEEDS seeds of the method of

    |λ| + utility + distance

where λ is the audit's remaining influence; utility is how far the hold-out accuracy on retained
classes lies below the references' mean, in units of the policy's margin (0 when not below);
distance is the root mean square over the gates of the candidate's distance from the references'
mean in their standard deviations, relative to the original's. So the original scores about 2 and a
retraining near 0. A trial that costs more than COST_CAP of one retraining's CPU time, diverges or
makes a gate impossible to compute scores LOST or more, so it loses to every other. Resumable: a log
beside the output holds a line per trial.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import optuna
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.draw_log import Entry
from benchmarks.tuning_spaces import SPACES
from unlearning.audit import AuditResult, Policy
from unlearning.audit.joint import SD_FLOOR
from unlearning.audit.measurement import METRICS_VERSION
from unlearning.calibration import Bench, Draw, DrawPlan, digits
from unlearning.errors import UnlearningError
from unlearning.methods import get_method
from unlearning.randomness import derive_seed

RESULTS = Path(__file__).parent / "results" / "tuned.json"
SEED = 60_000
"""Of the draw; calibration and the table of methods start at 70,000."""
TRIALS = 12
STARTUP_TRIALS = 5
"""Trials before TPE's model decides: the defaults and random ones."""
SEEDS = 2
"""Seeds of the method in each trial."""
COST_CAP = 0.5
"""Largest mean CPU time of a call, in retrainings."""
LOST = 100.0
BENCHES = {"digits": digits}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The parts of the objective for one candidate."""

    influence: float
    utility: float
    distance: float

    @property
    def sum(self) -> float:
        """Their sum."""
        return self.influence + self.utility + self.distance


class Workbench:
    """One draw with its original and references, and what one retraining of it costs."""

    def __init__(self, plan: DrawPlan, bench: Bench, measured: Path) -> None:
        self.policy = Policy.standard()
        self.draw = Draw(plan, bench, self.policy, measured)
        self.problem = self.draw.problem(0)
        start = time.process_time()
        self.draw.retrained(0)
        self.retraining = time.process_time() - start

    def attempt(self, method: str, hyperparameters: Mapping[str, object]) -> Entry:
        """Run one trial: objective, its parts for each seed, and the cost in retrainings."""
        terms: list[Terms] = []
        seconds = 0.0
        try:
            for seed in range(SEEDS):
                made = get_method(method, **hyperparameters)
                start = time.process_time()
                model = made(replace(self.problem, seed=self.problem.seed + seed))
                seconds += time.process_time() - start
                found = judge(self.draw.audit(model, 0), self.policy.utility_margin)
                if found is None:
                    return _lost("a gate cannot be computed")
                terms.append(found)
        except UnlearningError as error:
            return _lost(str(error))
        cost = seconds / SEEDS / self.retraining
        value = statistics.fmean(term.sum for term in terms)
        return {
            "objective": value + (LOST if cost > COST_CAP else 0.0),
            "feasible": cost <= COST_CAP,
            "terms": [asdict(term) for term in terms],
            "cost": cost,
            "note": None if cost <= COST_CAP else "costs too much",
        }


def judge(result: AuditResult, margin: float) -> Terms | None:
    """Return the parts of the objective; None where the audit could not compute them.

    Gates that the original or the references lack are left out; a candidate must have the others.
    """
    rows = {row["name"]: row for row in result.worst.metrics}
    gated = [
        row
        for row in rows.values()
        if row["gated"] and row["references"] and row["original"] is not None
    ]
    holdout = rows.get("accuracy.holdout_retained")
    if result.influence is None or not gated or not holdout or not holdout["references"]:
        return None
    if any(row["candidate"] is None for row in (*gated, holdout)):
        return None
    shortfall = holdout["references"]["mean"] - holdout["candidate"]
    own, original = (_distance(gated, key) for key in ("candidate", "original"))
    terms = Terms(
        influence=abs(result.influence.value),
        utility=max(0.0, shortfall) / margin,
        distance=own / max(original, SD_FLOOR),
    )
    return terms if math.isfinite(terms.sum) else None


def tune(method: str, plan: DrawPlan, trials: int, log: Path, measured: Path) -> list[Entry]:
    """Run the trials that the log lacks, adding a line for each; return all of them in order.

    `measured` is a folder in which what was measured of the references is kept.
    """
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, identity = SPACES[method], _identity(method, plan)
    done = _read(log, identity)[:trials]
    study = optuna.create_study(direction="minimize")
    for entry in done:
        study.add_trial(
            optuna.create_trial(
                params=entry["params"], distributions=space, value=entry["objective"]
            )
        )
    for number in range(len(done), trials):
        # a sampler of the trial's own seed: an interrupted study goes on as if it had not been
        seed = derive_seed(plan.seed, method, number) % 2**32
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
        if number == 0:
            study.enqueue_trial({name: _default(method, name) for name in space})
        trial = study.ask(space)
        entry = {**identity, "number": number, "params": trial.params}
        entry |= _workbench(plan, measured).attempt(method, trial.params)
        study.tell(trial, entry["objective"])
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        done.append(entry)
    return done


def best(method: str, entries: Sequence[Entry], seed: int) -> Entry:
    """Return the trial of the smallest objective as the method's entry in the results."""
    chosen = min(entries, key=lambda entry: entry["objective"])
    return {
        "hyperparameters": get_method(method, **chosen["params"]).hyperparameters,
        "objective": chosen["objective"],
        "trials": len(entries),
        "seed": seed,
        "version": chosen["version"],
        "feasible": chosen["feasible"],
        "cost": chosen["cost"],
        "terms": chosen["terms"],
        "number": chosen["number"],
        "default_objective": entries[0]["objective"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, print the table and write JSON."""
    chosen = _parse(arguments)
    output: Path = chosen.output
    output.parent.mkdir(parents=True, exist_ok=True)
    log, found = output.with_suffix(".jsonl"), {}
    plan = DrawPlan(bench="digits", scope="class", seed=chosen.seed, originals=1, retrained=0)
    console = Console(stderr=True)
    # Torch is not safe to fork once its thread pools run.
    spawn = get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as measured,
        ProcessPoolExecutor(chosen.workers, mp_context=spawn) as pool,
    ):
        futures = {
            pool.submit(tune, name, plan, chosen.trials, log, Path(measured)): name
            for name in chosen.methods
        }
        for future in as_completed(futures):
            name = futures[future]
            found[name] = best(name, future.result(), chosen.seed)
            console.print(f"{name}: {found[name]['objective']:.3f}", style="dim")
    ordered = {name: found[name] for name in chosen.methods}
    output.write_text(json.dumps(ordered, indent=1) + "\n")
    _print(ordered)
    return 0


@cache
def _workbench(plan: DrawPlan, measured: Path) -> Workbench:
    """Train a draw once in each process."""
    return Workbench(plan, BENCHES[plan.bench](), measured)


def _identity(method: str, plan: DrawPlan) -> Entry:
    """Return what a trial depends on besides its number."""
    return {
        "method": method,
        "version": get_method(method).version,
        "plan": plan.to_json(),
        "space": {name: repr(distribution) for name, distribution in SPACES[method].items()},
        "policy": Policy.standard().digest(),
        "metrics": METRICS_VERSION,
        "seeds": SEEDS,
        "cost_cap": COST_CAP,
    }


def _read(log: Path, identity: Entry) -> list[Entry]:
    """Return the trials of one identity in their order; those after a missing number are left."""
    if not log.exists():
        return []
    entries = [json.loads(line) for line in log.read_text().splitlines() if line]
    own = [entry for entry in entries if {key: entry.get(key) for key in identity} == identity]
    numbered = {entry["number"]: entry for entry in own}
    return [numbered[number] for number in range(len(numbered)) if number in numbered]


def _default(method: str, name: str) -> object:
    return get_method(method).hyperparameters[name]


def _distance(rows: Sequence[Entry], key: str) -> float:
    """Return the root mean square distance from the references' mean in their deviations."""
    squares = [
        ((row[key] - row["references"]["mean"]) / max(row["references"]["sd"], SD_FLOOR)) ** 2
        for row in rows
    ]
    return math.sqrt(statistics.fmean(squares))


def _lost(why: str) -> Entry:
    return {"objective": 2 * LOST, "feasible": False, "terms": [], "cost": None, "note": why}


def _print(results: Mapping[str, Entry]) -> None:
    table = Table("method", "objective", "of the defaults", "cost", "hyper-parameters tuned")
    for name, entry in results.items():
        tuned = ", ".join(f"{key} {entry['hyperparameters'][key]:.3g}" for key in SPACES[name])
        cost = "–" if entry["cost"] is None else f"{entry['cost']:.2f}"
        values = [f"{entry[key]:.3f}" for key in ("objective", "default_objective")]
        table.add_row(name, *values, cost, tuned)
    Console(width=140).print(table)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each method")
    parser.add_argument("--methods", nargs="+", default=sorted(SPACES), choices=sorted(SPACES))
    parser.add_argument("--seed", type=int, default=SEED, help="of the draw, below 70,000")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
