"""Erase in ten requests on one model and measure after each what is left of all of them.

    python -m benchmarks.drift                        # ten steps, 19 references each
    python -m benchmarks.drift --steps 4 --output /tmp/drift.json

Digits. Each step forgets twenty single samples, or every third one a whole class, with the methods
of the default ladder in turn until one passes its audit; every base is the version that the step
before it left. After as many approximate steps in a row as are allowed the next one is a forced
retraining: one here, not the policy's five, so that the ten end in such a retraining. *Drift* is λ
of the version in use with F = all of E: 1 is the first network, which was trained on all of E, and
0 the mean of references that never saw any of it. The audits take the policy's first look, so an
INCONCLUSIVE one climbs. Resumable: a log beside the output holds a line per step, a folder the
versions.
"""

import argparse
import datetime as dt
import json
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.da import processor
from benchmarks.drift_figure import draw_figure
from benchmarks.succession import EVERY, Succession
from unlearning.audit import AuditedModel, AuditResult, AuditTask, Policy, audit
from unlearning.audit.measurement import METRICS_VERSION
from unlearning.errors import NonFiniteLoss
from unlearning.methods import get_method
from unlearning.problem import Problem
from unlearning.randomness import derive_seed
from unlearning.weights import load_weights, save_weights

RESULTS = Path(__file__).parent / "results" / "drift.json"
LADDER = ("muda", "distilled_recovery", "retrain")
RETRAIN = LADDER[-1]
CLOSING = ("PASS", "NOTHING_TO_REMOVE")
Entry = dict[str, Any]


class Course:
    """Runs the steps; versions lie in a folder, version 0 is the network that saw everything."""

    def __init__(self, plan: Succession, policy: Policy, folder: Path, pool: Executor) -> None:
        self.plan, self.policy, self.folder, self.pool = plan, policy, folder, pool
        folder.mkdir(parents=True, exist_ok=True)
        if not self._path(0).exists():
            self._save(0, plan.train(0, "original", 0))

    def run(self, step: int, chain: int) -> Entry:
        """Carry out one step after `chain` approximate ones and return what came of it."""
        start = time.perf_counter()
        train = partial(self.plan.train, step, "reference")
        references = list(self.pool.map(train, range(self.plan.references)))
        forced = chain >= self.policy.max_approximate_chain
        tries: list[Entry] = []
        for method in LADDER[-1:] if forced else LADDER:
            candidate, entry = self._try(step, method, references)
            tries.append(entry)
            if candidate is not None and (method == RETRAIN or entry["verdict"] in CLOSING):
                break
        nothing = method != RETRAIN and tries[-1]["verdict"] == "NOTHING_TO_REMOVE"
        kept = self._load(step - 1) if nothing or candidate is None else candidate
        self._save(step, kept)
        after = 0 if method == RETRAIN else chain if nothing else chain + 1
        drift = self._audit(step, self._load(0), kept, references, self.plan.erased(step))
        asked = self.plan.requests[step - 1]
        return {
            "step": step,
            "request": "one class" if step % EVERY == 0 else f"{len(asked)} samples",
            "forget": len(asked),
            "erased": len(self.plan.erased(step)),
            "method": method,
            "forced": forced,
            "chain": after,
            "tries": tries,
            "drift": _placed(drift),
            "seconds": round(time.perf_counter() - start, 1),
        }

    def _try(
        self, step: int, name: str, references: Sequence[nn.Module]
    ) -> tuple[nn.Module | None, Entry]:
        """Make one candidate from the version before and audit it on this step's forget set."""
        base, train = self._load(step - 1), self.plan.split[0]
        asked = self.plan.requests[step - 1]
        problem = Problem(
            model=base,
            forget=train.subset(asked),
            retain=self.plan.retain(step),
            holdout=self.plan.split[1],
            classifier=self.plan.bench.classifier,
            num_classes=self.plan.bench.num_classes,
            seed=derive_seed(self.plan.seed, "method", name, step),
            recipe=self.plan.bench.recipe,
            build=self.plan.bench.build,
        )
        start = time.process_time()
        try:
            candidate = get_method(name)(problem)
        except NonFiniteLoss as error:
            if name == RETRAIN:
                raise
            return None, {"method": name, "verdict": "DIVERGED", "reason": str(error)}
        seconds = round(time.process_time() - start, 2)
        result = self._audit(step, base, candidate, references, asked)
        return candidate, {"method": name, **_placed(result), "seconds": seconds}

    def _audit(
        self,
        step: int,
        original: nn.Module,
        candidate: nn.Module,
        references: Sequence[nn.Module],
        asked: Tensor,
    ) -> AuditResult:
        erased = self.plan.erased(step)
        task = AuditTask(
            original=_audited(original),
            candidate=_audited(candidate),
            references=[_audited(model) for model in references],
            retain=self.plan.retain(step),
            holdout=self.plan.split[1],
            erased=self.plan.split[0].subset(erased),
            forget_sets={"request": torch.searchsorted(erased, asked).tolist()},
            classifier=self.plan.bench.classifier,
            num_classes=self.plan.bench.num_classes,
            policy=replace(self.policy, looks=(len(references),)),
            relearn=False,
        )
        return audit(task)["request"]

    def _path(self, version: int) -> Path:
        return self.folder / f"version-{version}.safetensors"

    def _load(self, version: int) -> nn.Module:
        model = self.plan.bench.build()
        load_weights(model, self._path(version))
        return model.eval()

    def _save(self, version: int, model: nn.Module) -> None:
        save_weights(model, self._path(version), {"role": "version"})


