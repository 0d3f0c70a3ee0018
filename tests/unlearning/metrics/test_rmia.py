"""RMIA against a loop over samples and population."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.errors import NotComputable
from unlearning.metrics.rmia import rmia_scores

SEEDS = st.integers(0, 2**31)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, a=st.floats(0, 1), gamma=st.floats(0.5, 2))
def test_rmia_is_a_share_of_the_population(seed: int, a: float, gamma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    own, references = (torch.rand(*s, generator=generator) for s in ((6,), (3, 6)))
    population, others = (torch.rand(*s, generator=generator) for s in ((9,), (3, 9)))
    scores = rmia_scores(own, references, population, others, offline_a=a, gamma=gamma)

    def ratio(p: float, column: list[float]) -> float:
        return p / (0.5 * ((1 + a) * sum(column) / len(column) + (1 - a)))

    ours = [
        ratio(p, c)
        for p, c in zip(own.double().tolist(), references.double().T.tolist(), strict=True)
    ]
    theirs = [
        ratio(p, c)
        for p, c in zip(population.double().tolist(), others.double().T.tolist(), strict=True)
    ]
    expected = [sum(r > gamma * z for z in theirs) / 9 for r in ours]
    assert scores.tolist() == pytest.approx(expected)


def test_rmia_rises_for_members_and_is_a_half_for_ties() -> None:
    half = torch.full((4,), 0.5)
    references = half.repeat(2, 1)
    assert rmia_scores(half, references, half, references).tolist() == [0.5] * 4
    assert rmia_scores(half + 0.4, references, half, references).tolist() == [1.0] * 4


def test_rmia_refuses_what_it_cannot_compare() -> None:
    half = torch.full((4,), 0.5)
    references = half.repeat(2, 1)
    with pytest.raises(NotComputable, match="RMIA needs"):
        rmia_scores(half[:0], references[:, :0], half, references)
    with pytest.raises(ValueError, match=r"\[m, n\]"):
        rmia_scores(half, references[:, :2], half, references)
    with pytest.raises(ValueError, match="probabilities"):
        rmia_scores(half * math.nan, references, half, references)
