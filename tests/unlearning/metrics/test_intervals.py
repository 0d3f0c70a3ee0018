"""Intervals against scipy, and their edges."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unlearning.errors import NotComputable
from unlearning.metrics.intervals import bootstrap_ratio, clopper_pearson, mean_interval, wilson


@given(n=st.integers(1, 5000), share=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_wilson_is_scipys_and_holds_the_share(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    lower, upper = wilson(successes, n, level)
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert (lower, upper) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= lower <= successes / n <= upper <= 1


def test_wilson_needs_samples_and_sense() -> None:
    with pytest.raises(NotComputable, match="no sample"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)


def test_mean_interval_is_students() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0])
    expected = stats.t.interval(0.95, 3, loc=3.75, scale=stats.sem(values.numpy()))
    assert mean_interval(values) == pytest.approx(expected)
    with pytest.raises(NotComputable, match="two samples"):
        mean_interval(values[:1])


def test_bootstrap_holds_the_ratio_narrows_with_n_and_repeats_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    denominator = torch.rand(1000, generator=generator) + 1
    numerator = denominator * torch.rand(1000, generator=generator)
    few = bootstrap_ratio(numerator[:50], denominator[:50])
    many = bootstrap_ratio(numerator, denominator)
    assert many[0] < float(numerator.mean() / denominator.mean()) < many[1]
    assert many[1] - many[0] < few[1] - few[0]
    assert many == bootstrap_ratio(numerator, denominator)


def test_bootstrap_width_is_the_delta_methods() -> None:
    generator = torch.Generator().manual_seed(1)
    numerator = torch.rand(4000, generator=generator, dtype=torch.float64)
    ones = torch.ones(4000, dtype=torch.float64)
    lower, upper = bootstrap_ratio(numerator, ones)
    low, high = mean_interval(numerator)
    assert upper - lower == pytest.approx(high - low, rel=0.1)


def test_bootstrap_refuses_what_has_no_ratio() -> None:
    with pytest.raises(NotComputable, match="two samples"):
        bootstrap_ratio(torch.ones(1), torch.ones(1))
    with pytest.raises(NotComputable, match="zero"):
        bootstrap_ratio(torch.ones(3), torch.zeros(3))
    with pytest.raises(ValueError, match="pairs"):
        bootstrap_ratio(torch.ones(3), torch.ones(2))


def test_clopper_pearson_inverts_the_binomial_tails() -> None:
    for successes, n in ((0, 5), (3, 10), (10, 10), (1, 40)):
        lower, upper = clopper_pearson(successes, n)
        expected = stats.binomtest(successes, n).proportion_ci(0.95, method="exact")
        assert (lower, upper) == pytest.approx((expected.low, expected.high), abs=1e-6)
    with pytest.raises(NotComputable):
        clopper_pearson(0, 0)
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson(3, 2)