def complete(plan: Succession, log: Path, workers: int, policy: Policy) -> list[Entry]:
    """Run the steps that the log lacks, adding a line for each, and return all in order.

    Lines of another plan, policy or version of the methods are left alone, and so are their
    versions: each identity has a folder of its own.
    """
    identity = identity_of(plan, policy)
    key = f"{derive_seed(0, json.dumps(identity, sort_keys=True)):x}"
    lines = log.read_text().splitlines() if log.exists() else []
    known = [json.loads(line) for line in lines if line]
    done = sorted((e for e in known if e["identity"] == identity), key=lambda e: e["step"])
    console = Console(stderr=True)
    # Torch is not safe to fork once its thread pools run.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        course = Course(plan, policy, log.with_suffix("") / key, pool)
        for step in range(len(done) + 1, plan.steps + 1):
            chain = done[-1]["chain"] if done else 0
            done.append({"identity": identity, **course.run(step, chain)})
            with log.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
            console.print(f"step {step} of {plan.steps}: {done[-1]['seconds']} s", style="dim")
    return done[: plan.steps]


def identity_of(plan: Succession, policy: Policy) -> Entry:
    """Return what a step depends on besides its number; the steps before it are the same."""
    return {
        "seed": plan.seed,
        "references": plan.references,
        "policy": policy.digest(),
        "metrics": METRICS_VERSION,
        "methods": {name: get_method(name).version for name in LADDER},
    }


def main() -> int:
    """Run what is missing, print the table, write JSON and the figure."""
    arguments = _parse()
    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    policy = replace(Policy.standard(), max_approximate_chain=arguments.max_chain)
    plan = Succession(steps=arguments.steps, references=arguments.references)
    rows = complete(plan, output.with_suffix(".jsonl"), arguments.workers, policy)
    report = {
        **identity_of(plan, policy),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "max_approximate_chain": policy.max_approximate_chain,
        "drift_limit": policy.drift_limit,
        "rows": [{key: row[key] for key in row if key != "identity"} for row in rows],
    }
    output.write_text(json.dumps(report, indent=1) + "\n")
    draw_figure(report, output.with_suffix(".svg"))
    _print(rows)
    return 0


def _audited(model: nn.Module) -> AuditedModel:
    return AuditedModel(load=lambda: model)


def _placed(result: AuditResult) -> Entry:
    """Return verdict and λ with its bounds, whole and by part (whole classes, single samples)."""
    parts = {
        part.scope: part.influence.to_json() if part.influence else None for part in result.parts
    }
    influence = result.influence.to_json() if result.influence else None
    return {"verdict": result.verdict, "influence": influence, "parts": parts}


def _print(rows: Sequence[Entry]) -> None:
    table = Table(
        "step", "request", "all of E", "tried", "chain", "drift λ", "95 % bounds", "step, s"
    )
    for row in rows:
        influence = row["drift"]["influence"]
        value = "–" if influence is None else f"{influence['value']:.2f}"
        bounds = (
            "–" if influence is None else f"{influence['lower']:.2f} … {influence['upper']:.2f}"
        )
        tried = ", ".join(f"{entry['method']} {entry['verdict']}" for entry in row["tries"])
        tried += " (forced)" if row["forced"] else ""
        cells = (str(row["step"]), row["request"], str(row["erased"]), tried, str(row["chain"]))
        table.add_row(*cells, value, bounds, f"{row['seconds']:.0f}")
    Console(width=160).print(table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=10, help="requests in a row")
    parser.add_argument("--references", type=int, default=19, help="trained for each step")
    parser.add_argument("--max-chain", type=int, default=1, help="approximate steps in a row")
    parser.add_argument("--workers", type=int, default=2, help="processes that train references")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
