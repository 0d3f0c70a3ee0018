"""True positives at few false alarms, against a walk over every threshold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.tpr import true_positives


def _slow(members: Tensor, negatives: Tensor, weights: Tensor, rate: float) -> int:
    best = 0
    for threshold in sorted({*members.tolist(), *negatives.tolist(), -1e9}):
        alarms = sum(
            w for z, w in zip(negatives.tolist(), weights.tolist(), strict=True) if z > threshold
        )
        if alarms <= rate + 1e-12:
            best = max(best, sum(x > threshold for x in members.tolist()))
    return best


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), rate=st.sampled_from([0.01, 0.05, 0.5]))
def test_the_count_is_that_of_the_best_allowed_threshold(seed: int, rate: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    members = (3 * torch.randn(12, generator=generator) + 1).round()
    negatives = (3 * torch.randn(150, generator=generator)).round()
    weights = torch.rand(150, generator=generator, dtype=torch.float64) + 0.5
    weights /= weights.sum()
    found = true_positives(members, negatives, rate, weights)
    assert found.caught == _slow(members, negatives, weights, rate)


def test_strangers_are_caught_about_as_often_as_the_alarms_allow() -> None:
    generator = torch.Generator().manual_seed(0)
    members, negatives = (torch.randn(20_000, generator=generator) for _ in range(2))
    assert true_positives(members, negatives, 0.01).value == pytest.approx(0.01, abs=0.003)


def test_the_interval_is_exact_and_holds_the_share() -> None:
    found = true_positives(torch.tensor([5.0, 0.0, 0.0, 0.0]), torch.zeros(1000), 0.01)
    lower, upper = found.interval()
    assert (found.caught, found.n) == (1, 4)
    # Clopper and Pearson for 1 of 4, from their tables.
    assert (lower, upper) == pytest.approx((0.0063, 0.8059), abs=1e-4)


@pytest.mark.parametrize(("rate", "enough"), [(0.01, 100), (0.001, 1000)])
def test_a_rate_needs_as_many_comparable_negatives_as_it_counts(rate: float, enough: int) -> None:
    members = torch.ones(3)
    assert true_positives(members, torch.zeros(enough), rate).value == 1
    with pytest.raises(NotComputable, match=f"a false alarm in {enough}"):
        true_positives(members, torch.zeros(enough - 1), rate)
    lopsided = torch.full((enough,), 0.1 / (enough - 1), dtype=torch.float64)
    lopsided[0] = 0.9
    with pytest.raises(NotComputable, match="1 comparable"):
        true_positives(members, torch.zeros(enough), rate, lopsided)


def test_nothing_to_compare_and_nan_are_told_apart() -> None:
    with pytest.raises(NotComputable, match="members and negatives"):
        true_positives(torch.ones(0), torch.zeros(200), 0.01)
    with pytest.raises(ValueError, match="NaN"):
        true_positives(torch.tensor([float("nan")]), torch.zeros(200), 0.01)
