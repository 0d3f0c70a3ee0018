"""Scales are in a channel's own units, so no rescaling of any size can be seen."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics import alignment
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale, level_, silent_channels

DIMS = 8


def _sets(seed: int = 0) -> list[Tensor]:
    """Return features as a ReLU network has them of R, H and F: one channel fires only for F."""
    generator = torch.Generator().manual_seed(seed)
    retain, holdout, forget = (
        torch.randn(n, DIMS, generator=generator).relu() for n in (300, 90, 30)
    )
    retain[:, 2] = 0
    holdout[:80, 2] = 0
    forget[:, 2] += 2
    for rows in (retain, holdout, forget):
        rows[:, 5] = 0.25
    return [retain, holdout, forget]


def _slow(retain: Tensor, others: Tensor, floor: float) -> list[float]:
    scales = []
    for own, theirs in zip(retain.double().T, others.double().T, strict=True):
        mean = sum(own.tolist()) / len(own)
        spread = math.sqrt(sum((x - mean) ** 2 for x in own.tolist()) / len(own))
        reach = math.sqrt(sum((x - mean) ** 2 for x in theirs.tolist()) / len(theirs))
        scales.append(max(spread, floor * reach) if max(spread, reach) > 1e-6 else math.inf)
    return scales


def test_the_scale_is_that_of_a_loop_over_channels() -> None:
    retain, holdout, forget = _sets()
    others = torch.cat([holdout, forget])
    moments = Moments.of(retain)
    scale = channel_scale(moments, others, 0.1)
    assert scale.tolist() == pytest.approx(_slow(retain, others, 0.1), rel=1e-5)
    assert scale[5] == math.inf
    assert silent_channels(moments, scale) == 2


def test_a_channel_that_is_silent_on_the_retain_set_moves_the_others_by_a_bounded_amount() -> None:
    retain, holdout, forget = _sets()
    others = torch.cat([holdout, forget])
    scale = channel_scale(Moments.of(retain), others, 0.1)
    standardised = (others.double() - retain.double().mean(0)) / scale
    assert float(standardised[:, 2].square().mean().sqrt()) == pytest.approx(10, rel=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    exponents=st.lists(st.floats(-25, 25), min_size=DIMS, max_size=DIMS),
)
def test_no_rescaling_however_large_changes_alignment_or_energy(
    seed: int, exponents: list[float]
) -> None:
    def score(sets: list[Tensor]) -> tuple[float, float]:
        level_(sets)
        retain, holdout, forget = sets
        moments = Moments.of(retain)
        scale = channel_scale(moments, torch.cat([holdout, forget]))
        space, own = alignment.retain_space(moments, scale), Moments.of(forget)
        return alignment.da(space, own, 4), alignment.energy(space, own)

    factors = torch.tensor([10**x for x in exponents])
    plain, rescaled = _sets(seed), [rows * factors for rows in _sets(seed)]
    assert score(rescaled) == pytest.approx(score(plain), abs=1e-3)


def test_levelling_rounds_nothing_and_leaves_what_is_not_finite() -> None:
    sets = _sets()
    before = [rows.clone() for rows in sets]
    sets[0][0, 1] = math.nan
    level_(sets)
    for rows, original in zip(sets, before, strict=True):
        ratio = rows[1:] / original[1:]
        known = ratio[torch.isfinite(ratio)]
        assert torch.equal(known, torch.exp2(known.log2().round()))
    largest = torch.stack([rows.nan_to_num().abs().amax(0) for rows in sets]).amax(0)
    assert ((largest >= 0.5) & (largest < 1))[[0, 2, 3, 4, 5, 6, 7]].all()


def test_constant_or_missing_retain_features_are_not_computable() -> None:
    with pytest.raises(NotComputable, match="constant"):
        channel_scale(Moments.of(torch.ones(9, 3)), torch.randn(5, 3))
    with pytest.raises(NotComputable, match="empty"):
        channel_scale(Moments.of(torch.ones(0, 3)))
