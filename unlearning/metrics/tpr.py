"""True positives at few false alarms: higher means more forget samples are surely recognised.

An average over samples (an AUC) hides the few that an attacker can name with certainty
(Carlini et al., arXiv 2112.03570); the share caught while at most 1 % or .1 % of strangers are
wrongly accused shows them. A model that never saw the samples catches about the false alarms' rate.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.errors import NotComputable
from unlearning.metrics.intervals import clopper_pearson


@dataclass(frozen=True)
class TruePositives:
    """Members above the threshold, with the interval of their share given that threshold."""

    caught: int
    n: int

    @property
    def value(self) -> float:
        """Return the share caught, in [0, 1]."""
        return self.caught / self.n

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the exact interval of the share; the threshold's own error is not in it."""
        return clopper_pearson(self.caught, self.n, level)


def true_positives(
    members: Tensor, negatives: Tensor, rate: float, weights: Tensor | None = None
) -> TruePositives:
    """Count the members above the lowest threshold that at most `rate` of the negatives exceed.

    Ties share one threshold. Weights of the negatives ([m], adding up to one) let their labels
    follow the members'.

    Args:
        members: [n] scores, higher = more member-like.
        negatives: [m] scores of samples that were surely not trained on.
        rate: of false alarms, in (0, 1).
        weights: [m] of the negatives; equal by default.

    Raises:
        NotComputable: no member, or fewer than 1/`rate` effective negatives, (Σw)² / Σw².
        ValueError: NaN scores.
    """
    if torch.isnan(members).any() or torch.isnan(negatives).any():
        raise ValueError("scores hold NaN")
    if not len(members) or not len(negatives):
        raise NotComputable("a rate of true positives needs members and negatives")
    if weights is None:
        weights = torch.full((len(negatives),), 1 / len(negatives), dtype=torch.float64)
    effective, needed = float(1 / weights.square().sum()), round(1 / rate)
    if effective < needed - 0.5:
        raise NotComputable(
            f"{effective:.0f} comparable hold-out samples cannot tell a false alarm in {needed}"
        )
    caught = members.double() > threshold(negatives, weights, rate)
    return TruePositives(int(caught.sum()), len(members))


def threshold(negatives: Tensor, weights: Tensor, rate: float) -> float:
    """Return the lowest score that negatives of at most `rate` in weight exceed; −∞ if all may.

    Ties share one threshold.
    """
    ordered, order = negatives.double().sort(descending=True)
    above = weights[order].cumsum(0)
    last = torch.searchsorted(-ordered, -ordered, right=True) - 1
    refused = above[last] > rate + 1e-12
    return float(ordered[refused].max()) if refused.any() else -torch.inf
