"""Jensen–Shannon divergence against sums over samples and classes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.divergence import (
    divergence,
    jensen_shannon,
    leave_one_out,
    log_divergence,
)


def predictions(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(*shape, generator=generator), dim=-1)


def slow(p: list[float], q: list[float]) -> float:
    total = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        total += 0.5 * (a * math.log(a / middle) if a else 0.0)
        total += 0.5 * (b * math.log(b / middle) if b else 0.0)
    return total


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_it_matches_the_sum_is_symmetric_and_stays_in_range(seed: int) -> None:
    p, q = predictions(seed, 7, 4), predictions(seed + 1, 7, 4)
    values = jensen_shannon(p, q)
    expected = [slow(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    assert values.tolist() == pytest.approx(expected, abs=1e-7)
    assert torch.allclose(values, jensen_shannon(q, p))
    assert bool(((values >= 0) & (values <= math.log(2))).all())


def test_equal_predictions_differ_by_zero_and_disjoint_ones_by_log_two() -> None:
    sure = torch.eye(3)
    assert jensen_shannon(sure, sure).tolist() == [0, 0, 0]
    assert jensen_shannon(sure, sure.roll(1, 0)).tolist() == pytest.approx([math.log(2)] * 3)


def test_divergence_is_from_the_mean_prediction_of_the_references() -> None:
    own, references = predictions(0, 6, 3), predictions(1, 4, 6, 3)
    mean = [[sum(c) / 4 for c in zip(*rows, strict=True)] for rows in _by_sample(references)]
    expected = sum(slow(a, b) for a, b in zip(own.tolist(), mean, strict=True)) / 6
    assert divergence(own, references) == pytest.approx(expected, abs=1e-6)


def _by_sample(references: Tensor) -> list[list[list[float]]]:
    rows: list[list[list[float]]] = references.transpose(0, 1).tolist()
    return rows


def test_leaving_one_out_compares_each_with_the_others_alone() -> None:
    models = predictions(2, 5, 6, 3)
    expected = [divergence(models[i], torch.cat([models[:i], models[i + 1 :]])) for i in range(5)]
    assert leave_one_out(models).tolist() == pytest.approx(expected, abs=1e-9)


def test_the_order_of_references_and_samples_does_not_matter() -> None:
    own, references = predictions(0, 6, 3), predictions(1, 4, 6, 3)
    turned = divergence(own.flip(0), references.flip(0).flip(1))
    assert turned == pytest.approx(divergence(own, references))


def test_the_log_of_no_divergence_is_finite() -> None:
    assert log_divergence(0.0) == pytest.approx(math.log(1e-12))
    assert log_divergence(0.25) == pytest.approx(math.log(0.25))


def test_empty_sets_and_single_models_are_not_computable() -> None:
    with pytest.raises(NotComputable, match="no sample or no reference"):
        divergence(predictions(0, 3, 2), torch.zeros(0, 3, 2))
    with pytest.raises(NotComputable, match="no sample or no reference"):
        divergence(torch.zeros(0, 2), torch.zeros(4, 0, 2))
    with pytest.raises(NotComputable, match="two models"):
        leave_one_out(predictions(0, 1, 3, 2))


def test_logits_nan_and_unequal_shapes_are_refused() -> None:
    fine = predictions(0, 3, 2)
    with pytest.raises(ValueError, match="add up to one"):
        jensen_shannon(torch.full((3, 2), 5.0), fine)
    with pytest.raises(ValueError, match="finite"):
        jensen_shannon(torch.full((3, 2), math.nan), fine)
    with pytest.raises(ValueError, match="equal shapes"):
        jensen_shannon(fine, fine[:2])
