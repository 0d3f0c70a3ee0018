"""What an audit says it could have seen is what it does see, by simulation."""

import numpy as np
import pytest

from unlearning.audit import resolution, wording
from unlearning.audit.influence import InfluenceScale
from unlearning.audit.joint import joint_test
from unlearning.audit.resolution import Resolution

N, DIMS = 19, 4


def _scene(seed: int, separation: float) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, DIMS)), np.full(DIMS, separation), rng


@pytest.mark.parametrize("separation", [3.0, 6.0])
def test_a_fresh_model_with_that_influence_is_rejected_nine_times_in_ten(separation: float) -> None:
    hits, draws = 0, 0
    for seed in range(15):
        references, original, rng = _scene(seed, separation)
        smallest = resolution.rejected(original, references)
        assert smallest is not None
        for fresh in rng.normal(size=(20, DIMS)):
            draws += 1
            hits += joint_test(fresh + smallest * original, references).rejected
    assert 0.8 <= hits / draws <= 0.99


def test_a_fresh_model_with_a_third_of_it_is_mostly_overlooked() -> None:
    hits, draws = 0, 0
    for seed in range(15):
        references, original, rng = _scene(seed, 4.0)
        smallest = resolution.rejected(original, references)
        assert smallest is not None
        for fresh in rng.normal(size=(20, DIMS)):
            draws += 1
            hits += joint_test(fresh + smallest / 3 * original, references).rejected
    assert hits / draws < 0.5


def test_half_of_all_fresh_retrains_keep_the_bound_and_none_a_third_of_it() -> None:
    kept, third, draws = 0, 0, 0
    for seed in range(40):
        references, original, rng = _scene(seed, 5.0)
        scale = InfluenceScale.fit(references, original)
        bound = resolution.bounded(scale, 0.95)
        for fresh in rng.normal(size=(10, DIMS)):
            draws += 1
            upper = scale.place(fresh, 0.95).upper
            kept += upper <= bound
            third += upper <= bound / 3
    assert kept / draws == pytest.approx(0.5, abs=0.1)
    assert third / draws < 0.2


def test_a_farther_original_is_resolved_more_finely() -> None:
    near, far = (resolution.rejected(_scene(1, s)[1], _scene(1, s)[0]) for s in (3.0, 9.0))
    assert near is not None
    assert far is not None
    assert far < near
    references, original, _ = _scene(1, 9.0)
    wide = resolution.bounded(InfluenceScale.fit(references, original / 9), 0.95)
    assert resolution.bounded(InfluenceScale.fit(references, original), 0.95) < wide


def test_an_original_among_the_references_resolves_nothing_and_says_so() -> None:
    references, _, _ = _scene(2, 0.0)
    assert resolution.rejected(references.mean(axis=0) + 0.01, references) is None
    assert resolution.rejected(np.ones(DIMS), references[:3]) is None
    blind = Resolution(bounded=None, rejected=None, limit=0.33)
    assert (blind.smallest, blind.resolved) == (None, False)
    assert "no influence whatever" in wording.resolution(blind, 1, 19)


def test_the_words_tell_the_three_cases_apart() -> None:
    wide = Resolution(bounded=2.3, rejected=3.0, limit=0.33)
    some = Resolution(bounded=0.6, rejected=0.9, limit=0.33)
    fine = Resolution(bounded=0.1, rejected=0.3, limit=0.33)
    assert [entry.resolved for entry in (wide, some, fine)] == [False, False, True]
    assert "1 sample, " in wording.resolution(wide, 1, 19)
    assert "nothing is resolved here" in wording.resolution(wide, 1, 19)
    assert "60 % of the original's where the policy asks for 33 %" in (
        wording.resolution(some, 20, 19)
    )
    assert wording.resolution(fine, 200, 19).endswith("is 10 % of the original's.")
