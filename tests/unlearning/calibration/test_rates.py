"""Rates know how much of their sample is repetition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearning.calibration import clustered_rate
from unlearning.metrics.intervals import wilson


def test_a_rate_of_independent_candidates_keeps_its_n() -> None:
    rng = np.random.default_rng(0)
    hits = [bool(hit) for hit in rng.random(2000) < 0.3]
    rate = clustered_rate(hits, range(2000))
    assert rate.wilson == wilson(sum(hits), 2000)
    assert rate.effective_n == pytest.approx(2000, rel=0.01)
    assert rate.clustered is not None
    assert rate.clustered == pytest.approx(rate.wilson, abs=0.01)


def test_candidates_that_agree_within_their_draw_count_as_one() -> None:
    rng = np.random.default_rng(1)
    draws = rng.random(200) < 0.4
    hits = [bool(hit) for hit in np.repeat(draws, 5)]
    rate = clustered_rate(hits, [number // 5 for number in range(1000)])
    assert rate.effective_n == pytest.approx(200, rel=0.05)
    assert rate.clustered is not None
    spread = rate.clustered[1] - rate.clustered[0]
    assert spread > 1.8 * (rate.wilson[1] - rate.wilson[0])


def test_the_design_effect_equals_a_slow_computation() -> None:
    hits = [True, False, True, True, False, False, True]
    clusters = ["a", "a", "b", "b", "b", "c", "c"]
    members = {
        name: [h for h, c in zip(hits, clusters, strict=True) if c == name] for name in "abc"
    }
    rate = sum(hits) / len(hits)
    squares = [(sum(own) - rate * len(own)) ** 2 for own in members.values()]
    variance = sum(squares) * 3 / 2 / len(hits) ** 2
    expected = min(len(hits), rate * (1 - rate) / variance)
    assert clustered_rate(hits, clusters).effective_n == pytest.approx(expected)


def test_no_hit_at_all_leaves_only_wilsons_bound() -> None:
    rate = clustered_rate([False] * 100, [number // 10 for number in range(100)])
    assert (rate.value, rate.clustered) == (0, (0, 0))
    assert rate.wilson[1] == pytest.approx(0.037, abs=0.001)


@pytest.mark.parametrize(("hits", "clusters"), [([], []), ([True], []), ([True], [1, 2])])
def test_nothing_to_count_is_refused(hits: list[bool], clusters: list[int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        clustered_rate(hits, clusters)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=40))
def test_the_rate_lies_within_wilsons_interval_and_n_is_never_exceeded(
    rows: list[tuple[bool, int]],
) -> None:
    rate = clustered_rate([hit for hit, _ in rows], [cluster for _, cluster in rows])
    assert rate.wilson[0] <= rate.value <= rate.wilson[1]
    assert 0 < rate.effective_n <= rate.n
