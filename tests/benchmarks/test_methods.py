"""The table of methods counts what was audited, on draws that nothing else uses."""

from typing import Any

import pytest

from benchmarks import calibration, methods
from unlearning.calibration import DrawPlan
from unlearning.methods import METHODS


def _row(verdict: str, influence: float | None, draw: int = 1, seed: int = 0) -> dict[str, Any]:
    return {
        "dataset": "digits",
        "request": "one class",
        "method": "muda",
        "draw": draw,
        "seed": seed,
        "verdict": verdict,
        "influence": influence,
        "upper": 0.1,
        "retrain_ratio": 0.5,
        "holdout": 0.98,
    }


def test_the_summary_counts_passes_and_spreads_over_draws_and_seeds() -> None:
    rows = [_row("PASS", 0.1), _row("FAIL", 0.3, seed=1), _row("PASS", None, draw=2)]
    [summary] = methods.summarise(rows)
    assert (summary["n"], summary["draws"], summary["pass"]) == (3, 2, 2)
    assert summary["influence"]["mean"] == pytest.approx(0.2)
    assert summary["influence"]["sd"] == pytest.approx(0.1414, abs=1e-4)


def test_its_draws_are_not_those_of_the_calibration() -> None:
    ours = {plan.seed for plan in methods.plans(50, ["digits"])}
    assert ours.isdisjoint(plan.seed for plan in calibration.plans(calibration.DRAWS))
    assert {plan.scope for plan in methods.plans(1, ["digits"])} == {"class", "instance"}


def test_every_row_names_a_method_with_all_its_hyperparameters() -> None:
    for label in methods.METHODS:
        described = methods._described(label)
        assert described["name"] in METHODS
        assert described["version"]
    plain = methods._described("muda, plain")["hyperparameters"]
    assert (plain["beta"], plain["restart_last_stage"]) == (0.0, False)


@pytest.mark.slow
def test_a_draw_audits_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: methods.METHODS[name] for name in ("retrain", "finetune")}
    monkeypatch.setattr(methods, "METHODS", few)
    plan = DrawPlan(bench="digits", scope="class", seed=5, originals=1, retrained=0)
    rows = {row["method"]: row for row in methods.run_plan(plan, seeds=1)["rows"]}
    assert rows["finetune"]["verdict"] == "FAIL"
    assert rows["finetune"]["influence"] > 0.5
    assert rows["retrain"]["retrain_ratio"] == pytest.approx(1, rel=0.6)
    assert {"da", "log_rho", "probe.forgotten", "holdout"} <= rows["retrain"].keys()
