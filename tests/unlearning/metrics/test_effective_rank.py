"""Effective rank against the entropy of eigenvalues found by hand."""

import math

import pytest
import torch

from unlearning.errors import NotComputable
from unlearning.metrics.alignment import retain_space
from unlearning.metrics.effective_rank import effective_rank, forget_rank, retain_rank
from unlearning.metrics.moments import Moments


def _features(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _slow(scatter: torch.Tensor) -> float:
    values = [v for v in torch.linalg.svdvals(scatter).tolist() if v > 1e-14]
    shares = [value / sum(values) for value in values]
    return math.exp(-sum(share * math.log(share) for share in shares))


def test_equal_directions_are_counted() -> None:
    assert effective_rank(torch.tensor([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert effective_rank(torch.tensor([5.0, 0.0])) == pytest.approx(1)
    with pytest.raises(NotComputable, match="zero"):
        effective_rank(torch.zeros(3))


def test_both_sets_match_a_loop_over_samples() -> None:
    retain, forget = _features(80, 0), _features(15, 1) + 2
    space = retain_space(Moments.of(retain))
    scale, mean = retain.std(0, correction=0), retain.mean(0)
    scatters = []
    for rows in (retain, forget):
        scatter = torch.zeros(6, 6, dtype=torch.float64)
        for z in rows:
            scatter += torch.outer((z - mean) / scale, (z - mean) / scale) / len(rows)
        scatters.append(scatter)
    assert retain_rank(space) == pytest.approx(_slow(scatters[0]))
    assert forget_rank(space, Moments.of(forget)) == pytest.approx(_slow(scatters[1]))


def test_a_collapsed_forget_set_fills_one_direction() -> None:
    space = retain_space(Moments.of(_features(80, 0)))
    point = _features(1, 3) + 3
    assert forget_rank(space, Moments.of(point)) == pytest.approx(1, abs=1e-6)
    assert forget_rank(space, Moments.of(point.repeat(9, 1))) == pytest.approx(1, abs=1e-6)
    with pytest.raises(NotComputable, match="empty"):
        forget_rank(space, Moments.of(point[:0]))
