"""λ is a position with honest bounds."""

import numpy as np
import pytest

from unlearning.audit.influence import InfluenceScale
from unlearning.errors import NotComputable


def _scene(rng: np.random.Generator, n: int, dims: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return n + 1 correlated draws (the last is a fresh retrain) and an original far away."""
    mixing = np.random.default_rng(1).normal(size=(dims, dims))
    return rng.normal(size=(n + 1, dims)) @ mixing, 4 * np.ones(dims) @ mixing


def test_original_is_one_and_the_references_mean_is_zero() -> None:
    pool, original = _scene(np.random.default_rng(0), 19)
    scale = InfluenceScale.fit(pool[:-1], original)
    assert scale.place(original, 0.95).value == pytest.approx(1)
    assert scale.place(pool[:-1].mean(axis=0), 0.95).value == pytest.approx(0, abs=1e-12)


def test_a_mixture_lies_in_proportion() -> None:
    pool, original = _scene(np.random.default_rng(0), 19)
    scale = InfluenceScale.fit(pool[:-1], original)
    mixture = 0.4 * original + 0.6 * pool[:-1].mean(axis=0)
    found = scale.place(mixture, 0.95)
    assert found.value == pytest.approx(0.4)
    assert found.lower < 0.4 < found.upper


@pytest.mark.parametrize("n", [19, 39])
def test_each_bound_covers_a_fresh_retrain_as_often_as_it_says(n: int) -> None:
    rng, draws = np.random.default_rng(5), 300
    upper = lower = 0
    for _ in range(draws):
        pool, original = _scene(rng, n)
        found = InfluenceScale.fit(pool[:-1], original).place(pool[-1], 0.95)
        upper += found.upper >= 0
        lower += found.lower <= 0
    # Three standard deviations of a binomial share around .95.
    assert 0.912 <= upper / draws <= 0.988
    assert 0.912 <= lower / draws <= 0.988


def test_more_references_and_a_farther_original_narrow_the_bound() -> None:
    rng = np.random.default_rng(2)
    pool, original = _scene(rng, 60)
    near = InfluenceScale.fit(pool[:19], original).place(pool[-1], 0.95)
    far = InfluenceScale.fit(pool[:19], 5 * original).place(pool[-1], 0.95)
    sure = InfluenceScale.fit(pool[:19], original).place(pool[-1], 0.8)
    assert far.upper - far.value < near.upper - near.value
    assert sure.upper - sure.value < near.upper - near.value


def test_units_of_the_figures_do_not_matter() -> None:
    pool, original = _scene(np.random.default_rng(3), 19)
    units = np.array([10.0, 2.0, 5.0])
    plain = InfluenceScale.fit(pool[:-1], original).place(pool[-1], 0.95)
    scaled = InfluenceScale.fit(pool[:-1] * units, original * units).place(pool[-1] * units, 0.95)
    assert scaled.value == pytest.approx(plain.value, rel=1e-6)
    assert scaled.upper == pytest.approx(plain.upper, rel=1e-6)


def test_an_original_at_the_mean_has_no_scale() -> None:
    pool, _ = _scene(np.random.default_rng(4), 19)
    with pytest.raises(NotComputable, match="references' mean"):
        InfluenceScale.fit(pool[:-1], pool[:-1].mean(axis=0))


def test_two_references_are_too_few() -> None:
    with pytest.raises(NotComputable, match="three references"):
        InfluenceScale.fit(np.zeros((2, 3)), np.ones(3))
