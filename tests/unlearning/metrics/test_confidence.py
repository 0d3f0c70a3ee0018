"""Confidence on the forget set against loops over samples, and freedom of scale."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from unlearning.errors import NotComputable
from unlearning.metrics import confidence

SEEDS = st.integers(0, 2**31)


def outputs(
    seed: int, n: int = 40, num_classes: int = 4, skill: float = 1.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (n,), generator=generator)
    logits = torch.randn(n, num_classes, generator=generator, dtype=torch.float64)
    return logits + skill * functional.one_hot(labels, num_classes), labels


def slow_margin(row: list[float], label: int) -> float:
    return row[label] - max(z for j, z in enumerate(row) if j != label)


def slow_rank(row: list[float], label: int, holdout: list[list[float]]) -> float:
    own = slow_margin(row, label)
    others = [slow_margin(other, label) for other in holdout]
    below = sum(m < own for m in others) + 0.5 * sum(m == own for m in others)
    share = (below + 0.5) / (len(others) + 1)
    return math.log(share / (1 - share))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_ranks_and_margins_match_a_loop_over_samples(seed: int) -> None:
    (logits, labels), (holdout, _) = outputs(seed, 15), outputs(seed + 1)
    rows = list(zip(logits.tolist(), labels.tolist(), strict=True))
    expected = [slow_rank(row, label, holdout.tolist()) for row, label in rows]
    assert confidence.rank(logits, labels, holdout).tolist() == pytest.approx(expected)
    margins = [slow_margin(row, label) for row, label in rows]
    assert confidence.margins(logits, labels).tolist() == pytest.approx(margins)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, factor=st.floats(1e-3, 1e3), shift=st.floats(-5, 5))
def test_scale_and_offset_of_the_logits_do_not_matter(
    seed: int, factor: float, shift: float
) -> None:
    (logits, labels), (holdout, truth) = outputs(seed, 15), outputs(seed + 1, skill=2)
    other, other_holdout = logits * factor + shift, holdout * factor + shift
    assert torch.allclose(
        confidence.rank(logits, labels, holdout), confidence.rank(other, labels, other_holdout)
    )
    assert confidence.normalised_margin(other, labels, other_holdout, truth) == pytest.approx(
        confidence.normalised_margin(logits, labels, holdout, truth)
    )
    plain = confidence.label_probability(logits, labels, confidence.temperature(holdout, truth))
    scaled = confidence.label_probability(
        other, labels, confidence.temperature(other_holdout, truth)
    )
    assert torch.allclose(plain, scaled, atol=1e-6)


def test_the_rank_is_among_all_holdout_samples_and_not_those_of_the_label() -> None:
    holdout = torch.tensor([[5.0, 0.0], [6.0, 0.0], [0.0, 3.0], [0.0, 4.0]])
    value = confidence.rank(torch.tensor([[4.0, 0.0]]), torch.tensor([0]), holdout)
    share = 2.5 / 5
    assert value.item() == pytest.approx(math.log(share / (1 - share)))


def test_ties_and_duplicates_rank_in_the_middle() -> None:
    same = torch.tensor([[2.0, 1.0]]).repeat(9, 1)
    labels = torch.zeros(3, dtype=torch.int64)
    assert confidence.rank(same[:3], labels, same).tolist() == pytest.approx([0] * 3)


def test_a_label_absent_from_the_holdout_still_has_a_rank() -> None:
    (logits, _), (holdout, _) = outputs(0, 5, 3), outputs(1, 30, 3)
    values = confidence.rank(logits, torch.full((5,), 2), holdout)
    assert bool(torch.isfinite(values).all())


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, skill=st.floats(0.2, 2))
def test_the_temperature_is_the_best_of_a_fine_grid(seed: int, skill: float) -> None:
    logits, labels = outputs(seed, 200, skill=skill)
    best = confidence.temperature(logits, labels)

    def loss(value: float) -> float:
        return float(functional.cross_entropy(logits / value, labels))

    grid = [math.exp(x / 20) for x in range(-80, 81)]
    assert loss(best) <= min(map(loss, grid)) + 1e-9


def test_temperatures_without_an_optimum_end_at_the_bounds() -> None:
    logits = torch.tensor([[2.0, -2.0], [-2.0, 2.0]])
    assert confidence.temperature(logits, torch.tensor([0, 1])) == pytest.approx(2e-4)
    assert confidence.temperature(logits, torch.tensor([1, 0])) == pytest.approx(2e4)


def test_the_label_probability_is_one_entry_per_row() -> None:
    logits, labels = outputs(3, 10)
    for row, label, value in zip(
        logits.tolist(), labels.tolist(), confidence.label_probability(logits, labels), strict=True
    ):
        assert float(value) == pytest.approx(math.exp(row[label]) / sum(math.exp(z) for z in row))


def test_the_gap_is_from_the_mean_of_the_references() -> None:
    own = torch.tensor([0.5, 0.9])
    references = torch.tensor([[0.2, 0.9], [0.4, 0.7]])
    assert confidence.gap(own, references) == pytest.approx((0.2 + 0.1) / 2)
    with pytest.raises(NotComputable, match="no reference"):
        confidence.gap(own, references[:0])


def test_what_has_no_confidence_is_not_computable() -> None:
    logits, labels = outputs(0)
    with pytest.raises(NotComputable, match="no sample"):
        confidence.rank(logits[:0], labels[:0], logits)
    with pytest.raises(NotComputable, match="hold-out is empty"):
        confidence.rank(logits, labels, logits[:0])
    with pytest.raises(NotComputable, match="single class"):
        confidence.margins(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(NotComputable, match="not positive"):
        confidence.normalised_margin(logits, labels, torch.zeros(40, 4), labels)
    with pytest.raises(NotComputable, match="constant logits"):
        confidence.temperature(torch.zeros(40, 4), labels)


def test_nan_and_unequal_sizes_are_refused() -> None:
    logits, labels = outputs(0)
    with pytest.raises(ValueError, match="expected"):
        confidence.margins(logits, labels[:3])
    logits[0, 0] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        confidence.margins(logits, labels)
