"""Count how often the audit errs, on seeds and classes that its policy never saw.

    python -m benchmarks.calibration            # the stated subset, or what of it is missing
    python -m benchmarks.calibration --draws 2 --output /tmp/calibration.json
    python -m benchmarks.calibration --policy strict/1      # into calibration-strict.json
    python -m benchmarks.calibration --look 2               # into calibration-look2.json

The policy's digest is frozen first: every line of the log carries it, and a log of another policy,
another look or another version of the metrics is not continued. Each draw shuffles its data set,
chooses a class (or mislabels samples) and trains originals and references anew; genuine retrains
and every impostor of `unlearning.calibration` are then audited at one look of the policy, the first
by default. At look 2 every candidate is audited with all its references, not only those that look 1
left INCONCLUSIVE: its rates are those of an audit that goes there at once. Impostors of one draw
share its references, so intervals are also given by a bootstrap over draws. Exit code 1 when a goal
is missed.
"""

import argparse
import datetime as dt
import itertools
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.calibration_figure import draw_figure
from benchmarks.da import processor
from benchmarks.draw_log import Entry, complete
from benchmarks.letters import letters
from unlearning.audit import Policy
from unlearning.audit.measurement import METRICS_VERSION
from unlearning.calibration import SUSPECTS, Draw, DrawPlan, clustered_rate, digits, run_draw
from unlearning.calibration.draws import Scope
from unlearning.calibration.suspects import RETRAINED
from unlearning.metrics.intervals import wilson

RESULTS = Path(__file__).parent / "results"
POLICIES = {f"{p.name}/{p.version}": p for p in (Policy.standard(), Policy.strict())}
STANDARD, *_ = POLICIES
BENCHES = {"digits": digits, "letters": letters}
DRAWS: dict[Scope, int] = {"class": 10, "instance": 4}
"""Draws of each data set by scope: the stated subset."""
FIRST_SEED = 70_000
"""Seeds of the calibration; no choice of a rule may ever look at seeds from here on."""
VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NOTHING_TO_REMOVE")
MOST_FAILED, FEWEST_PASSED = 0.05, 0.85
FEWEST_RETRAINS, FEWEST_IMPOSTORS = 200, 100


def plans(draws: dict[Scope, int]) -> list[DrawPlan]:
    """List the draws, data sets and scopes in turn, so that an interrupted log is balanced."""
    rounds = range(max(draws.values()))
    return [
        DrawPlan(bench=bench, scope=scope, seed=FIRST_SEED + number)
        for number, bench, scope in itertools.product(rounds, BENCHES, draws)
        if number < draws[scope]
    ]


@dataclass(frozen=True)
class Rule:
    """What is calibrated: a policy by name, at one of its looks."""

    name: str = STANDARD
    look: int = 1

    @property
    def policy(self) -> Policy:
        """The policy."""
        return POLICIES[self.name]

    @property
    def output(self) -> Path:
        """Where its results are kept."""
        policy, _, _ = self.name.partition("/")
        suffix = "" if policy == "standard" else f"-{policy}"
        suffix += "" if self.look == 1 else f"-look{self.look}"
        return RESULTS / f"calibration{suffix}.json"

    def identity(self) -> Entry:
        """Return what a draw's outcomes depend on besides its plan.

        The first look is not named: logs from before there was a choice go on.
        """
        own = {"policy": self.policy.digest(), "metrics": METRICS_VERSION}
        return own if self.look == 1 else own | {"look": self.look}


