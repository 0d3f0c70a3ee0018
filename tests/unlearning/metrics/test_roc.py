"""The attack's curve against a count at every rate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.errors import NotComputable
from unlearning.metrics.roc import POINTS, rates, roc


def _equal(count: int) -> torch.Tensor:
    return torch.full((count,), 1 / count, dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_point_is_the_best_count_at_its_rate(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    members = (2 * torch.randn(9, generator=generator) + 1).round()
    negatives = (2 * torch.randn(60, generator=generator)).round()
    for rate, share in zip(rates().tolist(), roc(members, negatives, _equal(60)), strict=True):
        allowed = [
            float((members > level).double().mean())
            for level in [*members.tolist(), *negatives.tolist(), -99.0]
            if float((negatives > level).double().mean()) <= rate + 1e-12
        ]
        assert float(share) == max(allowed)


def test_the_curve_rises_to_one_and_strangers_lie_on_the_diagonal() -> None:
    generator = torch.Generator().manual_seed(0)
    members, negatives = (torch.randn(20_000, generator=generator) for _ in range(2))
    curve = roc(members, negatives, _equal(20_000))
    assert len(curve) == POINTS
    assert bool((curve.diff() >= 0).all())
    assert float(curve[-1]) == 1
    torch.testing.assert_close(curve, rates(), rtol=0.3, atol=0.01)


def test_members_that_stand_out_are_all_caught_at_the_smallest_rate() -> None:
    curve = roc(torch.arange(5) + 10.0, torch.arange(2000) / 2000, _equal(2000))
    assert bool((curve == 1).all())


def test_without_samples_there_is_no_curve() -> None:
    with pytest.raises(NotComputable):
        roc(torch.ones(0), torch.ones(3), _equal(3))
