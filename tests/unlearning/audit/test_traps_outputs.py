"""The traps of probabilities, ranks and attacks; those of features are in `test_traps.py`."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unlearning.audit.tools import measured_on, samples_of, seen_by
from unlearning.audit.gates import compare_jointly, matrix, vector

if TYPE_CHECKING:
    from tests.unlearning.audit.conftest import World

INSTANCES = list(range(0, 40, 4))


@pytest.fixture(scope="module")
def original(blobs: "World") -> nn.Module:
    return blobs.model((), 2)


def test_probabilities_are_read_row_by_row(blobs: "World", original: nn.Module) -> None:
    """Whole columns `[:, labels]` in place of one entry per row is the bug that is everywhere."""
    samples = samples_of(blobs, INSTANCES)
    found = measured_on(original, samples)
    _, holdout, erased = seen_by(original, samples)
    known = samples.holdout_retained
    hottest = _slow_temperature(holdout.logits[known], samples.holdout.labels[known])
    expected = [
        float(torch.softmax(row.double() / hottest, 0)[label])
        for row, label in zip(erased.logits, samples.erased.labels.tolist(), strict=True)
    ]
    assert found.tensors["p_y"].tolist() == pytest.approx(expected, abs=1e-3)
    people = samples.population.tolist()
    crowd = [
        float(
            torch.softmax(holdout.logits[i].double() / hottest, 0)[int(samples.holdout.labels[i])]
        )
        for i in people
    ]
    assert found.tensors["p_y.population"].tolist() == pytest.approx(crowd, abs=1e-3)


def _slow_temperature(logits: Tensor, labels: Tensor) -> float:
    """Try a thousand temperatures."""
    grid = np.exp(np.linspace(-5, 5, 4001))
    losses = [float(nn.functional.cross_entropy(logits.double() / value, labels)) for value in grid]
    return float(grid[int(np.argmin(losses))])


def test_the_rank_is_among_all_of_the_holdout_and_not_the_labels_own(
    blobs: "World", original: nn.Module
) -> None:
    samples = samples_of(blobs, INSTANCES)
    found = measured_on(original, samples).values["rank"]
    _, holdout, erased = seen_by(original, samples)

    def margin(row: Tensor, label: int) -> float:
        return float(row[label]) - max(float(v) for i, v in enumerate(row) if i != label)

    def mean_rank(*, matched: bool) -> float:
        logits = []
        for row, label in zip(erased.logits, samples.erased.labels.tolist(), strict=True):
            own = margin(row, label)
            crowd = [
                margin(other, label)
                for other, truth in zip(
                    holdout.logits, samples.holdout.labels.tolist(), strict=True
                )
                if truth == label or not matched
            ]
            below = sum(value < own for value in crowd) + 0.5 * sum(value == own for value in crowd)
            share = (below + 0.5) / (len(crowd) + 1)
            logits.append(np.log(share / (1 - share)))
        return float(np.mean(logits))

    assert found == pytest.approx(mean_rank(matched=False), abs=1e-6)
    assert found != pytest.approx(mean_rank(matched=True), abs=0.1)


def test_the_scale_of_the_logits_moves_no_instance_gate(
    blobs: "World", original: nn.Module
) -> None:
    samples = samples_of(blobs, INSTANCES)
    louder = copy.deepcopy(original)
    head = louder.get_submodule("head")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_(7)
        head.bias.mul_(7)
    plain, loud = (measured_on(model, samples) for model in (original, louder))
    others = [measured_on(blobs.model(INSTANCES, 1000 + i), samples) for i in range(4)]
    names = ("rank", "normalised_margin", "log_divergence.forget", "attack.rmia")
    assert vector(names, loud, others) == pytest.approx(vector(names, plain, others), abs=1e-3)


def test_every_model_is_treated_alike_so_exactly_one_is_the_farthest(blobs: "World") -> None:
    """A reference scored with itself, or without the candidate, would break the test's level."""
    samples = samples_of(blobs, INSTANCES)
    pool = [measured_on(blobs.model(INSTANCES, 1000 + i), samples) for i in range(7)]
    names = ("rank", "log_divergence.forget", "attack.rmia")
    ranks = []
    for index, model in enumerate(pool):
        others = pool[:index] + pool[index + 1 :]
        ranks.append(compare_jointly(names, model, others).rank)
        assert compare_jointly(names, model, others[::-1]).rank == ranks[-1]
        # The report's row sets a reference against the others, as a candidate against them all.
        row = matrix(names, pool)[index]
        assert row == pytest.approx(vector(names, model, others), abs=1e-9)
    assert sorted(ranks) == list(range(1, 8))


def test_the_population_is_drawn_and_not_every_so_manieth(blobs: "World") -> None:
    """Every fourth of a hold-out in a cycle of four classes would be one class only."""
    samples = samples_of(blobs, INSTANCES)
    cycle = samples.holdout.labels.tolist()[:8]
    assert cycle == [0, 1, 2, 3, 0, 1, 2, 3]
    many = samples.holdout.subset(torch.arange(120).repeat(200))
    drawn = replace(samples, holdout=many).population
    assert len(drawn) == 5000
    counts = torch.bincount(many.labels[drawn], minlength=4)
    assert int(counts.min()) > 1000
    assert torch.equal(drawn, replace(samples, holdout=many).population)
