"""Calibration error against a loop over bins."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.errors import NotComputable
from unlearning.metrics.calibration import calibration_error


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), bins=st.integers(1, 20))
def test_the_error_is_that_of_a_loop_over_bins(seed: int, bins: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(60, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (60,), generator=generator)
    expected = 0.0
    for index in range(bins):
        members = []
        for row, label in zip(torch.softmax(logits, 1).tolist(), labels.tolist(), strict=True):
            if index / bins < max(row) <= (index + 1) / bins:
                members.append((max(row), float(row.index(max(row)) == label)))
        if members:
            sure, right = (sum(column) / len(members) for column in zip(*members, strict=True))
            expected += len(members) / 60 * abs(sure - right)
    assert calibration_error(logits, labels, bins) == pytest.approx(expected)


def test_sure_and_right_is_zero_and_sure_and_wrong_is_one() -> None:
    logits = torch.eye(3) * 200
    assert calibration_error(logits, torch.tensor([0, 1, 2])) == pytest.approx(0)
    assert calibration_error(logits, torch.tensor([1, 2, 0])) == pytest.approx(1)


def test_no_sample_and_nan_are_refused() -> None:
    with pytest.raises(NotComputable, match="no sample"):
        calibration_error(torch.zeros(0, 3), torch.zeros(0).long())
    with pytest.raises(ValueError, match="NaN"):
        calibration_error(torch.full((1, 3), math.nan), torch.zeros(1).long())
