"""Folds: every sample once, a tenth at most, people whole, classes even."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearning.errors import InvalidProblem
from unlearning.folds import join_groups, split_folds


@st.composite
def training_sets(draw: st.DrawFn) -> tuple[Tensor, Tensor | None]:
    """Draw labels and, sometimes, groups of which none is more than a tenth."""
    number = draw(st.integers(10, 120))
    labels = draw(st.lists(st.integers(0, 4), min_size=number, max_size=number))
    if draw(st.booleans()):
        return torch.tensor(labels), None
    sizes = draw(st.lists(st.integers(1, number // 10), min_size=number, max_size=number))
    repeated = [i for i, size in enumerate(sizes) for _ in range(size)][:number]
    shuffled = draw(st.permutations(repeated))
    return torch.tensor(labels), torch.tensor(shuffled)


def slow_sizes(folds: Tensor) -> list[int]:
    return [sum(1 for fold in folds.tolist() if fold == k) for k in range(int(folds.max()) + 1)]


@settings(max_examples=150, deadline=None)
@given(training_sets(), st.integers(0, 5))
def test_folds_hold_a_tenth_at_most_and_keep_groups_whole(
    drawn: tuple[Tensor, Tensor | None], seed: int
) -> None:
    labels, groups = drawn
    folds = split_folds(labels, groups, seed=seed)
    assert folds.shape == labels.shape
    sizes = slow_sizes(folds)
    assert sum(sizes) == len(labels)
    assert len(sizes) >= 10
    assert max(sizes) * 10 <= len(labels)
    assert min(sizes) > 0
    if groups is not None:
        for group in set(groups.tolist()):
            assert len(set(folds[groups == group].tolist())) == 1
    assert torch.equal(split_folds(labels, groups, seed=seed), folds)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=10, max_size=150), st.integers(0, 5))
def test_without_groups_classes_and_sizes_differ_by_one_at_most(
    drawn: list[int], seed: int
) -> None:
    labels = torch.tensor(drawn)
    folds = split_folds(labels, seed=seed)
    sizes = slow_sizes(folds)
    assert max(sizes) - min(sizes) <= 1
    for label in set(drawn):
        counts = [
            sum(1 for f, y in zip(folds.tolist(), drawn, strict=True) if (f, y) == (k, label))
            for k in range(len(sizes))
        ]
        assert max(counts) - min(counts) <= 1


def test_classes_are_balanced_over_people_too() -> None:
    labels = torch.arange(400) % 4
    groups = torch.arange(400) // 3
    folds = split_folds(labels, groups, seed=0)
    counts = torch.stack(
        [torch.bincount(labels[folds == k], minlength=4) for k in range(int(folds.max()) + 1)]
    )
    assert int(counts[counts.sum(1) > 30].min()) >= 5


def test_other_seeds_give_other_folds() -> None:
    labels = torch.arange(100) % 5
    drawn = [split_folds(labels, seed=seed) for seed in range(3)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(InvalidProblem, match="too few"):
        split_folds(torch.zeros(9, dtype=torch.int64), seed=0)
    groups = torch.cat([torch.zeros(3, dtype=torch.int64), torch.arange(1, 18)])
    with pytest.raises(InvalidProblem, match="group of 3"):
        split_folds(torch.zeros(20, dtype=torch.int64), groups, seed=0)
    with pytest.raises(ValueError, match="one group for each"):
        split_folds(torch.zeros(20, dtype=torch.int64), groups[:5], seed=0)
    with pytest.raises(ValueError, match="at most half"):
        split_folds(torch.zeros(20, dtype=torch.int64), seed=0, most=0.6)


@given(st.lists(st.tuples(st.integers(0, 6), st.text("abc", max_size=2)), min_size=1, max_size=30))
def test_groups_are_joined_through_whatever_they_share(drawn: list[tuple[int, str]]) -> None:
    people, pictures = [person for person, _ in drawn], [picture for _, picture in drawn]
    joined = join_groups(people, pictures)
    slow = list(range(len(drawn)))
    for _ in drawn:  # each walk over all pairs carries the lowest number at least one step further
        for i, (person, picture) in enumerate(drawn):
            for j, (other, another) in enumerate(drawn):
                if person == other or picture == another:
                    slow[i] = min(slow[i], slow[j])
    assert joined.tolist() == slow


def test_one_naming_alone_keeps_its_groups() -> None:
    assert join_groups(["x", "y", "x", "z"]).tolist() == [0, 1, 0, 3]
