"""Under-confidence is told from the spread of retrainings, on one side."""

import math
import statistics

import numpy as np
import pytest
from scipy import stats

from unlearning.errors import NotComputable
from unlearning.metrics.streisand import underconfidence

REFERENCES = [0.1, -0.2, 0.3, 0.05, -0.1, 0.15]


def test_the_bounds_are_students_prediction_interval_by_hand() -> None:
    found = underconfidence(-1.0, REFERENCES)
    reach = stats.t.ppf(0.95, 5) * statistics.stdev(REFERENCES) * math.sqrt(1 + 1 / 6)
    assert found.value == pytest.approx(statistics.mean(REFERENCES) + 1)
    assert (found.lower, found.upper) == pytest.approx((found.value - reach, found.value + reach))


def test_only_too_little_confidence_is_detectable() -> None:
    assert underconfidence(-2.0, REFERENCES).detectable
    assert not underconfidence(2.0, REFERENCES).detectable
    assert not underconfidence(0.0, REFERENCES).detectable


def test_a_genuine_retrain_is_called_detectable_once_in_twenty() -> None:
    rng, draws = np.random.default_rng(0), 2000
    hits = 0
    for row in rng.normal(size=(draws, 20)):
        hits += underconfidence(float(row[0]), row[1:].tolist()).detectable
    assert stats.binomtest(hits, draws, 0.05).pvalue > 1e-3


def test_one_reference_has_no_spread() -> None:
    with pytest.raises(NotComputable, match="two references"):
        underconfidence(0.0, [1.0])