def run_plan(plan: DrawPlan, rule: Rule) -> Entry:
    """Run one draw in this process, on one thread."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        draw = Draw(plan, BENCHES[plan.bench](), rule.policy, Path(cache), look=rule.look)
        outcomes = [outcome.to_json() for outcome in run_draw(draw)]
    forgotten = draw.problem(0).forgotten_classes
    return {
        "forgotten_classes": list(forgotten),
        "outcomes": outcomes,
        "seconds": round(time.perf_counter() - start, 1),
    }


def tabulate(entries: Iterable[Entry]) -> list[Entry]:
    """Count verdicts by data set, scope and control, and over both data sets (`dataset` "all")."""
    cells: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for entry in entries:
        plan = entry["plan"]
        cluster = f"{plan['bench']}/{plan['scope']}/{plan['seed']}"
        for outcome in entry["outcomes"]:
            for dataset, scope in ((plan["bench"], plan["scope"]), ("all", "all")):
                key = (dataset, scope, outcome["suspect"])
                cells.setdefault(key, []).append((outcome["verdict"], cluster))
    return [_row(*key, verdicts) for key, verdicts in sorted(cells.items())]


def missed_goals(rows: Sequence[Entry], gated: Iterable[Entry]) -> list[str]:
    """Say which goals were missed, in sentences; none when all were reached."""
    genuine = next(row for row in rows if (row["dataset"], row["control"]) == ("all", RETRAINED))
    missed = []
    if genuine["n"] < FEWEST_RETRAINS:
        missed.append(f"only {genuine['n']} genuine retrains were audited")
    lowest = min(genuine["fail_rate"]["wilson"][0], genuine["fail_rate"]["clustered"][0])
    if lowest > MOST_FAILED:
        missed.append(f"genuine retrains FAIL in {genuine['fail_rate']['rate']:.3f}")
    if genuine["pass_rate"]["rate"] < FEWEST_PASSED:
        missed.append(f"genuine retrains PASS in only {genuine['pass_rate']['rate']:.3f}")
    for row in gated:
        if row["n"] < FEWEST_IMPOSTORS:
            missed.append(f"{row['control']} was audited only {row['n']} times")
        if row["pass"]:
            missed.append(f"{row['control']} PASSed {row['pass']} of {row['n']} audits")
    return missed


def gated_rows(rows: Sequence[Entry]) -> list[Entry]:
    """Add up, for each impostor, the scopes in which the audit may never let it pass."""
    gated = []
    for suspect in SUSPECTS:
        mine = [
            row
            for row in rows
            if row["control"] == suspect.name
            and row["dataset"] != "all"
            and suspect.must_fail(row["scope"])
        ]
        n, passed = sum(row["n"] for row in mine), sum(row["pass"] for row in mine)
        if n:
            bound = wilson(passed, n)[1]
            gated.append({"control": suspect.name, "n": n, "pass": passed, "upper": bound})
    return gated


def main() -> int:
    """Run what is missing, print the table, write JSON and figure, and judge."""
    arguments = _parse()
    rule = Rule(arguments.policy, arguments.look)
    output: Path = arguments.output or rule.output
    output.parent.mkdir(parents=True, exist_ok=True)
    draws = DRAWS if arguments.draws is None else dict.fromkeys(DRAWS, arguments.draws)
    entries = complete(
        plans(draws),
        partial(run_plan, rule=rule),
        output.with_suffix(".jsonl"),
        workers=arguments.workers,
        identity=rule.identity(),
    )
    rows = tabulate(entries)
    gated = gated_rows(rows)
    missed = missed_goals(rows, gated)
    output.write_text(json.dumps(_report(rule, entries, rows, gated, missed), indent=1) + "\n")
    draw_figure(rows, output.with_suffix(".svg"))
    _print(rows, gated)
    for sentence in missed:
        print(f"Goal missed: {sentence}.")
    return 1 if missed else 0


def _row(dataset: str, scope: str, control: str, verdicts: list[tuple[str, str]]) -> Entry:
    clusters = [cluster for _, cluster in verdicts]
    count = {name: sum(verdict == name for verdict, _ in verdicts) for name in VERDICTS}

    def rate(name: str) -> dict[str, object]:
        return clustered_rate([verdict == name for verdict, _ in verdicts], clusters).to_json()

    return {
        "dataset": dataset,
        "scope": scope,
        "control": control,
        "n": len(verdicts),
        "draws": len(set(clusters)),
        **{name.lower(): count[name] for name in VERDICTS},
        "pass_rate": rate("PASS"),
        "fail_rate": rate("FAIL"),
    }


def _report(
    rule: Rule,
    entries: Sequence[Entry],
    rows: Sequence[Entry],
    gated: Sequence[Entry],
    missed: Sequence[str],
) -> Entry:
    policy = rule.policy
    return {
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest()},
        "metrics": METRICS_VERSION,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "look": rule.look,
        "references": policy.looks[rule.look - 1],
        "draws": len(entries),
        "draw_seconds": [entry["seconds"] for entry in entries],
        "goals_missed": list(missed),
        "gated": list(gated),
        "rows": list(rows),
    }


def _print(rows: Sequence[Entry], gated: Sequence[Entry]) -> None:
    columns = ("data set", "scope", "control", "n", "draws", "PASS", "FAIL", "INCONCL.", "NOTHING")
    table = Table(*columns, "FAIL rate, by draws")
    for row in rows:
        low, high = row["fail_rate"]["clustered"] or row["fail_rate"]["wilson"]
        figures = (row["n"], row["draws"], *(row[name.lower()] for name in VERDICTS))
        rate = f"{row['fail_rate']['rate']:.3f} ({low:.3f}-{high:.3f})"
        table.add_row(row["dataset"], row["scope"], row["control"], *map(str, figures), rate)
    console = Console()
    console.print(table)
    for row in gated:
        words = f"{row['control']}: PASS {row['pass']} of {row['n']}, 95 % bound {row['upper']:.3f}"
        console.print(words, highlight=False)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, help="of each data set and scope; default: all")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--policy", choices=POLICIES, default=STANDARD)
    parser.add_argument("--look", type=int, choices=(1, 2), default=1, help="of the policy")
    parser.add_argument("--output", type=Path, help="default: by policy and look, in results/")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
