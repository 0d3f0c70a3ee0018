"""Tuning gives every method the same budget, keeps what was tried and goes on from there."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest

from benchmarks import calibration, methods, tuning
from benchmarks.tuning_spaces import SPACES
from unlearning.audit import AuditResult
from unlearning.calibration import Bench, DrawPlan
from unlearning.methods import METHODS, get_method
from unlearning.recipe import Recipe
from unlearning.testing import toy_images

PLAN = DrawPlan(bench="toy", scope="class", seed=1, originals=1, retrained=0)


def _row(name: str, candidate: float | None, *, gated: bool = True) -> dict[str, Any]:
    references = {"mean": 0.5, "sd": 0.1}
    row = {"name": name, "gated": gated, "original": 1.5, "candidate": candidate}
    return {**row, "references": references}


def _result(influence: float | None, *rows: dict[str, Any]) -> AuditResult:
    found = None if influence is None else SimpleNamespace(value=influence)
    worst = SimpleNamespace(metrics=rows)
    return cast("AuditResult", SimpleNamespace(influence=found, worst=worst))


def _toy() -> Bench:
    recipe = Recipe(epochs=4, batch_size=32, peak_lr=0.05, shift=0)
    kwargs = {"channels": (4, 8)}
    return Bench(name="toy", images=toy_images(200), num_train=120, recipe=recipe, kwargs=kwargs)


def test_every_method_but_retraining_has_a_space_with_its_defaults_inside() -> None:
    assert SPACES.keys() == METHODS.keys() - {"retrain"}
    for name, space in SPACES.items():
        assert space.keys() <= {field.name for field in fields(METHODS[name])}
        for parameter, distribution in space.items():
            default = get_method(name).hyperparameters[parameter]
            assert distribution._contains(distribution.to_internal_repr(default)), parameter


@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_corner_of_a_space_makes_a_method(name: str) -> None:
    bounds = cast("dict[str, optuna.distributions.FloatDistribution]", SPACES[name])
    get_method(name, **{key: distribution.low for key, distribution in bounds.items()})
    get_method(name, **{key: distribution.high for key, distribution in bounds.items()})


def test_the_draw_is_no_other_tables() -> None:
    assert min(calibration.FIRST_SEED, methods.FIRST_SEED) > tuning.SEED


def test_the_objective_is_influence_plus_utility_plus_relative_distance() -> None:
    rows = (
        _row("da", 0.7),
        _row("log_rho", 0.1),
        _row("probe", 9.0, gated=False),
        _row("accuracy.holdout_retained", 0.47, gated=False),
    )
    terms = tuning.judge(_result(-0.3, *rows), margin=0.02)
    assert terms is not None
    assert terms.influence == pytest.approx(0.3)
    assert terms.utility == pytest.approx(1.5)
    assert terms.distance == pytest.approx(math.sqrt((2**2 + 4**2) / 2) / 10)
    assert terms.sum == pytest.approx(0.3 + 1.5 + math.sqrt(10) / 10)


def test_better_than_the_references_is_no_bonus() -> None:
    rows = (_row("da", 0.5), _row("accuracy.holdout_retained", 0.9, gated=False))
    terms = tuning.judge(_result(0.0, *rows), margin=0.02)
    assert terms is not None
    assert terms.sum == 0


def test_what_cannot_be_judged_is_none() -> None:
    holdout = _row("accuracy.holdout_retained", 0.5, gated=False)
    assert tuning.judge(_result(None, _row("da", 0.5), holdout), 0.02) is None
    assert tuning.judge(_result(0.1, _row("da", None), holdout), 0.02) is None
    assert tuning.judge(_result(0.1, holdout), 0.02) is None


def test_a_log_of_another_identity_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "tuned.jsonl"
    own = tuning._identity("ssd", PLAN)
    lines = [{**own, "number": 0}, {**own, "seeds": 9, "number": 1}, {**own, "number": 2}]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [entry["number"] for entry in tuning._read(log, own)] == [0]


@pytest.mark.slow
def test_a_study_goes_on_as_if_it_had_not_been_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "BENCHES", {"toy": _toy})
    monkeypatch.setattr(tuning, "COST_CAP", 1e6)
    monkeypatch.setattr(tuning, "STARTUP_TRIALS", 1)
    whole = tuning.tune("ssd", PLAN, 3, tmp_path / "whole.jsonl", tmp_path)
    tuning.tune("ssd", PLAN, 1, tmp_path / "cut.jsonl", tmp_path)
    resumed = tuning.tune("ssd", PLAN, 3, tmp_path / "cut.jsonl", tmp_path)
    assert [e["params"] for e in resumed] == [e["params"] for e in whole]
    assert [e["objective"] for e in resumed] == [e["objective"] for e in whole]
    assert len((tmp_path / "cut.jsonl").read_text().splitlines()) == 3
    assert whole[0]["params"] == {n: get_method("ssd").hyperparameters[n] for n in SPACES["ssd"]}
    entry = tuning.best("ssd", whole, PLAN.seed)
    assert entry["objective"] == min(e["objective"] for e in whole)
    assert entry["trials"] == 3
    assert get_method("ssd", **entry["hyperparameters"]).hyperparameters == entry["hyperparameters"]


@pytest.mark.slow
def test_a_trial_that_diverges_or_costs_too_much_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = tuning.Workbench(PLAN, _toy(), tmp_path)
    usual = bench.attempt("finetune", {"epochs": 1})
    assert len(usual["terms"]) == tuning.SEEDS
    monkeypatch.setattr(tuning, "COST_CAP", 1e-9)
    dear = bench.attempt("finetune", {"epochs": 1})
    assert not dear["feasible"]
    assert dear["objective"] == pytest.approx(usual["objective"] + tuning.LOST)
    hopeless = replace(bench.problem, recipe=Recipe(batch_size=8, peak_lr=1e30))
    monkeypatch.setattr(bench, "problem", hopeless)
    lost = bench.attempt("finetune", {"epochs": 4})
    assert lost["objective"] == 2 * tuning.LOST
    assert lost["note"]
