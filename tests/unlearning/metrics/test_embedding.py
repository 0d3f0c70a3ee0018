"""M4 against a loop over pairs of samples."""

import math

import pytest
import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.embedding import m4, null_deviation


def test_m4_matches_a_loop_over_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    retain, forget = torch.randn(30, 4, generator=generator), torch.randn(8, 4, generator=generator)

    def cosine(x: Tensor, y: Tensor) -> float:
        return float(torch.dot(x, y) / (x.norm() * y.norm()))

    null = [max(cosine(x, y) for j, y in enumerate(retain) if j != i) for i, x in enumerate(retain)]
    own = [max(cosine(x, y) for y in retain) for x in forget]
    expected = sum(sum(z < x for z in null) / 30 for x in own) / 8
    assert m4(forget, retain) == pytest.approx(expected)


def test_m4_of_strangers_is_a_half_within_its_stated_deviation() -> None:
    features = torch.randn(1200, 8, generator=torch.Generator().manual_seed(1))
    assert m4(features[:200], features[200:]) == pytest.approx(0.5, abs=4 * null_deviation(200))


def test_m4_ties_of_duplicates_count_half_and_small_sets_are_not_computable() -> None:
    same = torch.tensor([[1.0, 2.0, 3.0]]).repeat(5, 1)
    assert m4(same[:2] * 7, same) == pytest.approx(0.5)
    with pytest.raises(NotComputable, match="two retain samples"):
        m4(same, same[:1])
    with pytest.raises(NotComputable, match="forget sample"):
        m4(same[:0], same)
    with pytest.raises(ValueError, match="NaN"):
        m4(same * math.nan, same)
