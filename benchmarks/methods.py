"""Audit every unlearning method on draws that no choice of its hyper-parameters has seen.

    python -m benchmarks.methods                          # digits: all classes, other requests
    python -m benchmarks.methods --bench fashion --classes 0 3 8 --requests memorised
    python -m benchmarks.methods --bench cifar10 --data FOLDER --classes 0 1 2
    python -m benchmarks.methods --bench cifar10-resnet18 --data FOLDER --device cuda   # one GPU
    python -m benchmarks.methods --table ablation         # what each part of MUDA is worth
    python -m benchmarks.methods --table second-rung --bench fashion --seeds 1 --requests
    python -m benchmarks.methods --table confirmation --requests

A draw shuffles the data, chooses what is to be forgotten and trains an original and 19 references;
each method, with several seeds of its own, is then audited by the standard policy. Seconds are CPU
seconds of one thread (on a GPU: wall seconds), and are read against a retraining of the same draw.
Resumable: weights are kept in a folder, a log beside the output holds a line per draw and method,
and the output itself is written after each draw. Draws that it has whole are not made again where
the log is gone; others are, for costs are read against a retraining on the same machine.
"""

import argparse
import datetime as dt
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.da import processor
from benchmarks.draw_log import Entry, complete, restore
from benchmarks.method_runs import BENCHES, Job, Place, described, prepare, run_job, seeds
from benchmarks.method_tables import TABLES, Row
from benchmarks.method_words import print_table, summarise
from unlearning.audit import Policy
from unlearning.audit.measurement import METRICS_VERSION
from unlearning.calibration import DrawPlan
from unlearning.calibration.draws import Kind

RESULTS = Path(__file__).parent / "results"
FIRST_SEED = 80_000
"""Seeds of these tables; hyper-parameters are chosen on smaller ones."""
CONFIRMATION_SEED = 85_000
"""Seeds of the table that confirms what was added when the others had been seen."""
_TOLD = ("metrics", "seeds", "device")
REQUESTS: dict[str, list[Kind]] = {"digits": ["random", "memorised", "mislabelled"]}
"""Requests for single samples, by data set."""
MEMORISED = {"digits": 20}
"""How many memorised samples are asked for, and as many others; 200 elsewhere."""


def plans(
    bench: str, classes: list[int], kinds: list[Kind], first: int = FIRST_SEED
) -> list[DrawPlan]:
    """List the draws: one for each class, one for each other request, each with its own split."""

    def plan(place: int, **asked: object) -> DrawPlan:
        seed = first + place
        return DrawPlan(bench=bench, seed=seed, originals=1, retrained=0, **asked)  # type: ignore[arg-type]

    whole = [plan(label, scope="class", label=label) for label in classes]
    single = [
        plan(
            100 + place,
            scope="instance",
            kind=kind,
            **({"number": MEMORISED.get(bench, 200)} if kind == "memorised" else {}),
        )
        for place, kind in enumerate(kinds)
    ]
    return whole + single


def main() -> int:
    """Run what is missing, print the table and write JSON."""
    arguments = _parse()
    output: Path = arguments.output or RESULTS / f"{_stem(arguments)}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    first = CONFIRMATION_SEED if arguments.table == "confirmation" else FIRST_SEED
    draws = plans(arguments.bench, arguments.classes, arguments.requests, first)
    labels = TABLES[arguments.table]
    place = Place(
        weights=arguments.weights,
        data=arguments.data,
        device=arguments.device,
        seeds=arguments.seeds,
    )
    jobs = {plan: _jobs(plan, labels) for plan in draws}
    log, identity = output.with_suffix(".jsonl"), _identity(place)
    restored = kept_draws(output, jobs, place)
    restore((entry for entries in restored.values() for entry in entries), log, identity)
    prepare([plan for plan in draws if plan not in restored], place, workers=arguments.workers)
    rows: list[Entry] = []
    report = _report(labels, place, rows)
    run = partial(run_job, place=place)
    for wanted in jobs.values():
        entries = complete(wanted, run, log, workers=arguments.workers, identity=identity)
        rows += [row for entry in entries for row in entry["rows"]]
        report = _report(labels, place, rows)
        output.write_text(json.dumps(report, indent=1) + "\n")
    print_table(report["summary"])
    return 0


def kept_draws(
    output: Path, jobs: Mapping[DrawPlan, Sequence[Job]], place: Place
) -> dict[DrawPlan, list[Entry]]:
    """Return the entries of the draws that an earlier output has whole, made by the same rules."""
    if not output.exists():
        return {}
    report: Entry = json.loads(output.read_text())
    told = {"policy": report["policy"]["digest"], **{k: report.get(k) for k in _TOLD}}
    if told != _identity(place):
        return {}
    rows: dict[tuple[str, int, str], list[Entry]] = {}
    for row in report["rows"]:
        rows.setdefault((row["dataset"], row["draw"], row["method"]), []).append(row)
    kept: dict[DrawPlan, list[Entry]] = {}
    for plan, wanted in jobs.items():
        found = [(job, rows.get((plan.bench, plan.seed, job.label), [])) for job in wanted]
        same = all(report["methods"].get(job.label) == described(job.row) for job in wanted)
        if same and all(len(made) == seeds(job, place) for job, made in found):
            spent = [sum(row["seconds"] or 0 for row in made) for _, made in found]
            kept[plan] = [
                {"plan": job.to_json(), "rows": made, "seconds": round(each, 1)}
                for (job, made), each in zip(found, spent, strict=True)
            ]
    return kept


def _jobs(plan: DrawPlan, labels: Mapping[str, Row]) -> list[Job]:
    return [
        Job(plan=plan, label=label, row=row)
        for label, row in labels.items()
        if plan.scope in row.scopes
    ]


def _identity(place: Place) -> Entry:
    """Return what every entry depends on besides its draw and method."""
    digest = Policy.standard().digest()
    kept = {"policy": digest, "metrics": METRICS_VERSION}
    return {**kept, "seeds": place.seeds, "device": place.device}


def _report(labels: dict[str, Row], place: Place, rows: list[Entry]) -> Entry:
    policy = Policy.standard()
    return {
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest()},
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "metrics": METRICS_VERSION,
        "seeds": place.seeds,
        "device": place.device,
        "methods": {label: described(row) for label, row in labels.items()},
        "summary": summarise(rows),
        "rows": rows,
    }


def _stem(arguments: argparse.Namespace) -> str:
    parts = ["methods" if arguments.table == "larger" else arguments.table]
    return "-".join(parts + ([arguments.bench] if arguments.bench != "digits" else []))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--table", choices=sorted(TABLES), default="methods")
    parser.add_argument("--bench", choices=sorted(BENCHES), default="digits")
    parser.add_argument("--data", type=Path, help="folder with the data set's files")
    parser.add_argument("--classes", nargs="*", type=int, default=list(range(10)))
    kinds = ("random", "memorised", "mislabelled")
    parser.add_argument("--requests", nargs="*", choices=kinds, default=None)
    parser.add_argument("--seeds", type=int, default=3, help="of each method on each draw")
    parser.add_argument(
        "--workers", type=int, default=2, help="processes, one thread each; one on a GPU"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--weights", type=Path, default=Path(".expunge/benchmarks"))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if torch.device(arguments.device).type != "cpu":
        arguments.workers = 1  # wall seconds of two that share a GPU would mean nothing
    if arguments.requests is None:
        arguments.requests = REQUESTS.get(arguments.bench, ["memorised"])
    return arguments


if __name__ == "__main__":
    sys.exit(main())
