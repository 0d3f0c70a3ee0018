"""The population attack against scikit-learn, modified entropy against its formula."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.attack import loss_score, match_labels, modified_entropy, population_attack
from unlearning.metrics.tpr import true_positives

SEEDS = st.integers(0, 2**31)


def draw(seed: int, n: int, shift: float = 0.0, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Draw coarse scores, so that ties occur, with labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    return (4 * torch.randn(n, generator=generator)).round() / 4 + shift, labels


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, shift=st.floats(-1, 1))
def test_auc_and_rates_are_scikit_learns_with_weighted_negatives(seed: int, shift: float) -> None:
    (scores, labels), (others, other_labels) = draw(seed, 60, shift), draw(seed + 1, 4000)
    result = population_attack(scores, labels, others, other_labels)
    weights = torch.tensor(
        [
            float((labels == c).sum()) / float((other_labels == c).sum())
            for c in other_labels.tolist()
        ]
    )
    truth = torch.cat([torch.ones(60), torch.zeros(4000)])
    values = torch.cat([scores, others])
    sample_weight = torch.cat([torch.ones(60), weights])
    expected = roc_auc_score(truth, values, sample_weight=sample_weight)
    assert result.auc == pytest.approx(expected, abs=1e-6)
    fpr, tpr, _ = roc_curve(truth, values, sample_weight=sample_weight, drop_intermediate=False)
    matched = match_labels(scores, labels, others, other_labels)
    for rate in (0.01, 0.001):
        caught = true_positives(matched.members, matched.negatives, rate, matched.weights)
        assert caught.value == pytest.approx(float(tpr[fpr <= rate].max()))


def test_the_attack_is_class_matched() -> None:
    easy, hard = torch.full((50,), 3.0), torch.full((50,), -3.0)
    others = torch.cat([easy, hard])
    labels = torch.tensor([0] * 50 + [1] * 50)
    result = population_attack(torch.full((10,), 3.0), torch.zeros(10).long(), others, labels)
    assert result.auc == pytest.approx(0.5)
    assert result.num_negatives == pytest.approx(50)


def test_swapping_the_sides_mirrors_the_auc() -> None:
    (scores, _), (others, _) = draw(0, 40, 0.5), draw(1, 50)
    same, same_too = torch.zeros(40).long(), torch.zeros(50).long()
    forth = population_attack(scores, same, others, same_too)
    back = population_attack(others, same_too, scores, same)
    assert forth.auc == pytest.approx(1 - back.auc)
    assert forth.auc_sd == pytest.approx(back.auc_sd)


def test_the_stated_deviation_is_that_of_repeated_draws() -> None:
    results = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        ours = torch.randn(40, generator=generator) + 0.5
        theirs = torch.randn(60, generator=generator)
        results.append(
            population_attack(ours, torch.zeros(40).long(), theirs, torch.zeros(60).long())
        )
    spread = float(torch.tensor([result.auc for result in results]).std())
    stated = sum(result.auc_sd for result in results) / len(results)
    assert stated == pytest.approx(spread, rel=0.2)


def test_forget_samples_whose_label_the_holdout_lacks_are_left_out_and_counted() -> None:
    scores, others = torch.tensor([1.0, 9.0, 9.0]), torch.tensor([0.0, 2.0])
    result = population_attack(scores, torch.tensor([0, 5, 5]), others, torch.tensor([0, 0]))
    assert (result.auc, result.num_members, result.num_unmatched) == (0.5, 1, 2)
    assert math.isnan(result.auc_sd)
    with pytest.raises(NotComputable, match="label of a forget sample"):
        population_attack(scores, torch.tensor([5, 5, 5]), others, torch.tensor([0, 0]))


def test_an_empty_forget_set_is_not_computable_and_nan_is_refused() -> None:
    others, labels = draw(0, 10)
    with pytest.raises(NotComputable, match="label of a forget sample"):
        population_attack(others[:0], labels[:0], others, labels)
    with pytest.raises(ValueError, match="NaN"):
        population_attack(others * math.nan, labels, others, labels)


def test_modified_entropy_is_the_published_formula_row_by_row() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (20,), generator=generator)
    values = modified_entropy(logits, labels)
    for row, label, value in zip(
        torch.softmax(logits, 1).tolist(), labels.tolist(), values, strict=True
    ):
        expected = -(1 - row[label]) * math.log(row[label])
        expected -= sum(p * math.log(1 - p) for j, p in enumerate(row) if j != label)
        assert float(value) == pytest.approx(expected)
    assert torch.allclose(modified_entropy(logits[3:4], labels[3:4]), values[3:4])


def test_modified_entropy_and_loss_stay_finite_for_certain_predictions() -> None:
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]])
    values = modified_entropy(logits, torch.tensor([0, 1]))
    assert float(values[0]) == pytest.approx(0, abs=1e-12)
    assert math.isfinite(float(values[1]))
    assert float(values[1]) > 100
    assert loss_score(logits, torch.tensor([0, 1])).tolist() == pytest.approx([0, -200])
