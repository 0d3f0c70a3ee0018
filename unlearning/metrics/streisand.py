"""Streisand check: above zero the forget set is *less* confident than retraining leaves it.

A model pushed too far gives itself away: whoever sees that some samples are suspiciously doubtful
knows which ones were to be forgotten (Golatkar, Achille and Soatto 2020 call it the Streisand
effect). Compared is the mean logit rank of the forget samples' margins (`confidence.rank`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from unlearning.errors import NotComputable


@dataclass(frozen=True)
class Underconfidence:
    """How far below the references a model's confidence lies, in logits of rank.

    `lower` and `upper` are one-sided bounds, each at the confidence asked for.
    """

    value: float
    lower: float
    upper: float

    @property
    def detectable(self) -> bool:
        """Whether the forget set is under-confident beyond what retrainings differ by."""
        return self.lower > 0


def underconfidence(
    own: float, references: Sequence[float], confidence: float = 0.95
) -> Underconfidence:
    """Return the references' mean rank less the model's, with prediction bounds.

    The bounds reach t·sd·√(1 + 1/n) to each side: a genuine retrain is called detectable with
    probability 1 − `confidence` (for Gaussian ranks).

    Raises:
        NotComputable: fewer than two references.
    """
    n = len(references)
    if n < 2:
        raise NotComputable("needs two references at least")
    spread = float(np.std(references, ddof=1))
    reach = float(stats.t.ppf(confidence, n - 1)) * spread * float(np.sqrt(1 + 1 / n))
    value = float(np.mean(references)) - own
    return Underconfidence(value, value - reach, value + reach)
