"""Resolution: the smallest remaining influence that an audit could have seen; lower is finer."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from unlearning.audit.influence import InfluenceScale
from unlearning.audit.joint import Array, joint_test

POWER: Final = 0.9
"""Share of models with that influence that the joint test is to reject."""
_LARGEST: Final = 4.0
_HALVINGS: Final = 6


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What an audit's references can tell apart, in units of λ (1 = the original).

    ``bounded``: the upper bound that a model exactly at the references' mean gets, so the smallest
    limit that any model could be expected to keep. ``rejected``: the influence at which the joint
    test rejects nine in ten retrainings moved that far towards the original; None where even four
    times the original's is not noticed, or too few references are there. ``limit`` is the policy's.
    """

    bounded: float | None
    rejected: float | None
    limit: float

    @property
    def resolved(self) -> bool:
        """Whether a model without influence can be told from one at the limit."""
        return self.bounded is not None and self.bounded <= self.limit

    @property
    def smallest(self) -> float | None:
        """The smaller of the two: what could have been seen one way or the other."""
        known = [value for value in (self.bounded, self.rejected) if value is not None]
        return min(known, default=None)

    def to_json(self) -> dict[str, float | bool | None]:
        """Return the figures by name."""
        return {
            "smallest": self.smallest,
            "bounded": self.bounded,
            "rejected": self.rejected,
            "limit": self.limit,
            "resolved": self.resolved,
        }


def bounded(scale: InfluenceScale, confidence: float) -> float:
    """Return the upper bound of λ for a model at the references' mean."""
    return scale.place(scale.mean, confidence).upper


def rejected(original: Array, references: Array, power: float = POWER) -> float | None:
    """Return the smallest λ at which the joint test rejects a share ``power`` of moved models.

    Each reference in turn is moved by λ·(original − mean of the others) and tested against the
    others: so a retraining's own noise stays in it, and no distribution is assumed. Found by
    bisection to 1/16 between 0 and 4; None above. With n references the test has n − 1 of them, so
    the figure errs on the cautious side.

    Args:
        original: [d] figures of the joint test.
        references: [n, d] the same, n ≥ 4.
        power: share of the moved models to be rejected.
    """
    if len(references) < 4:
        return None

    def enough(influence: float) -> bool:
        return _rejected_share(original, references, influence) >= power

    if not enough(_LARGEST):
        return None
    low, high = 0.0, _LARGEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _rejected_share(original: Array, references: Array, influence: float) -> float:
    hits = 0
    for index, own in enumerate(references):
        others = np.delete(references, index, axis=0)
        moved = own + influence * (original - others.mean(axis=0))
        hits += joint_test(moved, others).rejected
    return hits / len(references)
