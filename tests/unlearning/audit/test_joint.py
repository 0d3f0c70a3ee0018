"""The joint test keeps its level whatever the distribution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import ledoit_wolf

from unlearning.audit.joint import SD_FLOOR, distances, joint_test, shrunk_covariance

N, DIMS = 19, 8


def _draw(kind: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    mixing = np.random.default_rng(7).normal(size=(DIMS, DIMS))
    if kind == "gaussian":
        return rng.normal(size=(rows, DIMS)) @ mixing
    if kind == "heavy-tailed":
        return rng.standard_t(2, size=(rows, DIMS)) @ mixing
    if kind == "skewed":
        return np.exp(0.5 * rng.normal(size=(rows, DIMS)) @ mixing)
    return np.round(rng.normal(size=(rows, DIMS)) @ mixing, 1)  # many equal values


@pytest.mark.parametrize("kind", ["gaussian", "heavy-tailed", "skewed", "rounded"])
def test_a_genuine_retrain_is_rejected_once_in_twenty_whatever_the_distribution(kind: str) -> None:
    rng, draws = np.random.default_rng(2), 600
    rejected = 0
    for _ in range(draws):
        pool = _draw(kind, N + 1, rng)
        rejected += joint_test(pool[-1], pool[:-1]).rejected
    # A correct test leaves this interval once in ten thousand seeds; the seed is fixed.
    assert stats.binomtest(rejected, draws, 1 / (N + 1)).pvalue > 1e-4


@pytest.mark.parametrize("kind", ["gaussian", "heavy-tailed"])
@pytest.mark.parametrize("rows", [5, N, 200])
def test_the_shrunk_covariance_is_that_of_scikit_learn(kind: str, rows: int) -> None:
    sample = _draw(kind, rows, np.random.default_rng(8))
    expected, _ = ledoit_wolf(sample, assume_centered=True)
    np.testing.assert_allclose(shrunk_covariance(sample), expected, rtol=1e-9)


def _slow_distance(x: np.ndarray, others: np.ndarray) -> float:
    """One model against the others, by scikit-learn's covariance and an inverse."""
    spread = others.std(axis=0, ddof=1)
    scale = np.maximum(spread, SD_FLOOR)
    covariance, _ = ledoit_wolf((others - others.mean(axis=0)) / scale, assume_centered=True)
    covariance += np.diag(1e-6 + 1 - (spread / scale) ** 2)
    deviation = (x - others.mean(axis=0)) / scale
    return float(np.sqrt(deviation @ np.linalg.inv(covariance) @ deviation))


@pytest.mark.parametrize("kind", ["gaussian", "heavy-tailed", "skewed", "rounded"])
def test_distances_of_all_models_at_once_are_those_of_each_alone(kind: str) -> None:
    pool = _draw(kind, N + 1, np.random.default_rng(9))
    pool[:, 1] = 0.5  # a dimension without spread
    others = np.stack([np.delete(pool, index, axis=0) for index in range(len(pool))])
    together = distances(pool, others)
    expected = [_slow_distance(x, rest) for x, rest in zip(pool, others, strict=True)]
    np.testing.assert_allclose(together, expected, rtol=1e-9)


def test_without_any_spread_distances_are_counted_in_floors() -> None:
    others = np.zeros((2, N, 3))
    found = distances(np.array([[0.0, 0, 0], [SD_FLOOR, 0, 0]]), others)
    np.testing.assert_allclose(found, [0, 1], rtol=1e-5)


def test_a_shifted_candidate_is_rejected() -> None:
    rng = np.random.default_rng(3)
    rejected = 0
    for _ in range(50):
        pool = _draw("gaussian", N + 1, rng)
        pool[-1] += 3 * pool[:-1].std(axis=0)
        rejected += joint_test(pool[-1], pool[:-1]).rejected
    assert rejected >= 45


def test_the_rank_orders_candidates_by_their_distance() -> None:
    pool = _draw("gaussian", N + 1, np.random.default_rng(4))
    tests = [joint_test(row, np.delete(pool, i, axis=0)) for i, row in enumerate(pool)]
    assert sorted(test.rank for test in tests) == list(range(1, N + 2))
    assert sum(test.rejected for test in tests) == 1
    assert all(test.p_value == test.rank / (N + 1) for test in tests)


def test_equal_models_are_never_rejected() -> None:
    references = np.tile(np.arange(DIMS, dtype=float), (N, 1))
    test = joint_test(references[0], references)
    assert (test.rank, test.p_value, test.rejected) == (N + 1, 1.0, False)


def test_a_tie_with_a_reference_counts_against_rejection() -> None:
    references = _draw("gaussian", N, np.random.default_rng(5))
    references[0] += 100
    assert not joint_test(references[0], references).rejected


def test_a_dimension_without_spread_is_measured_in_floors() -> None:
    references = np.random.default_rng(6).normal(size=(N, 2))
    references[:, 1] = 0.5
    centre = np.array([references[:, 0].mean(), 0.5 + 10 * SD_FLOOR])
    assert distances(centre, references) == pytest.approx(10, rel=0.2)


@settings(max_examples=25, deadline=None)
@given(
    factor=st.floats(0.5, 20),
    shift=st.floats(-50, 50),
    seed=st.integers(0, 1000),
)
def test_units_and_origins_of_the_figures_do_not_matter(
    factor: float, shift: float, seed: int
) -> None:
    pool = np.random.default_rng(seed).normal(size=(N + 1, 3))
    moved = pool * factor + shift
    assert joint_test(moved[-1], moved[:-1]).rank == joint_test(pool[-1], pool[:-1]).rank


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_the_references_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(N + 1, 4))
    shuffled = rng.permutation(pool[:-1])
    assert joint_test(pool[-1], shuffled).rank == joint_test(pool[-1], pool[:-1]).rank


def test_a_single_reference_cannot_carry_a_test() -> None:
    with pytest.raises(ValueError, match="two references"):
        joint_test(np.zeros(2), np.zeros((1, 2)))
