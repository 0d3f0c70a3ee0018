"""Accuracy against a loop over samples."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.errors import NotComputable
from unlearning.metrics.accuracy import accuracy, per_class


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 60), num_classes=st.integers(1, 6))
def test_counts_match_a_loop_and_classes_add_up(seed: int, n: int, num_classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, num_classes, generator=generator)
    labels = torch.randint(num_classes, (n,), generator=generator)
    correct = 0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        correct += row.index(max(row)) == label
    result = accuracy(logits, labels)
    assert (result.correct, result.n) == (correct, n)
    classes = per_class(logits, labels)
    assert sum(entry.correct for entry in classes.values()) == correct
    assert sum(entry.n for entry in classes.values()) == n
    lower, upper = result.interval()
    assert lower <= result.value <= upper


def test_a_class_absent_from_the_holdout_has_no_entry() -> None:
    assert sorted(per_class(torch.eye(3)[[0, 2]], torch.tensor([0, 2]))) == [0, 2]


def test_masked_logits_are_never_recognised() -> None:
    logits = torch.tensor([[-math.inf, 0.0], [-math.inf, -5.0]])
    assert accuracy(logits, torch.tensor([0, 0])).value == 0


def test_nan_is_an_error_and_no_recognition() -> None:
    with pytest.raises(ValueError, match="NaN"):
        accuracy(torch.tensor([[math.nan, 1.0]]), torch.tensor([0]))


def test_no_sample_is_not_computable_and_sizes_must_agree() -> None:
    with pytest.raises(NotComputable, match="no sample"):
        accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected"):
        accuracy(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))
