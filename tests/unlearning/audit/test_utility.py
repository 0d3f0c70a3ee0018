"""Lost accuracy is told from the spread of retrainings."""

import numpy as np
import pytest

from unlearning.audit.measurement import Measurement
from unlearning.audit.policy import Policy
from unlearning.audit.utility import check_fidelity, check_utility, collateral

POLICY = Policy.standard()


def _model(overall: float, *classes: float) -> Measurement:
    values = {"accuracy.retain": 1.0, "accuracy.holdout_retained": overall}
    values |= {f"accuracy.class.{label}": value for label, value in enumerate(classes)}
    return Measurement(values=values, counts=dict.fromkeys(values, 50))


def _references() -> list[Measurement]:
    rng = np.random.default_rng(0)
    classes = np.array([0.99, 0.97, 0.85]) + 0.01 * rng.normal(size=(19, 3))
    return [_model(float(row.mean()), *row.tolist()) for row in classes]


def test_a_candidate_like_the_references_is_useful() -> None:
    references = _references()
    assert check_utility(references[0], references[0], references, POLICY)["ok"]


def test_a_lost_point_is_within_the_margin_and_five_are_not() -> None:
    references, original = _references(), _model(0.94, 0.99, 0.97, 0.85)
    slightly = check_utility(original, _model(0.93, 0.99, 0.97, 0.85), references, POLICY)
    much = check_utility(original, _model(0.89, 0.99, 0.97, 0.85), references, POLICY)
    assert slightly["ok"]
    assert not much["ok"]
    assert not much["holdout_retained"]["ok"]


def test_a_class_that_fell_is_found_though_another_one_is_weaker_by_nature() -> None:
    references, original = _references(), _model(0.94, 0.99, 0.97, 0.85)
    result = check_utility(original, _model(0.93, 0.99, 0.88, 0.85), references, POLICY)
    assert (result["worst_class"]["class"], result["worst_class"]["ok"]) == (1, False)
    assert result["holdout_retained"]["ok"]


def test_genuine_retrains_are_seldom_called_inferior() -> None:
    rng, failed = np.random.default_rng(1), 0
    for _ in range(200):
        classes = np.array([0.99, 0.97, 0.85]) + 0.03 * rng.normal(size=(20, 3))
        models = [_model(float(row.mean()), *row.tolist()) for row in classes]
        failed += not check_utility(models[0], models[-1], models[:-1], POLICY)["ok"]
    assert failed <= 16


def test_a_model_that_was_not_measured_is_not_useful() -> None:
    references = _references()
    result = check_utility(references[0], Measurement(failure="no numbers"), references, POLICY)
    assert not result["ok"]


@pytest.mark.parametrize(("own", "ok"), [(0.94, True), (0.955, True), (0.90, False), (1.0, False)])
def test_fidelity_bounds_the_difference_on_both_sides(own: float, ok: bool) -> None:
    assert check_fidelity(_model(own), _references(), 0.02)["ok"] is ok


def test_collateral_lists_every_retained_class() -> None:
    references = _references()
    rows = collateral(references[0], references[1], references)
    assert [row["class"] for row in rows] == [0, 1, 2]
    assert rows[2]["references"]["mean"] == pytest.approx(0.85, abs=0.02)
