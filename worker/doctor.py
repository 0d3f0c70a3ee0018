"""What `expunge doctor` asks of a process that may import torch: the device, and a trial audit.

python -m worker.doctor                  # one JSON document about torch and the device
python -m worker.doctor --audit [--json] # one draw of unlearning.calibration on digits
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from unlearning.audit import Policy
from unlearning.calibration import SUSPECTS, Bench, Draw, DrawPlan, Outcome, digits, run_draw
from unlearning.calibration.suspects import RETRAINED

SEED = 11
"""Of the one draw; the calibration's own seeds start far above."""
CONTROLS = ("untouched", "head_masked", "head_refitted", "channels_rescaled")
LEAST_INFLUENCE = 0.33
"""What every control's remaining influence must surely exceed."""
_SIDE = 256


def describe_device(asked: str) -> dict[str, Any]:
    """Return torch's version and what jobs would run on, after multiplying two matrices there.

    `error` says in words why the device cannot be used; it is None where it can.
    """
    available = torch.cuda.is_available()
    device = ("cuda" if available else "cpu") if asked == "auto" else asked
    found: dict[str, Any] = {"torch": torch.__version__, "device": device, "name": None}
    found |= {"memory_bytes": None, "error": None}
    try:
        ones = torch.ones(_SIDE, _SIDE, device=device)
        if float((ones @ ones)[0, 0]) != _SIDE:
            found["error"] = "it multiplies wrongly"
        if device.startswith("cuda"):
            found["name"] = torch.cuda.get_device_name(device)
            found["memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
    except (RuntimeError, AssertionError) as error:  # a torch built without CUDA asserts
        found["error"] = str(error).partition("\n")[0]
    return found


def trial_audit(bench: Bench, policy: Policy, seed: int = SEED) -> Iterator[Outcome]:
    """Yield the audit of a genuine retrain, then of every control, of one class drawn by seed."""
    plan = DrawPlan(bench=bench.name, scope="class", seed=seed, originals=1, retrained=1)
    controls = tuple(suspect for suspect in SUSPECTS if suspect.name in CONTROLS)
    with tempfile.TemporaryDirectory(prefix="expunge-doctor-") as cache:
        yield from run_draw(Draw(plan, bench, policy, Path(cache)), controls)


def judge(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what the trial says: `ok` when every control FAILs and surely kept its influence.

    A genuine retrain may FAIL, once in as many audits as the policy has references and one more,
    so its FAIL is a warning.
    """
    problems = [
        f"{outcome.suspect} must FAIL with λ's lower bound above {LEAST_INFLUENCE} and got"
        f" {outcome.verdict} with {_number(outcome.lower)}"
        for outcome in outcomes
        if outcome.suspect != RETRAINED and not _unmasked(outcome)
    ]
    seen = {outcome.suspect for outcome in outcomes}
    problems += [f"{name} could not be made" for name in CONTROLS if name not in seen]
    retrains = [outcome for outcome in outcomes if outcome.suspect == RETRAINED]
    warnings = [
        f"the genuine retrain got {outcome.verdict}; a FAIL happens once in about twenty audits,"
        " so try another seed (--seed)"
        for outcome in retrains
        if outcome.verdict == "FAIL"
    ]
    return {
        "ok": not problems,
        "retrained": retrains[0].verdict if retrains else None,
        "problems": problems,
        "warnings": warnings,
        "outcomes": [outcome.to_json() for outcome in outcomes],
    }


def _unmasked(outcome: Outcome) -> bool:
    certain = outcome.lower is not None and outcome.lower > LEAST_INFLUENCE
    return outcome.verdict == "FAIL" and certain


def _audit(arguments: argparse.Namespace) -> int:
    """Run the trial, print it and return the exit code."""
    start, console = time.perf_counter(), Console(stderr=True, highlight=False)
    torch.set_num_threads(1)  # the images are tiny: more threads would wait for each other
    policy, bench = Policy.standard(), digits()
    outcomes = []
    console.print(f"one class of {bench.name}, {policy.looks[0]} references, seed {arguments.seed}")
    for outcome in trial_audit(bench, policy, arguments.seed):
        outcomes.append(outcome)
        console.print(f"{time.perf_counter() - start:6.1f} s  {outcome.suspect}: {outcome.verdict}")
    report = {
        **judge(outcomes),
        "bench": bench.name,
        "scope": "class",
        "seed": arguments.seed,
        "references": policy.looks[0],
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest()},
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    if arguments.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _show(report)
    return 0 if report["ok"] else 1


def _show(report: dict[str, Any]) -> None:
    """Print the table and what follows from it."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, header_style="bold")
    for column in ("model", "verdict", "remaining influence λ", "95 % interval"):
        table.add_column(column)
    for outcome in report["outcomes"]:
        interval = f"{_number(outcome['lower'])} … {_number(outcome['upper'])}"
        influence = _number(outcome["influence"])
        table.add_row(outcome["suspect"], outcome["verdict"], influence, interval)
    console.print(table)
    for words in (*report["problems"], *report["warnings"]):
        console.print(words, markup=False)
    kept = "every control FAILs" if report["ok"] else "the audit can be fooled here"
    console.print(
        f"{kept}; the genuine retrain got {report['retrained']}"
        f" ({report['seconds']} s, {report['threads']} threads)"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer on standard output; return 0 when nothing is wrong."""
    parser = argparse.ArgumentParser(description="What expunge doctor asks of torch.")
    parser.add_argument("--audit", action="store_true", help="audit one draw of digits")
    parser.add_argument("--seed", type=int, default=SEED, help="of the draw")
    parser.add_argument("--device", default="auto", help="what EXPUNGE_DEVICE says")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    if given.audit:
        return _audit(given)
    found = describe_device(given.device)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if found["error"] is None else 1


if __name__ == "__main__":
    sys.exit(main())
