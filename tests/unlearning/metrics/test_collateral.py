"""The worst class and the worst tenth, against sorting by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.errors import NotComputable
from unlearning.metrics.collateral import worst, worst_tenth


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 60))
def test_the_worst_are_found_by_sorting(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    own, expected = (torch.rand(n, generator=generator) for _ in range(2))
    lost = sorted((float(b) - float(a) for a, b in zip(own, expected, strict=True)), reverse=True)
    count = (n + 9) // 10
    assert worst(own, expected) == pytest.approx(lost[0])
    assert worst_tenth(own, expected) == pytest.approx(sum(lost[:count]) / count)


def test_a_tenth_that_was_lost_shows_though_the_mean_hides_it() -> None:
    expected = torch.full((200,), 0.95)
    own = torch.ones(200)
    own[:20] = 0
    assert float(expected.mean() - own.mean()) == pytest.approx(0.05, abs=1e-6)
    assert worst_tenth(own, expected) == pytest.approx(0.95)


def test_sets_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(NotComputable, match="no sample"):
        worst(torch.ones(0), torch.ones(0))
    with pytest.raises(ValueError, match=r"\[n\] and \[n\]"):
        worst(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        worst_tenth(torch.ones(2), torch.full((2,), math.nan))
