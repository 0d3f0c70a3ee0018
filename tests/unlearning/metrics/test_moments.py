"""Streaming moments against per-sample sums in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearning.metrics.moments import Moments

SEEDS = st.integers(0, 2**31)


def draw(n: int, d: int, seed: int = 0, offset: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator)
    return torch.randn(n, d, generator=generator) @ mix + offset


def slow_mean_and_covariance(features: Tensor) -> tuple[list[float], list[list[float]]]:
    """Sum sample by sample with exactly rounded sums."""
    rows = features.double().tolist()
    n, d = len(rows), len(rows[0])
    mean = [math.fsum(row[i] for row in rows) / n for i in range(d)]
    covariance = [
        [math.fsum((r[i] - mean[i]) * (r[j] - mean[j]) for r in rows) / n for j in range(d)]
        for i in range(d)
    ]
    return mean, covariance


def relative_error(value: Tensor, reference: list[float] | list[list[float]]) -> float:
    exact = torch.tensor(reference, dtype=torch.float64)
    return float((value - exact).norm() / exact.norm())


@pytest.mark.parametrize("offset", [0.0, 10.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_pass_matches_per_sample_sums_even_far_from_zero(
    offset: float, dtype: torch.dtype
) -> None:
    features = draw(5000, 6, offset=offset).to(dtype)
    moments = Moments.of(features, chunk_rows=700)
    mean, covariance = slow_mean_and_covariance(features)
    assert relative_error(moments.mean, mean) <= 1e-6
    assert relative_error(moments.covariance(), covariance) <= 1e-6


@pytest.mark.parametrize("dims", [1, 127, 128, 129, 300])
def test_blocks_of_the_gram_product_fit_any_width(dims: int) -> None:
    features = draw(400, dims, offset=5.0)
    exact = features.double() - features.double().mean(0)
    covariance = Moments.of(features).covariance()
    assert torch.allclose(covariance, exact.T @ exact / 400, rtol=1e-5, atol=1e-5 * dims)
    assert torch.equal(covariance, covariance.T)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_any_split_and_any_order_of_merging_give_the_same(
    seed: int, sizes: list[int], order: object
) -> None:
    sizes = [2, *sizes]
    parts = list(torch.split(draw(sum(sizes), 4, seed, offset=50.0).double(), sizes))
    whole = Moments.of(torch.cat(parts))
    order.shuffle(parts)  # type: ignore[attr-defined]
    merged = Moments.empty(4)
    for part in parts:
        merged.merge(Moments.of(part))
    assert merged.count == whole.count
    assert torch.allclose(merged.mean, whole.mean, rtol=1e-12)
    assert torch.allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_powers_of_two_scale_channels_exactly(seed: int) -> None:
    features = draw(100, 5, seed)
    factors = torch.tensor([1.0, 2.0, 0.25, 1024.0, 0.5])
    scaled = Moments.of(features * factors).covariance()
    plain = Moments.of(features).covariance()
    assert torch.equal(scaled, plain * torch.outer(factors, factors).double())


def test_merging_leaves_the_other_unchanged_and_an_empty_one_adds_nothing() -> None:
    left, right = Moments.of(draw(20, 3)), Moments.of(draw(30, 3, seed=1))
    kept = right.to_tensors()
    left.merge(right)
    assert left.count == 50
    assert all(torch.equal(kept[name], value) for name, value in right.to_tensors().items())
    before = left.to_tensors()
    left.merge(Moments.empty(3))
    assert all(torch.equal(before[name], value) for name, value in left.to_tensors().items())


def test_the_state_survives_as_tensors() -> None:
    moments = Moments.of(draw(20, 3))
    restored = Moments.from_tensors(moments.to_tensors())
    restored.update(draw(5, 3, seed=2))
    moments.update(draw(5, 3, seed=2))
    assert restored.count == moments.count == 25
    assert torch.equal(restored.scatter, moments.scatter)


def test_scatter_about_a_centre_is_the_mean_of_outer_products_about_it() -> None:
    features, centre = draw(50, 3).double(), torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    slow = torch.stack([torch.outer(z - centre, z - centre) for z in features]).mean(0)
    assert torch.allclose(Moments.of(features).scatter_about(centre), slow)


def test_duplicated_samples_change_neither_mean_nor_covariance() -> None:
    features = draw(40, 3)
    once, thrice = Moments.of(features), Moments.of(features.repeat(3, 1))
    assert torch.allclose(once.mean, thrice.mean, atol=1e-6)
    assert torch.allclose(once.covariance(), thrice.covariance(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_widened_before_they_are_multiplied(
    dtype: torch.dtype,
) -> None:
    features = draw(200, 4).to(dtype)
    exact = Moments.of(features.double()).covariance()
    assert torch.allclose(Moments.of(features).covariance(), exact)


def test_a_process_that_allows_reduced_precision_gets_full_precision() -> None:
    features = draw(200, 4)
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        moments = Moments.of(features)
    finally:
        torch.set_float32_matmul_precision(previous)
    assert torch.allclose(moments.scatter, Moments.of(features.double()).scatter, rtol=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_values_that_cannot_be_squared_are_refused(bad: float) -> None:
    features = draw(10, 3)
    features[4, 1] = bad
    with pytest.raises(ValueError, match="NaN, infinite or too large"):
        Moments.of(features)


def test_wrong_shapes_and_empty_accumulators_are_refused() -> None:
    moments = Moments.empty(3)
    with pytest.raises(ValueError, match="no rows"):
        moments.covariance()
    with pytest.raises(ValueError, match="expected 3 channels"):
        moments.update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="expected 3 channels"):
        moments.merge(Moments.empty(4))
    with pytest.raises(ValueError, match="floating-point"):
        moments.update(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\[n, d\]"):
        moments.update(torch.zeros(3))


def test_features_that_require_gradients_are_read_without_a_graph() -> None:
    moments = Moments.of(draw(10, 3).requires_grad_())
    assert not moments.scatter.requires_grad
