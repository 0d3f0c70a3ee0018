"""Alignment and energy against per-sample sums, their invariances and their traps."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics import alignment
from unlearning.metrics.moments import Moments
from unlearning.metrics.standardise import channel_scale, standardise

SEEDS = st.integers(0, 2**31)
CLASSES, DIMS = 5, 12


def collapsed(seed: int = 0, noise: float = 0.2, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Draw retain and forget features of a network that tells all classes apart."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(DIMS, DIMS, generator=generator, dtype=torch.float64))[0]
    labels = torch.arange(CLASSES).repeat_interleave(60)
    spread = torch.randn(len(labels), DIMS, generator=generator, dtype=torch.float64)
    features = 3 * axes[labels] + noise * spread + offset
    return features[labels > 0], features[labels == 0]


def score(retain: Tensor, forget: Tensor, retained: int = CLASSES - 1) -> tuple[float, float]:
    space = alignment.retain_space(Moments.of(retain))
    moments = Moments.of(forget)
    return alignment.da(space, moments, retained), alignment.energy(space, moments)


def slow_da_and_energy(retain: Tensor, forget: Tensor, k: int) -> tuple[float, float]:
    """Standardise, centre, project and add up one sample at a time."""
    divisor = retain.std(dim=0, correction=0)
    mean = retain.mean(dim=0) / divisor
    covariance = torch.zeros(retain.shape[1], retain.shape[1], dtype=torch.float64)
    retain_energy = forget_energy = aligned = 0.0
    for z in retain / divisor:
        covariance += torch.outer(z - mean, z - mean) / len(retain)
        retain_energy += float((z - mean).square().sum()) / len(retain)
    leading = torch.linalg.svd(covariance)[0][:, :k]
    for z in forget / divisor:
        forget_energy += float((z - mean).square().sum()) / len(forget)
        aligned += float((leading.T @ (z - mean)).square().sum()) / len(forget)
    return aligned / forget_energy, math.log(forget_energy / retain_energy)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, noise=st.floats(0.05, 2), offset=st.floats(-20, 20))
def test_moments_give_what_a_loop_over_samples_gives(
    seed: int, noise: float, offset: float
) -> None:
    retain, forget = collapsed(seed, noise, offset)
    expected = slow_da_and_energy(retain, forget, CLASSES - 2)
    assert score(retain, forget) == pytest.approx(expected, abs=1e-6)
    assert score(retain.float(), forget.float()) == pytest.approx(expected, abs=1e-3)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, logs=st.lists(st.floats(-2, 2), min_size=DIMS, max_size=DIMS))
def test_a_positive_rescaling_of_channels_changes_nothing(seed: int, logs: list[float]) -> None:
    retain, forget = collapsed(seed)
    factors = torch.tensor(logs, dtype=torch.float64).exp()
    assert score(retain * factors, forget * factors) == pytest.approx(
        score(retain, forget), abs=1e-8
    )


def test_without_standardisation_a_rescaling_moves_both_at_will() -> None:
    retain, forget = collapsed()
    unit = torch.ones(DIMS, dtype=torch.float64)
    factors = torch.cat([torch.full((6,), 20.0), torch.ones(DIMS - 6)]).double()

    def raw(x: Tensor, y: Tensor) -> tuple[float, float]:
        space = alignment.retain_space(Moments.of(x), scale=unit)
        return alignment.da(space, Moments.of(y), CLASSES - 1), alignment.energy(
            space, Moments.of(y)
        )

    before, after = raw(retain, forget), raw(retain * factors, forget * factors)
    assert abs(before[0] - after[0]) > 0.05
    assert abs(before[1] - after[1]) > 0.05


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_order_of_samples_does_not_matter(seed: int) -> None:
    retain, forget = collapsed(seed)
    order = torch.randperm(len(retain), generator=torch.Generator().manual_seed(seed))
    assert score(retain[order], forget.flip(0)) == pytest.approx(score(retain, forget), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_sweep_rises_from_within_zero_to_one(seed: int) -> None:
    retain, forget = collapsed(seed)
    sweep = alignment.sweep(alignment.retain_space(Moments.of(retain)), Moments.of(forget))
    assert sweep.shape == (DIMS,)
    assert float(sweep[0]) >= 0
    assert bool((sweep.diff() >= -1e-12).all())
    assert float(sweep[-1]) == pytest.approx(1)


def test_about_the_global_mean_an_untouched_class_would_look_aligned() -> None:
    retain, forget = collapsed(noise=0.05)
    space = alignment.retain_space(Moments.of(retain))
    assert alignment.da(space, Moments.of(forget), CLASSES - 1) < 0.1
    everything = alignment.retain_space(Moments.of(torch.cat([retain, forget])), space.scale)
    assert alignment.da(everything, Moments.of(forget), CLASSES) > 0.9


def test_one_direction_more_would_hide_an_untouched_class() -> None:
    retain, forget = collapsed(noise=0.05)
    # Retain samples that excite the forgotten class's own feature a little, as real ones do.
    towards = forget.mean(0) - retain.mean(0)
    retain = retain + 0.2 * torch.linspace(-1, 1, len(retain)).double()[:, None] * towards
    space = alignment.retain_space(Moments.of(retain))
    sweep = alignment.sweep(space, Moments.of(forget))
    k = alignment.alignment_rank(space, CLASSES - 1)
    assert float(sweep[k - 1]) < 0.3
    assert float(sweep[k]) > 0.7


def test_rank_is_retained_classes_less_one() -> None:
    space = alignment.retain_space(Moments.of(collapsed()[0]))
    assert alignment.alignment_rank(space, CLASSES - 1) == CLASSES - 2
    with pytest.raises(ValueError, match="positive"):
        alignment.alignment_rank(space, 0)


def test_one_retained_class_is_not_computable() -> None:
    retain, forget = collapsed()
    with pytest.raises(NotComputable, match="one retained class"):
        score(retain, forget, retained=1)


def test_more_classes_than_dimensions_cap_the_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    retain, forget = torch.randn(50, 3, generator=generator), torch.randn(9, 3, generator=generator)
    space = alignment.retain_space(Moments.of(retain))
    assert alignment.alignment_rank(space, 10) == 3
    assert alignment.da(space, Moments.of(forget), 10) == pytest.approx(1)


def test_fewer_samples_than_directions_cap_the_rank_at_what_they_span() -> None:
    generator = torch.Generator().manual_seed(0)
    space = alignment.retain_space(Moments.of(torch.randn(3, DIMS, generator=generator)))
    assert alignment.alignment_rank(space, 8) == 2


def test_empty_sets_are_not_computable() -> None:
    retain, forget = collapsed()
    with pytest.raises(NotComputable, match="forget set is empty"):
        score(retain, forget[:0])
    with pytest.raises(NotComputable, match="retain set is empty"):
        score(retain[:0], forget)


def test_forget_features_at_the_retain_mean_are_not_computable() -> None:
    retain, _ = collapsed()
    with pytest.raises(NotComputable, match="equals the retain mean"):
        score(retain, retain.mean(0, keepdim=True).float().double().repeat(4, 1))


def test_constant_retain_features_are_not_computable() -> None:
    with pytest.raises(NotComputable, match="constant"):
        score(torch.ones(10, 4), torch.zeros(3, 4))


def test_a_single_forget_sample_has_a_value() -> None:
    retain, forget = collapsed()
    value, log_ratio = score(retain, forget[:1])
    assert 0 <= value <= 1
    assert math.isfinite(log_ratio)


def test_nan_features_are_an_error_and_no_missing_value() -> None:
    retain, forget = collapsed()
    forget[0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        score(retain, forget)


def test_retain_samples_have_energy_zero_against_themselves() -> None:
    retain, _ = collapsed()
    assert score(retain, retain)[1] == pytest.approx(0, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, k=st.integers(1, DIMS))
def test_per_sample_spreads_average_to_da_and_energy(seed: int, k: int) -> None:
    retain, forget = collapsed(seed)
    space = alignment.retain_space(Moments.of(retain))
    aligned, total = alignment.sample_spread(space, forget, k)
    moments = Moments.of(forget)
    assert float(aligned.mean() / total.mean()) == pytest.approx(
        float(alignment.sweep(space, moments)[k - 1])
    )
    ratio = float(total.mean() / space.eigenvalues.sum())
    assert math.log(ratio) == pytest.approx(alignment.energy(space, moments))


def test_standardising_divides_each_channel_and_keeps_precision() -> None:
    retain, _ = collapsed()
    scaled = standardise(retain.float(), channel_scale(Moments.of(retain)))
    assert scaled.dtype == torch.float32
    assert torch.allclose(scaled.std(0, correction=0), torch.ones(DIMS), atol=1e-4)
