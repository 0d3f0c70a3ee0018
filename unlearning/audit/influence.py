"""Remaining influence λ: where a model stands between the references (0) and the original (1)."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from unlearning.audit.joint import Array, standard_spread
from unlearning.errors import NotComputable


@dataclass(frozen=True, kw_only=True)
class Influence:
    """λ with two one-sided bounds, each at ``confidence``; 0 = as the references, 1 = original."""

    value: float
    lower: float
    upper: float
    confidence: float

    def to_json(self) -> dict[str, float]:
        """Return the four numbers by name."""
        return {
            "value": self.value,
            "lower": self.lower,
            "upper": self.upper,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, kw_only=True)
class InfluenceScale:
    """The discriminant axis of one audit, and how far retrainings stray along it.

    λ(x) = w·(x − mean), with w the linear discriminant between the references and the original,
    scaled so that the original has λ = 1. ``spread`` is the references' own root mean square λ,
    each on an axis that was fitted without it: in-sample their spread would be too small.
    """

    mean: Array
    direction: Array
    spread: float
    n: int

    @classmethod
    def fit(cls, references: Array, original: Array) -> "InfluenceScale":
        """Fit to ``references`` [n, d] and ``original`` [d]; NotComputable if they coincide."""
        count = len(references)
        if count < 3:
            raise NotComputable("remaining influence needs three references at least")
        mean, direction = _axis(references, original)
        left_out = []
        for index in range(count):
            centre, axis = _axis(np.delete(references, index, axis=0), original)
            left_out.append(axis @ (references[index] - centre))
        spread = float(np.sqrt(np.mean(np.square(left_out))))
        return cls(mean=mean, direction=direction, spread=spread, n=count)

    def place(self, x: Array, confidence: float) -> Influence:
        """Return λ of ``x`` [d] with its bounds.

        A left-out λ strays by σ√(1 + 1/(n−1)), a new model's by σ√(1 + 1/n): so the spread needs
        no further factor for the uncertain mean. Its quantile is Student's with n − 1 degrees.
        """
        value = float(self.direction @ (x - self.mean))
        reach = float(stats.t.ppf(confidence, self.n - 1)) * self.spread
        return Influence(
            value=value, lower=value - reach, upper=value + reach, confidence=confidence
        )


def _axis(references: Array, original: Array) -> tuple[Array, Array]:
    """Return the references' mean and the discriminant w with w·(original − mean) = 1."""
    mean, scale, covariance = standard_spread(references)
    offset = (original - mean) / scale
    axis = np.linalg.solve(covariance, offset)
    separation = float(axis @ offset)
    if not separation > 1e-12:
        raise NotComputable("the original has the references' mean: there is no influence to place")
    return mean, axis / separation / scale
